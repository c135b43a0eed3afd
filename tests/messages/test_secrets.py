"""The password and what is made of it stand in no error, no warning and no frame."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import inspect
import itertools
import json
import logging
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable
from urllib.parse import quote, quote_plus

import pytest
import saymon_bulk
from clean import PACKAGE, assert_clean, spellings, texts
from peer import LOGIN, PASSWORD, Peer, Wire, ask, authorization, closing, credentials, failure, response, token
from processes import POSIX
from saymon_bulk import Client, HTTPStatusError, ResponseError, SaymonError, StartUncertainError
from saymon_bulk.cli.inputs import client_of
from saymon_bulk.cli.parser import parse

CYRILLIC = "\u0442\u0430\u0439\u043d\u044b\u0439-\u043f\u0430\u0440\u043e\u043b\u044c"

Echo = Callable[[bytes], bytes]


def provoke(peer: Peer, echo: Echo, login: str, password: str) -> SaymonError:
    """The error of a call that the server answers with what it was sent."""

    def act(wire: Wire) -> None:
        wire.send(echo(wire.request))

    peer.answer(act)
    return failure(peer.host, login=login, password=password)


def password_of(request: bytes) -> str:
    return credentials(request).partition(":")[2]


def in_json(status: int, text: Callable[[bytes], str]) -> Echo:
    def echo(request: bytes) -> bytes:
        said = {"code": text(request), "message": f"bad: {text(request)}!"}
        return response(json.dumps(said, ensure_ascii=False), status)

    return echo


def in_json_in_json(text: Callable[[bytes], str]) -> Echo:
    def echo(request: bytes) -> bytes:
        inner = {"errorCode": 3, "message": f"not {text(request)}!"}
        message = json.dumps(inner, ensure_ascii=False)
        said = {"code": "InvalidCredentials", "message": message}
        return response(json.dumps(said, ensure_ascii=False), 401)

    return echo


def in_a_page(status: int, text: Callable[[bytes], str]) -> Echo:
    return lambda request: response(f"<html><pre>{text(request)}</pre></html>", status, content_type="text/html")


def in_a_field(status: int, field: str, text: Callable[[bytes], str]) -> Echo:
    def echo(request: bytes) -> bytes:
        value = text(request).encode().decode("latin-1")
        return response(b"x", status, f"{field}: {value}", content_type=None)

    return echo


def location(form: str) -> Echo:
    def echo(request: bytes) -> bytes:
        basic = authorization(request)[6:]
        target = form.format(
            basic=basic,
            quoted=quote(basic, safe=""),
            password=quote(password_of(request), safe=""),
            raw=password_of(request).encode().decode("latin-1"),
        )
        return response(b"", 302, f"Location: {target}")

    return echo


def every_field(request: bytes) -> str:
    return request.decode("latin-1")


ECHOES: dict[str, Echo] = {
    "the bare request": lambda request: request,
    "the request after a status line": lambda request: b"HTTP/1.1 200 OK\r\n" + request.partition(b"\r\n")[2],
    "the reason": lambda request: f"HTTP/1.1 500 {authorization(request)}\r\n\r\n".encode(),
    "a bad status line": lambda request: authorization(request).encode() + b"\r\n\r\n",
    "a bad field": lambda request: b"HTTP/1.1 200 OK\r\n\0" + authorization(request).encode() + b"\r\n\r\n",
    **{
        f"a page with {status}, {name}": in_a_page(status, text)
        for status in (200, 401, 500)
        for name, text in {
            "headers": every_field,
            "token": authorization,
            "login:password": credentials,
            "password": password_of,
        }.items()
    },
    **{
        f"JSON with {status}, {name}": in_json(status, text)
        for status in (200, 400, 401, 403, 404, 500, 503)
        for name, text in {
            "token": authorization,
            "login:password": credentials,
            "password": password_of,
        }.items()
    },
    "JSON in JSON, token": in_json_in_json(authorization),
    "JSON in JSON, password": in_json_in_json(password_of),
    "content type": in_a_field(200, "Content-Type", authorization),
    "content type, password": in_a_field(200, "Content-Type", password_of),
    "content encoding": in_a_field(200, "Content-Encoding", authorization),
    "content encoding, password": in_a_field(200, "Content-Encoding", password_of),
    "retry after": in_a_field(503, "Retry-After", authorization),
    "any field": in_a_field(500, "X-Debug", authorization),
    "length": in_a_field(200, "Content-Length", authorization),
    "transfer coding": in_a_field(200, "Transfer-Encoding", authorization),
    "location, query": location("https://127.0.0.1:1/login?back={basic}"),
    "location, quoted query": location("https://127.0.0.1:1/?{quoted}&{password}"),
    "location, userinfo": location("https://u:{password}@127.0.0.1:1/"),
    "location, raw userinfo": location("http://u:{raw}@127.0.0.1:1/"),
    "location, path": location("/{basic}/{password}/{raw}"),
    "location, no address": location("{basic}"),
    "location, bad port": location("http://127.0.0.1:{raw}/"),
    "location, a host": location("http://{raw}.example/"),
    "location, a scheme": location("{raw}://{raw}/"),
}


@pytest.mark.parametrize(
    ("login", "password"),
    [
        (LOGIN, PASSWORD),
        ("\u043b\u043e\u0433\u0438\u043d", CYRILLIC),
        ("u", "p:q:r s"),
        ("user", "battery-staple9"),
    ],
    ids=["ascii", "cyrillic", "colons", "lower case"],
)
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_echo_is_masked(peer: Peer, echo: Echo, login: str, password: str) -> None:
    assert_clean(provoke(peer, echo, login, password), login, password)


@pytest.mark.parametrize("name", ["JSON with 401, token", "JSON with 401, password"])
def test_what_is_masked_can_be_seen_to_be(peer: Peer, name: str) -> None:
    error = provoke(peer, ECHOES[name], LOGIN, PASSWORD)
    assert isinstance(error, HTTPStatusError)
    assert error.message is not None
    assert re.fullmatch(r"bad: (Basic )?\*\*\*!", error.message)
    assert "***" in error.body
    assert "***" in str(error)


def test_what_is_around_it_stays(peer: Peer) -> None:
    body = f"before {PASSWORD} between {token(LOGIN, PASSWORD)} after {PASSWORD}"
    peer.answer(response(body, 500))
    error = failure(peer.host)
    assert isinstance(error, HTTPStatusError)
    assert error.body == "before *** between *** after ***"


@pytest.mark.parametrize("password", ['with "quotes"', "back\\slash", "\u20ac\U0001f511\u0444\u2028"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_password_that_json_escapes(peer: Peer, password: str, ascii_only: bool) -> None:
    said = {"code": "x", "message": f"not {password}"}
    peer.answer(response(json.dumps(said, ensure_ascii=ascii_only), 401))
    error = failure(peer.host, password=password)
    assert isinstance(error, HTTPStatusError)
    assert error.message == "not ***"
    assert password not in str(error)


# Each has what JSON, a URL and HTML escape, and an end that none of them does.
END = "Zq9v"
GERMAN = f"Gr\u00fc\u00df'e/\"2 n!&<>+@%{END}"
RUSSIAN = f"\u0417\u0438\u043c\u0430/'2 \u043b&\"\\<\u044f{END}"

Spelling = Callable[[str], str]


def in_quotes(text: str) -> str:
    """As Python's json writes it."""
    return json.dumps(text)[1:-1]


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def entities(form: str) -> Spelling:
    """All but letters and digits as HTML entities of this form."""
    return lambda text: "".join(c if c.isascii() and c.isalnum() else form.format(ord(c)) for c in text)


