"""One valid exchange, ill-treated at every byte: cut, delayed, split in two, one bit turned; the request as well.

On fresh connections and on kept ones. Always the right answer or one of our errors, within the limit; and where the
connection goes on, the next answer is the next call's.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, TypeVar

import pytest
from peer import FINISHED, PATIENCE, RUNNING, Act, Peer, Wire, ask, chunked, end, response, saying
from saymon_bulk import AuthError, HTTPStatusError, RequestTimeoutError, SaymonError, TransportError

BODY = b'{"finished": true}'
NEXT = response('{"finished": false}')
VALID = {
    "length": response(BODY),
    "chunks": chunked(BODY[:5], BODY[5:]),
    "to the end": b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY,
}
REFUSAL = response('{"code":"InvalidCredentials","message":"{\\"errorCode\\":3,\\"message\\":\\"No.\\"}"}', 401)
AT_ONCE = 12

whole_answers = pytest.mark.parametrize("whole", VALID.values(), ids=VALID)
kept_or_fresh = pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
Case = TypeVar("Case")


def everywhere(cases: list[Case], check: Callable[[Peer, Case], None]) -> None:
    """Each case against a peer of its own, where no connection is left; most of the time is waiting, so many at once."""

    def one(case: Case) -> None:
        with Peer() as peer:
            try:
                check(peer, case)
            except BaseException as error:
                raise AssertionError(f"at {case!r}: {error!r}") from error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert len(list(pool.map(one, cases))) == len(cases) > 0


def prepare(peer: Peer, kept: bool, *script: bytes | Act) -> None:
    """The peer's next answers; on a kept connection, or on one that is not there yet."""
    first = response() if kept else response(BODY, 200, "Connection: close")
    peer.answer(first, *script)
    assert ask(peer.host) == FINISHED


def outcome(peer: Peer, limit: float = 5.0) -> Any:
    """The answer or our error; anything else, and a call that goes on after the limit, fails. A busy machine is late."""
    started = time.monotonic()
    try:
        return ask(peer.host, request_timeout=limit)
    except SaymonError as error:
        return error
    finally:
        assert time.monotonic() - started < limit + PATIENCE


@pytest.mark.slow
@kept_or_fresh
@pytest.mark.parametrize("how", [end, Wire.reset], ids=["end", "reset"])
@whole_answers
def test_cut(whole: bytes, how: Act, kept: bool) -> None:
    by_length = b"HTTP/1.1" in whole

    def check(peer: Peer, at: int) -> None:
        prepare(peer, kept, saying(whole[:at], how), NEXT)
        got = outcome(peer)
        requests = len(peer.requests)
        if got == RUNNING:  # sent once more, and heard: allowed where a kept connection has ended without an answer
            assert kept
            assert requests == 3
            assert b"\r\n\r\n" not in whole[:at]
        elif got == FINISHED:
            assert at == len(whole)
            assert requests == 2
        else:
            assert isinstance(got, TransportError) or (not by_length and at >= whole.index(b"\r\n\r\n"))
            assert at < len(whole) or how is Wire.reset
        assert ask(peer.host) == RUNNING

    everywhere(list(range(len(whole) + 1)), check)


@pytest.mark.slow
@kept_or_fresh
def test_cut_refusal(kept: bool) -> None:
    def check(peer: Peer, at: int) -> None:
        prepare(peer, kept, saying(REFUSAL[:at]), NEXT)
        got = outcome(peer)
        if at > REFUSAL.index(b"\r\n\r\n") + 3:
            assert type(got) is AuthError  # the status has said it all
            assert got.status_code == 401
            assert (got.message == "No.") == (at == len(REFUSAL))
        else:
            assert isinstance(got, TransportError) or (kept and got == RUNNING)

    everywhere(list(range(len(REFUSAL) + 1)), check)


@pytest.mark.slow
@kept_or_fresh
@whole_answers
def test_split(whole: bytes, kept: bool) -> None:
    def check(peer: Peer, at: int) -> None:
        def act(wire: Wire) -> None:
            wire.drip([whole[:at], whole[at:]], 0.005)

        prepare(peer, kept, act)
        assert outcome(peer) == FINISHED
        assert len(peer.requests) == 2

    everywhere(list(range(1, len(whole))), check)


@pytest.mark.slow
@kept_or_fresh
@whole_answers
def test_delayed_beyond_the_limit(whole: bytes, kept: bool) -> None:
    def check(peer: Peer, at: int) -> None:
        prepare(peer, kept, saying(whole[:at], Wire.hold), NEXT)
        assert type(outcome(peer, 0.1)) is RequestTimeoutError
        peer.wait_for(lambda: len(peer.requests) == 2)
        assert ask(peer.host) == RUNNING

    # One that ends with its connection is never complete while that is open.
    last = len(whole) + (b"HTTP/1.0" in whole)
    everywhere(list(range(last)), check)


def turned(whole: bytes) -> list[tuple[int, int]]:
    return [(at, bit) for at in range(len(whole)) for bit in range(8)]


def turn(whole: bytes, at: int, bit: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


@pytest.mark.slow
@kept_or_fresh
@whole_answers
def test_a_bit_turned_and_the_connection_ended(whole: bytes, kept: bool) -> None:
    def check(peer: Peer, case: tuple[int, int]) -> None:
        prepare(peer, kept, saying(turn(whole, *case)), NEXT)
        got = outcome(peer)
        assert got == FINISHED or isinstance(got, SaymonError) or (kept and got == RUNNING and len(peer.requests) == 3)
        if isinstance(got, HTTPStatusError):
            assert got.status_code != 200
        assert ask(peer.host) == RUNNING

    everywhere(turned(whole), check)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["length", "chunks"])
def test_a_bit_turned_and_the_connection_kept(name: str) -> None:
    whole = VALID[name]

    def check(peer: Peer, case: tuple[int, int]) -> None:
        prepare(peer, True, turn(whole, *case), NEXT)
        got = outcome(peer, 0.1)
        assert got == FINISHED or isinstance(got, SaymonError)
        peer.answer(NEXT)  # also if the request came too late to be answered within the limit
        # What is left of the broken answer must not be taken for the next one.
        assert outcome(peer) == RUNNING

    everywhere(turned(whole), check)


@pytest.mark.slow
def test_the_request_cut() -> None:
    """The peer hangs up after so many bytes of the request, with the rest unread."""
    with Peer() as peer:
        prepare(peer, False)
        length = len(peer.requests[-1])

    def check(peer: Peer, at: int) -> None:
        def greeting(wire: Wire) -> None:
            left = at
            while left > 0 and (data := wire.socket.recv(left)):
                left -= len(data)

        prepare(peer, False)
        peer.greeting = greeting
        before = peer.connections
        assert isinstance(outcome(peer), TransportError)
        assert peer.connections == before + 1, "sent again"

    everywhere(list(range(length + 1)), check)
