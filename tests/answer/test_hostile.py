"""Peers that lie, stall, flood, cut and babble: an error in time, never a hang."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import time
import zlib
from typing import Any

import pytest
from peer import ID, Act, Peer, Wire, ask, chunked, closing, failure, response, saying
from saymon_bulk import (
    HTTPStatusError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    TransportError,
)

LIMIT = 64 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
UNTIL_CLOSE = HEAD + b"\r\n"
# Much less than the limit of a call that is to end before it, much more than any other limit.
IN_TIME = 50
BODY = b'{"finished": true}'
ENDLESS_CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def padded(size: int) -> bytes:
    """A good answer's body of exactly this many bytes."""
    return BODY + b" " * (size - len(BODY))


def timed(peer: Peer, seconds: float, **changes: Any) -> SaymonError:
    """The error, which comes at the limit or long before it; the request must be dropped."""
    start = time.monotonic()
    error = failure(peer.host, request_timeout=seconds, **changes)
    assert time.monotonic() - start < IN_TIME
    peer.wait_for(lambda: peer.open == 0)
    return error


def flooding(first: bytes, then: bytes) -> Act:
    return saying(first, lambda wire: wire.flood(then))


def dripping(first: bytes, then: bytes, every: float = 0.05) -> Act:
    """Send the first bytes at once, then the others one by one, over and over."""
    return saying(first, lambda wire: wire.drip((bytes([byte]) for byte in itertools.cycle(then)), every))


def holding(data: bytes) -> Act:
    return saying(data, Wire.hold)


def cut(data: bytes) -> Act:
    """Send the bytes, then a TCP reset."""
    return saying(data, Wire.reset)


# --- size ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        response(padded(LIMIT)),
        chunked(padded(LIMIT)),
        chunked(*(padded(LIMIT)[at : at + 1000] for at in range(0, LIMIT, 1000))),
        closing(UNTIL_CLOSE + padded(LIMIT)),
    ],
    ids=["length", "chunk", "chunks", "until close"],
)
def test_64_kib_is_read(peer: Peer, answer: bytes | Act) -> None:
    peer.answer(answer)
    assert ask(peer.host) == {"finished": True}


@pytest.mark.parametrize(
    "answer",
    [
        closing(response(padded(LIMIT + 1))),
        closing(chunked(padded(LIMIT + 1))),
        closing(chunked(padded(LIMIT), b" ")),
        closing(UNTIL_CLOSE + padded(LIMIT + 1)),
        closing(response(padded(5_000_000))),
    ],
    ids=["length", "chunk", "chunks", "until close", "much"],
)
def test_and_not_one_byte_more(peer: Peer, answer: bytes | Act) -> None:
    peer.answer(answer)
    assert type(failure(peer.host)) is ResponseError


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        flooding(UNTIL_CLOSE, b" " * 4096),
        flooding(UNTIL_CLOSE, b'{"finished": true}'),
        flooding(UNTIL_CLOSE, b"["),
        flooding(HEAD + b"Content-Length: 1000000000000\r\n\r\n", b" " * 4096),
        flooding(ENDLESS_CHUNKS, b"1000\r\n" + b" " * 4096 + b"\r\n"),
        flooding(ENDLESS_CHUNKS, b"1\r\n \r\n" * 500),
    ],
    ids=["until close", "objects", "brackets", "length", "chunks", "tiny chunks"],
)
def test_an_endless_body_ends_at_the_limit(peer: Peer, answer: Act) -> None:
    peer.answer(answer)
    assert type(timed(peer, 60)) is ResponseError


def test_an_endless_error_is_that_error(peer: Peer) -> None:
    peer.answer(flooding(b"HTTP/1.1 500 No\r\n\r\n", b"a" * 4096))
    error = timed(peer, 60)
    assert isinstance(error, HTTPStatusError)
    assert error.body == "a" * 4096


