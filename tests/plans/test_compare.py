"""Whether an object is as a bulk asks, whether that can be told, and which bulks cannot be planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import LOGIN, PASSWORD, Peer, at, response
from planning import FAST, Call, both_ways, client, objects, server
from saymon_bulk import Client
from saymon_bulk._plans import compare
from saymon_bulk._plans.compare import compared
from saymon_bulk.testing import PracticeServer

__all__ = ["client", "server"]

ABSENT = object()


def prop(value: Any = ABSENT, **more: Any) -> list[dict[str, Any]]:
    """A bulk that sets the property Room."""
    return [{"properties.createOrModify": {"name": "Room", **({} if value is ABSENT else {"value": value}), **more}}]


def having(*properties: Any, **more: Any) -> dict[str, Any]:
    return {"id": "a", "name": "CPU", "properties": list(properties), **more}


def room(value: Any, **more: Any) -> dict[str, Any]:
    return {"name": "Room", "value": value, "type_id": 1, **more}


# Equal pairs and unequal ones, in both directions.
EQUAL_FIELDS = [
    (5, 5), (5, "5"), (-5, "-5"), (0, "0"), (5, 5.0), (0.5, 0.5), (10**30, str(10**30)), (True, True), (None, None),
    ("", ""), ("a", "a"), ([], []), ([1, 2], [1, 2]), ([1, "2"], ["1", 2]), ({"a": 1}, {"a": "1"}),
    ({"a": 1, "b": [{"c": 2}]}, {"b": [{"c": "2"}], "a": 1}), ([[1], [2]], [["1"], [2]]),
]  # fmt: skip
OTHER_FIELDS = [
    (5, 6), (5, "5.0"), (5, "05"), (5, " 5"), (5, "+5"), (True, 1), (False, 0), (True, "true"), (True, "1"), (None, ""),
    (None, 0), (None, "null"), (None, []), ("a", "A"), ("", []), ([1, 2], [2, 1]), ([1], [1, 1]), ([1], 1), ([], {}),
    ({"a": 1}, {"a": 1, "b": None}), ({"a": True}, {"a": 1}), (0.5, "0.5"),
]  # fmt: skip
EQUAL_SETS = [
    (["a", "b"], ["b", "a"]), (["a", "a"], ["a"]), ("a", ["a"]), (1, ["1"]), ([1, "2"], ["2", "1"]), ([], []),
    ([{"id": "a", "name": "x"}], ["a"]), ([{"id": 7}], ["7"]), ([{"id": "a"}, "b"], ["b", {"id": "a", "owner": 1}]),
    ({"id": "a"}, "a"), ([{"x": 1, "y": 2}], [{"y": 2, "x": 1}]), (None, None),
]  # fmt: skip
OTHER_SETS = [
    (["a"], ["b"]), (["a"], []), ([], None), (["a"], None), ([True], ["true"]), ([True], [1]), ([None], ["null"]),
    ([None], [None, "a"]), ([{"id": "a"}], ["b"]), ([{"name": "a"}], ["a"]), ("ab", ["a", "b"]), ([["a"]], ["a"]),
]  # fmt: skip
EQUAL_VALUES = [("7", "7"), ("7", 7), (7, "7"), (7.0, "7"), (0.5, "0.5"), (True, "true"), ([1], "[1]"), ("", "")]
EQUAL_VALUES += [([1, 2], "[1,2]"), ({"b": 1, "a": [2]}, '{"b":1,"a":[2]}'), ([1.0, [-0.0]], "[1,[0]]")]
EQUAL_VALUES += [({"a": 1e-7}, '{"a":1e-7}'), ([1e-05, 1e21], "[0.00001,1e+21]"), ([True, None, "é"], '[true,null,"é"]')]
OTHER_VALUES = [("7", "7.0"), ("7", "07"), ("7", " 7"), ("", None), ("True", True), ("a", "A"), ("", "0")]


@pytest.mark.parametrize(
    ("name", "one", "other", "is_equal"),
    [
        *(("weight", *pair, True) for pair in EQUAL_FIELDS),
        *(("weight", *pair, False) for pair in OTHER_FIELDS),
        *((name, *pair, True) for pair in EQUAL_SETS for name in ("tags", "parent_id")),
        *((name, *pair, False) for pair in OTHER_SETS for name in ("tags", "parent_id")),
    ],
    ids=repr,
)
def test_a_field(name: str, one: Any, other: Any, is_equal: bool) -> None:
    for asked, found in ((one, other), (other, one)):
        (wish,) = compare.wanted([{"modify": {name: asked}}])
        assert wish.is_met_by(wish.found_in({"id": "a", name: found})) is is_equal
        assert wish.as_before(found, asked, False) is is_equal


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [*((*pair, True) for pair in EQUAL_VALUES), *((*pair, False) for pair in OTHER_VALUES)],
    ids=repr,
)
def test_the_value_of_a_property(one: Any, other: Any, is_equal: bool) -> None:
    for asked, found in ((one, other), (other, one)):
        (wish,) = compare.wanted(prop(asked))
        assert wish.is_met_by(wish.found_in(having({"name": "Other"}, room(found)))) is is_equal


@pytest.mark.parametrize(
    ("bulk", "one", "expected"),
    [
        # as asked
        (prop("7"), having(room("7")), None),
        (prop("7"), having(room("7"), {"name": "room", "value": "1"}), None),
        (prop("7"), having(room("7", type_id=3)), None),
        (prop("7", type_id=3), having(room("7", type_id="3")), None),
        ([{"modify": {"weight": None}}], having(weight=None), None),
        # other values
        (prop("7"), having(room("5")), {"properties.Room": ("5", False)}),
        (prop("7"), having(), {"properties.Room": (None, True)}),
        (prop("7"), having({"name": " Room", "value": "7"}), {"properties.Room": (None, True)}),
        (prop("7"), having(room(None)), {"properties.Room": (None, False)}),
        (prop("7", type_id=3), having(room("7")), {"properties.Room.type_id": (1, False)}),
        (
            prop("7", type_id=3),
            having(),
            {"properties.Room": (None, True), "properties.Room.type_id": (None, True)},
        ),
        ([{"modify": {"weight": 7}}], having(weight=None), {"weight": (None, False)}),
        ([{"modify": {"weight": 7, "x": 1}}], having(weight=5, x=1), {"weight": (5, False)}),
        # cannot be told: in changes, without fields
        ([{"modify": {"weight": 7}}], having(), {}),
        ([{"modify": {"weight": None}}], having(), {}),
        (prop("7"), {"id": "a"}, {}),
        (prop("7"), {"id": "a", "properties": None}, {}),
        (prop("7"), {"id": "a", "properties": {"name": "Room", "value": "7"}}, {}),
        (prop("7"), having(room("7"), "odd"), {}),
        (prop("7"), having(room("7"), room("7")), {}),
        (prop("7"), having(room("7"), room("5")), {}),
        (prop("7"), having({"name": "Room"}), {}),
        (prop("7", type_id=3), having({"name": "Room", "value": "7"}), {}),
        # one field can be told, and another cannot
        ([{"modify": {"weight": 7, "x": 1}}], having(weight=5), {"weight": (5, False)}),
        ([{"modify": {"weight": 7, "x": 1}}], having(weight=7), {}),
    ],
    ids=range(25),
)
def test_an_object(bulk: Any, one: dict[str, Any], expected: dict[str, Any] | None) -> None:
    fields, untold = compared(one, compare.wanted(bulk))
    assert {field.field: (field.before, field.created) for field in fields} == (expected or {})
    assert bool(fields or untold) is (expected is not None)


UNFORESEEN = "start_bulk takes it"


@pytest.mark.parametrize(
    ("bulk", "words"),
    [
        *(([{key: {"a": 1}}], UNFORESEEN) for key in ("stateConditions", "stateTriggers", "incidentConditions")),
        ([{"modify": {"weight": 7}, "stateTriggers": {"a": 1}}], UNFORESEEN),
        ([{"modify": {"weight": 7}}, {"stateConditions": {"a": 1}}], r"bulk\[1\].*start_bulk takes it"),
        *(([{"modify": {name: 1}}], UNFORESEEN) for name in ("id", "a.b", "properties.0.value", "$set", ".")),
        ([{"properties.createOrModify": {"name": "a", "value": "b", "owner_id": 1}}], "the unknown key 'owner_id'"),
        ([{"Modify": {"a": 1}}], "the unknown key 'Modify'; plans know 'modify'"),
        ([{"modify": {"properties": []}}, *prop("7")], "which comes last cannot be foreseen"),
        ([{"modify": {}}], "must be an object that is not empty"),
        ([{"modify": [1]}], "must be an object"),
        ([{"modify": None}], "must be an object"),
        ([{"properties.createOrModify": {}}], "must be an object that is not empty"),
        (prop(), "must have a `value`"),
        *(([{"properties.createOrModify": {"name": n, "value": 1}}], "must have a `name`") for n in ("", None, 7)),
        ([{"properties.createOrModify": {"value": 1}}], "must have a `name`"),
        ([*prop("7"), *prop("8")], "another value"),
        ([*prop("7", type_id=1), *prop("7", type_id=2)], "another value"),
        ([{"modify": {"weight": 7}}, {"modify": {"weight": 8}}], "another value"),
        ([{"modify": {"tags": ["a"]}}, {"modify": {"tags": ["a", "b"]}}], "another value"),
        (
            [*prop("7", type_id=1), {"properties.createOrModify": {"name": "Room.type_id", "value": "1"}}],
            "two things of the bulk are called 'properties.Room.type_id'",
        ),
        ([], "bulk must not be empty"),
        ([{}], r"bulk\[0\] must not be empty"),
    ],
    ids=range(29),
)  # fmt: skip
@both_ways
def test_what_cannot_be_planned(peer: Peer, call: Call, bulk: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(at(peer), "plan_bulk", {"name": "CPU"}, bulk)
    assert peer.connections == 0


@pytest.mark.parametrize(
    "bulk",
    [
        [*prop("7"), *prop(7)],
        [{"modify": {"tags": ["a", "b"]}}, {"modify": {"tags": ["b", "a"]}}],
        [{"modify": {"weight": 7}}, {"modify": {"weight": "7"}}],
    ],
)
def test_two_equal_changes_of_one_field(bulk: Any) -> None:
    assert len(compare.wanted(bulk)) == 1


@both_ways
@pytest.mark.parametrize(
    ("search", "bulk", "more", "kind"),
    [
        ({}, prop("7"), {}, ValueError),
        ({"a": 1}, prop("7"), {"every_object": True}, ValueError),
        ({"a": 1}, prop("7"), {"every_object": 1}, TypeError),
        ({"search": {}}, prop("7"), {}, ValueError),
        ("CPU", prop("7"), {}, TypeError),
        ({"a": 1}, {"modify": {"a": 1}}, {}, TypeError),
        ({"a": 1}, [7], {}, TypeError),
        ({"a": 1}, prop(float("nan")), {}, ValueError),
        ({"a": 1}, prop("\ud800"), {}, ValueError),
        ({"a": 1}, prop({1}), {}, TypeError),
    ],
    ids=range(10),
)
def test_arguments_that_cannot_be_used(
    peer: Peer, call: Call, search: Any, bulk: Any, more: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        call(at(peer), "plan_bulk", search, bulk, **more)
    assert peer.connections == 0


class Shifty(dict[str, Any]):
    """Gives another change at each look."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        super().__init__(looks[0])
        self.looks = list(looks)

    def items(self) -> Any:
        return (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]).items()


