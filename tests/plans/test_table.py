"""A plan and a report as text and as HTML: few lines, the counts last, nothing that a terminal obeys, no secret value."""

# ruff: noqa: RUF001

from __future__ import annotations

import dataclasses
import html
import re
from typing import Any

import pytest
from planning import ROOM, a_plan, client, park, server
from saymon_bulk import BulkPlan, BulkReport, Client, FieldChange, ObjectChange
from saymon_bulk._plans import table
from saymon_bulk.testing import PracticeServer

__all__ = ["client", "server"]

HIDDEN = "(hidden)"
BIDI = "\u202egnp.\u2066\u200f"
HOSTILE = ["a\nb", "a\r\nb", "\x1b[2J", "\x9b31m", "\0", "\x07", BIDI, "a\u2028b", "\x85", "\ud800", "\u200b", "\ufeff"]


def change(number: int, before: Any = "5", field: str = "properties.Room", after: Any = "7", **more: Any) -> ObjectChange:
    return ObjectChange(f"id{number}", f"CPU {number}", (FieldChange(field, before, after, **more),))


def a_table(*changes: ObjectChange, already: int = 0, notes: tuple[str, ...] = (), matched: int | None = None) -> BulkPlan:
    found = len(changes) + already if matched is None else matched
    ids = tuple(f"already{n}" for n in range(already))
    return BulkPlan("p", "http://h", {"a": 1}, ROOM, "2026-11-30T12:00:00Z", found, changes, ids, notes)


def lines(plan: BulkPlan, **style: Any) -> list[str]:
    return plan._lines(table.Style(**style))


def test_one_object() -> None:
    assert str(a_table(change(1))) == 'CPU 1 (id1)  Room: "5" → "7"\n1 object found, 1 to change, 0 already as asked'


def test_nothing_to_change() -> None:
    assert str(a_table(already=1234, notes=("x",))) == "note: x\n1,234 objects found, 0 to change, 1,234 already as asked"


def test_each_kind_of_line() -> None:
    plan = a_table(
        change(1, None, created=True),
        change(2, None, "weight", 7),
        ObjectChange("id3", None, (FieldChange("weight", 5, 7), FieldChange("properties.Room", [1, {"a": "ж"}], "7"))),
        ObjectChange("id4", "", ()),
        already=2,
        notes=("a note",),
        matched=8,
    )
    assert str(plan).split("\n") == [
        'CPU 1 (id1)  Room: absent → "7"',
        "CPU 2 (id2)  weight: null → 7",
        '(id3)  weight: 5 → 7; Room: [1, {"a": "ж"}] → "7"',
        " (id4)  cannot be told",
        "note: a note",
        "8 objects found, 4 to change, 2 already as asked, 2 left out by hand",
    ]


@pytest.mark.parametrize("count", [1, 9, 10])
def test_up_to_ten_objects_have_a_line_each(count: int) -> None:
    found = lines(a_table(*map(change, range(count))), rest="saymon-bulk show --all plan.json")
    assert found[:-1] == [f'CPU {n} (id{n})  Room: "5" → "7"' for n in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [11, 12, 20_000])
def test_more_objects_are_grouped(count: int) -> None:
    absent = count // 4
    changes = [change(n, None, created=True) if n < absent else change(n) for n in range(count)]
    plan = a_table(*changes)
    found = lines(plan, rest="saymon-bulk show --all plan.json")
    assert found[0] == f'Room: "5" → "7" in {count - absent:,} objects, absent → "7" in {_objects(absent)}'
    assert found[1:11] == [text.split("\n")[0] for text in map(str, (a_table(one) for one in changes[:10]))]
    assert found[11] == f"… and {count - 10:,} more (saymon-bulk show --all plan.json)"
    assert found[12:] == [f"{count:,} objects found, {count:,} to change, 0 already as asked"]
    everything = lines(plan, all_objects=True)
    assert len(everything) == count + 2
    assert everything[-1] == found[-1]
    assert str(plan).split("\n")[11] == f"… and {count - 10:,} more"


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def test_many_transitions() -> None:
    befores = ["a"] * 2 + ["b"] * 4 + ["c"] * 3 + ["d", "e", "f"]
    found = lines(a_table(*(change(n, before) for n, before in enumerate(befores)), ObjectChange("x", None)))
    assert (
        found[0] == 'Room: "b" → "7" in 4 objects, "c" → "7" in 3 objects, "a" → "7" in 2 objects, other values → "7" in 3'
    )
    assert found[1] == "cannot be told: 1 object"


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_groups_fit_a_terminal(columns: int) -> None:
    befores = ["a"] * 2 + ["b"] * 4 + ["c"] * 3 + ["d", "e", "f"]
    plan = a_table(*(change(n, before) for n, before in enumerate(befores)))
    found = plan._lines(table.Style(width=columns))
    assert all(len(line) <= columns for line in found[:-1])
    if columns == 80:
        assert found[:3] == ["Room:", '    "b" → "7" in 4 objects', '    "c" → "7" in 3 objects']


