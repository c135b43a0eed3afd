"""Nothing grows: memory, descriptors and threads, over thousands of calls, clients, failures and things left half done."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peer import LOGIN, PASSWORD, Answer, Desk, Wire, id_of, response
from processes import run_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/statm").exists() or not Path("/proc/self/fd").exists(),
        reason="there is no /proc to look into",
    ),
]

MEBIBYTE = 1024 * 1024

# Each script defines turn(); it is taken a few times to warm up and then measured.
MEASURED = f"""
import asyncio, gc, json, logging, os, sys, time
import saymon_bulk
from saymon_bulk import Client

logging.getLogger("saymon_bulk").setLevel(logging.CRITICAL)
HOST, LIMIT = sys.argv[1], int(sys.argv[2])

def client(**more):
    return Client(HOST, {LOGIN!r}, {PASSWORD!r}, **more)

def measured():
    gc.collect()
    with open("/proc/self/statm") as statm:
        memory = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return memory, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

def settled(at_most):
    # What was cut off may take a moment to go.
    for _ in range(100):
        now = measured()
        if now[1] <= at_most[1] and now[2] <= at_most[2]:
            break
        time.sleep(0.02)
    return now

def main(turn, warming, times):
    for _ in range(warming):
        turn()
    before = measured()
    # A leak grows every time. An allocator may take memory once or twice, above all without the GIL.
    for _ in range(3):
        first, before = before, take(turn, times, before)
        if before[0] - first[0] < LIMIT:
            break
    print(json.dumps([first, before]))

def take(turn, times, before):
    for _ in range(times):
        turn()
    return settled(before)
"""


class Gathering(Desk):
    """A desk that keeps no requests; those for `together` wait until all 25 are there."""

    def __init__(self) -> None:
        self.together = threading.Barrier(25, timeout=10)
        super().__init__()
        self.of.update({"hung": Wire.hold, "running": response('{"finished": false}'), "cut": Wire.reset})

    def _next_answer(self, request: bytes) -> Answer:
        if id_of(request) == "together":
            self.together.wait()
        answer = super()._next_answer(request)
        self.requests.clear()
        return answer


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Gathering() as desk:
        yield desk


def grown(code: str, host: str, memory: int = 2 * MEBIBYTE, descriptors: int = 2) -> None:
    """Run it; nothing may have grown but memory by a little. One or two connections may be on their way out."""
    done = run_script(MEASURED + code, host, str(memory))
    assert (done.returncode, done.stderr) == (0, "")
    before, after = json.loads(done.stdout)
    assert after[1] <= before[1] + descriptors, f"descriptors: {before[1]} and then {after[1]}"
    assert after[2] <= before[2], f"threads: {before[2]} and then {after[2]}"
    assert after[0] - before[0] < memory, f"{(after[0] - before[0]) / MEBIBYTE:.2f} MiB more"


CALLS: dict[str, Any] = {
    "ten thousand calls": """
shared = client()

def turn():
    for _ in range(50):
        shared.get_bulk_status("op")
        saymon_bulk.get_bulk_status(HOST, "op", "login", "password")

main(turn, 20, 100)
""",
    "ten thousand statuses at once": """
shared = client()
ids = [f"op-{n}" for n in range(500)]
main(lambda: shared.get_bulk_statuses(ids), 4, 20)
""",
    "a thousand clients": """
def turn():
    for n in range(100):
        with client(request_timeout=n + 1) as one:
            one.get_bulk_status("op")

main(turn, 3, 10)
""",
    "a thousand clients that are not used": """
main(lambda: [client() for _ in range(100)], 3, 10)
""",
    "two thousand waits": """
shared = client()

def turn():
    for _ in range(50):
        shared.wait_for_bulk("op", on_poll=lambda *_: None)
    dict(shared.wait_for_bulks(f"op-{n}" for n in range(50)))

main(turn, 6, 20)
""",
    "two thousand awaited": """
shared = client()

async def some():
    for _ in range(50):
        await shared.get_bulk_status_async("op")
    await asyncio.gather(*(shared.get_bulk_status_async("together") for _ in range(25)))
    await asyncio.gather(*(shared.wait_for_bulk_async("op") for _ in range(25)))

main(lambda: asyncio.run(some()), 6, 20)
""",
    "late waits": """
