"""Properties, for whatever Hypothesis thinks of: a result or a documented error, and on the wire what was asked for.

A panic in Rust is a BaseException in Python; no handler here catches it.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from typing import Any, Callable, TypeVar
from urllib.parse import unquote_to_bytes

import pytest
import saymon_bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import ID, LOGIN, PASSWORD, Peer, ask, at, headers, response, shape
from saymon_bulk import HTTPStatusError, ResponseError, SaymonError, TransportError

# Plain http to names that are not this machine's: what a proxy sees of it is looked at here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::saymon_bulk.InsecureConnectionWarning")]

Check = TypeVar("Check", bound=Callable[..., None])

# What is told apart by its bytes: separators, dots, blanks, controls, marks, surrogates.
ODD = "./\\%?#:@[]&=+~-_ \t\r\n\0\x1f\x7f\x80\x85\xa0\xadé\u0301\u200b\u2028\u202e\u3002\uff0f\ufeff\U0001f600\ud800\udfff"
TEXT = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(exclude_categories=[]), max_size=20),  # lone surrogates too
    st.lists(st.sampled_from([*ODD, "..", "%2e", "%2F", "a", "0", "status", "\r\nX: y"]), max_size=12).map("".join),
    st.text(max_size=300),
)
NO_TEXT = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.lists(st.text()))


def times(examples: int) -> Callable[[Check], Check]:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def is_text(text: str) -> bool:
    """Whether UTF-8 can say it."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def has_control(text: str) -> bool:
    return any(unicodedata.category(c) == "Cc" for c in text)


def is_good_id(id: str) -> bool:
    return is_text(id) and id not in ("", ".", "..") and len(id.encode()) <= 255 and not has_control(id)


def outcome(host: Any, **changes: Any) -> Any:
    """The answer, or the one of our errors that came instead."""
    try:
        return ask(host, **changes)
    except SaymonError as error:
        return error


def one_request(peer: Peer) -> bytes:
    (request,) = peer.requests
    peer.requests.clear()
    return request


# What is asked


def test_any_id(peer: Peer) -> None:
    @times(500)
    @given(TEXT)
    def check(id: str) -> None:
        if not is_good_id(id):
            with pytest.raises(ValueError, match=r"\bid\b"):
                ask(peer.host, id=id)
            assert peer.requests == []
            return
        assert ask(peer.host, id=id) == {"finished": True}
        line, _, _ = one_request(peer).partition(b"\r\n")
        match = re.fullmatch(rb"GET /node/api/bulk/([A-Za-z0-9._~%-]+)/status HTTP/1\.1", line)
        assert match, line
        assert unquote_to_bytes(match[1]) == id.encode()

    check()


def test_any_ids_together(peer: Peer) -> None:
    client = at(peer)

    @times(60)
    @given(st.lists(TEXT.filter(is_good_id), max_size=8))
    def check(ids: list[str]) -> None:
        wanted = list(dict.fromkeys(ids))
        assert client.get_bulk_statuses(ids) == {id: {"finished": True} for id in wanted}
        assert list(client.get_bulk_statuses(ids)) == wanted
        asked = [unquote_to_bytes(request.split(b"/")[4]) for request in peer.requests]
        assert sorted(asked) == sorted(2 * [id.encode() for id in wanted])
        peer.requests.clear()

    check()


def test_any_login_and_password(peer: Peer) -> None:
    @times(300)
    @given(TEXT, TEXT)
    def check(login: str, password: str) -> None:
        fits = is_text(login + password) and not has_control(login + password) and ":" not in login
        if not fits:
            with pytest.raises(ValueError, match=r"\b(login|password)\b") as caught:
                ask(peer.host, login=login, password=password)
            assert not isinstance(caught.value, UnicodeError), "carries the value"
            assert peer.requests == []
            return
        assert ask(peer.host, login=login, password=password) == {"finished": True}
        request = one_request(peer)
        assert request.startswith(f"GET /node/api/bulk/{ID}/status HTTP/1.1\r\n".encode())
        fields = headers(request)
        (authorization,) = [value for name, value in fields if name == "authorization"]
        scheme, _, token = authorization.partition(" ")
        assert scheme == "Basic"
        assert base64.b64decode(token, validate=True) == f"{login}:{password}".encode()
        assert {name for name, _ in fields} == {"accept", "authorization", "host", "user-agent"}

    check()