@both_ways
@pytest.mark.parametrize(
    "later", [{"stateTriggers": {"a": 1}}, {"modify": {"weight": float("nan")}}, {"modify": {"weight": 8}}]
)
def test_what_is_checked_is_what_is_planned(
    server: PracticeServer, client: Client, call: Call, later: dict[str, Any]
) -> None:
    server.objects["a"] = having(weight=5)
    try:
        plan = call(client, "plan_bulk", {"name": "CPU"}, [Shifty({"modify": {"weight": 7}}, later)])
    except ValueError:
        return
    assert [plan.changes[0].fields[0].after] == [plan.bulk[0]["modify"]["weight"]]
    assert call(client, "apply_plan", plan, **FAST).ok
    assert server.objects["a"]["weight"] == plan.bulk[0]["modify"]["weight"]


@both_ways
def test_client_data_is_asked_for_where_it_is_changed(server: PracticeServer, client: Client, call: Call) -> None:
    server.objects["a"] = {"id": "a", "name": "CPU", "client_data": "{}"}
    plan = call(client, "plan_bulk", {"name": "CPU"}, [{"modify": {"client_data": '{"a":1}'}}])
    assert plan.changes[0].fields[0].before == "{}"
    assert call(client, "apply_plan", plan, **FAST).ok