@pytest.mark.parametrize(
    "answer",
    [
        flooding(HEAD, b"X-Filler: " + b"a" * 4000 + b"\r\n"),
        flooding(HEAD, b"X: y\r\n" * 500),
        flooding(HEAD + b"X-Long: ", b"a" * 4096),
        flooding(b"HTTP/1.1 200 ", b"a" * 4096),
        flooding(b"", b"a" * 4096),
        flooding(b"", b"\r\n" * 2048),
        flooding(b"", b"\0" * 4096),
        flooding(ENDLESS_CHUNKS + b"1;x=", b"a" * 4096),
        flooding(ENDLESS_CHUNKS + b"0\r\n", b"X-Trailer: a\r\n" * 300),
    ],
    ids=[
        *("headers", "small headers", "one header", "reason", "letters", "line ends"),
        *("zeroes", "chunk extension", "trailers"),
    ],
)
def test_an_endless_head_is_an_error_in_time(peer: Peer, answer: Act) -> None:
    peer.answer(answer)
    error = timed(peer, 1)
    assert isinstance(error, (TransportError, ResponseError))


@pytest.mark.slow
def test_an_endless_chunk_size_is_an_error_in_time(peer: Peer) -> None:
    def act(wire: Wire) -> None:
        wire.send(ENDLESS_CHUNKS)
        wire.drip(itertools.repeat(b"0" * 4096), 0.005)

    peer.answer(act)
    assert isinstance(timed(peer, 1), (TransportError, ResponseError))


@pytest.mark.slow
def test_endless_interim_answers_are_an_error_in_time(peer: Peer) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 50
    peer.answer(lambda wire: wire.drip(itertools.repeat(interim), 0.002))
    assert isinstance(timed(peer, 1), TransportError)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"X: " + b"a" * 5_000_000 + b"\r\n\r\n" + BODY,
        HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n" + BODY,
    ],
    ids=["one of 5 MB", "20 000"],
)
def test_a_huge_head(peer: Peer, answer: bytes) -> None:
    peer.answer(closing(answer))
    assert isinstance(timed(peer, 60), (TransportError, ResponseError))


# --- time ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        holding(b""),
        holding(b"HTTP/1.1 200 OK\r\n"),
        holding(HEAD + b"Content-Length: 18\r\n\r\n"),
        holding(HEAD + b"Content-Length: 19\r\n\r\n" + BODY),
        holding(UNTIL_CLOSE + BODY),
        holding(chunked(BODY, end=b"")),
        holding(chunked(BODY, end=b"0\r\n")),
        dripping(b"", b"HTTP/1.1 200 OK"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        dripping(HEAD + b"Content-Length: 60000\r\n\r\n", b" "),
        dripping(UNTIL_CLOSE, b" "),
        dripping(ENDLESS_CHUNKS, b"1\r\n \r\n", 0.01),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.005),
        dripping(UNTIL_CLOSE, b" ", 0.4),
    ],
    ids=[
        *("nothing", "status", "head", "almost all", "until close", "last chunk"),
        *("last line", "drip status", "drip header", "drip body", "drip until close"),
        *("drip chunks", "drip 1xx", "just under the limit"),
    ],
)
def test_one_exchange_has_one_deadline(peer: Peer, answer: Act) -> None:
    peer.answer(answer)
    error = timed(peer, 0.5)
    assert type(error) is RequestTimeoutError
    assert isinstance(error, TimeoutError)
    assert (error.host, error.id) == (peer.host, ID)
    assert peer.connections == 1, "a timed-out request must not be sent again"


def test_a_slow_error_ends_in_time_too(peer: Peer) -> None:
    peer.answer(dripping(b"HTTP/1.1 503 Slow\r\n\r\n", b"a"))
    error = timed(peer, 0.5)
    assert isinstance(error, (RequestTimeoutError, HTTPStatusError))


def test_a_slow_answer_within_the_limit_is_good(peer: Peer) -> None:
    def slowly(wire: Wire) -> None:
        wire.drip((bytes([byte]) for byte in response()), 0.002)

    peer.answer(slowly)
    assert ask(peer.host) == {"finished": True}


