"""Connections: kept and shared by all calls, and what it costs when the server closes one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest
import saymon_bulk
from peer import FINISHED, ID, LOGIN, PASSWORD, RUNNING, Act, Peer, Wire, ask, chunked, end, failure, response, saying, when
from servers import Certificates


def answering(after: Act) -> Act:
    """Answer one request properly, then this."""

    return saying(response(), after)


def unheard(after: Act) -> Act:
    """Read one more request, then this."""

    def act(wire: Wire) -> None:
        if wire.socket.recv(65536):
            after(wire)

    return act


def at_once(calls: Iterable[Callable[[], object]]) -> list[object]:
    """Make all the calls at the same time, each in a thread of its own."""
    calls = list(calls)
    together = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> object:
        together.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


ENDS = [pytest.param(end, id="FIN"), pytest.param(Wire.reset, id="RST")]
STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Type: application/json\r\nContent-Length: 18\r\n"


# Kept and shared


def test_calls_in_a_row_are_one_connection(peer: Peer) -> None:
    for _ in range(20):
        assert ask(peer.host) == FINISHED
    assert (peer.connections, len(peer.requests)) == (1, 20)


def test_whoever_asks_and_for_whatever(peer: Peer) -> None:
    for number in range(10):
        changes = {"login": f"login-{number}", "password": f"password-{number}"}
        assert ask(peer.host, id=f"operation-{number}", **changes) == FINISHED
        assert ask(peer.host, request_timeout=5.0 + number, **changes) == FINISHED
    assert (peer.connections, len(peer.requests)) == (1, 20)


def test_errors_keep_the_connection(peer: Peer) -> None:
    bad = [response("{}", status) for status in (400, 401, 403, 404, 429, 500, 503)]
    bad += [response("[]"), response("nonsense"), response("", 302, "Location: /login")]
    peer.answer(*bad, response())
    for _ in bad:
        failure(peer.host)
    assert ask(peer.host) == FINISHED
    assert (peer.connections, len(peer.requests)) == (1, len(bad) + 1)


def test_a_chunked_answer_keeps_the_connection(peer: Peer) -> None:
    peer.answer(chunked(b'{"finished"', b": true}"))
    for _ in range(5):
        assert ask(peer.host) == FINISHED
    assert peer.connections == 1


def test_two_servers_have_connections_of_their_own(peer: Peer, other: Peer) -> None:
    other.answer(response('{"finished": false}'))
    for _ in range(5):
        assert ask(peer.host) == FINISHED
        assert ask(other.host) == RUNNING
    assert (peer.connections, len(peer.requests)) == (1, 5)
    assert (other.connections, len(other.requests)) == (1, 5)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_so_many_threads_use_at_most_as_many_connections(peer: Peer, threads: int) -> None:
    def ten_calls() -> list[object]:
        return [ask(peer.host) for _ in range(10)]

    assert at_once([ten_calls] * threads) == [[FINISHED] * 10] * threads
    assert 1 <= peer.connections <= threads
    before = peer.connections
    for _ in range(10):
        assert ask(peer.host) == FINISHED
    assert peer.connections == before


def test_threads_take_over_each_other_s_connections(peer: Peer) -> None:
    for _ in range(10):
        assert at_once([lambda: ask(peer.host)]) == [FINISHED]
    assert (peer.connections, len(peer.requests)) == (1, 10)


# Closed by the server in the meantime: one silent reconnect


@pytest.mark.parametrize("how", ENDS)
def test_closed_while_idle(peer: Peer, how: Act) -> None:
    now = threading.Event()
    peer.answer(answering(when(now, how)), response())
    assert ask(peer.host) == FINISHED
    now.set()
    peer.wait_for(lambda: peer.open == 0)
    assert ask(peer.host) == FINISHED
    assert ask(peer.host) == FINISHED
    assert (peer.connections, len(peer.requests)) == (2, 3)


@pytest.mark.parametrize("how", ENDS)
def test_closed_right_after_the_answer(peer: Peer, how: Act) -> None:
    peer.answer(answering(how))
    for _ in range(30):
        if how is end:  # a reset may overtake the answer that it follows
            assert ask(peer.host) == FINISHED
        else:
            with contextlib.suppress(saymon_bulk.TransportError):
                ask(peer.host)
    assert (peer.connections, len(peer.requests)) == (30, 30)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 2", STATUS_LINE[:-1]], ids=repr)
def test_closed_with_the_next_request_unanswered(peer: Peer, how: Act, said: bytes) -> None:
    peer.answer(answering(unheard(saying(said, how))), response())
    assert ask(peer.host) == FINISHED
    assert ask(peer.host) == FINISHED
    assert ask(peer.host) == FINISHED
    # The second request was sent twice, and heard the second time.
    assert (peer.connections, len(peer.requests)) == (2, 3)


@pytest.mark.slow
def test_closed_at_any_moment(peer: Peer) -> None:
    chance = random.Random(7)

    def soon(wire: Wire) -> None:
        wire.stopping.wait(chance.uniform(0, 0.002))

    peer.answer(answering(soon))
    for _ in range(200):
        assert ask(peer.host) == FINISHED
        threading.Event().wait(chance.uniform(0, 0.002))
    assert len(peer.requests) == 200


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("read", [False, True], ids=["idle", "asked"])
@pytest.mark.parametrize("many_again", [False, True], ids=["one by one", "at once"])
def test_closed_all_together(peer: Peer, how: Act, read: bool, many_again: bool) -> None:
    count, now = 6, threading.Event()
    all_asked = threading.Barrier(count)

    def first(wire: Wire) -> None:
        all_asked.wait(60)
        answering(unheard(how) if read else when(now, how))(wire)

    peer.answer(*[first] * count, response())
    assert at_once([lambda: ask(peer.host)] * count) == [FINISHED] * count
    assert peer.connections == count
    now.set()
    if not read:
        peer.wait_for(lambda: peer.open == 0)
    if many_again:
        assert at_once([lambda: ask(peer.host)] * count) == [FINISHED] * count
    else:
        for _ in range(count):
            assert ask(peer.host) == FINISHED
    assert len(peer.requests) == 2 * count
    assert peer.connections <= 2 * count


def test_what_was_said_before_it_was_asked_is_no_answer(peer: Peer) -> None:
    surplus = response('{"finished": false}')
    peer.answer(response() + surplus, response())
    assert ask(peer.host) == FINISHED
    assert ask(peer.host) == FINISHED
    assert peer.connections == 2


@pytest.mark.parametrize("how", ENDS)
def test_a_farewell_is_no_answer(peer: Peer, how: Act) -> None:
    now = threading.Event()
    farewell = response("", 408, "Connection: close")
    peer.answer(answering(when(now, saying(farewell, how))), response())
    assert ask(peer.host) == FINISHED
    now.set()
    peer.wait_for(lambda: peer.open == 0)
    assert ask(peer.host) == FINISHED
    assert (peer.connections, len(peer.requests)) == (2, 2)


# A fresh connection that dies is an error


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 2",
        STATUS_LINE,
        STATUS_LINE + LENGTH,
        STATUS_LINE + LENGTH + b"\r\n",
        STATUS_LINE + LENGTH + b'\r\n{"finished": tru',
        chunked(b'{"finished": true}', end=b""),
        chunked(b'{"finished": true}', end=b"0\r\n"),
    ],
    ids=repr,
)
def test_a_fresh_connection_that_dies(peer: Peer, how: Act, said: bytes) -> None:
    peer.answer(saying(said, how))
    assert type(failure(peer.host)) is saymon_bulk.TransportError
    assert (peer.connections, len(peer.requests)) == (1, 1)


def test_a_fresh_connection_that_is_never_heard(peer: Peer) -> None:
    peer.greeting = Wire.reset
    assert type(failure(peer.host)) is saymon_bulk.TransportError
    assert peer.connections == 1


@pytest.mark.parametrize("how", ENDS)
def test_the_reconnect_that_dies_is_an_error(peer: Peer, how: Act) -> None:
    peer.answer(answering(unheard(how)), how, response())
    assert ask(peer.host) == FINISHED
    assert type(failure(peer.host)) is saymon_bulk.TransportError
    assert (peer.connections, len(peer.requests)) == (2, 2)
    assert ask(peer.host) == FINISHED


def test_a_reconnect_that_is_refused_is_an_error(peer: Peer) -> None:
    assert ask(peer.host) == FINISHED
    peer.stop()
    error = failure(peer.host)
    assert type(error) is saymon_bulk.TransportError
    assert "refused" in str(error)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(
    "body",
    [
        response()[:-1],
        response().partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
        chunked(b'{"finished": true}', end=b""),
    ],
    ids=["but one byte", "no byte", "no last chunk"],
)
def test_a_death_in_the_middle_of_a_body(peer: Peer, how: Act, body: bytes) -> None:
    peer.answer(answering(unheard(saying(body, how))), response())
    assert ask(peer.host) == FINISHED
    assert type(failure(peer.host)) is saymon_bulk.TransportError
    assert (peer.connections, len(peer.requests)) == (1, 1)
    assert ask(peer.host) == FINISHED
    assert peer.connections == 2


# Not to be used again


@pytest.mark.parametrize("field", ["Connection: close", "connection: Close", "Connection: x, close"])
@pytest.mark.parametrize("status", [200, 404])
def test_connection_close_is_honoured(peer: Peer, field: str, status: int) -> None:
    # The peer itself would keep the connection: it waits for the next request.
    peer.answer(response('{"finished": true}', status, field))
    for _ in range(3):
        if status == 200:
            assert ask(peer.host) == FINISHED
        else:
            failure(peer.host)
    assert (peer.connections, len(peer.requests)) == (3, 3)
    peer.wait_for(lambda: peer.open == 0)


def test_http_1_0_keeps_nothing(peer: Peer) -> None:
    peer.answer(response().replace(b"HTTP/1.1", b"HTTP/1.0"))
    for _ in range(3):
        assert ask(peer.host) == FINISHED
    assert peer.connections == 3


def test_an_answer_that_comes_too_late_is_nobody_s(peer: Peer) -> None:
    now = threading.Event()
    peer.answer(when(now, saying(response('{"finished": false}'), Wire.hold)), response())
    error = failure(peer.host, request_timeout=0.2)
    assert type(error) is saymon_bulk.RequestTimeoutError
    now.set()
    assert ask(peer.host) == FINISHED
    assert peer.connections == 2
    peer.wait_for(lambda: peer.open == 1)


def test_the_rest_of_an_answer_too_long_is_nobody_s(peer: Peer) -> None:
    long = b'{"finished": false, "x": "' + response('{"finished": false}') * 5_000 + b'"}'
    peer.answer(response(long), response())
    assert type(failure(peer.host)) is saymon_bulk.ResponseError
    assert ask(peer.host) == FINISHED


@pytest.mark.slow
@pytest.mark.parametrize("count", [17, 200])
@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_each_of_many_ca_files_keeps_its_connection(
    peer: Peer, certificates: Certificates, tmp_path: Path, count: int, way: str
) -> None:
    files = [tmp_path / f"{number}.pem" for number in range(count)]
    for file in files:
        shutil.copy(certificates.ca, file)

    async def ask_all() -> None:
        for file in files:
            await saymon_bulk.get_bulk_status_async(peer.host, ID, LOGIN, PASSWORD, verify=file)

    for _ in range(3):
        if way == "asyncio":
            asyncio.run(ask_all())
        else:
            for file in files:
                ask(peer.host, verify=file)
    assert peer.connections == count
