"""Credentials: HTTP Basic in UTF-8 (RFC 7617), and what that scheme cannot carry."""

from __future__ import annotations

from typing import Any

import pytest
import saymon_bulk
from peer import LOGIN, PASSWORD, Peer, ask, credentials, headers, token

PAIRS = [
    (LOGIN, PASSWORD),
    ("\u043e\u043f\u0435\u0440\u0430\u0442\u043e\u0440", "\u043f\u0430\u0440\u043e\u043b\u044c"),
    ("login", "a:b:c:"),
    ("login", ":"),
    ("with space", " leading and trailing "),
    ("a/b+c=d&e", "\"quoted\" \\back\\ 'n' %41"),
    ("\U0001f600", "\U0001f511\u200d\U0001f512"),
    ("e\u0301", "\u00e9"),
    ("\u00a0", "\u2028"),
    ("l", "p"),
    ("login", "??>>~~"),
    ("login", "long " * 400),
]

CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]


def refused(peer: Peer, name: str, value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=rf"\b{name}\b") as caught:
        ask(peer.host, **{name: value})
    assert not isinstance(caught.value, (saymon_bulk.SaymonError, UnicodeError))
    for part in ("hunter", "tail", PASSWORD):
        assert part not in str(caught.value)
        assert part not in repr(caught.value)
    assert peer.connections == 0


@pytest.mark.parametrize(("login", "password"), PAIRS, ids=ascii)
def test_basic_in_utf_8(peer: Peer, login: str, password: str) -> None:
    assert ask(peer.host, login=login, password=password) == {"finished": True}
    sent = [v for n, v in headers(peer.requests[0]) if n == "authorization"]
    assert sent == [f"Basic {token(login, password)}"]


def test_each_call_sends_its_own(peer: Peer) -> None:
    for login, password in PAIRS:
        ask(peer.host, login=login, password=password)
    assert list(map(credentials, peer.requests)) == [f"{login}:{password}" for login, password in PAIRS]


@pytest.mark.parametrize("login", [":", "a:b", "login:", ":login"])
def test_a_colon_in_the_login_is_refused(peer: Peer, login: str) -> None:
    refused(peer, "login", login, ValueError)


@pytest.mark.parametrize("name", ["login", "password"])
@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_control_characters_are_refused(peer: Peer, name: str, control: str) -> None:
    refused(peer, name, f"hunter{control}tail", ValueError)
    refused(peer, name, f"hunter{control}", ValueError)


@pytest.mark.parametrize("name", ["login", "password"])
@pytest.mark.parametrize("text", ["hunter\ud800tail", "\udc80", "hunter\ud83d\ude00"])
def test_lone_surrogates_are_refused(peer: Peer, name: str, text: str) -> None:
    refused(peer, name, text, ValueError)


@pytest.mark.parametrize("name", ["login", "password"])
@pytest.mark.parametrize("value", [None, 5, b"hunter2tail", ["hunter2tail"], bytearray(b"hunter2tail")])
def test_other_types_are_refused(peer: Peer, name: str, value: Any) -> None:
    refused(peer, name, value, TypeError)