@pytest.mark.parametrize(
    ("bulk", "properties", "notes"),
    [
        (prop("7"), [room("5", type_id=3)], ["ReadWrite property 'Room'"]),
        (prop("7"), [room("5", type_id="3")], ["ReadWrite property 'Room'"]),
        (prop("7", type_id=3), [], ["ReadWrite property 'Room'"]),
        (prop("7"), [room("5")], []),
        (prop("7"), [room("7", type_id=3)], []),
        ([{"modify": {"tags": [], "parent_id": "1", "properties": []}}], [room("5")], ["parent_id", "properties", "tags"]),
    ],
    ids=range(6),
)
def test_notes(peer: Peer, bulk: Any, properties: Any, notes: list[str]) -> None:
    peer.answer(objects(having(*properties)))
    found = [note for note in at(peer).plan_bulk({"name": "CPU"}, bulk).notes if "has the field" not in note]
    assert len(found) == len(notes)
    assert all(words in note for words, note in zip(notes, found))


@pytest.mark.parametrize("count", [1, 16, 200])
def test_a_field_that_no_object_has_is_told(peer: Peer, count: int) -> None:
    park = [{"id": f"{n}", "name": "CPU", "weight": 1} for n in range(count)]
    peer.answer(response(json.dumps(park)), response(json.dumps([*park, {"id": "x", "wieght": 1}])))
    client, bulk = at(peer), [{"modify": {"wieght": 5, "weight": 2}}]
    assert client.plan_bulk({"name": "CPU"}, bulk).notes == (
        "no object that was found has the field 'wieght' in the answer; is it misspelt?",
    )
    assert client.plan_bulk({"name": "CPU"}, bulk).notes == ()