@pytest.mark.parametrize("count", [1, 12])
def test_a_field_and_a_property_of_one_name_are_two(count: int) -> None:
    both = (FieldChange("weight", 5, 7), FieldChange("properties.weight", "1", "2"))
    found = lines(a_table(*(ObjectChange(f"{n}", None, both) for n in range(count))))
    if count == 1:
        assert found[0] == '(0)  weight: 5 → 7; properties.weight: "1" → "2"'
    else:
        assert found[:2] == ["weight: 5 → 7 in 12 objects", 'properties.weight: "1" → "2" in 12 objects']


def test_two_long_names_are_two_fields() -> None:
    both = tuple(FieldChange("properties." + "x" * 50 + end, "1", "2") for end in "ab")
    found = lines(a_table(*(ObjectChange(f"{n}", None, both[n % 2 : n % 2 + 1]) for n in range(12))))
    assert [one.count("in 6 objects") for one in found[:2]] == [1, 1]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("count", [1, 12])
def test_nothing_is_printed_as_it_came(text: str, count: int) -> None:
    """In ids, names, values, names of properties and notes, of plans and of reports."""
    field = FieldChange(f"properties.{text}", text, f"{text}2")
    odd = tuple(ObjectChange(f"{text}{n}", text, (field,)) for n in range(count))
    plan = dataclasses.replace(a_table(*odd), notes=(text,), id=text, host=text)
    report = BulkReport((text,), odd, odd, ({"bulkId": text, "request_id": text, "objects": 1, "finished": False},))
    uncertain = BulkReport((), (), (), ({"bulkId": None, "request_id": text, "objects": 1, "finished": None},))
    for found in (lines(plan), lines(plan, all_objects=True), report._lines(table.Style()), uncertain._lines(table.Style())):
        assert all(line.isprintable() for line in found)
        assert not any(text in line for line in found)
    for shown in (repr(plan), repr(plan.changes), repr(field), repr(report)):
        assert shown.isprintable()
    for page in (plan._repr_html_(), report._repr_html_()):
        assert page.isprintable()
        assert text not in page


def test_html_is_escaped() -> None:
    evil = "<script>alert('1')</script>&\""
    odd = ObjectChange(evil, evil, (FieldChange(f"properties.{evil}", evil, evil),), "unchanged")
    starts = ({"bulkId": evil, "request_id": evil, "objects": 1, "finished": False},)
    many = (odd,) * 12
    for shown in (
        a_table(odd, notes=(evil,)),
        a_table(*many),
        BulkReport((evil,), (odd,), (odd,), starts),
        BulkReport((), many, (), starts * 12),
    ):
        page = shown._repr_html_()
        assert set(re.findall(r"<(\w+)", page)) <= {"div", "table", "thead", "tbody", "tr", "th", "td"}
        assert "'1'" not in page
        assert html.escape("<script>") in page


def test_html_has_the_whole_name() -> None:
    page = a_table(ObjectChange("a", "two  blanks  here", (FieldChange("weight", 5, 7),)))._repr_html_()
    assert "<td style='text-align:left'>two  blanks  here (a)</td><td style='text-align:left'>weight: 5 → 7</td>" in page


@pytest.mark.parametrize("count", [0, 1, 12, 20_000])
def test_html_is_short(count: int) -> None:
    plan = a_table(*map(change, range(count)))
    assert plan._repr_html_().count("<td") == 2 * min(count, 10)
    report = BulkReport((), plan.changes, ())
    assert report._repr_html_().count("<td") == 2 * min(count, 10)
    for page in (plan._repr_html_(), report._repr_html_()):
        assert (f"… and {count - 10:,} more" in page) is (count > 10)
        assert _objects(count) in page or f"{count:,} not as asked" in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 38, '"' + "x" * 38 + '"'),
        ("x" * 39, '"' + "x" * 38 + "…"),
        ("x" * 5000, '"' + "x" * 38 + "…"),
        ("ж" * 5000, '"' + "ж" * 38 + "…"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …"),
        (10**50, "1" + "0" * 38 + "…"),
    ],
    ids=range(6),
)
def test_values_are_cut(value: Any, shown: str) -> None:
    assert len(shown) <= 40
    assert lines(a_table(change(1, value, "weight", 7)))[0] == f"CPU 1 (id1)  weight: {shown} → 7"


