"""Every status but 200 is an error of its class, with what the server said about it."""

from __future__ import annotations

import datetime
import json
from email.utils import format_datetime

import pytest
import saymon_bulk
from peer import ID, Peer, chunked, closing, failure, response
from saymon_bulk import AuthError, HTTPStatusError, NotFoundError

OTHERS = (
    *(201, 202, 203, 206, 207, 226),
    *(300, 305, 306, 399),
    *(400, 402, 405, 406, 408, 409, 410, 413, 418, 422, 425, 429, 431, 451, 499),
    *(500, 501, 502, 503, 504, 505, 511, 520, 599),
)


def http_error(peer: Peer) -> HTTPStatusError:
    error = failure(peer.host)
    assert isinstance(error, HTTPStatusError)
    assert (error.host, error.id) == (peer.host, ID)
    return error


def seconds(peer: Peer, field: str) -> float | None:
    peer.answer(response(b"", 503, f"Retry-After: {field}"))
    return http_error(peer).retry_after


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthError),
        (403, AuthError),
        (404, NotFoundError),
        *((status, HTTPStatusError) for status in OTHERS),
    ],
)
def test_the_status_decides_the_class(peer: Peer, status: int, kind: type[HTTPStatusError]) -> None:
    # A good body makes no answer of it.
    peer.answer(response(b'{"finished": true}', status))
    error = http_error(peer)
    assert type(error) is kind
    assert error.status_code == status
    assert str(status) in str(error)
    assert (error.code, error.message, error.retry_after) == (None, None, None)
    assert error.body == '{"finished": true}'
    assert peer.connections == 1


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body(peer: Peer, status: int) -> None:
    peer.answer(f"HTTP/1.1 {status} Nothing\r\nContent-Length: 0\r\n\r\n".encode())
    error = http_error(peer)
    assert type(error) is HTTPStatusError
    assert (error.status_code, error.body) == (status, "")
    assert (error.code, error.message) == (None, None)


def test_code_and_message_of_the_document(peer: Peer) -> None:
    said = {"code": "InvalidContent", "message": "Invalid JSON: \u0451\n at 42"}
    peer.answer(response(json.dumps(said, ensure_ascii=False), 400))
    error = http_error(peer)
    assert (error.code, error.message) == (said["code"], said["message"])
    assert error.body == json.dumps(said, ensure_ascii=False)
    assert "InvalidContent" in str(error)
    assert "Invalid JSON" in str(error)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("Unauthorized", "Not logged in."),
        ("InvalidCredentials", "Invalid login or password."),
        ("InvalidCredentials", 'She said "no" \u2014 \u043d\u0435\u0442'),
    ],
)
def test_the_401_that_is_json_inside_json(peer: Peer, code: str, text: str) -> None:
    inner = json.dumps({"errorCode": 3, "message": text})
    peer.answer(response(json.dumps({"code": code, "message": inner}), 401))
    error = http_error(peer)
    assert type(error) is AuthError
    assert (error.code, error.message) == (code, text)
    assert "errorCode" not in str(error)
    assert text.split()[0] in str(error)


@pytest.mark.parametrize(
    "plain",
    ["Not logged in.", "", "{", "{}", "null", "[1]", '{"errorCode":3}', '{"message":5}'],
)
def test_a_401_with_a_plain_message(peer: Peer, plain: str) -> None:
    said = {"code": "Unauthorized", "message": plain}
    peer.answer(response(json.dumps(said), 401))
    error = http_error(peer)
    assert (error.code, error.message) == ("Unauthorized", plain)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><h1>502 Bad Gateway</h1></html>",
        b"null",
        b"5",
        b'"code"',
        b"[]",
        b'["code", "message"]',
        b"{}",
        b'{"code": 5, "message": null}',
        b'{"code": ["a"], "message": {"b": "c"}}',
        b'{"error": {"code": "a", "message": "b"}}',
        b'{"code": "a", "message": "b"',
        b'{"code": "a", "message": "b"} x',
        b'{"code": "a", "message": "\xff"}',
        b"[" * 5000,
        b'{"code":' * 5000,
    ],
    ids=lambda body: ascii(body)[:40],
)
@pytest.mark.parametrize("status", [401, 500])
def test_other_bodies_have_no_code(peer: Peer, body: bytes, status: int) -> None:
    peer.answer(response(body, status))
    error = http_error(peer)
    assert (error.code, error.message) == (None, None)
    assert error.status_code == status


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"short", "short"),
        (b"a" * 4095, "a" * 4095),
        (b"a" * 4096, "a" * 4096),
        (b"a" * 4097, "a" * 4096),
        (b"a" * 4096 + b"tail", "a" * 4096),
        (b"a" * 65536, "a" * 4096),
        (b"a" * 65537, "a" * 4096),
        (b"a" * 1_000_000, "a" * 4096),
    ],
    ids=lambda value: str(len(value)),
)
def test_the_first_4_kib_of_the_body(peer: Peer, sent: bytes, kept: str) -> None:
    peer.answer(closing(response(sent, 500, content_type="text/plain")))
    assert http_error(peer).body == kept


def test_the_body_is_text_wherever_it_is_cut(peer: Peer) -> None:
    # Four bytes a letter: the limit falls between two bytes of one.
    peer.answer(response("abc" + "\U0001f600" * 2000, 500))
    body = http_error(peer).body
    assert body.startswith("abc" + "\U0001f600" * 1023)
    assert 1026 <= len(body) <= 1029
    body.encode()


def test_a_body_that_is_no_text_is_still_a_str(peer: Peer) -> None:
    peer.answer(response(b"before \xff\xfe\xed\xa0\x80\x00 after", 500))
    body = http_error(peer).body
    assert body.startswith("before ")
    assert body.endswith(" after")
    body.encode()


