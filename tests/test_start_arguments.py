"""What start_bulk and start_clone refuse, before anything is sent: each refusal names the argument and the place in it."""

from __future__ import annotations

import asyncio
import collections
import datetime
import decimal
import enum
import json
import math
import re
import types
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import ID, Peer, at, response

GOOD = {"name": "CPU"}
BULK = [{"modify": {"a": 1}}]
ANSWER = response(json.dumps({"bulkId": ID, "finished": False}))


class Number(enum.IntEnum):
    ONE = 1


def cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BAD_VALUES = [
    (math.nan, ValueError, "nan"),
    (math.inf, ValueError, "inf"),
    (-math.inf, ValueError, "inf"),
    ("a\ud800", ValueError, "surrogate"),
    ({"\udc80": 1}, ValueError, "surrogate"),
    (cycle(), ValueError, "itself"),
    (10**4400, ValueError, "digits"),
    (deep(100_000), ValueError, "too deeply"),
    ({1: 2}, TypeError, "not a str: int"),
    ({None: 2}, TypeError, "not a str: NoneType"),
    ({True: 2}, TypeError, "not a str: bool"),
    (b"bytes", TypeError, "bytes"),
    ({"a"}, TypeError, "set"),
    (decimal.Decimal(1), TypeError, "Decimal"),
    (datetime.date(2026, 1, 1), TypeError, "date"),
    (1j, TypeError, "complex"),
    (object(), TypeError, "object"),
    (iter([1]), TypeError, "iterator"),
]


def refused(peer: Peer, kind: type[Exception], text: str, *arguments: Any, **more: Any) -> str:
    client = at(peer)
    with pytest.raises(kind) as caught:
        client.start_bulk(*arguments, **more)
    with pytest.raises(kind) as awaited:
        asyncio.run(client.start_bulk_async(*arguments, **more))
    assert type(caught.value) is type(awaited.value) is kind
    assert str(caught.value) == str(awaited.value)
    assert text in str(caught.value)
    assert peer.connections == 0
    return str(caught.value)


@pytest.mark.parametrize(("value", "kind", "text"), BAD_VALUES, ids=[text for _, _, text in BAD_VALUES])
def test_a_value_that_json_does_not_have(peer: Peer, value: Any, kind: type[Exception], text: str) -> None:
    in_search = refused(peer, kind, text, {"a": [0, {"b": value}]}, BULK)
    in_bulk = refused(peer, kind, text, GOOD, [*BULK, {"c": (value,)}])
    if "deeply" not in text:
        assert "search['a'][1]['b']" in in_search
        assert "bulk[1]['c'][0]" in in_bulk
    assert "search" in in_search
    assert "bulk" in in_bulk


@pytest.mark.parametrize("search", [None, "x", 7, [], [("a", 1)], {"a"}, iter({})])
def test_a_search_that_is_no_mapping(peer: Peer, search: Any) -> None:
    assert refused(peer, TypeError, "mapping", search, BULK).startswith("search ")


@pytest.mark.parametrize("bulk", [None, "x", b"x", 7, {}, {"modify": {}}, iter(BULK), {1}])
def test_a_bulk_that_is_no_list(peer: Peer, bulk: Any) -> None:
    assert refused(peer, TypeError, "list", GOOD, bulk).startswith("bulk ")


@pytest.mark.parametrize("change", [None, "x", 7, [], [("modify", {})]])
def test_a_change_that_is_no_mapping(peer: Peer, change: Any) -> None:
    assert refused(peer, TypeError, "mapping", GOOD, [*BULK, change]).startswith("bulk[1] ")


@pytest.mark.parametrize("bulk", [[], ()])
def test_no_changes(peer: Peer, bulk: Any) -> None:
    assert refused(peer, ValueError, "empty", GOOD, bulk).startswith("bulk ")


def test_an_empty_change(peer: Peer) -> None:
    assert refused(peer, ValueError, "empty", GOOD, [*BULK, {}]).startswith("bulk[1] ")


@pytest.mark.parametrize("search", [{}, collections.OrderedDict(), types.MappingProxyType({})])
def test_an_empty_search_means_every_object(peer: Peer, search: Any) -> None:
    assert "every object" in refused(peer, ValueError, "every_object=True", search, BULK)
    peer.answer(ANSWER)
    assert at(peer).start_bulk(search, BULK, every_object=True)["bulkId"] == ID
    assert peer.requests[0].endswith(b'{"search":{},"bulk":[{"modify":{"a":1}}]}')