# Hypothesis

TEXT = st.text('ab07 .Ж\n\u202e\0"😀', max_size=4)  # all characters would take seconds to prepare
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
ATOMS = st.none() | st.booleans() | NUMBERS | TEXT | st.integers(-9, 9).map(str)
JSON = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
NAMES = TEXT.filter(
    lambda name: "." not in name and name[:1] != "$" and name not in ("id", "updated", "_version", "properties")
)
FIELDS = st.sampled_from(["weight", "tags", "parent_id", "class_id"]) | NAMES


@pytest.mark.slow
@given(JSON, JSON, FIELDS, st.sampled_from([None, "value", "type_id"]))
def test_comparing_is_reflexive_and_symmetric(one: Any, other: Any, name: str, part: str | None) -> None:
    wish = compare.Wanted(name, name, part, one)
    assert wish.equal(one, one)
    assert wish.equal(other, other)
    assert wish.equal(one, other) is wish.equal(other, one)
    assert wish.as_before(one, one, False)


CHANGES = st.lists(
    st.dictionaries(FIELDS, JSON, min_size=1, max_size=3).map(lambda fields: {"modify": fields})
    | st.fixed_dictionaries({"name": TEXT.filter(bool), "value": JSON}, optional={"type_id": st.integers(1, 200)}).map(
        lambda fields: {"properties.createOrModify": fields}
    ),
    min_size=1,
    max_size=3,
)
OBJECTS = st.lists(
    st.dictionaries(FIELDS, JSON, max_size=3).flatmap(
        lambda one: st.lists(st.tuples(TEXT.filter(bool), JSON), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: {**one, "properties": [{"name": name, "value": value, "type_id": 1} for name, value in pairs]}
        )
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[PracticeServer]:
    """To stop a server takes a tenth of a second."""
    with PracticeServer(LOGIN, PASSWORD, finishes_after=0) as one:
        yield one


def plan_twice(server: PracticeServer, found: list[dict[str, Any]], bulk: Any) -> None:
    try:
        wishes = compare.wanted(bulk)
    except ValueError:
        return
    with Client(server.host, LOGIN, PASSWORD) as client:
        server.objects.clear()
        before = len(server.starts)
        for number, one in enumerate(found):
            server.objects[f"{number}"] = {**one, "id": f"{number}"}
        plan = client.plan_bulk({}, bulk, every_object=True)
        assert plan.matched == len(found) == len(plan.changes) + len(plan.already)
        # A field that an object lacks cannot be told, and is there afterwards.
        assert client.apply_plan(plan, **FAST).ok
        assert client.verify_plan(plan, settle=0).ok
        again = client.plan_bulk({}, bulk, every_object=True)
        assert again.changes == ()
        assert len(server.starts) - before == (1 if plan.changes else 0)
    assert wishes


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(OBJECTS, CHANGES)
def test_a_plan_that_was_applied_leaves_nothing_to_do(
    shared: PracticeServer, found: list[dict[str, Any]], bulk: Any
) -> None:
    plan_twice(shared, found, bulk)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(OBJECTS, CHANGES)
def test_many_plans_that_were_applied_leave_nothing_to_do(
    shared: PracticeServer, found: list[dict[str, Any]], bulk: Any
) -> None:
    plan_twice(shared, found, bulk)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00001, "0.00001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (-2.5e-7, "-2.5e-7"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (5.0, "5"),
        (123.5, "123.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (10**22, "1e+22"),
        (12345678901234567890, "12345678901234567000"),
        (12345678901234567890, "12345678901234567890"),
        (10**400, str(10**400)),
        (True, "true"),
    ],
)
def test_a_number_as_javascript_writes_it(value: Any, text: str) -> None:
    (wish,) = compare.wanted([{"properties.createOrModify": {"name": "Room", "value": value}}])
    assert wish.is_met_by(text)
    assert not wish.is_met_by(text + "0")