def test_a_tls_handshake_that_is_never_answered(peer: Peer) -> None:
    peer.answer(Wire.hold)
    start = time.monotonic()
    error = failure(f"https://{peer.authority}", request_timeout=0.5)
    assert time.monotonic() - start < IN_TIME
    assert type(error) is RequestTimeoutError


def test_the_next_call_does_not_suffer(peer: Peer) -> None:
    peer.answer(Wire.hold, response())
    assert type(failure(peer.host, request_timeout=0.3)) is RequestTimeoutError
    assert ask(peer.host) == {"finished": True}


# --- cuts ---------------------------------------------------------------------------

WHOLE = response()
IN_CHUNKS = chunked(BODY[:5], BODY[5:])


@pytest.mark.slow
@pytest.mark.parametrize("hang_up", [closing, cut], ids=["end", "reset"])
@pytest.mark.parametrize("whole", [WHOLE, IN_CHUNKS], ids=["length", "chunks"])
def test_cut_off_anywhere(peer: Peer, whole: bytes, hang_up: Any) -> None:
    for calls, at in enumerate(range(len(whole)), 1):
        peer.answer(hang_up(whole[:at]))
        error = failure(peer.host)
        assert type(error) is TransportError, f"cut after {whole[:at]!r}"
        assert isinstance(error, ConnectionError)
        assert (error.host, error.id) == (peer.host, ID)
        assert peer.connections == calls, f"sent again, cut after {whole[:at]!r}"


@pytest.mark.parametrize("hang_up", [closing(b""), cut(b"")], ids=["end", "reset"])
def test_a_fresh_connection_that_dies_is_not_tried_again(peer: Peer, hang_up: Act) -> None:
    peer.answer(hang_up, response())
    assert type(failure(peer.host)) is TransportError
    assert (peer.connections, len(peer.requests)) == (1, 1)


@pytest.mark.parametrize("greeting", [closing(b""), cut(b"")], ids=["end", "reset"])
def test_closed_before_the_request(peer: Peer, greeting: Act) -> None:
    peer.greeting = greeting
    assert type(failure(peer.host)) is TransportError
    assert peer.connections == 1


def test_an_answer_before_the_request_is_not_believed(peer: Peer) -> None:
    peer.greeting = closing(response())
    # It may also have crossed the request on the way: then it is an answer.
    with contextlib.suppress(TransportError):
        assert ask(peer.host) == {"finished": True}
    assert peer.connections == 1


@pytest.mark.parametrize("hang_up", [closing(b""), cut(b"")], ids=["end", "reset"])
def test_a_kept_connection_that_dies_costs_one_reconnect(peer: Peer, hang_up: Act) -> None:
    peer.answer(response(), hang_up, response(b'{"finished": false}'))
    assert ask(peer.host) == {"finished": True}
    assert ask(peer.host) == {"finished": False}
    assert (peer.connections, len(peer.requests)) == (2, 3)


def test_and_not_a_second_one(peer: Peer) -> None:
    peer.answer(response(), closing(b""), closing(b""), response())
    assert ask(peer.host) == {"finished": True}
    assert type(failure(peer.host)) is TransportError
    assert (peer.connections, len(peer.requests)) == (2, 3)


def test_refused(peer: Peer) -> None:
    peer.stop()
    error = failure(peer.host)
    assert type(error) is TransportError
    assert "refused" in str(error).lower()


# --- length -------------------------------------------------------------------------


def with_length(value: bytes, *more: bytes) -> Act:
    lines = b"".join(b"Content-Length: %s\r\n" % each for each in (value, *more))
    return closing(HEAD + lines + b"\r\n" + BODY)


@pytest.mark.parametrize("length", [b"19", b"1000", b"65536"])
def test_more_promised_than_sent(peer: Peer, length: bytes) -> None:
    peer.answer(with_length(length))
    assert type(failure(peer.host)) is TransportError