shared = client()

def turn():
    for _ in range(25):
        try:
            shared.wait_for_bulk("running", timeout=0)
        except saymon_bulk.WaitTimeoutError:
            pass
        list(shared.wait_for_bulks(["running", "op"], timeout=0, return_exceptions=True))

main(turn, 6, 20)
""",
    "five hundred cancelled tasks": """
shared = client()
shared.get_bulk_status("op")  # the password is proved, so that many go at the same time

async def some():
    uses = shared.get_bulk_status_async, shared.wait_for_bulk_async
    tasks = [asyncio.create_task(use(id)) for use in uses for id in ("hung", "running", "op") for _ in range(4)]
    tasks.append(asyncio.create_task(shared.get_bulk_statuses_async(["hung", "op"])))
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # More connections than are kept, so that each turn leaves as many.
    await asyncio.gather(*(shared.get_bulk_status_async("together") for _ in range(25)))

main(lambda: asyncio.run(some()), 6, 20)
""",
    "a hundred loops that nobody closed": """
import warnings
warnings.simplefilter("ignore", ResourceWarning)
shared = client()

async def some():
    hung = asyncio.ensure_future(shared.get_bulk_status_async("hung"))
    hung._log_destroy_pending = False
    await shared.get_bulk_status_async("op")

def turn():
    for _ in range(5):
        asyncio.new_event_loop().run_until_complete(some())

main(turn, 6, 20)
""",
    "two hundred abandoned iterators": """
shared = client()

def turn():
    for _ in range(5):
        for _ in shared.wait_for_bulks(["op", "running", "hung"], interval=0.01):
            break
        left = shared.wait_for_bulks(["op", "running"])
        next(left)
        del left
        shared.wait_for_bulks(["op"])

main(turn, 6, 20)
""",
    "two hundred abandoned async iterators": """
shared = client()

async def some():
    for _ in range(5):
        async for _ in shared.wait_for_bulks_async(["op", "running", "hung"], interval=0.01):
            break
        left = shared.wait_for_bulks_async(["op", "running"])
        await left.__anext__()
        del left
        shared.wait_for_bulks_async(["op"])

main(lambda: asyncio.run(some()), 6, 20)
""",
    "first errors with others under way": """
shared = client()
shared.get_bulk_status("proof")  # so that many requests go out at once

def turn():
    for _ in range(5):
        try:
            shared.get_bulk_statuses(["hung", "running", "cut", "op"])
        except saymon_bulk.TransportError:
            pass

main(turn, 6, 20)
""",
}


@pytest.mark.parametrize("code", CALLS.values(), ids=CALLS)
def test_nothing_grows(desk: Desk, code: str) -> None:
    grown(code, desk.host)


REFUSED = """
shared = client()

def turn():
    for call in (
        lambda: shared.get_bulk_status("op"),
        lambda: shared.wait_for_bulk("op", retries=0),
        lambda: shared.get_bulk_statuses(["a", "b"]),
        lambda: asyncio.run(shared.get_bulk_status_async("op")),
    ):
        for _ in range(10):
            try:
                call()
            except saymon_bulk.TransportError:
                pass

main(turn, 10, 50)
"""


def test_nothing_grows_over_two_thousand_failures(nobody: str) -> None:
    grown(REFUSED, f"http://{nobody}")


def test_nothing_grows_with_threads_that_come_and_go(desk: Desk) -> None:
    code = """
import threading
shared = client()

def turn():
    threads = [threading.Thread(target=shared.get_bulk_status, args=("op",)) for _ in range(8)]
    threads += [threading.Thread(target=lambda: asyncio.run(shared.get_bulk_status_async("op"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

main(turn, 30, 30)
"""
    # How many run at the same time is chance: a lane and a connection more or less for each.
    grown(code, desk.host, 6 * MEBIBYTE, descriptors=8 * 5)


def test_a_growth_would_be_seen(desk: Desk) -> None:
    """That the measure can fail."""
    with pytest.raises(AssertionError, match="MiB more"):
        grown("kept = []\nmain(lambda: kept.append(bytearray(b'x') * 200_000), 3, 20)", desk.host)
    with pytest.raises(AssertionError, match="descriptors"):
        grown("main(lambda: os.dup(0), 1, 5)", desk.host)
