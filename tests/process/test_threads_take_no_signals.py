"""The threads of the package take no signal of the process: a program that blocks signals and waits for them gets them."""

from __future__ import annotations

import pytest
from peer import END, LOGIN, PASSWORD, RUN, Desk
from processes import Start, needs_signals

PROGRAM = f"""
import asyncio, os, signal, sys
from pathlib import Path
import saymon_bulk

host, way = sys.argv[1:]
client = saymon_bulk.Client(host, {LOGIN!r}, {PASSWORD!r})
ids = ["done", *(f"running-{{number}}" for number in range(200))]
before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
if way == "asyncio":
    asyncio.run(client.get_bulk_status_async("done"))  # its thread goes on
elif way == "a wait":
    waiting = client.wait_for_bulks(ids[:2], interval=0.05)
    next(waiting)
elif way == "many waits":
    many = [client.wait_for_bulks(ids, interval=0.05) for _ in range(5)]
    for waiting in many:
        next(waiting)
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before

def is_blocked(task, number):
    mask = next(line for line in (task / "status").read_text().splitlines() if line.startswith("SigBlk:"))
    return int(mask.split()[1], 16) >> (number - 1) & 1

signals = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD]
if sys.platform == "linux":
    tasks = [task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text().startswith("saymon-bulk")]
    assert len(tasks) == (5 if way == "many waits" else 1)
    for task in tasks:
        assert all(is_blocked(task, number) for number in signals)
        assert not is_blocked(task, signal.SIGSEGV)  # which Python's faulthandler reports
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
for number in signals:
    os.kill(os.getpid(), number)
    assert signal.sigwait(signals) == number
print("well")
"""


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize("way", ["asyncio", "a wait", "many waits"])
def test_a_program_that_waits_for_signals_gets_them(desk: Desk, start: Start, way: str) -> None:
    desk.of = {"done": END, **{f"running-{number}": RUN for number in range(200)}}
    with start(PROGRAM, desk.host, way) as program:
        assert program.finish() == ["well"]