def capitals(text: str) -> str:
    """JSON of .NET: capital digits."""
    return "".join(f"\\u{ord(c):04X}" if not c.isascii() or c in "\"'\\&<>+" else c for c in text)


def nested(outer: Spelling, inner: Spelling) -> Spelling:
    return lambda text: outer(inner(text))


# What servers and gateways make of a text: who writes so, and how.
ONCE: dict[str, Spelling] = {
    "as it stands": str,
    "JSON": in_quotes,
    "JSON of JavaScript": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda text: in_quotes(text).replace("/", "\\/"),
    "JSON of Go": lambda text: re.sub("[&<>]", lambda found: f"\\u{ord(found[0]):04x}", in_quotes(text)),
    "JSON of .NET": capitals,
    "Python": lambda text: text.encode("unicode_escape").decode().replace("'", "\\'"),
    "JavaScript, bytes": lambda text: "".join(f"\\x{byte:02X}" for byte in text.encode()),
    "PHP, JavaScript, Rust": lambda text: "".join(f"\\u{{{ord(c):x}}}" for c in text),
    "URL": lambda text: quote(text, safe=""),
    "URL with small digits": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "URL with every byte escaped": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "encodeURIComponent": lambda text: quote(text, safe="!'()*~"),
    "encodeURI": lambda text: quote(text, safe="!'()*~;/?:@&=+$,#"),
    "escape": lambda text: "".join(c if c.isascii() and c.isalnum() else f"%u{ord(c):04X}" for c in text),
    "form": quote_plus,
    "HTML of Python and Django": html.escape,
    "HTML of Go and Jinja": lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "XML": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
    "HTML of PHP": lambda text: html.escape(text).replace("\u00fc", "&uuml;").replace("\u00df", "&szlig;"),
    "HTML, decimal": entities("&#{};"),
    "HTML, hexadecimal": entities("&#x{:04X};"),
    "small letters": str.lower,
    "base64": in_base64,
    "base64 without padding": lambda text: in_base64(text).rstrip("="),
    "base64 of URLs": lambda text: in_base64(text).replace("+", "-").replace("/", "_"),
    "UTF-8 read as Latin-1": lambda text: text.encode().decode("latin-1"),
}
TWICE: dict[str, Spelling] = {
    f"{outer} of {inner}": nested(ONCE[outer], ONCE[inner])
    for outer in ("JSON", "JSON of PHP", "JSON of Go", "URL", "form", "HTML of Python and Django", "HTML, decimal")
    for inner in ("JSON", "JSON of PHP", "JSON of Go", "URL", "form", "HTML of Python and Django", "base64")
}
LATIN: dict[str, Spelling] = {
    "URL of Latin-1": lambda text: quote(text, safe="", encoding="latin-1"),
    "form of Latin-1": lambda text: quote_plus(text, encoding="latin-1"),
    "Python, Latin-1": lambda text: repr(text.encode("latin-1"))[2:-1],
}
SPELLINGS = [
    *(pytest.param(how, GERMAN, id=f"{who}, German") for who, how in {**ONCE, **TWICE, **LATIN}.items()),
    *(pytest.param(how, RUSSIAN, id=f"{who}, Russian") for who, how in {**ONCE, **TWICE}.items()),
]