def test_the_text_of_the_error_is_one_clean_line(peer: Peer) -> None:
    said = {"code": "a\x1b[31m", "message": "b\r\n\0c" + "\u202e\x9b" + "d" * 9000}
    peer.answer(response(json.dumps(said), 500))
    text = str(http_error(peer))
    assert text.isprintable(), ascii(text)
    assert len(text) < 10_000


def test_an_error_in_chunks(peer: Peer) -> None:
    answer = chunked(b'{"code": "a", ', b'"message": "b"}')
    peer.answer(answer.replace(b"200 OK", b"503 Later"))
    error = http_error(peer)
    assert (error.status_code, error.code, error.message) == (503, "a", "b")


def test_an_error_without_any_length(peer: Peer) -> None:
    peer.answer(closing(b"HTTP/1.1 502 Bad\r\n\r\n" + b'{"code":"a","message":"b"}'))
    assert http_error(peer).code == "a"
    peer.answer(closing(b"HTTP/1.0 502\r\n\r\ngone"))
    assert http_error(peer).body == "gone"


def test_an_encoded_error_is_still_that_error(peer: Peer) -> None:
    peer.answer(response(b"\x1f\x8b\x08\0\0", 500, "Content-Encoding: gzip"))
    assert http_error(peer).status_code == 500


@pytest.mark.parametrize(
    ("field", "after"),
    [("0", 0.0), ("1", 1.0), ("120", 120.0), (" 7 ", 7.0), ("007", 7.0)],
)
def test_retry_after_in_seconds(peer: Peer, field: str, after: float) -> None:
    got = seconds(peer, field)
    assert type(got) is float
    assert got == after


def test_retry_after_as_a_date(peer: Peer) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    then = now + datetime.timedelta(seconds=90)
    got = seconds(peer, format_datetime(then, usegmt=True))
    assert type(got) is float
    assert 80.0 <= got <= 91.0


def test_retry_after_as_a_date_gone_by(peer: Peer) -> None:
    assert seconds(peer, "Fri, 31 Dec 1999 23:59:59 GMT") in (0.0, None)


@pytest.mark.parametrize(
    "field",
    [
        *("", "soon", "-5", "+5", "1e3", "0x10", "nan", "inf", "infinity", "5 s", "5,6"),
        *("\xb2", "Fri, 31 Dec", "31.12.2099", "2099-12-31T23:59:59Z", "\xff\xfe"),
        "Xxx, 99 Foo 2099 25:61:61 GMT",
    ],
)
def test_rubbish_in_retry_after_is_ignored(peer: Peer, field: str) -> None:
    assert seconds(peer, field) is None


@pytest.mark.parametrize("field", ["9" * 20, "9" * 400])
def test_an_absurd_retry_after_harms_nobody(peer: Peer, field: str) -> None:
    got = seconds(peer, field)
    assert got is None or 0.0 <= got < float("inf")


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_retry_after_at_any_status(peer: Peer, status: int) -> None:
    peer.answer(response(b"", status, "Retry-After: 3"))
    assert http_error(peer).retry_after == 3.0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(peer: Peer, other: Peer, status: int) -> None:
    target = f"Location: {other.host}/node/api/bulk/{ID}/status"
    peer.answer(response(b"", status, target))
    error = http_error(peer)
    assert type(error) is HTTPStatusError
    assert error.status_code == status
    assert other.host in str(error)
    assert (len(peer.requests), other.connections) == (1, 0)


@pytest.mark.parametrize("location", ["/login", "login", "?again", "/node/api/x"])
def test_a_relative_redirect_leads_to_the_same_origin(peer: Peer, location: str) -> None:
    peer.answer(response(b"", 302, f"Location: {location}"))
    assert peer.host in str(http_error(peer))
    assert len(peer.requests) == 1


def test_a_redirect_without_a_scheme(peer: Peer, other: Peer) -> None:
    peer.answer(response(b"", 302, f"Location: //{other.authority}/x"))
    assert other.host in str(http_error(peer))
    assert other.connections == 0


def test_a_redirect_to_https_says_what_to_write(peer: Peer) -> None:
    secure = f"https://{peer.authority}"
    peer.answer(response(b"", 301, f"Location: {secure}/node/api/bulk/{ID}/status"))
    text = str(http_error(peer))
    assert f"write {secure} as host" in text


def test_other_redirects_do_not_say_it(peer: Peer, other: Peer) -> None:
    peer.answer(response(b"", 301, f"Location: {other.host}/"))
    assert "https://" not in str(http_error(peer))


@pytest.mark.parametrize(
    "location",
    [
        *("", " ", "http://", "http://[", "https://:80", "//", ":", "\xff\xfe", "%"),
        *("javascript:alert(1)", "mailto:a@example.com", "data:,x", "file:///etc/x"),
        "http://127.0.0.1:99999/",
        "http://a b/",
        "x" * 8000,
    ],
    ids=lambda location: ascii(location)[:30],
)
def test_a_redirect_to_nowhere(peer: Peer, location: str) -> None:
    peer.answer(response(b"", 302, f"Location: {location}"))
    error = http_error(peer)
    assert error.status_code == 302
    assert str(error).isprintable()


def test_a_redirect_without_a_location(peer: Peer) -> None:
    peer.answer(response(b"moved", 302))
    error = http_error(peer)
    assert (error.status_code, error.body) == (302, "moved")


def test_the_connection_survives_an_error(peer: Peer) -> None:
    peer.answer(response(b'{"code":"a","message":"b"}', 404), response())
    assert type(http_error(peer)) is NotFoundError
    assert saymon_bulk.get_bulk_status(peer.host, ID, "l", "p") == {"finished": True}
    assert peer.connections == 1
