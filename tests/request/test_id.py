"""Id: one path segment, whatever it says."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import pytest
import saymon_bulk
from peer import ID, PASSWORD, Peer, ask, failure, response

ACCEPTED = [
    ID,
    "0",
    " ",
    "a b",
    " a ",
    "a/b",
    "/",
    "//",
    "../x",
    "x/..",
    "..;",
    "...",
    "....",
    ".a",
    "..a",
    "a.",
    "a..",
    "%",
    "%2e",
    "%2e%2e",
    "%2E%2E",
    ".%2e",
    "%252e",
    "a%2fb",
    "%00",
    "%zz",
    "a\\b",
    "..\\..",
    "a?b",
    "a#b",
    "a;b=c",
    "a+b",
    "a:b@c",
    "http://127.0.0.1/",
    "{}",
    "\u0451\u0436",
    "\U0001f600",
    "e\u0301",
    "\u00e9",
    "\ufeff",
    "\u00a0",
    "\u200b",
    "\u2028",
    "\uff0e\uff0e",
    "".join(map(chr, range(0x20, 0x7F))),
    "a" * 255,
    "\u044f" * 127 + "a",
    "\U0001f600" * 63 + "abc",
]

REFUSED = [
    "",
    ".",
    "..",
    "a" * 256,
    "\u044f" * 128,
    "\u044f" * 127 + "ab",
    "\U0001f600" * 64,
    "a" * 1_000_000,
    "\ud800",
    "a\udfffb",
    "\ud83d\ude00",
    *(f"a{chr(code)}b" for code in [*range(0x20), *range(0x7F, 0xA0)]),
    "\t",
    "abc\n",
    ".\t.",
    ".\n",
]


@pytest.mark.parametrize("given", ACCEPTED, ids=lambda given: ascii(given)[:40])
def test_every_byte_but_the_unreserved_is_encoded(peer: Peer, given: str) -> None:
    assert ask(peer.host, id=given) == {"finished": True}
    line = peer.requests[0].partition(b"\r\n")[0].decode("ascii")
    segment = quote(given, safe="")
    assert line == f"GET /node/api/bulk/{segment}/status HTTP/1.1"


@pytest.mark.parametrize("given", REFUSED, ids=lambda given: ascii(given)[:40])
def test_refused_before_any_network_use(peer: Peer, given: str) -> None:
    with pytest.raises(ValueError, match=r"\bid\b") as caught:
        ask(peer.host, id=given)
    assert not isinstance(caught.value, (saymon_bulk.SaymonError, UnicodeError))
    assert PASSWORD not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert peer.connections == 0


@pytest.mark.parametrize("given", [None, 5, True, b"abc", ["abc"], uuid.UUID(ID)])
def test_other_types_are_refused(peer: Peer, given: Any) -> None:
    with pytest.raises(TypeError, match=r"\bid\b") as caught:
        ask(peer.host, id=given)
    assert PASSWORD not in str(caught.value)
    assert peer.connections == 0


@pytest.mark.parametrize("given", ["a/b", "\u0451 \U0001f600", "%2e%2e"])
def test_the_error_carries_the_id_as_it_was_given(peer: Peer, given: str) -> None:
    peer.answer(response(b"", 404))
    assert failure(peer.host, id=given).id == given