def assert_hidden(error: SaymonError, said: str, records: pytest.LogCaptureFixture) -> None:
    shown = [*texts(error), *(("a record", f"{record.getMessage()} {vars(record)}") for record in records.records)]
    for where, text in shown:
        assert said not in text, where
        assert END.lower() not in text.lower(), f"{where}: {text}"


@pytest.mark.parametrize(("how", "password"), SPELLINGS)
def test_an_echo_is_masked_in_any_spelling(
    peer: Peer, caplog: pytest.LogCaptureFixture, how: Spelling, password: str
) -> None:
    caplog.set_level(logging.DEBUG, "saymon_bulk")
    client, said = Client(peer.host, LOGIN, password), how(password)
    for status in (401, 500, 200):
        peer.answer(response(f"<html><title>Bad login {said} here</title></html>", status, content_type="text/html"))
        for call in (client.get_bulk_status, client.start_clone):
            with pytest.raises(SaymonError) as caught:
                call("x")
            error = caught.value
            assert_hidden(error, said, caplog)
            assert re.search(r"Bad login \*\*\*=* here", str(error)), str(error)
            if status == 200:
                assert type(error) is (ResponseError if call == client.get_bulk_status else StartUncertainError)
            else:
                assert isinstance(error, (HTTPStatusError, StartUncertainError))
                assert re.search(r"Bad login \*\*\*=* here", error.body)


@pytest.mark.parametrize(("how", "password"), SPELLINGS)
def test_a_message_is_masked_in_any_spelling(
    peer: Peer, caplog: pytest.LogCaptureFixture, how: Spelling, password: str
) -> None:
    said = how(password)
    caplog.set_level(logging.DEBUG, "saymon_bulk")
    peer.answer(response(json.dumps({"code": "x", "message": f"wrong: {said}"}), 401))
    error = failure(peer.host, password=password)
    assert isinstance(error, HTTPStatusError)
    assert_hidden(error, said, caplog)
    assert error.message is not None
    assert re.fullmatch(r"wrong: \*\*\*=*", error.message)
    assert re.search(r"wrong: \*\*\*=*\"}$", error.body)


