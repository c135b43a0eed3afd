"""Idle connections of a burst do not stay: a later call lets those end that the server has closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from peer import END, RUN, Act, Peer, Wire, at, no_hanging, proved
from processes import Script
from saymon_bulk import Client, WaitTimeoutError
from servers import wait_until

_no_hanging = no_hanging()


Ask = Callable[[Client, list[str]], Any]


def late(answer: bytes) -> Act:
    """Answers that take long enough for many connections."""

    def act(wire: Wire) -> None:
        wire.stopping.wait(0.05)
        wire.send(answer)
        while wire.socket.recv(65536):
            wire.send(answer)

    return act


@pytest.mark.slow
def test_a_burst_of_a_batch_keeps_a_few(peer: Peer) -> None:
    peer.answer(late(RUN))
    proved(peer).get_bulk_statuses([f"op-{number}" for number in range(300)], concurrency=200)
    assert peer.connections > 100
    peer.wait_for(lambda: peer.open <= 16)


@pytest.mark.slow
def test_a_burst_of_a_wait_keeps_a_few(peer: Peer) -> None:
    peer.answer(late(END))
    client = proved(peer)
    assert len(dict(client.wait_for_bulks([f"op-{number}" for number in range(300)], concurrency=200))) == 300
    assert peer.connections > 100
    peer.wait_for(lambda: peer.open <= 16)


async def singly(client: Client, ids: list[str]) -> None:
    """64 tasks, each of them asks for one operation after the other."""

    async def ask(some: list[str]) -> None:
        for id in some:
            await client.get_bulk_status_async(id)

    await asyncio.gather(*(ask(ids[start::64]) for start in range(64)))


BURSTS: list[Callable[[Client, list[str]], object]] = [
    lambda client, ids: client.get_bulk_statuses(ids, concurrency=64),
    lambda client, ids: asyncio.run(client.get_bulk_statuses_async(ids, concurrency=64)),
    lambda client, ids: asyncio.run(singly(client, ids)),
    lambda client, ids: dict(client.wait_for_bulks(ids, concurrency=64)),
]


@pytest.mark.slow
@pytest.mark.parametrize("burst", BURSTS)
def test_a_burst_opens_no_connection_for_each_request(peer: Peer, burst: Callable[[Client, list[str]], object]) -> None:
    burst(proved(peer), [f"op-{number}" for number in range(2000)])
    assert len(peer.requests) == 2000
    # One for each of the 64, and those that lost a race against one that came back.
    assert peer.connections <= 2 * 64


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors as Linux lists them")
def test_a_call_ends_what_the_server_has_closed(peer: Peer, other: Peer) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    barrier, told = threading.Barrier(16), threading.Event()

    def together(wire: Wire) -> None:
        barrier.wait(60)  # so that each thread has a connection of its own
        wire.send(RUN)
        told.wait(60)

    client = at(peer)
    client.get_bulk_status("x")
    at(other).get_bulk_status("x")
    peer.answer(together)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(client.get_bulk_status, [f"op-{number}" for number in range(16)]))
    before = descriptors()
    told.set()
    peer.wait_for(lambda: peer.open == 0)
    time.sleep(1.1)  # a call sweeps once a second

    def is_swept() -> bool:
        at(other).get_bulk_status("x")
        # Each connection had an end here and one in the peer; one to the other may be new.
        return descriptors() <= before - 2 * 16 + 2

    wait_until(is_swept, "the sweep", 10)


# A burst of threads leaves connections and runtimes; after 90 s without use a call of one thread ends them.
IDLE_FOR_90_SECONDS = f"""
import os, sys, threading, time
sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
from concurrent.futures import ThreadPoolExecutor
from peer import RUN, Peer, at

with Peer() as peer, Peer() as other:
    def together(wire):
        barrier.wait(60)  # so that each thread has a connection of its own
        wire.send(RUN)
        wire.hold()
    barrier = threading.Barrier(16)
    peer.answer(together)
    at(other).get_bulk_status("x")
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(at(peer).get_bulk_status, [f"op-{{number}}" for number in range(16)]))
    descriptors = lambda: len(os.listdir("/proc/self/fd"))
    at(other).get_bulk_status("x")
    print(peer.open, descriptors(), flush=True)
    time.sleep(91)
    at(other).get_bulk_status("x")
    peer.wait_for(lambda: peer.open <= 1)
    print(peer.open, descriptors(), flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors as Linux lists them")
@pytest.mark.slow
def test_a_call_ends_what_was_idle_for_90_seconds() -> None:
    with Script(IDLE_FOR_90_SECONDS, within=300) as script:
        (connections, before), (left, after) = (map(int, line.split()) for line in script.finish())
    assert connections == 16
    assert left <= 1
    # Each runtime has a socket here, its other end in the peer, and three descriptors of its own.
    assert after <= before - 15 * 5


async def states(client: Client, ids: list[str]) -> list[bool]:
    return [one["finished"] for one in (await client.get_bulk_statuses_async(ids)).values()]


async def looks(client: Client, ids: list[str]) -> list[bool]:
    found = [one async for one in client.wait_for_bulks_async(ids, timeout=0, return_exceptions=True)]
    return [not isinstance(outcome, WaitTimeoutError) for _, outcome in found]


def looked(client: Client, ids: list[str]) -> list[bool]:
    found = list(client.wait_for_bulks(ids, timeout=0, return_exceptions=True))
    return [not isinstance(outcome, WaitTimeoutError) for _, outcome in found]


STRAY = {
    "another answer": END,
    "408": b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "no HTTP": b"?",
}


@pytest.mark.parametrize("count", [1, 16, 17, 200])
@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
@pytest.mark.parametrize(
    "ask",
    [
        lambda client, ids: [client.get_bulk_status(id)["finished"] for id in ids],
        lambda client, ids: [one["finished"] for one in client.get_bulk_statuses(ids).values()],
        looked,
        states,
        looks,
    ],
    ids=["single", "batch", "waits", "batch_async", "waits_async"],
)
def test_what_came_before_a_request_is_no_answer_to_it(peer: Peer, ask: Ask, stray: bytes, count: int) -> None:
    peer.answer(RUN)
    client, ids = proved(peer), [f"op-{number}" for number in range(count)]

    async def awaited() -> None:
        for _ in range(3):
            assert await ask(client, ids) == [False] * count
            disturb()
            await asyncio.sleep(0.1)  # the background thread reads

    def disturb() -> None:
        for sock in peer.connected():
            with contextlib.suppress(OSError):  # the client has closed it meanwhile
                sock.sendall(stray)

    if ask in (states, looks):
        asyncio.run(awaited())
        return
    for _ in range(3):
        assert ask(client, ids) == [False] * count
        disturb()