def test_names_are_cut_and_ids_are_not() -> None:
    one = ObjectChange("i" * 60, "n" * 60, (FieldChange("properties." + "p" * 60, 1, 2),))
    assert lines(a_table(one))[0] == f"{'n' * 39}… ({'i' * 60})  {'p' * 39}…: 1 → 2"


SECRET_NAMES = [
    "PassWord", "passWord",
    "password", "Password", "PASSWORD", "passwords", "SNMP Community", "snmp_community", "snmpCommunity", "SNMPCommunity",
    "community", "API key", "APIKey", "apiKey", "api-key", "api_key", "apikey", "Key", "keys", "private.key", "key1",
    "Key #2", "token", "AccessToken", "access_token2", "secret", "client.secret", "clientSecret", "ClientSECRET",
    "password2", "dbpassword", "snmpcommunitystring", "Пароль", "пароль администратора", "ПАРОЛЬ", "Пароли", "ПарольSNMP",
    "секрет", "Секретный код", "токен", "Токены", "Ключ", "API-ключ", "ключи доступа", "Комьюнити", "Сообщество SNMP",
    "ｐａｓｓｗｏｒｄ", "pwd", "passwd", "Passphrase", "type\u202ekey",
]  # fmt: skip
OPEN_NAMES = [
    "Keyboard", "keyboard", "Monkey", "KeyboardLayout", "Room", "weight", "Tokenizer", "Secretary", "секретарь", "Turkey",
    "Monkeys", "Включено", "исключение", "hockey", "Комната", "", "7",
]  # fmt: skip


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize(
    ("name", "is_hidden"), [*((name, True) for name in SECRET_NAMES), *((name, False) for name in OPEN_NAMES)], ids=ascii
)
def test_hidden_values(name: str, is_hidden: bool, count: int) -> None:
    for field in (f"properties.{name}", name):
        changes = [change(n, "old-value", field, "new-value") for n in range(count)]
        plan, report = a_table(*changes), BulkReport((), tuple(changes), ())
        shown = ["\n".join(lines(plan)), plan._repr_html_(), "\n".join(report._lines(table.Style())), report._repr_html_()]
        for text in shown:
            assert ("old-value" in text) is ("new-value" in text) is not is_hidden
            assert (HIDDEN in text) is is_hidden
        everything = "\n".join([*lines(plan, show_values=True), *report._lines(table.Style(show_values=True))])
        assert "old-value" in everything
        assert HIDDEN not in everything


def test_absent_is_no_secret() -> None:
    assert lines(a_table(change(1, None, "properties.Password", "x", created=True)))[0] == (
        "CPU 1 (id1)  Password: absent → (hidden)"
    )


@pytest.mark.parametrize(
    ("value", "is_hidden"),
    [
        ([{"name": "Password", "value": "s3"}], True),
        ({"auth": {"apiToken": "s3"}}, True),
        ('{"password": "s3"}', True),
        (' [{"SNMP community": "s3"}]', True),
        ([{"name": "Keyboard", "value": "s3"}], False),
        ('{"color": "s3"}', False),
        ("a key, s3", False),
    ],
    ids=range(7),
)
def test_documents_that_hold_a_secret(value: Any, is_hidden: bool) -> None:
    (first, _) = lines(a_table(change(1, value, "client_data", 7)))
    assert ("s3" in first) is not is_hidden


@pytest.mark.parametrize("columns", [10, 20, 40, 80])
@pytest.mark.parametrize("name", ["CPU", "Сервер", "服务器" * 9, "e\u0301" * 30, "😀" * 20], ids=ascii)
@pytest.mark.parametrize("count", [1, 12])
def test_lines_fit_the_terminal(columns: int, name: str, count: int) -> None:
    changes = tuple(ObjectChange(f"{n:024x}", name, (FieldChange("properties.Room", name, "7"),)) for n in range(count))
    report = BulkReport((), changes, changes, ({"bulkId": name, "request_id": "r", "objects": 3, "finished": True},) * 2)
    for found in (lines(a_table(*changes), width=columns), report._lines(table.Style(width=columns))):
        # Of objects alone: counts and operations are broken by the terminal, and never cut.
        told = [line for line in found if name[:1] and not re.match(r"bulk operation |[\d,]+ objects? |… and ", line)]
        assert all(_columns(line) <= columns for line in told if "→" not in line or line.startswith("    "))
        assert not any(line.endswith("…") for line in found if line not in told)


def _columns(line: str) -> int:
    import unicodedata

    wide = {"W", "F"}
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in wide else 1 for one in line)