@pytest.mark.parametrize("length", [b"65537", b"999999999999", b"18446744073709551614"])
def test_more_promised_than_we_read(peer: Peer, length: bytes) -> None:
    peer.answer(with_length(length))
    assert isinstance(failure(peer.host), (ResponseError, TransportError))


@pytest.mark.parametrize("length", [b"65537", b"99999999", b"9223372036854775807"])
@pytest.mark.parametrize("begin", [b"", b"<html><title>Log in</title>"], ids=["head", "page"])
def test_more_promised_than_we_read_is_refused_by_the_head(peer: Peer, length: bytes, begin: bytes) -> None:
    peer.answer(holding(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + begin))
    error = timed(peer, 60)
    assert type(error) is ResponseError
    assert "more than 64 KiB" in str(error)
    assert ("Log in" in str(error)) == bool(begin)
    peer.wait_for(lambda: peer.open == 0)


@pytest.mark.parametrize("length", [b"0", b"1", b"17"])
def test_less_promised_than_sent(peer: Peer, length: bytes) -> None:
    peer.answer(with_length(length))
    assert type(failure(peer.host)) is ResponseError


@pytest.mark.parametrize(
    "lengths",
    [
        [b"-1"],
        [b"+18"],
        [b"0x12"],
        [b"18a"],
        [b"a"],
        [b""],
        [b"1 8"],
        [b"9" * 40],
        [b"18", b"17"],
        [b"17, 18"],
    ],
    ids=repr,
)
def test_a_length_that_is_none(peer: Peer, lengths: list[bytes]) -> None:
    peer.answer(with_length(*lengths))
    assert isinstance(failure(peer.host), (TransportError, ResponseError))


@pytest.mark.parametrize("size", [b"g", b"-1", b"", b" ", b"1" * 40, b"0x5", b"\xff"])
def test_a_chunk_size_that_is_none(peer: Peer, size: bytes) -> None:
    peer.answer(closing(ENDLESS_CHUNKS + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"))
    assert isinstance(failure(peer.host), (TransportError, ResponseError))


def test_a_chunk_that_is_longer_than_it_says(peer: Peer) -> None:
    peer.answer(closing(ENDLESS_CHUNKS + b"11\r\n" + BODY + b"\r\n0\r\n\r\n"))
    assert isinstance(failure(peer.host), (TransportError, ResponseError))


@pytest.mark.parametrize("status", [200, 404, 304, 204])
def test_a_second_answer_does_not_reach_the_next_call(peer: Peer, status: int) -> None:
    """What follows an answer on its connection belongs to nobody."""
    forged = response(b'{"finished": true, "forged": 1}')
    if status in (204, 304):
        first = f"HTTP/1.1 {status} Nothing\r\n\r\n".encode()
    else:
        first = response(b'{"finished": false}', status)
    for _ in range(10):
        peer.answer(first + forged, response(b'{"finished": false}'))
        if status == 200:
            assert ask(peer.host) == {"finished": False}
        else:
            assert isinstance(failure(peer.host), HTTPStatusError)
        assert ask(peer.host) == {"finished": False}


# --- language -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "babble",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"\x00" * 100,
        bytes(range(256)),
        b"{" * 100,
        BODY,
        b"<html></html>",
        b"HTTP/9.9 200 OK\r\n\r\n" + BODY,
        b"HTTP/2 200\r\n\r\n" + BODY,
        b"HTTP/1.1\r\n\r\n" + BODY,
        b"HTTP/1.1 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 20 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 2000 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 -200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 000 OK\r\n\r\n" + BODY,
        b"ICY 200 OK\r\n\r\n" + BODY,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n" + BODY,
    ],
    ids=lambda babble: ascii(babble)[2:32],
)
def test_babble_is_an_error(peer: Peer, babble: bytes) -> None:
    peer.answer(closing(babble))
    error = timed(peer, 60)
    assert isinstance(error, (TransportError, ResponseError))
    assert not isinstance(error, RequestTimeoutError)
    assert peer.connections == 1
    assert str(error).isprintable(), ascii(str(error))


