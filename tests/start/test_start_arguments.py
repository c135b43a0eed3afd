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
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import ID, Peer, at, response
from saymon_bulk import _start_body

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
    (deep(121), ValueError, "too deeply"),
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


# What is sent is a plain copy of what was checked. The encoder of `json` looks into a subclass past its methods.


class Elsewhere(dict):  # type: ignore[type-arg]
    """A dict that keeps its items elsewhere, as DotMap of PyPI does."""

    def __init__(self, items: dict[str, Any]) -> None:
        super().__init__()
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def items(self) -> Any:
        return self._items.items()


class Stored(dict):  # type: ignore[type-arg]
    """A dict that also stores something else than it gives."""

    def __init__(self, given: dict[str, Any], **stored: Any) -> None:
        super().__init__(stored)
        self._given = given

    def __len__(self) -> int:
        return len(self._given)

    def items(self) -> Any:
        return self._given.items()


class Lines(list):  # type: ignore[type-arg]
    """A list that keeps its items elsewhere."""

    def __init__(self, *items: Any) -> None:
        super().__init__()
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


class Fading(Mapping[str, Any]):
    """A mapping that has its items at the first look only."""

    def __init__(self, items: dict[str, Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def items(self) -> Any:
        items, self._items = self._items, {}
        return items.items()


class Pair(NamedTuple):
    a: int
    b: Any


class Color(str, enum.Enum):
    RED = "red"


class Loud(str):
    def __str__(self) -> str:
        return "loud"

    __repr__ = __str__

    def encode(self, *_: Any) -> bytes:
        return b"loud"


class Odd(int):
    def __repr__(self) -> str:
        return "{}"

    __str__ = __repr__

    def bit_length(self) -> int:
        return 1


class Half(float):
    def __repr__(self) -> str:
        return "{}"

    def __float__(self) -> float:
        return math.nan


class Proxy:
    """Says that it is of another class, as the proxies of several packages do."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Elsewhere({"b": 1}), '{"b":1}'),
        (Elsewhere({"b": Elsewhere({"c": Lines(Elsewhere({"d": 1}))})}), '{"b":{"c":[{"d":1}]}}'),
        (Stored({"b": 1}, c=2), '{"b":1}'),
        (collections.OrderedDict(b=1), '{"b":1}'),
        (collections.UserDict(b=1), '{"b":1}'),
        (collections.defaultdict(int, b=1), '{"b":1}'),
        (collections.Counter(b=1), '{"b":1}'),
        (Lines(1, (2,)), "[1,[2]]"),
        (Pair(1, {}), "[1,{}]"),
        (Color.RED, '"red"'),
        ({Color.RED: Color.RED}, '{"red":"red"}'),
        (Loud("quiet"), '"quiet"'),
        ({Loud("quiet"): 1}, '{"quiet":1}'),
        (Odd(7), "7"),
        (Half(0.5), "0.5"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_checked_is_what_is_sent(peer: Peer, value: Any, text: str) -> None:
    peer.answer(ANSWER)
    at(peer).start_bulk(Elsewhere({"a": value}), Lines(Elsewhere({"modify": value})))
    assert peer.requests[0].partition(b"\r\n\r\n")[2].decode() == f'{{"search":{{"a":{text}}},"bulk":[{{"modify":{text}}}]}}'


@pytest.mark.parametrize(
    "kind", [dict, Elsewhere, Stored, collections.UserDict, collections.OrderedDict, types.MappingProxyType]
)
def test_the_kind_of_the_mapping_makes_no_other_search(peer: Peer, kind: Any) -> None:
    peer.answer(ANSWER)
    at(peer).start_bulk(kind({"name": kind({"$regex": "^CPU$"})}), [kind({"modify": {}})])
    assert peer.requests[0].endswith(b'{"search":{"name":{"$regex":"^CPU$"}},"bulk":[{"modify":{}}]}')


@pytest.mark.parametrize("kind", [Elsewhere, Stored])
def test_a_subclass_that_gives_nothing_is_empty(peer: Peer, kind: Any) -> None:
    assert "every_object=True" in refused(peer, ValueError, "empty", kind({}), BULK)
    refused(peer, ValueError, "bulk[1]", GOOD, [*BULK, kind({})])
    peer.answer(ANSWER)
    at(peer).start_bulk(kind({}), BULK, every_object=True)
    assert peer.requests[0].endswith(b'{"search":{},"bulk":[{"modify":{"a":1}}]}')


class Liar(Stored):
    """Its length is not that of what it gives."""

    def __len__(self) -> int:
        return len(self._given) + 1


class Silent(Lines):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


def test_a_length_that_is_not_that_of_the_items(peer: Peer) -> None:
    for value, found in ((Liar({}), "0 items"), (Liar({"b": 1}), "1 item"), (Silent(1), "0 items")):
        assert "search['a']" in refused(peer, ValueError, found, {"a": value}, BULK)
        assert "bulk[0]['a']" in refused(peer, ValueError, found, GOOD, [{"a": value}])
    refused(peer, ValueError, "search ", Liar({}), BULK)
    refused(peer, ValueError, "search ", Liar({}), BULK, every_object=True)
    refused(peer, ValueError, "bulk[0] ", GOOD, [Liar({})])
    refused(peer, ValueError, "bulk ", GOOD, Silent(BULK[0]))


def test_a_mapping_is_looked_at_once(peer: Peer) -> None:
    for search, bulk in ((Fading(GOOD), BULK), ({"a": Fading(GOOD)}, BULK), (GOOD, [Fading(BULK[0])])):
        with pytest.raises(ValueError, match=r"^(search|bulk).* item"):
            at(peer).start_bulk(search, bulk)
    assert peer.connections == 0


class Twice(Elsewhere):
    """Gives a name twice, as the dicts for several values of one name do."""

    def items(self) -> Any:
        return [*self._items.items(), *self._items.items()]


def test_a_name_that_comes_twice(peer: Peer) -> None:
    assert refused(peer, ValueError, "'name' twice", Twice(GOOD), BULK).startswith("search ")
    assert refused(peer, ValueError, "'a' twice", GOOD, [{"b": [Twice({"a": 1})]}]).startswith("bulk[0]['b'][0] ")


def test_a_proxy_of_a_scalar(peer: Peer) -> None:
    for kind in (str, int, float, bool):
        assert "search['a']" in refused(peer, TypeError, "not Proxy", {"a": Proxy(kind)}, BULK)


def test_an_int_that_hides_its_digits(peer: Peer) -> None:
    refused(peer, ValueError, "digits", {"a": Odd(10**4400)}, BULK)


def test_the_bytes_are_looked_at_once_more() -> None:
    """Whatever the checks before have let through."""
    assert _start_body.joined(b'{"a":1}', [b'{"b":1}'], False) == b'{"search":{"a":1},"bulk":[{"b":1}]}'
    assert _start_body.joined(b"{}", [b'{"b":1}'], True) == b'{"search":{},"bulk":[{"b":1}]}'
    for criteria, changes, every_object in (
        (b"{}", [b'{"b":1}'], False),
        (b'{"a":1}', [b'{"b":1}'], True),
        (b'{"a":1}', [b'{"b":1}', b"{}"], False),
        (b'{"a":1}', [], False),
    ):
        with pytest.raises(ValueError, match=r"^(search|bulk)\b"):
            _start_body.joined(criteria, changes, every_object)


names = st.text(st.characters())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20)


@pytest.mark.slow
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


@pytest.mark.slow
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