@pytest.mark.slow
@pytest.mark.parametrize("password", [GERMAN, RUSSIAN])
def test_the_documented_shape_keeps_no_password(peer: Peer, caplog: pytest.LogCaptureFixture, password: str) -> None:
    """The server packs its own error into the message: JSON in JSON, and perhaps HTML within."""
    caplog.set_level(logging.DEBUG, "saymon_bulk")
    for status, how in itertools.product((401, 500, 200), ONCE.values()):
        inner = json.dumps({"errorCode": 3, "message": f"wrong: {how(password)}"})
        peer.answer(response(json.dumps({"code": "InvalidCredentials", "message": inner}), status))
        assert_hidden(failure(peer.host, password=password), how(password), caplog)
        with pytest.raises(SaymonError) as caught:
            Client(peer.host, LOGIN, password).start_clone("x")
        assert_hidden(caught.value, how(password), caplog)


@pytest.mark.parametrize("field", ["Content-Type", "Content-Encoding", "WWW-Authenticate"])
@pytest.mark.parametrize("status", [200, 401])
def test_an_echo_in_latin_1_is_masked(peer: Peer, caplog: pytest.LogCaptureFixture, status: int, field: str) -> None:
    password = f"Gr\u00fc\u00dfe-{END}"
    page = f"<title>{password}</title>".encode("latin-1")
    peer.answer(response(page, status, f"{field}: gzip, {password}", content_type=None))
    assert_hidden(failure(peer.host, password=password), password, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("password", [GERMAN, RUSSIAN])
def test_no_limit_falls_inside_a_spelling(peer: Peer, status: int, password: str) -> None:
    """Nor inside an escape of it, nor inside a letter. Masks bring what was cut into sight."""
    ways = ["as it stands", "JSON of Go", "URL with small digits", "HTML, decimal", "UTF-8 read as Latin-1"]
    for said in (spelled(password) for spelled in [*(ONCE[way] for way in ways), TWICE["URL of JSON"]]):
        spoken = said.encode()
        filler = spoken * (64 * 1024 // len(spoken) - 1)
        for more in range(0, len(spoken), 5):
            body = b"." * (64 * 1024 - len(filler) - more) + filler + spoken + b"." * 1000
            peer.answer(closing(response(body, status)))
            error = failure(peer.host, password=password)
            for where, text in texts(error):
                assert said[: len(said) * 2 // 3] not in text, f"{where}, {more} bytes"
                assert not text.endswith(said[:6]), f"{where}, {more} bytes"
            assert isinstance(error, ResponseError) or not re.search(r"\*[^*.].", getattr(error, "body", "")), more


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("secret", ["password", "token"])
@pytest.mark.parametrize("edge", [0, 64, 80, 100, 120, 128, 160, 200, 240, 256, 300, 400, 500, 512, 1000])
def test_no_excerpt_ends_inside_a_secret(peer: Peer, status: int, secret: str, edge: int) -> None:
    """Masking comes first: a text that is cut leaves no half of a password."""
    value = PASSWORD if secret == "password" else token(LOGIN, PASSWORD)
    for before in range(max(edge - len(value), 0), edge + 2, 6):
        peer.answer(response("." * before + value + "." * 5000, status))
        error = failure(peer.host)
        for where, text in texts(error):
            assert value[:6] not in text, f"{where}, {before} bytes before"


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("limit", [4096, 64 * 1024])
def test_no_limit_falls_inside_a_secret(peer: Peer, status: int, limit: int) -> None:
    for value in (PASSWORD, token(LOGIN, PASSWORD)):
        for before in range(limit - len(value), limit + 2, 3):
            text = "." * before + value + "." * 3000
            peer.answer(closing(response(text, status)))
            error = failure(peer.host)
            for where, text in texts(error):
                assert value[:6] not in text, f"{where}, {before} bytes before"


@pytest.mark.parametrize("status", [200, 500])
def test_masks_bring_the_end_of_what_was_read_into_sight(peer: Peer, status: int) -> None:
    """64 KiB of nothing but the password are 2 KiB of asterisks, and then comes the half where reading stopped."""
    password = PASSWORD * 5
    peer.answer(closing(response(password * 1000, status)))
    for where, text in texts(failure(peer.host, password=password)):
        assert PASSWORD[:6] not in text, where


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("secret", ["password", "token"])
@pytest.mark.parametrize("password", [PASSWORD, "0" * 7 + "-long-and-longer" * 20])
@pytest.mark.parametrize("size", [4000, 16_000, 60_000, 200_000])
def test_a_body_of_nothing_but_secrets(peer: Peer, status: int, secret: str, password: str, size: int) -> None:
    """Masking shortens a text: what was cut far behind its limit comes to stand within."""
    value = password if secret == "password" else token(LOGIN, password)
    for more in range(0, len(value), 7):
        times = size // len(value) + 1
        peer.answer(closing(response("." * more + value * times, status)))
        for where, text in texts(failure(peer.host, password=password)):
            assert value[:6] not in text, f"{where}, {more} bytes before"


@pytest.mark.slow
@pytest.mark.parametrize("password", [PASSWORD, "a" * 2000 + "b", "%25" * 500 + "&\\"], ids=["usual", "repeated", "escapes"])
@pytest.mark.parametrize("piece", ["%25", "\\", "&", "&#", "a", "\\u0061", "x\\%&", "\\\\%2525&amp;amp;", "%5c%5c&amp;#37;"])
def test_a_body_made_to_be_slow_to_mask(peer: Peer, password: str, piece: str) -> None:
    for status, end in ((500, b""), (200, b"."), (500, b".")):
        peer.answer(closing(response((piece * 65536).encode()[: 64 * 1024] + end, status)))
        begin = time.monotonic()
        failure(peer.host, password=password)
        assert time.monotonic() - begin < 60  # a search that is quadratic takes minutes


def test_a_whole_body_keeps_its_last_letters(peer: Peer) -> None:
    # It only looks as if the password began there; nothing was cut off.
    for letters in range(1, 5):
        body = "the end: " + PASSWORD[:letters]
        peer.answer(response(body, 500))
        error = failure(peer.host)
        assert isinstance(error, HTTPStatusError)
        assert error.body == body


@pytest.mark.parametrize("password", ["p", "in", "abc", "password"])
def test_a_word_that_means_nothing_stays_readable(peer: Peer, password: str) -> None:
    said = "Invalid login or password in abc."
    body = json.dumps({"code": "InvalidCredentials", "message": said})
    peer.answer(response(body, 401))
    error = failure(peer.host, password=password)
    assert isinstance(error, HTTPStatusError)
    assert error.message == said
    assert said in str(error)


@pytest.mark.parametrize("password", ["p", "in", "abc", "password"])
def test_but_its_token_never_does(peer: Peer, password: str) -> None:
    error = provoke(peer, in_json(401, authorization), LOGIN, password)
    assert isinstance(error, HTTPStatusError)
    assert error.message == "bad: Basic ***!"
    for where, text in texts(error):
        assert token(LOGIN, password) not in text, where


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "https://{password}@example.com"},
        {"host": "http://a:{password}@example.com/{password}"},
        {"host": 5},
        {"id": ""},
        {"id": 5},
        {"login": "a:b"},
        {"login": None},
        {"password": "{password}\0"},
        {"password": "{password}\ud800"},
        {"password": b"correct-Horse-battery-9"},
        {"password": ["correct-Horse-battery-9"]},
        {"request_timeout": -1},
        {"request_timeout": "{password}"},
        {"verify": "/no/such/file"},
        {"verify": 5},
        {"nonsense": 5},
    ],
    ids=ascii,
)
def test_a_bad_argument_tells_nothing(peer: Peer, changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"host": peer.host}
    for name, value in changes.items():
        filled = value.replace("{password}", PASSWORD) if type(value) is str else value
        arguments[name] = filled
    with pytest.raises((ValueError, TypeError)) as caught:
        ask(**arguments)
    assert_clean(caught.value, LOGIN, PASSWORD)


