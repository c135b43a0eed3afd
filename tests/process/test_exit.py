"""The process around asyncio and the waits: hundreds of exits, forks, pools and Ctrl-C, each in a process of its own."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from peer import ID, LOGIN, PASSWORD, RUN, Desk, Wire, response
from processes import AT_ONCE, FINISHED, FORKING, Start, asked, needs_fork, needs_signals, run_script

BEGINNING = f"""
import asyncio, sys
import saymon_bulk
client = saymon_bulk.Client(sys.argv[1], {LOGIN!r}, {PASSWORD!r}, request_timeout=60)
"""


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.of.update({"running": RUN, "hung": Wire.hold, "unknown": response("{}", 404)})
    return desk


def end_of(code: str, host: str) -> tuple[int, str, str]:
    """How a script ends: its code, and what it leaves on stdout and stderr."""
    done = run_script(BEGINNING + code, host, flags=FORKING)
    return done.returncode, done.stdout.strip(), done.stderr


def ends_of(code: str, host: str, times: int) -> set[tuple[int, str, str]]:
    """All the ways in which it ends, four at a time: there must be one."""
    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(lambda _: end_of(code, host), range(times)))


# The end after success

SUCCESSES = {
    "a status": ("print(asyncio.run(client.get_bulk_status_async('op')))", FINISHED, 150),
    "a wait": ("print(asyncio.run(client.wait_for_bulk_async('op')))", FINISHED, 50),
    "many statuses": (
        "print(len(asyncio.run(client.get_bulk_statuses_async(map(str, range(20))))))",
        "20",
        30,
    ),
    "many waits": (
        """
async def main():
    return [status["finished"] async for _, status in client.wait_for_bulks_async(["a", "b"])]

print(asyncio.run(main()))
""",
        "[True, True]",
        30,
    ),
    "many tasks": (
        """
async def main():
    return len(await asyncio.gather(*(client.get_bulk_status_async("op") for _ in range(20))))

print(asyncio.run(main()))
""",
        "20",
        30,
    ),
    "an error": (
        """
try:
    asyncio.run(client.get_bulk_status_async("unknown"))
except saymon_bulk.NotFoundError as error:
    print(error.status_code)
""",
        "404",
        20,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("code", "out"), [(code, out) for code, out, _ in SUCCESSES.values()], ids=SUCCESSES)
def test_one_end_after_success(desk: Desk, code: str, out: str) -> None:
    assert end_of(code, desk.host) == (0, out, "")


@pytest.mark.slow
@pytest.mark.parametrize(("code", "out", "times"), SUCCESSES.values(), ids=SUCCESSES)
def test_the_end_after_success(desk: Desk, code: str, out: str, times: int) -> None:
    assert ends_of(code, desk.host, times) == {(0, out, "")}


def test_so_many_ends_are_enough() -> None:
    assert sum(times for _, _, times in SUCCESSES.values()) >= 300


# The end in the middle of something

UNDER_WAY = {
    "tasks that nobody awaits": (
        """
client.get_bulk_status("op")  # the password is proved, so that many go at the same time

async def main():
    tasks = [asyncio.create_task(client.get_bulk_status_async(id)) for id in ("hung", "op", "hung", "op")]
    tasks += [asyncio.create_task(client.wait_for_bulk_async("running", interval=0.01)) for _ in range(4)]
    await tasks[1]

asyncio.run(main())
print("done")
""",
        0,
    ),
    "a loop that is not closed": (
        """
async def main():
    tasks.extend(asyncio.create_task(client.get_bulk_status_async(id)) for id in ("hung", "op", "hung", "op"))
    tasks.append(asyncio.create_task(client.wait_for_bulk_async("running", interval=0.01)))
    await tasks[1]

tasks = []
client.get_bulk_status("op")  # the password is proved, so that many go at the same time
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.set_exception_handler(lambda loop, context: None)
print("done")
""",
        0,
    ),
    "sys.exit inside a task": (
        """
async def main():
    task = asyncio.create_task(client.get_bulk_status_async("hung"))
    await client.get_bulk_status_async("op")
    print("done")
    sys.exit(7)

asyncio.run(main())
""",
        7,
    ),
    "sys.exit inside on_poll": (
        """
def on_poll(*_):
    print("done")
    sys.exit(7)

asyncio.run(client.wait_for_bulk_async("running", on_poll=on_poll))
""",
        7,
    ),
    "a daemon thread that waits": (
        """
import threading
polled = threading.Event()
wait = dict(interval=0.01, max_interval=0.01, on_poll=lambda *_: polled.set())
threading.Thread(target=lambda: client.wait_for_bulk("running", **wait), daemon=True).start()
assert polled.wait(60)
print("done")
""",
        0,
    ),
    "a daemon thread that waits for many": (
        """
