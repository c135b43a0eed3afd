"""One measurement, or one check, of one contender in a process of its own: python work.py KIND JSON; prints JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time

from clients import ASYNC, ONE_EACH, SYNC

AT_ONCE = 64
THREADS = 16


def cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def peak_kib() -> int:
    """This program's own peak; what getrusage tells may be that of the process it was started by."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def name_ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:012x}" for number in range(count)]


def finished(answer) -> bool:
    if answer["finished"] is not True:
        raise AssertionError(answer)
    return True


def calls(name, access, seconds):
    """Calls in a row on one client, all but the first few on its kept connection where the server keeps it."""
    status = SYNC[name](**access)
    (id,) = name_ids("079b3102-66d8-4a1c-9d5e", 1)
    for _ in range(20):
        finished(status(id))
    count, begin_cpu, begin = 0, cpu(), time.perf_counter()
    while (end := time.perf_counter()) - begin < seconds:
        for _ in range(10):
            if status(id)["finished"] is not True:
                raise AssertionError("not finished")
        count += 10
    return {"us": (end - begin) / count * 1e6, "cpu_us": (cpu() - begin_cpu) / count * 1e6, "calls": count}


def one_call(name, access, ids):
    return SYNC[name](**access).__self__.get_bulk_statuses(ids, concurrency=AT_ONCE)


def on_asyncio(name, access, ids):
    """As many tasks as may be under way, each taking the next id: the least that a program can do on asyncio."""
    answers = dict.fromkeys(ids)

    async def main():
        status = ASYNC[name](**access)
        todo = iter(ids)

        async def task():
            for id in todo:
                answers[id] = await status(id)

        await asyncio.gather(*(task() for _ in range(AT_ONCE)))
        if hasattr(status, "close"):
            await status.close()

    asyncio.run(main())
    return answers


def on_threads(name, access, ids):
    answers = dict.fromkeys(ids)
    shared = None if name in ONE_EACH else SYNC[name](**access)
    todo = iter(ids)
    lock = threading.Lock()
    errors = []

    def thread():
        try:
            status = shared or SYNC[name](**access)
            while True:
                with lock:
                    id = next(todo, None)
                if id is None:
                    return
                answers[id] = status(id)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread) for _ in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if errors:
        raise errors[0]
    return answers


HOWS = {"one call": one_call, "asyncio": on_asyncio, "16 threads": on_threads}


def many(how, name, access, count):
    """From the making of the client, connections and all, to the last answer."""
    ids = name_ids("079b3102-66d8-4a1c-9d5e", count)
    __import__(name)
    # The result's own room is taken and given back: what the peak then grows by is over the result.
    answers = {id: {"finished": True} for id in ids}
    del answers
    before, begin_cpu, begin = peak_kib(), cpu(), time.perf_counter()
    answers = HOWS[how](name, access, ids)
    seconds, used = time.perf_counter() - begin, cpu() - begin_cpu
    after = peak_kib()
    if list(answers) != ids or not all(map(finished, answers.values())):
        raise AssertionError("answers are missing")
    return {
        "per_second": count / seconds,
        "cpu_us": used / count * 1e6,
        "peak_mib": after / 1024,
        "kib_an_id": (after - before) / count,
    }


def one_by_one(name, access, ids):
    status = SYNC[name](**access)
    return {id: status(id) for id in ids}


def some(how, name, access, count):
    """So many statuses, for whoever counts what they take."""
    one_after_the_other = {**HOWS, "one by one": one_by_one}
    answers = one_after_the_other[how](name, access, name_ids("079b3102-66d8-4a1c-9d5e", count))
    if len(answers) != count or not all(map(finished, answers.values())):
        raise AssertionError("answers are missing")
    return {}


def waiting(access, count, seconds):
    """Many operations waited for, none finished, no poll due: what does the waiting itself cost?"""
    import saymon_bulk

    client = saymon_bulk.Client(access["url"], access["login"], access["password"], verify=access["ca"])
    client.get_bulk_status("first")
    ids = name_ids("running", count)
    before = peak_kib()
    used = []

    def watch():
        time.sleep(2.0)  # all have been asked once by then, and are asked again after a minute
        begin_cpu, begin = cpu(), time.perf_counter()
        time.sleep(seconds)
        used.append((cpu() - begin_cpu) / (time.perf_counter() - begin))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        waits = client.wait_for_bulks(ids, timeout=seconds + 3.0, interval=60, max_interval=60, concurrency=AT_ONCE)
        for answer in waits:
            raise AssertionError(answer)
    except saymon_bulk.WaitTimeoutError as error:
        if len(error.pending) != count or None in error.pending.values():
            raise AssertionError("not all were asked") from None
    thread.join()
    return {"percent": used[0] * 100, "kib_each": (peak_kib() - before) / count}


def check(how, name, access, sites, calls):
    """The right answer at every site; a wrong password refused. The server's log tells of the connections."""
    for site, url in sites.items():
        ids = name_ids(f"{how} {name} {site}".replace(" ", "-"), calls[site])
        there = access | {"url": url}
        answers = one_by_one(name, there, ids) if how == "one by one" else HOWS[how](name, there, ids)
        if list(answers) != ids or not all(map(finished, answers.values())):
            raise AssertionError(f"another answer: {answers}")
        refused(how, name, there | {"password": "wrong"})
    return {}


def refused(how, name, access):
    """Fails unless the contender does."""
    try:
        answer = SYNC[name](**access)("refused") if how == "one by one" else HOWS[how](name, access, ["refused"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    raise AssertionError(f"not refused: {answer}")


KINDS = {"calls": calls, "some": some, "many": many, "waiting": waiting, "check": check, "refused": refused}

if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](**json.loads(sys.argv[2]))))
