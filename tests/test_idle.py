"""Idle connections of a burst do not stay: a later call lets those end that the server has closed."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from peer import RUN, Peer, Wire, at, no_hanging
from servers import wait_until

_no_hanging = no_hanging(30)


def test_a_burst_of_a_batch_keeps_a_few(peer: Peer) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.05)
        wire.send(RUN)
        while wire.socket.recv(65536):
            wire.send(RUN)

    peer.answer(late)
    at(peer).get_bulk_statuses([f"op-{number}" for number in range(300)], concurrency=200)
    assert peer.connections > 100
    # At most 16 for each of at most four workers.
    peer.wait_for(lambda: peer.open <= 64)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors as Linux lists them")
def test_a_call_ends_what_the_server_has_closed(peer: Peer, other: Peer) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def late(wire: Wire) -> None:
        wire.stopping.wait(0.5)  # so that each thread has a connection of its own
        wire.send(RUN)

    client = at(peer)
    client.get_bulk_status("x")
    peer.answer(late)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(client.get_bulk_status, [f"op-{number}" for number in range(16)]))
    peer.wait_for(lambda: peer.open == 0)
    before = descriptors()
    time.sleep(1.1)  # a call sweeps once a second

    def is_swept() -> bool:
        at(other).get_bulk_status("x")
        return descriptors() <= before - 10

    wait_until(is_swept, "the sweep", 10)
