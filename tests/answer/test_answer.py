"""The answer: read strictly, handed through whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD, Peer, ask, chunked, failure, response, shape


def beside(value: str) -> str:
    """A good answer with one more field."""
    return f'{{"finished": true, "x": {value}}}'


PASSED_THROUGH = [
    '{"finished": true}',
    '{"finished": false}',
    '{"finished":true}',
    ' \t\r\n{ "finished" :\n\ttrue } \r\n\t ',
    '{"z": 1, "finished": false, "a": 2, "Z": 3, "m": 4}',
    '{"fin\\u0069shed": true}',
    '{"Finished": 1, "finished ": 2, "finished": true}',
    '{"finished": true, "bulk": {"finished": 1, "finished": "twice"}}',
    '{"finished": true, "a": 1, "b": 2, "a": 3}',
    '{"finished": true, "deep": {"a": 1, "b": 2, "a": {"x": null}}}',
    '{"finished": true, "": null, "null": "", "n": [], "o": {}}',
    # numbers
    '{"finished": true, "n": [0, -0, 1, -1, 9007199254740993]}',
    '{"finished": true, "n": [9223372036854775807, -9223372036854775808]}',
    '{"finished": true, "n": [18446744073709551615, 18446744073709551616]}',
    '{"finished": true, "n": [123456789012345678901234567890, -1' + "0" * 99 + "]}",
    '{"finished": true, "n": [0.0, -0.0, 1.0, 1e2, 1E+2, 1e-2, 0.1, 100.0]}',
    '{"finished": true, "n": [5e-324, 1.7976931348623157e308, 2.2250738585072014e-308]}',
    '{"finished": true, "n": [123456789.123456789, 0.30000000000000004, 1e23]}',
    '{"finished": true, "n": [8.533e68, 9007199254740993.0, 4.35, 0.000001]}',
    # strings
    '{"finished": true, "s": "\u043f\u0440\u0438\u0432\u0435\u0442 \U0001f600"}',
    '{"finished": true, "s": "\\u043f\\ud83d\\ude00\\u0000\\n\\/\\"\\\\\\b\\f"}',
    '{"finished": true, "\u043a\u043b\u044e\u0447": "\u2028\ufeff\x7f"}',
    # depth and breadth
    beside("[" * 60 + "1" + "]" * 60),
    beside('{"a":' * 60 + "1" + "}" * 60),
    beside(json.dumps(list(range(5000)))),
    json.dumps({"finished": False, **{f"k{n}": n for n in range(500, 0, -1)}}),
]

NO_STATUS = [
    "",
    " ",
    "null",
    "true",
    "1",
    '"finished"',
    "[true]",
    "[]",
    '[{"finished": true}]',
    "{}",
    '{"done": true}',
    '{"Finished": true}',
    '{"status": {"finished": true}}',
    '{"finished": null}',
    '{"finished": 1}',
    '{"finished": 0}',
    '{"finished": 1.0}',
    '{"finished": "true"}',
    '{"finished": ""}',
    '{"finished": [true]}',
    '{"finished": {}}',
    # given twice
    '{"finished": true, "finished": true}',
    '{"finished": true, "finished": false}',
    '{"finished": false, "x": 1, "finished": true}',
    '{"finished": 1, "finished": true}',
    '{"finished": true, "finished": 1}',
    '{"finished": false, "\\u0066inished": true}',
    # not one JSON document
    '{"finished": true}{"finished": true}',
    '{"finished": true}\n{"finished": true}',
    '{"finished": true} x',
    '{"finished": true}\0',
    '{"finished": true},',
    'x{"finished": true}',
    ')]}\',\n{"finished": true}',
    'callback({"finished": true})',
    # not JSON
    '{"finished": True}',
    "{'finished': true}",
    "{finished: true}",
    '{"finished": true,}',
    '{,"finished": true}',
    '{"finished": true',
    '{"finished": tru',
    '{"finished" true}',
    '{"finished": true, "x"}',
    '{"finished": true /* really */}',
    '{"finished": true, "n": NaN}',
    '{"finished": true, "n": Infinity}',
    '{"finished": true, "n": -Infinity}',
    '{"finished": NaN}',
    "NaN",
    '{"finished": true, "n": 01}',
    '{"finished": true, "n": +1}',
    '{"finished": true, "n": .5}',
    '{"finished": true, "n": 1.}',
    '{"finished": true, "n": 0x10}',
    '{"finished": true, "n": 1_000}',
    '{"finished": true, "n": 1e}',
    '{"finished": true, "n": -}',
    '{"finished": true, "s": "a\nb"}',
    '{"finished": true, "s": "a\tb"}',
    '{"finished": true, "s": "\\x41"}',
    '{"finished": true, "s": "\\u12"}',
    '{"finished": true, "s": "open}',
    '{\u00a0"finished": true}',
    '{\x0c"finished": true}',
    '\ufeff{"finished": true}',
    # absurd nesting
    "[" * 5000,
    "[" * 5000 + "]" * 5000,
    beside("[" * 5000 + "]" * 5000),
    beside('{"a":' * 5000 + "1" + "}" * 5000),
    '{"finished": true, "x": ' + "[" * 60_000,
]

NOT_TEXT = [
    b'{"finished": true, "s": "\xff"}',
    b'{"finished": true, "s": "\xc3"}',
    b'{"finished": true, "s": "\xc0\xaf"}',
    b'{"finished": true, "s": "\xed\xa0\x80"}',
    b'{"finished": true, "s": "\xf4\x90\x80\x80"}',
    '{"finished": true}'.encode("utf-16"),
    '{"finished": true}'.encode("utf-16-le"),
    '{"finished": true}'.encode("utf-32"),
    '{"finished": true, "s": "\u044f"}'.encode("cp1251"),
]


def short(value: Any) -> str:
    return ascii(value)[:50]


@pytest.mark.parametrize("body", PASSED_THROUGH, ids=short)
def test_the_object_is_handed_through(peer: Peer, body: str) -> None:
    peer.answer(response(body))
    assert shape(ask(peer.host)) == shape(json.loads(body))


def test_the_result_is_a_plain_dict_of_its_own(peer: Peer) -> None:
    first = saymon_bulk.get_bulk_status(peer.host, ID, LOGIN, PASSWORD)
    second = saymon_bulk.get_bulk_status(peer.host, ID, LOGIN, PASSWORD)
    assert type(first) is dict
    assert first is not second
    assert first["finished"] is True


@pytest.mark.parametrize("body", NO_STATUS, ids=short)
def test_anything_else_is_no_status(peer: Peer, body: str) -> None:
    peer.answer(response(body))
    error = failure(peer.host)
    assert type(error) is saymon_bulk.ResponseError
    assert (error.host, error.id) == (peer.host, ID)
    assert "application/json" in str(error)


@pytest.mark.parametrize("body", NOT_TEXT, ids=short)
def test_json_is_utf_8(peer: Peer, body: bytes) -> None:
    peer.answer(response(body))
    assert type(failure(peer.host)) is saymon_bulk.ResponseError


@pytest.mark.parametrize(
    "inner",
    ['"\\ud800"', '"\\udc00 \\ud800"', "1" * 5000, "1e400", "-1e999"],
    ids=short,
)
def test_at_the_edge_of_json(peer: Peer, inner: str) -> None:
    # Python has no agreed value for these: an answer or a ResponseError, nothing else.
    peer.answer(response(beside(inner)))
    with contextlib.suppress(saymon_bulk.ResponseError):
        assert ask(peer.host)["finished"] is True


@pytest.mark.parametrize("number", ["1e400", "-1e999", "[1E+309]", '{"a": [-2e308]}'])
def test_a_number_that_json_cannot_hold(peer: Peer, number: str) -> None:
    peer.answer(response(beside(number)))
    assert "a number that is too large" in str(failure(peer.host))


# Integers longer than the program lets Python read


@pytest.fixture
def few_digits() -> Iterator[int]:
    """Python reads and writes no longer integer: the least that a program can choose (`PYTHONINTMAXSTRDIGITS`)."""
    if sys.version_info < (3, 11):
        pytest.skip("this Python may have no limit")
    else:
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(640)
        yield 640
        sys.set_int_max_str_digits(before)


def of_digits(value: int, count: int) -> bool:
    """Whether an int is so many ones in a row, by arithmetic alone."""
    return bool(value == (10**count - 1) // 9)


CALLS: dict[str, Callable[[saymon_bulk.Client], Any]] = {
    "a status": lambda client: client.get_bulk_status(ID),
    "an awaited status": lambda client: asyncio.run(client.get_bulk_status_async(ID)),
    "a batch": lambda client: client.get_bulk_statuses([ID])[ID],
    "a wait": lambda client: client.wait_for_bulk(ID),
    "many waits": lambda client: dict(client.wait_for_bulks([ID]))[ID],
    "a start": lambda client: client.start_clone(ID),
    "an awaited start": lambda client: asyncio.run(client.start_clone_async(ID)),
}


@pytest.mark.parametrize("count", [18, 19, 20, 640, 641, 4300])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_integer_longer_than_python_reads(
    peer: Peer, few_digits: int, call: Callable[[saymon_bulk.Client], Any], count: int
) -> None:
    ones = "1" * count
    peer.answer(response(f'{{"bulkId": "{ID}", "finished": true, "n": [{ones}, -{ones}, {{"n": {ones}}}]}}'))
    found, negative, inner = call(saymon_bulk.Client(peer.host, LOGIN, PASSWORD))["n"]
    assert of_digits(found, count)
    assert of_digits(-negative, count)
    assert of_digits(inner["n"], count)


@pytest.mark.parametrize("sign", ["", "-"])
def test_the_longest_integer(peer: Peer, sign: str) -> None:
    peer.answer(response(beside(sign + "9" * 4300)))
    assert abs(ask(peer.host)["x"]) == 10**4300 - 1
    peer.answer(response(beside(sign + "9" * 4301)))
    assert "an integer of more than 4300 digits" in str(failure(peer.host))


@pytest.mark.parametrize(
    "digits",
    [
        "1" + "0" * 36,
        "1" + "0" * 35 + "1",
        "9" * 54,
        "123456789012345678" * 3 + "7",
        "9223372036854775808",
        "-9223372036854775809",
    ],
    ids=short,
)
def test_each_digit_of_an_integer_counts(peer: Peer, digits: str) -> None:
    peer.answer(response(beside(digits)))
    assert ask(peer.host)["x"] == int(digits)


# Names that serde_json keeps for itself

NUMBER = "$serde_json::private::Number"
SPELLINGS = [
    NUMBER,
    NUMBER.replace("$", "\\u0024"),
    NUMBER.replace("N", "\\u004e"),
    NUMBER.replace("_", "\\u005F"),
    "".join(f"\\u{ord(letter):04x}" for letter in NUMBER),
]


@pytest.mark.parametrize("name", SPELLINGS, ids=short)
@pytest.mark.parametrize(
    "form",
    ["%s", '{"a": %s}', "[1, %s]", '[{"a": [%s]}]', '{"a": "\\\\", "b": %s}', '{"\\"": %s}', '["\\\\\\"", %s]'],
    ids=short,
)
@pytest.mark.parametrize("blank", ["", " \n"])
def test_no_object_turns_into_a_number(peer: Peer, name: str, form: str, blank: str) -> None:
    body = beside(form % f'{{{blank}"{name}"{blank}:{blank}"5"}}')
    peer.answer(response(body))
    assert shape(ask(peer.host)) == shape(json.loads(body))
    peer.answer(response(body.replace("{", f'{{"bulkId": "{ID}", ', 1)))
    started: dict[str, object] = {**saymon_bulk.Client(peer.host, LOGIN, PASSWORD).start_clone(ID)}
    assert started["x"] == json.loads(body)["x"]


@pytest.mark.parametrize("name", SPELLINGS, ids=short)
def test_a_value_may_be_such_a_name(peer: Peer, name: str) -> None:
    body = beside(f'["{name}", {{"a": "{name}"}}, "{name}:", "\\"{name}\\":"]')
    peer.answer(response(body))
    assert shape(ask(peer.host)) == shape(json.loads(body))


@pytest.mark.parametrize(
    "body",
    [
        beside('{"$serde_json::private::Number": "12"}'),
        beside('[{"$serde_json::private::Number": "twelve"}]'),
        beside('{"$serde_json::private::RawValue": "12"}'),
        '{"$serde_json::private::Number": "1", "finished": true}',
        '{"$serde_json::private::RawValue": "{}", "finished": true}',
    ],
    ids=short,
)
def test_names_that_serde_keeps_for_itself_change_nothing(peer: Peer, body: str) -> None:
    # Refused or handed through as it is, but no object turns into a number.
    peer.answer(response(body))
    with contextlib.suppress(saymon_bulk.ResponseError):
        assert shape(ask(peer.host)) == shape(json.loads(body))


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/json; charset=utf-8", "\xff\xfe"])
def test_the_body_counts_and_not_its_label(peer: Peer, kind: str | None) -> None:
    peer.answer(response(content_type=kind))
    assert ask(peer.host) == {"finished": True}


@pytest.mark.parametrize(
    "chunks",
    [
        [b'{"finished": true}'],
        [b"{", b'"finished"', b":", b" ", b"true", b"}"],
        [bytes([byte]) for byte in b'{"finished": true}'],
    ],
    ids=len,
)
def test_chunks_are_put_together(peer: Peer, chunks: list[bytes]) -> None:
    peer.answer(chunked(*chunks))
    assert ask(peer.host) == {"finished": True}


def test_a_login_page_is_quoted(peer: Peer) -> None:
    page = "<!DOCTYPE html>\n<html><title>Log in</title></html>"
    peer.answer(response(page, content_type="text/html; charset=utf-8"))
    error = failure(peer.host)
    assert type(error) is saymon_bulk.ResponseError
    assert "text/html" in str(error)
    assert "<title>Log in</title>" in str(error)


def test_the_excerpt_is_escaped_and_short(peer: Peer) -> None:
    noise = bytes(range(256)) + "\u202e\u2028\x9b31m".encode()
    peer.answer(response(b"\x1b[31m\r\n\0" + noise * 50, content_type="x/\xffy"))
    text = str(failure(peer.host))
    assert text.isprintable(), ascii(text)
    assert len(text) < 2000
    text.encode()