def test_transport_errors_tell_nothing(peer: Peer) -> None:
    peer.answer(Wire.hold, Wire.reset, closing(b"HTTP/1.1 200 OK\r\n"), Wire.hold)
    for seconds in (0.2, 5, 5):
        assert_clean(failure(peer.host, request_timeout=seconds), LOGIN, PASSWORD)
    peer.answer(lambda wire: None)
    assert_clean(failure(f"https://{peer.authority}"), LOGIN, PASSWORD)
    peer.stop()
    assert_clean(failure(peer.host), LOGIN, PASSWORD)


def test_no_frame_of_ours_holds_the_password_during_the_exchange(peer: Peer) -> None:
    caller = threading.get_ident()
    ours: list[str] = []

    def look(wire: Wire) -> None:
        frame = sys._current_frames().get(caller)
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                ours.append(repr(frame.f_locals))
            frame = frame.f_back
        wire.send(response())

    peer.answer(look)
    assert ask(peer.host) == {"finished": True}
    assert len(peer.requests) == 1
    for text in ours:
        assert not [s for s in spellings(LOGIN, PASSWORD) if s in text], text


@pytest.mark.parametrize("name", ["Client", "get_bulk_status_async", "wait_for_bulk", "wait_for_bulk_async"])
def test_the_arguments_of_a_frame_can_be_shown(name: str) -> None:
    # IPython does it; cgitb ends in a KeyError where an argument was deleted.
    function, ids = getattr(saymon_bulk, name), [] if name == "Client" else ["op"]

    async def call() -> None:
        result = function("monitor", *ids, "a:b", PASSWORD)
        await result

    with pytest.raises(ValueError, match="colon") as caught:
        asyncio.run(call())
    shown = [
        inspect.formatargvalues(*inspect.getargvalues(frame))
        for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        if frame.f_code.co_filename.startswith(PACKAGE)
    ]
    assert shown
    assert all("password='***'" in text for text in shown)