def test_babble_instead_of_tls(peer: Peer) -> None:
    for babble in (response(), b"\0" * 100, b"\x15\x03\x03\x00\x02\x02\x28", b"\x16"):
        peer.answer(closing(babble))
        assert type(failure(f"https://{peer.authority}")) is TransportError


@pytest.mark.parametrize("code", [100, 102, 103])
def test_interim_answers_are_passed_over(peer: Peer, code: int) -> None:
    interim = f"HTTP/1.1 {code} Wait\r\nLink: <x>\r\n\r\n".encode()
    peer.answer(interim * 3 + response())
    assert ask(peer.host) == {"finished": True}


def test_nobody_asked_to_switch_protocols(peer: Peer) -> None:
    head = b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    peer.answer(closing(head + response()))
    assert isinstance(failure(peer.host), (HTTPStatusError, TransportError))


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_an_answer_that_ends_with_its_connection(peer: Peer, version: bytes) -> None:
    peer.answer(closing(version + b" 200 OK\r\n\r\n" + BODY))
    assert ask(peer.host) == {"finished": True}


ZIPPED = gzip.compress(BODY, mtime=0)  # each worker of a run collects the same


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", ZIPPED),
        ("x-gzip", ZIPPED),
        ("deflate", zlib.compress(BODY)),
        ("br", b"\x8b\x08\x80" + BODY + b"\x03"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("GZIP", ZIPPED),
        ("gzip, gzip", gzip.compress(ZIPPED, mtime=0)),
        ("gzip", BODY),
        ("identity, gzip", BODY),
    ],
)
def test_nothing_is_decoded(peer: Peer, encoding: str, body: bytes) -> None:
    peer.answer(response(body, 200, f"Content-Encoding: {encoding}"))
    error = failure(peer.host)
    assert type(error) is ResponseError
    assert encoding.lower() in str(error).lower()


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b" \r\n  \r\n "], ids=ascii)
def test_a_folded_field_is_one_line(peer: Peer, fold: bytes) -> None:
    """As requests and curl read it (RFC 9112 section 5.2), in the fields that are used too."""
    peer.answer(HEAD + b"X-Note: a" + fold + b"b\r\nContent-Length:" + fold + b"18\r\n\r\n" + BODY)
    assert ask(peer.host) == {"finished": True}
    peer.answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After:" + fold + b"7\r\n\r\n")
    error = failure(peer.host)
    assert isinstance(error, HTTPStatusError)
    assert error.retry_after == 7
    peer.answer(response(BODY, 200, f"Content-Encoding:{fold.decode()}gzip,{fold.decode()}x"))
    assert "\n" not in str(failure(peer.host))


@pytest.mark.parametrize("encoding", ["", " ", "identity", "Identity, identity", "none", "utf-8", "aws-chunked"])
def test_an_encoding_that_changes_nothing(peer: Peer, encoding: str) -> None:
    """As requests and curl read it: the body says whether it is JSON."""
    peer.answer(
        response(BODY, 200, f"Content-Encoding: {encoding}"), response("a page", 200, f"Content-Encoding: {encoding}")
    )
    assert ask(peer.host) == {"finished": True}
    assert type(failure(peer.host)) is ResponseError


def test_gzip_that_does_not_say_so(peer: Peer) -> None:
    peer.answer(response(gzip.compress(BODY)))
    assert type(failure(peer.host)) is ResponseError


def test_gzip_as_a_transfer_coding(peer: Peer) -> None:
    packed = gzip.compress(BODY)
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    peer.answer(closing(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk))
    assert isinstance(failure(peer.host), (ResponseError, TransportError))


@pytest.mark.slow
def test_a_bomb_is_not_unpacked(peer: Peer) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    assert len(bomb) < LIMIT
    peer.answer(response(bomb, 200, "Content-Encoding: gzip"))
    assert type(failure(peer.host)) is ResponseError