import threading
polled = threading.Event()
wait = dict(interval=0.01, max_interval=0.01, on_poll=lambda *_: polled.set())
threading.Thread(target=lambda: list(client.wait_for_bulks(["running", "hung"], **wait)), daemon=True).start()
assert polled.wait(60)
print("done")
""",
        0,
    ),
    "a daemon thread with a loop": (
        """
import threading
polled = threading.Event()
wait = dict(interval=0.01, max_interval=0.01, on_poll=lambda *_: polled.set())
threading.Thread(target=lambda: asyncio.run(client.wait_for_bulk_async("running", **wait)), daemon=True).start()
assert polled.wait(60)
print("done")
""",
        0,
    ),
    "daemon threads with busy loops": (
        """
import threading
polled = threading.Event()

async def main():
    try:
        while True:
            await asyncio.gather(*(client.get_bulk_status_async("op") for _ in range(8)))
            polled.set()
    except RuntimeError as error:  # for calls that begin after the end has
        assert "shutting down" in str(error)

for _ in range(3):
    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
assert polled.wait(60)
print("done")
""",
        0,
    ),
    "a daemon thread that gets a thousand answers": (
        """
import logging, threading, time
logging.disable()  # asyncio tells of what is slow
handing_out = threading.Event()

async def main():
    await client.get_bulk_status_async("op")
    calls = asyncio.gather(*(client.get_bulk_status_async("op") for _ in range(1000)))
    await asyncio.sleep(0)
    time.sleep(1)
    handing_out.set()
    await calls

# Debug mode takes its time for each.
threading.Thread(target=lambda: asyncio.run(main(), debug=True), daemon=True).start()
assert handing_out.wait(60)
time.sleep(0.02)
print("done")
""",
        0,
    ),
    "an iterator that is left": (
        """
statuses = client.wait_for_bulks(["op", "running", "hung"], interval=0.01)
next(statuses)
print("done")
""",
        0,
    ),
    "an exit function that asks": (
        """
import atexit
atexit.register(lambda: print("done", asyncio.run(client.get_bulk_status_async("op"))["finished"] and ""))
asyncio.run(client.get_bulk_status_async("op"))
""",
        0,
    ),
}


@pytest.mark.parametrize("times", [1, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("code", "returns"), UNDER_WAY.values(), ids=UNDER_WAY)
def test_the_end_with_something_under_way(desk: Desk, code: str, returns: int, times: int) -> None:
    assert ends_of(code, desk.host, times) == {(returns, "done", "")}


@pytest.mark.slow
def test_the_end_by_an_error_in_a_task(desk: Desk) -> None:
    code, out, err = end_of("asyncio.run(client.wait_for_bulk_async('unknown'))", desk.host)
    assert (code, out) == (1, "")
    assert "NotFoundError: " in err.splitlines()[-1]
    assert "panicked" not in err
    assert PASSWORD not in err


# Forks

FORKS = """
import os, signal

def forked(work, leave):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        work()
        sys.stdout.flush()
        leave(0)
    assert os.waitpid(child, 0)[1] == 0

def ask():
    print(asyncio.run(client.get_bulk_status_async("op"))["finished"], end=" ")

def wait():
    print(asyncio.run(client.wait_for_bulk_async("op"))["finished"], end=" ")

def both():
    print(client.get_bulk_status("op")["finished"], client.wait_for_bulk("op")["finished"], end=" ")
    wait()
"""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("leave", ["os._exit", "sys.exit"])
def test_forks_after_asyncio(desk: Desk, leave: str) -> None:
    code = f"""{FORKS}
ask()
forked(ask, {leave})
forked(lambda: forked(wait, {leave}), {leave})
forked(both, {leave})
forked(lambda: None, {leave})
ask()
"""
    assert ends_of(code, desk.host, 8) == {(0, " ".join(["True"] * 7), "")}


@pytest.mark.slow
@needs_fork
def test_forks_while_other_threads_await(desk: Desk) -> None:
    code = f"""{FORKS}
import threading
done = threading.Event()

async def asking():
    while not done.is_set():
        await asyncio.gather(*(client.get_bulk_status_async("op") for _ in range(4)))

