"""A process that is stopped for longer than its limits, as by Ctrl-Z: what has arrived is not lost."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from peer import Desk, Peer, Wire, no_hanging, response, saying, when
from processes import Script, asked, needs_signals

_no_hanging = no_hanging()

ANSWER = response('{"bulkId": "b", "finished": true}')

CODE = """
import asyncio, sys
import saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password", request_timeout=1)
print({}, flush=True)
"""


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize(
    "call",
    [
        "client.get_bulk_status('x')['finished']",
        "client.start_clone('x')['finished']",
        "client.wait_for_bulk('x', retries=0)['finished']",
        "asyncio.run(client.get_bulk_status_async('x'))['finished']",
        "asyncio.run(client.start_clone_async('x'))['finished']",
        "asyncio.run(client.get_bulk_statuses_async(['x']))['x']['finished']",
        "asyncio.run(client.wait_for_bulk_async('x', retries=0))['finished']",
    ],
)
def test_an_answer_that_came_meanwhile(peer: Peer, call: str) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(ANSWER, Wire.hold)))
    with Script(CODE.format(call), peer.host) as script:
        asked(peer, 1)
        script.signal(signal.SIGSTOP)
        told.set()
        time.sleep(1.5)  # the limit passes
        script.signal(signal.SIGCONT)
        assert script.line() == "True"
    assert len(peer.requests) == 1


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize(
    "call",
    [
        "client.wait_for_bulk('x', timeout=1, interval=0.2)['finished']",
        "all(status['finished'] for _, status in client.wait_for_bulks(['x', 'y'], timeout=1, interval=0.2))",
        "asyncio.run(client.wait_for_bulk_async('x', timeout=1, interval=0.2))['finished']",
    ],
)
@pytest.mark.parametrize("stopped", [3, 5, 8])  # seconds, about and after those that the caller's clock grants
def test_a_wait_that_was_stopped_past_its_end_has_its_last_poll(desk: Desk, call: str, stopped: float) -> None:
    desk.answer(response('{"finished": false}'))
    with Script(CODE.format(call), desk.host) as script:
        asked(desk, 2)
        script.signal(signal.SIGSTOP)
        desk.answer(response('{"finished": true}'))
        time.sleep(stopped)
        script.signal(signal.SIGCONT)
        assert script.line() == "True"