REASONS = [
    (ObjectChange("a", "CPU", (FieldChange("properties.Room", "5", "7"),), "unchanged"), 'Room is "5", not "7" (unchanged)'),
    (ObjectChange("a", "CPU", (FieldChange("weight", 6, 7),), "other-value"), "weight is 6, not 7 (another value)"),
    (
        ObjectChange("a", "CPU", (FieldChange("properties.Room", None, "7", True),), "unchanged"),
        'Room is absent, not "7" (unchanged)',
    ),
    (ObjectChange("a", "CPU", (), "gone"), "gone, or not visible to this login"),
    (ObjectChange("a", "CPU", (FieldChange("weight", 6, 7),), "gone"), "gone, or not visible to this login"),
    (ObjectChange("a", "CPU", (FieldChange("weight", 6, 7),), "not-sent"), "not sent"),
    (ObjectChange("a", "CPU", (), "not-sent"), "not sent"),
    (ObjectChange("a", "CPU", (), "not-in-answer"), "cannot be told: a field is not in the answer"),
    (ObjectChange("a", "CPU", ()), "not checked"),
    (ObjectChange("a", "CPU", (), "other-value"), "cannot be told: a field is not in the answer"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "text"), REASONS, ids=range(len(REASONS)))
def test_the_lines_of_a_report(one: ObjectChange, text: str) -> None:
    assert BulkReport((), (one,), ())._lines(table.Style())[0] == f"CPU (a)  {text}"


def test_what_was_not_checked_is_counted_apart() -> None:
    untold, unchecked = ObjectChange("a", None, (), "not-in-answer"), ObjectChange("b", None)
    ends = [str(BulkReport((), (), unknown)).split("\n")[-1] for unknown in ((untold,), (unchecked,), (untold, unchecked))]
    assert ends == [
        "0 objects as asked, 0 not as asked, 1 cannot be told",
        "0 objects as asked, 0 not as asked, 0 cannot be told, 1 not checked",
        "0 objects as asked, 0 not as asked, 1 cannot be told, 1 not checked",
    ]


@pytest.mark.parametrize("count", [1, 12, 20_000])
def test_a_report_of_many(count: int) -> None:
    changes = tuple(ObjectChange(f"{n}", None, (), "gone") for n in range(count))
    found = str(BulkReport(tuple(map(str, range(count))), changes, changes)).split("\n")
    assert found[-1] == f"{_objects(count)} as asked, {count:,} not as asked yet, {count:,} cannot be told"
    assert len(found) == 2 * (min(count, 10) + (count > 10)) + 1
    assert found.count(f"… and {count - 10:,} more") == (2 if count > 10 else 0)
    style = table.Style(all_objects=True, rest="unused")
    assert len(BulkReport((), changes, changes)._lines(style)) == 2 * count + 1


@pytest.mark.parametrize(
    ("finished", "yet"), [((), " yet"), ((True,), ""), ((True, False), " yet"), ((True, None), " yet"), ((True, True), "")]
)
def test_not_as_asked_yet(finished: tuple[bool | None, ...], yet: str) -> None:
    starts = tuple(
        {"bulkId": None if one is None else "b", "request_id": "r", "objects": 1, "finished": one} for one in finished
    )
    assert f"1 not as asked{yet}, " in str(BulkReport((), (REASONS[0][0],), (), starts))


@pytest.mark.parametrize("count", [1, 10, 11, 5000])
def test_the_starts_of_a_report(count: int) -> None:
    """What is open comes first."""
    starts = [{"bulkId": f"b{n}", "request_id": f"r{n}", "objects": 1, "finished": True} for n in range(count - 1)]
    starts.append({"bulkId": None, "request_id": "r", "objects": 2, "finished": None})
    found = str(BulkReport((), (), (), tuple(starts))).split("\n")
    assert "perhaps started: X-Request-Id r, 2 objects" in found
    assert len(found) == min(count, 10) + (count > 10) + 1
    if count > 10:
        assert found[0].startswith("perhaps started")
        assert found[10] == f"… and {count - 10:,} more operations"


@pytest.mark.parametrize("count", [1, 12, 20_000])
def test_objects_with_russian_names(server: PracticeServer, client: Client, count: int) -> None:
    server.objects.update(park(count))
    for one in server.objects.values():
        one["name"] = "CPU Стойка «7»"
        one["properties"][0]["name"] = "Помещение"
    plan = client.plan_bulk({}, [{"properties.createOrModify": {"name": "Помещение", "value": "7"}}], every_object=True)
    found = str(plan).split("\n")
    assert found[-2 if count == 1 else 1] == f'CPU Стойка «7» ({0:024x})  Помещение: "5" → "7"'
    assert found[-1] == f"{_objects(count)} found, {count:,} to change, 0 already as asked"
    assert a_plan(client, [{"properties.createOrModify": {"name": "Помещение", "value": "5"}}]).changes == ()
