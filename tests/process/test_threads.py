"""Threads that truly run at once: nothing is made twice, lost or given to another. Run with and without the GIL."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peer import END, FINISHED, LOGIN, PASSWORD, QUICK, RUN, RUNNING, Desk, Wire, at, collected, no_hanging, proved
from processes import run_script

_no_hanging = no_hanging()

THREADS = 16
IDS = [f"op-{number}" for number in range(THREADS)]


@pytest.fixture(autouse=True)
def _quick_switches() -> Iterator[None]:
    """The GIL changes hands as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def answers(desk: Desk) -> Desk:
    """A desk where each second operation has finished."""
    desk.of = {id: END if number % 2 else RUN for number, id in enumerate(IDS)}
    return desk


def status_of(id: str) -> dict[str, bool]:
    return FINISHED if int(id[3:]) % 2 else RUNNING


def at_once(act: Callable[[int], None], threads: int = THREADS) -> None:
    """Call it in many threads that begin together; the first error of theirs is raised."""
    begin = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        begin.wait(60)
        try:
            act(number)
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
    assert not any(thread.is_alive() for thread in started), "a thread hangs"
    for error in errors:
        raise error


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_the_import_leaves_the_gil_off() -> None:
    code = "import sys, saymon_bulk, saymon_bulk.testing; print(sys._is_gil_enabled())"
    done = run_script(code, flags=["-W", "error"])
    assert (done.stdout, done.stderr) == ("False\n", "")


# Each child uses the package for the first time, in many threads at once.
FIRST_USE = f"""
import asyncio, os, sys, threading
from pathlib import Path
import saymon_bulk

def use(begin):
    begin.wait()
    client = saymon_bulk.Client(sys.argv[1], {LOGIN!r}, {PASSWORD!r})
    asyncio.run(client.get_bulk_status_async("op"))

def background_threads():
    begin = threading.Barrier(8)
    threads = [threading.Thread(target=use, args=(begin,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(name_of(task) == "saymon-bulk" for task in os.listdir("/proc/self/task"))

def name_of(task):
    try:
        return Path("/proc/self/task", task, "comm").read_text().strip()
    except OSError:
        return None  # it has just ended

found = set()
for _ in range(15):
    child = os.fork()
    if child == 0:
        os._exit(background_threads())
    found.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(found)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc to look into")
def test_the_first_use_by_many_threads_starts_one_background_thread(desk: Desk) -> None:
    done = run_script(FIRST_USE, desk.host)
    assert (done.stdout, done.stderr) == ("{1}\n", "")


@pytest.mark.slow
def test_one_client_for_all_threads(answers: Desk) -> None:
    client = at(answers)

    def use(number: int) -> None:
        for turn in range(20):
            id = IDS[(number + turn) % THREADS]
            assert client.get_bulk_status(id) == status_of(id)
        assert client.get_bulk_statuses(IDS) == {id: status_of(id) for id in IDS}

    at_once(use)


@pytest.mark.slow
def test_one_client_for_the_loops_of_all_threads(answers: Desk) -> None:
    client = proved(answers)

    async def main() -> None:
        for _ in range(5):
            statuses = await asyncio.gather(*map(client.get_bulk_status_async, IDS))
            assert statuses == list(map(status_of, IDS))

    at_once(lambda _: asyncio.run(main()), 8)


@pytest.mark.slow
def test_loops_that_come_and_go_with_tasks_that_are_cancelled(answers: Desk) -> None:
    answers.of["held"] = Wire.hold
    client = proved(answers)

    async def main(number: int) -> None:
        tasks = [asyncio.ensure_future(client.get_bulk_status_async(id)) for id in ("held", *IDS[:4], "held")]
        await asyncio.sleep(0.002 * (number % 4))
        for task in tasks[::2]:
            task.cancel()
        assert [await tasks[1], await tasks[3]] == [status_of(IDS[0]), status_of(IDS[2])]
        tasks[-1].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)

    def use(number: int) -> None:
        for turn in range(5):
            asyncio.run(main(number + turn))

    at_once(use, 8)


@pytest.mark.slow
def test_waits_of_all_threads(answers: Desk) -> None:
    answers.of = {id: [RUN, END] for id in IDS}
    client = proved(answers)

    def use(number: int) -> None:
        ids = [f"{number}-{turn}" for turn in range(8)]
        if number % 2:
            assert dict(client.wait_for_bulks(ids, **QUICK)) == dict.fromkeys(ids, FINISHED)
        else:
            assert asyncio.run(collected(client, ids, **QUICK)) == dict.fromkeys(ids, FINISHED)

    at_once(use)


def test_a_client_closed_by_one_thread_ends_the_calls_of_all(answers: Desk) -> None:
    answers.of["held"] = Wire.hold
    client = proved(answers)
    ended: list[str] = []

    def use(number: int) -> None:
        if number == 0:
            answers.wait_for(lambda: answers.open >= THREADS // 2)
            client.close()
            return
        ask = client.get_bulk_status if number % 2 else lambda id: asyncio.run(client.get_bulk_status_async(id))
        with pytest.raises(RuntimeError) as caught:
            ask("held")
        ended.append(str(caught.value))

    at_once(use)
    assert ended == [f"{answers.host}: the client is closed"] * (THREADS - 1)


@pytest.mark.slow
def test_an_iterator_closed_while_others_use_it(answers: Desk) -> None:
    for _ in range(20):
        statuses = at(answers).wait_for_bulks([f"some-{number}" for number in range(20)], **QUICK)

        def use(number: int, statuses=statuses) -> None:  # type: ignore[no-untyped-def]
            act = statuses.__next__ if number else statuses.close
            for _ in range(10):
                with contextlib.suppress(RuntimeError, StopIteration):
                    act()

        at_once(use, 4)
        statuses.close()
        assert list(statuses) == []