def test_anything_but_text(peer: Peer) -> None:
    @times(60)
    @given(st.sampled_from(["host", "id", "login", "password"]), NO_TEXT)
    def check(name: str, value: Any) -> None:
        arguments = {"host": peer.host, name: value}
        with pytest.raises(TypeError, match=rf"\b{name}\b"):
            ask(arguments.pop("host"), **arguments)
        assert peer.connections == 0

    check()


# Where it is asked; a proxy sees it, so that no name is looked up and nothing leaves this machine

LABEL = st.from_regex(r"[A-Za-z]([A-Za-z0-9_-]{0,8}[A-Za-z0-9])?", fullmatch=True).filter(lambda s: "--" not in s)
HOSTS = st.one_of(
    TEXT,
    st.builds("{}{}{}".format, st.sampled_from(["http://", "HTTP://", "https://", "http:/", "ftp://"]), TEXT, TEXT),
    st.from_regex(r"(https?://)?[a-z0-9.:\[\]@/-]{1,20}", fullmatch=True),
)


@pytest.fixture
def proxy(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    monkeypatch.setenv("HTTP_PROXY", peer.host)
    monkeypatch.setenv("HTTPS_PROXY", peer.host)
    peer.answer(response(b"", 403))
    return peer


def refused(host: str) -> ValueError | None:
    try:
        saymon_bulk.Client(host, LOGIN, PASSWORD)
    except ValueError as refusal:
        return refusal
    return None


def test_any_host(proxy: Peer) -> None:
    @times(300)
    @given(HOSTS)
    def check(host: str) -> None:
        refusal = refused(host)
        if refusal is not None:
            assert re.search(r"\bhost\b", str(refusal))
            assert not isinstance(refusal, UnicodeError), "carries the value"
            with pytest.raises(ValueError, match=r"\bhost\b"):
                ask(host)
            assert proxy.requests == []
            return
        origin = saymon_bulk.Client(host, LOGIN, PASSWORD).host
        assert saymon_bulk.Client(origin, LOGIN, PASSWORD).host == origin, "not read back as itself"
        assert re.fullmatch(r"https?://[^\s/\\@?#%]+", origin, re.ASCII)
        assert origin.startswith("http://") == host[:7].lower().startswith("http://")
        error = outcome(host)
        assert isinstance(error, SaymonError)
        assert error.host == origin
        check_requests(proxy, origin)

    check()


def check_requests(proxy: Peer, origin: str) -> None:
    """The request; for a tunnel, the question for the reason of the refusal too."""
    requests = proxy.requests[:]
    proxy.requests.clear()
    assert len(requests) == (2 if origin.startswith("https://") and not origin.endswith(":80") else 1)
    for request in requests:
        check_request(request, origin)


def check_request(request: bytes, origin: str) -> None:
    line = request.partition(b"\r\n")[0].decode()
    scheme, _, authority = origin.partition("://")
    if scheme == "http":
        assert line == f"GET {origin}/node/api/bulk/{ID}/status HTTP/1.1"
        assert dict(headers(request))["host"] == authority
    else:
        target = authority if re.search(r":\d+$", authority) else f"{authority}:443"
        assert line == f"CONNECT {target} HTTP/1.1"
        assert "authorization" not in dict(headers(request)), "the password shown to the proxy"


def test_any_good_name(proxy: Peer) -> None:
    @times(150)
    @given(
        st.sampled_from(["", "http://", "https://", "HTTP://", "Https://"]),
        st.lists(LABEL, min_size=1, max_size=4).map(".".join),
        st.one_of(st.none(), st.integers(1, 65535)),
        st.sampled_from(["", "/"]),
    )
    def check(scheme: str, name: str, port: int | None, slash: str) -> None:
        host = scheme + name + ("" if port is None else f":{port}") + slash
        expected = (scheme.lower() or "https://") + name.lower()
        if port not in (None, 80 if scheme.lower() == "http://" else 443):
            expected += f":{port}"
        error = outcome(host)
        assert isinstance(error, SaymonError)
        assert error.host == expected
        check_requests(proxy, expected)

    check()


# What is answered


def no_constant(name: str) -> Any:
    raise ValueError(name)


def reference(body: bytes) -> dict[str, Any] | None:
    """The status in a body as Python's json sees it, made strict; None where there is none."""
    levels: list[list[tuple[str, Any]]] = []

    def hook(fields: list[tuple[str, Any]]) -> dict[str, Any]:
        levels.append(fields)  # the outermost comes last
        return dict(fields)

    try:
        text = body.decode("utf-8")
        read = json.loads(text, object_pairs_hook=hook, parse_constant=no_constant)
        json.dumps(read, ensure_ascii=False).encode()  # no lone surrogates
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict) or [name for name, _ in levels[-1]].count("finished") != 1:
        return None
    return read if isinstance(read["finished"], bool) else None


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.one_of(st.text(max_size=8), st.sampled_from(["finished", "Finished", "a"])), VALUES, max_size=5)
GOOD = st.builds(lambda fields, flag: {**fields, "finished": flag}, OBJECTS, st.booleans())
WRITTEN = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(),
    st.one_of(GOOD, GOOD, OBJECTS, VALUES),
    st.booleans(),
    st.sampled_from([None, 0, 2]),
)
WORDS = [
    *('{"finished":true', '"finished"', '"f\\u0069nished"', '"a":', "true", "false", "null", "NaN"),
    *("1", "-0", "01", "1.5", "1e999", "9" * 30, '"\\ud800"', '"\\ud83d\\ude00"', '"\x7f"'),
    *("\ufeff", "\u00e9", "\x0c", "'", "//"),
]
PIECES = st.lists(st.sampled_from([*'{}[],:" \t\n', *WORDS]), max_size=14).map(lambda pieces: "".join(pieces).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good body with one byte changed, removed or put in."""
    body = draw(WRITTEN)
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=2)) + body[at + draw(st.integers(0, 2)) :]


def test_any_body(peer: Peer) -> None:
    @times(1000)
    @given(st.one_of(st.binary(max_size=60), WRITTEN, PIECES, damaged()))
    def check(body: bytes) -> None:
        peer.answer(response(body))
        expected, got = reference(body), outcome(peer.host)
        if expected is None:
            assert type(got) is ResponseError
        else:
            assert shape(got) == shape(expected)

    check()


def test_any_error(peer: Peer) -> None:
    classes = {401: saymon_bulk.AuthError, 403: saymon_bulk.AuthError, 404: saymon_bulk.NotFoundError}

    @times(200)
    @given(st.one_of(st.sampled_from([400, 401, 403, 404, 500]), st.integers(201, 999)), st.one_of(WRITTEN, st.binary()))
    def check(status: int, body: bytes) -> None:
        peer.answer(response(body.replace(b"\xff", PASSWORD.encode()), status))
        error = outcome(peer.host)
        if status in (204, 304):  # these have no body, so ours stands where the next answer should
            assert isinstance(error, HTTPStatusError)
            peer.answer(response())
            assert ask(peer.host) == {"finished": True}
            return
        assert type(error) is classes.get(status, HTTPStatusError)
        assert error.status_code == status
        assert (error.host, error.id) == (peer.host, ID)
        assert len(error.body.encode()) <= 4096
        assert PASSWORD not in f"{error!r} {error.code} {error.message} {error.body}"
        assert not has_control(str(error))

    check()


def test_any_retry_after(peer: Peer) -> None:
    date = re.compile(
        r"(\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT|\w+, \d\d-\w{3}-\d\d [\d:]{8} GMT|\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})",
        re.ASCII,
    )
    numbers = st.one_of(st.integers(0, 10**30).map(str), st.from_regex(r"[ \t]*0*[0-9]{1,3}[ \t]*", fullmatch=True))
    dates = st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    anything = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)

    @times(300)
    @given(st.one_of(numbers, dates, anything, st.from_regex(r"[-+]?[0-9.:eE ]{1,9}", fullmatch=True)))
    def check(value: str) -> None:
        head = b"HTTP/1.1 503 Peer\r\nContent-Length: 0\r\nRetry-After: %s\r\n\r\n" % value.encode()
        peer.answer(head)
        error = outcome(peer.host)
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):  # no header at all (RFC 9110 section 5.5)
            assert type(error) is TransportError
            return
        assert type(error) is HTTPStatusError
        assert error.status_code == 503
        bare = value.strip(" \t")
        if re.fullmatch(r"[0-9]+", bare, re.ASCII):
            assert error.retry_after == min(int(bare), 2**32 - 1)
        elif not date.fullmatch(bare):
            assert error.retry_after is None
        else:
            assert error.retry_after is None or error.retry_after >= 0

    check()