ask()
threads = [threading.Thread(target=lambda: asyncio.run(asking()), daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(4):
    forked(ask, os._exit)
done.set()
for thread in threads:
    thread.join()
ask()
"""
    assert ends_of(code, desk.host, 4) == {(0, " ".join(["True"] * 6), "")}


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("use", ["ask", "both"])
def test_forks_while_another_thread_makes_its_first_call(desk: Desk, use: str) -> None:
    """What is set up once in a process may be half set up at that moment, and who was at it is not in the child."""
    code = f"""{FORKS}
import threading
threads = [threading.Thread(target=work) for work in (ask, both)]
for thread in threads:
    thread.start()
child = os.fork()
if child == 0:
    signal.alarm(60)
    {use}()
    os._exit(0)
ended = os.waitpid(child, 0)[1]
for thread in threads:
    thread.join()
assert ended == 0
"""
    ends = ends_of(code.replace(', end=" "', ', file=open(os.devnull, "w")'), desk.host, 40)
    assert ends == {(0, "", "")}


@pytest.mark.slow
@needs_fork
def test_forks_while_a_large_batch_is_under_way(desk: Desk) -> None:
    code = f"""{FORKS}
import threading
done = threading.Event()

def asking():
    while not done.is_set():
        client.get_bulk_statuses([f"op-{{n}}" for n in range(200)])

def many():
    print(len(client.get_bulk_statuses([f"op-{{n}}" for n in range(200)])), end=" ")

thread = threading.Thread(target=asking)
thread.start()
for _ in range(4):
    forked(many, os._exit)
done.set()
thread.join()
many()
"""
    assert ends_of(code, desk.host, 4) == {(0, " ".join(["200"] * 5), "")}


@pytest.mark.slow
@needs_fork
def test_a_fork_in_the_middle_of_a_loop(desk: Desk) -> None:
    """The child leaves the inherited loop alone; the parent's request is none of its business."""
    code = f"""{FORKS}
import threading

async def main():
    task = asyncio.create_task(client.get_bulk_status_async("hung"))
    await client.get_bulk_status_async("op")

    def child():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    forked(child, os._exit)
    assert not task.done()
    task.cancel()
    print((await client.get_bulk_status_async("op"))["finished"])

asyncio.run(main())
"""
    assert ends_of(code, desk.host, 4) == {(0, "True True", "")}


@pytest.mark.slow
@needs_fork
def test_a_wait_that_is_forked_goes_on_in_the_parent_only(desk: Desk) -> None:
    code = f"""{FORKS}
statuses = client.wait_for_bulks(["op", "running"], interval=0.01, timeout=0.5)
next(statuses)

def child():
    try:
        next(statuses)
    except RuntimeError:
        print("refused", end=" ")
    ask()

forked(child, sys.exit)
try:
    next(statuses)
except saymon_bulk.WaitTimeoutError as error:
    print(list(error.pending))
"""
    assert end_of(code, desk.host) == (0, "refused True ['running']", "")


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_pools_of_processes_that_await(desk: Desk, method: str) -> None:
    code = f"""
import multiprocessing

def work(host):
    return asyncio.run(saymon_bulk.wait_for_bulk_async(host, {ID!r}, {LOGIN!r}, {PASSWORD!r}))["finished"]

work(sys.argv[1])
if {method!r} == "fork":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, [sys.argv[1]] * 10).count(True))
        pool.close()
        pool.join()
else:
    # A function of a script that has no file cannot be found by its name.
    call = saymon_bulk.wait_for_bulk
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        print(pool.starmap(call, [(sys.argv[1], {ID!r}, {LOGIN!r}, {PASSWORD!r})] * 10).count({FINISHED}))
        pool.close()
        pool.join()
"""
    assert end_of(code, desk.host) == (0, "10", "")


@pytest.mark.slow
@needs_fork
def test_a_late_wait_comes_back_from_a_pool(desk: Desk) -> None:
    code = f"""
from concurrent.futures import ProcessPoolExecutor
import functools, multiprocessing
call = functools.partial(saymon_bulk.wait_for_bulk, timeout=0.05, interval=0.02)
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
    try:
        pool.submit(call, sys.argv[1], "running", {LOGIN!r}, {PASSWORD!r}).result(60)
    except saymon_bulk.WaitTimeoutError as error:
        print(error.pending, error.id, error.host == sys.argv[1], error.elapsed >= 0.05)
"""
    assert end_of(code, desk.host) == (0, "{'running': {'finished': False}} running True True", "")


# Ctrl-C


# Started in the background, Python would leave SIGINT ignored.
SIGNALLED = f"""{BEGINNING}
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)

def polled(*_):
    print("polled", flush=True)

async def listed(items):
    return [item async for item in items]
"""

INTERRUPTED = """
client.get_bulk_status("proof")  # so that many requests go out at once
try:
    {}
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
sys.stdin.read()  # alive until the test is done with it
print(client.get_bulk_status("op"))
"""


@pytest.fixture
def start(start: Start) -> Start:
    return lambda code, host: start(SIGNALLED + code, host)


MID_REQUEST = {
    "get_bulk_statuses": "client.get_bulk_statuses(['hung', 'hung-too', 'op'])",
    "wait_for_bulk": "client.wait_for_bulk('hung')",
    "wait_for_bulks": "list(client.wait_for_bulks(['hung', 'hung-too']))",
    "get_bulk_status_async": "asyncio.run(client.get_bulk_status_async('hung'))",
    "get_bulk_statuses_async": "asyncio.run(client.get_bulk_statuses_async(['hung', 'hung-too']))",
    "wait_for_bulk_async": "asyncio.run(client.wait_for_bulk_async('hung'))",
    "wait_for_bulks_async": "asyncio.run(listed(client.wait_for_bulks_async(['hung', 'hung-too'])))",
    "the plain wait": f"saymon_bulk.wait_for_bulk(sys.argv[1], 'hung', {LOGIN!r}, {PASSWORD!r})",
}


@pytest.mark.slow
@pytest.mark.parametrize("call", MID_REQUEST.values(), ids=MID_REQUEST)
def test_ctrl_c_in_the_middle_of_a_request(desk: Desk, start: Start, call: str) -> None:
    desk.of["hung-too"] = Wire.hold
    script = start(INTERRUPTED.format(call), desk.host)
    asked(desk, call.count("hung"))
    assert script.seconds_to_interrupt() < AT_ONCE
    # The request is dropped; what was answered may be kept.
    desk.wait_for(lambda: desk.open <= call.count("'op'"))
    script.finish()


@pytest.mark.slow
def test_ctrl_c_in_a_large_batch(desk: Desk, start: Start) -> None:
    """Several threads are at it, and those that are done wait for the others."""
    held: list[Wire] = []

    def hold(wire: Wire) -> None:
        held.append(wire)
        wire.hold()
        held.remove(wire)

    desk.of.update({"hung": hold, "hung-too": hold})
    call = "client.get_bulk_statuses(['hung', *(f'op-{n}' for n in range(300)), 'hung-too'])"
    script = start(INTERRUPTED.format(call), desk.host)
    asked(desk, 302)
    desk.wait_for(lambda: len(held) == 2)
    assert script.seconds_to_interrupt() < AT_ONCE
    desk.wait_for(lambda: not held)
    script.finish()


MID_SLEEP = {
    "wait_for_bulk": "client.wait_for_bulk('running', interval=30, on_poll=polled)",
    "wait_for_bulks": "list(client.wait_for_bulks(['running'], interval=30, on_poll=polled))",
    "wait_for_bulk_async": "asyncio.run(client.wait_for_bulk_async('running', interval=30, on_poll=polled))",
    "wait_for_bulks_async": "asyncio.run(listed(client.wait_for_bulks_async(['running'], interval=30, on_poll=polled)))",
}


@pytest.mark.slow
@pytest.mark.parametrize("call", MID_SLEEP.values(), ids=MID_SLEEP)
def test_ctrl_c_in_the_middle_of_a_pause(desk: Desk, start: Start, call: str) -> None:
    script = start(INTERRUPTED.format(call), desk.host)
    assert script.line() == "polled"
    assert script.seconds_to_interrupt() < AT_ONCE
    script.finish()
    assert len(desk.requests) == 2


@pytest.mark.slow
def test_ctrl_c_again_and_again(desk: Desk, start: Start) -> None:
    code = """
for id in ["running", "hung"] * 3:
    try:
        client.wait_for_bulk(id, interval=30, on_poll=polled)
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
"""
    script = start(code, desk.host)
    for turn in range(6):
        if turn % 2:
            asked(desk, turn + 1)
        else:
            assert script.line() == "polled"
        assert script.seconds_to_interrupt() < AT_ONCE
    script.finish()


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize("call", [MID_SLEEP["wait_for_bulk"], MID_SLEEP["wait_for_bulk_async"]], ids=["blocking", "awaited"])
def test_ctrl_c_that_nobody_catches(desk: Desk, start: Start, call: str) -> None:
    script = start(call, desk.host)
    assert script.line() == "polled"
    script.signal()
    code, _, err = script.outcome()
    assert code == -signal.SIGINT
    assert err.splitlines()[-1].startswith("KeyboardInterrupt")
    assert "panicked" not in err
    assert PASSWORD not in err


@pytest.mark.slow
def test_ctrl_c_in_on_poll(desk: Desk, start: Start) -> None:
    code = """
def on_poll(*_):
    polled()
    for _ in range(3000):
        time.sleep(0.01)  # a signal that comes just before a sleep does not end it
"""
    script = start(code + INTERRUPTED.format("client.wait_for_bulk('running', on_poll=on_poll)"), desk.host)
    assert script.line() == "polled"
    assert script.seconds_to_interrupt() < AT_ONCE
    script.finish()