def test_every_object_with_criteria(peer: Peer) -> None:
    refused(peer, ValueError, "empty search", GOOD, BULK, every_object=True)


@pytest.mark.parametrize("flag", [1, 0, None, "yes", []])
def test_every_object_is_a_bool(peer: Peer, flag: Any) -> None:
    for search in (GOOD, {}):
        assert refused(peer, TypeError, "bool", search, BULK, every_object=flag).startswith("every_object ")


@pytest.mark.parametrize(
    "search", [{"search": {}}, {"search": {"name": "x"}, "bulk": []}, {"bulk": [{}]}, {"search": {}, "bulk": [], "x": 1}]
)
def test_a_whole_body_is_no_search(peer: Peer, search: Any) -> None:
    """The criteria in it would be none, and the server might take every object."""
    assert refused(peer, ValueError, "criteria alone", search, BULK).startswith("search ")


@pytest.mark.parametrize("object_id", ["", ".", "..", "a\nb", "a" * 256, "\ud800"])
def test_an_object_id_that_is_no_path_segment(peer: Peer, object_id: str) -> None:
    for start in (at(peer).start_clone, lambda id: asyncio.run(at(peer).start_clone_async(id))):
        with pytest.raises(ValueError, match=r"^object_id "):
            start(object_id)
    assert peer.connections == 0


@pytest.mark.parametrize("object_id", [None, 7, b"x", ["x"]])
def test_an_object_id_that_is_no_str(peer: Peer, object_id: Any) -> None:
    with pytest.raises(TypeError, match=r"^object_id "):
        at(peer).start_clone(object_id)
    assert peer.connections == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (types.MappingProxyType({"b": 1}), '{"b":1}'),
        (collections.ChainMap({"b": 1}), '{"b":1}'),
        ((1, (2,)), "[1,[2]]"),
        (Number.ONE, "1"),
        (True, "true"),
        (1e308, "1e+308"),
        (-(10**4000), f"-1{'0' * 4000}"),
        ("\u2028é\U0001f600\x00", '"\u2028é\U0001f600\\u0000"'),
        (deep(100), "[" * 100 + "1" + "]" * 100),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_other_types_arrive_as_json(peer: Peer, value: Any, text: str) -> None:
    peer.answer(ANSWER)
    at(peer).start_bulk({"a": value}, (types.MappingProxyType({"modify": value}),))
    wanted = f'{{"search":{{"a":{text}}},"bulk":[{{"modify":{text}}}]}}'
    assert peer.requests[0].partition(b"\r\n\r\n")[2].decode() == wanted


names = st.text(st.characters())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(search=values, bulk=values, every_object=st.booleans())
def test_any_json_value_arrives_or_is_refused(peer: Peer, search: Any, bulk: Any, every_object: bool) -> None:
    peer.requests.clear()
    peer.answer(ANSWER)
    try:
        at(peer).start_bulk(search, bulk, every_object=every_object)
    except (ValueError, TypeError) as refusal:
        named = re.match(r"(a name in )?(search|bulk|every_object)\b", str(refusal))
        assert named, refusal  # noqa: PT017 (not every example is refused)
        assert peer.requests == []
    else:
        (request,) = peer.requests
        assert json.loads(request.partition(b"\r\n\r\n")[2]) == {"search": search, "bulk": bulk}
        assert bool(search) is not every_object


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    search=st.dictionaries(st.text(min_size=1), values, min_size=1), change=st.dictionaries(st.text(), values, min_size=1)
)
def test_criteria_arrive_as_they_are(peer: Peer, search: Any, change: Any) -> None:
    peer.requests.clear()
    peer.answer(ANSWER)
    try:
        wanted = json.loads(json.dumps({"search": search, "bulk": [change]}, allow_nan=False, ensure_ascii=False).encode())
    except ValueError:
        wanted = None
    try:
        at(peer).start_bulk(search, [change])
    except ValueError:
        assert wanted is None or {"search", "bulk"} & set(search)
    else:
        assert json.loads(peer.requests[0].partition(b"\r\n\r\n")[2]) == wanted