# Frames while a warning is given


def within(value: object, depth: int = 4) -> Iterator[str]:
    """What a collector of variables sees of a value: its repr, and that of all below it."""
    yield repr(value)
    if depth and not isinstance(value, (str, bytes, type)):
        below = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, (list, tuple)) else []
        for one in [*below, *getattr(value, "__dict__", {}).values()]:
            yield from within(one, depth - 1)


def seen_in(frame: FrameType | None) -> list[str]:
    """The package's frames from here outwards that hold the password."""
    found = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            texts = (text for value in frame.f_locals.values() for text in within(value))
            if any(secret in text for text in texts for secret in spellings(LOGIN, PASSWORD)):
                found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


EXPOSED = "http://monitor.invalid"


def in_netrc(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    path = folder / "netrc"
    path.write_text(f"machine monitor.invalid login {LOGIN} password {PASSWORD}\n", encoding="utf-8")
    path.chmod(mode)
    monkeypatch.setenv("NETRC", str(path))


def in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "password").write_text(PASSWORD, encoding="utf-8")
    monkeypatch.setenv("SAYMON_LOGIN", LOGIN)
    monkeypatch.setenv("SAYMON_PASSWORD_FILE", str(folder / "password"))


def in_a_variable(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYMON_LOGIN", LOGIN)
    monkeypatch.setenv("SAYMON_PASSWORD", PASSWORD)


class Derived(saymon_bulk.Client):
    """A class of a program's own."""


OTHERS_READ = "a netrc that others read"

SOURCES: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "a variable": in_a_variable,
    "a file": in_a_file,
    "netrc": lambda folder, monkeypatch: in_netrc(folder, monkeypatch, 0o600),
    OTHERS_READ: lambda folder, monkeypatch: in_netrc(folder, monkeypatch, 0o644),
}

WAYS_IN: dict[str, Callable[..., Any]] = {
    "Client": lambda host, **more: saymon_bulk.Client(host, LOGIN, PASSWORD, **more),
    "a derived class": lambda host, **more: Derived(host, LOGIN, PASSWORD, **more),
    "from_env": lambda _, **more: saymon_bulk.Client.from_env(**more),
    "from_env of a derived class": lambda _, **more: Derived.from_env(**more),
    "get_bulk_status": lambda host, **more: saymon_bulk.get_bulk_status(host, "x", LOGIN, PASSWORD, **more),
    "wait_for_bulk": lambda host, **more: saymon_bulk.wait_for_bulk(host, "x", LOGIN, PASSWORD, retries=0, **more),
    "get_bulk_status_async": lambda host, **more: asyncio.run(
        saymon_bulk.get_bulk_status_async(host, "x", LOGIN, PASSWORD, **more)
    ),
    "wait_for_bulk_async": lambda host, **more: asyncio.run(
        saymon_bulk.wait_for_bulk_async(host, "x", LOGIN, PASSWORD, retries=0, **more)
    ),
    "the command line": lambda host, **more: client_of(
        parse(["status", "x", "--host", host, *([] if more.get("verify", True) else ["--insecure"])])
    ),
}


# Some ways in have the password from such a source, the others from their arguments.
READING = ("from_env", "from_env of a derived class", "the command line")
CASES = [(way, source) for way in WAYS_IN for source in SOURCES if way in READING or source == "a variable"]


@pytest.mark.parametrize(("way", "source"), CASES)
@pytest.mark.parametrize("more", [{}, {"verify": False}], ids=["http", "unverified"])
def test_no_frame_of_ours_holds_the_password_while_a_warning_is_given(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, source: str, more: dict[str, Any]
) -> None:
    SOURCES[source](tmp_path, monkeypatch)
    # A proxy that refuses: the name leads nowhere else.
    monkeypatch.setenv("all_proxy", peer.host)
    peer.answer(response(b"", 403))
    host = EXPOSED.replace("http:", "https:") if more else EXPOSED
    monkeypatch.setenv("SAYMON_HOST", host)
    found: list[str] = []
    given = []

    def look(message: Warning | str, *_: object, **__: object) -> None:
        given.append(type(message))
        found.extend(seen_in(sys._getframe(1)))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", look)
        with contextlib.suppress(SaymonError):
            WAYS_IN[way](host, **more)
    assert given[-1] is saymon_bulk.InsecureConnectionWarning
    assert len(given) == (2 if source == OTHERS_READ and POSIX else 1), given
    assert found == []


@pytest.mark.parametrize(
    ("way", "source", "category"),
    [
        *((way, source, "InsecureConnectionWarning") for way, source in CASES),
        *((way, OTHERS_READ, "InsecureFileWarning") for way in READING if POSIX),
    ],
)
def test_a_warning_as_an_error_leaves_no_password_in_a_frame(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, source: str, category: str
) -> None:
    SOURCES[source](tmp_path, monkeypatch)
    monkeypatch.setenv("SAYMON_HOST", EXPOSED)
    monkeypatch.setenv("all_proxy", peer.host)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", getattr(saymon_bulk, category))
        with pytest.raises(getattr(saymon_bulk, category)) as caught:
            WAYS_IN[way](EXPOSED)
    assert_clean(caught.value, LOGIN, PASSWORD)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]
    assert ours or way == "get_bulk_status"
    for frame in ours:
        held = [text for value in frame.f_locals.values() for text in within(value)]
        assert not [text for text in held for secret in spellings(LOGIN, PASSWORD) if secret in text], frame.f_code.co_name
    assert peer.connections == 0


def test_warnings_tell_nothing(peer: Peer) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        failure(f"https://{peer.authority}", verify=False)
    assert caught
    for warning in caught:
        text = f"{warning.message} {warning!r}"
        assert not [s for s in spellings(LOGIN, PASSWORD) if s in text], text


def test_a_warning_that_is_raised_tells_nothing(peer: Peer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(saymon_bulk.InsecureConnectionWarning) as caught:
            ask(f"https://{peer.authority}", verify=False)
    assert_clean(caught.value, LOGIN, PASSWORD)


def test_a_good_answer_is_handed_through_even_so(peer: Peer) -> None:
    # What the server puts beside `finished` is data, and not ours to change.
    body = {"finished": True, "note": PASSWORD}
    peer.answer(response(json.dumps(body)))
    assert ask(peer.host) == body


def test_an_answer_without_its_field_is_not(peer: Peer) -> None:
    peer.answer(response(json.dumps({"note": PASSWORD, "finished": 1})))
    error = failure(peer.host)
    assert type(error) is ResponseError
    assert "***" in str(error)


@pytest.mark.parametrize("password", ["CORP\\rudolf7", "line\\nbreak-9", "pa\\tss-word", "q\\u0041bcdef"])
@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_password_that_is_pasted_into_json_as_it_stands(peer: Peer, password: str, status: int) -> None:
    """Its backslash is an escape there, and the escape of the message is the password again."""
    peer.answer(response('{"code": "No", "message": "no such password ' + password + ' here"}', status))
    error = failure(peer.host, password=password)
    assert isinstance(error, HTTPStatusError)
    for text in (str(error), repr(error.args), repr(error.message), error.body):
        assert password not in text
