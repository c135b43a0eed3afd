"""Plans and reports as values, and the file of a plan: what is saved is what is loaded, and no other edit slips in."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from clean import texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import LOGIN, PASSWORD
from planning import ROOM, SECRET, WEIGHT, a_plan, an_object, client, park, server
from processes import POSIX
from saymon_bulk import BulkPlan, BulkReport, Client, FieldChange, ObjectChange
from saymon_bulk._plans import compare
from saymon_bulk.testing import PracticeServer

__all__ = ["client", "server"]

FIELD = FieldChange("properties.Room", SECRET, "7")
CHANGES = (
    ObjectChange("a1", "CPU", (FIELD,)),
    ObjectChange("a2", None, (FieldChange("properties.Room", None, "7", True), FieldChange("weight", [1, {"x": None}], 7))),
    ObjectChange("a3", "Сервер“7”\n\u2028\x85", ()),
)
PLAN = BulkPlan(
    id="b57d1f0c",
    host="https://monitor.example.com",
    search={"name": {"$in": ["CPU"]}},
    bulk=[*ROOM, *WEIGHT],
    created="2026-11-30T12:00:00Z",
    matched=6,
    changes=CHANGES,
    already=("a4", "a5"),
    notes=("a note",),
)
REPORT = BulkReport(
    as_asked=("a1",),
    not_as_asked=(ObjectChange("a2", "CPU", (FIELD,), "unchanged"),),
    unknown=(ObjectChange("a3", None, (), "not-in-answer"),),
    starts=({"bulkId": "b", "request_id": "r", "objects": 3, "finished": True},),
)
VALUES = [PLAN, REPORT, CHANGES[1], FIELD]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values(value: Any) -> None:
    for made in (
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
        dataclasses.replace(value),
    ):
        assert made == value
        assert type(made) is type(value)
    assert value != object()
    assert value != dataclasses.replace(value, **{dataclasses.fields(value)[0].name: ("another",)})
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
    assert json.loads(json.dumps(value.to_dict())) == value.to_dict()
    assert SECRET not in repr(value)
    assert repr(value).startswith(f"<saymon_bulk.{type(value).__name__}")
    assert getattr(saymon_bulk, type(value).__name__) is type(value)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_dicts_are_copies(value: Any) -> None:
    before = copy.deepcopy(value)

    def spoil(found: Any) -> None:
        for inner in list(found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()):
            spoil(inner)
        if isinstance(found, (dict, list)):
            found.clear()

    spoil(value.to_dict())
    assert value == before


def test_a_plan_copies_its_arguments(server: PracticeServer, client: Client) -> None:
    server.objects.update(park(1))
    search: dict[str, Any] = {"name": {"$in": ["CPU 0"]}}
    bulk: list[Any] = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
    plan = client.plan_bulk(search, bulk)
    search["name"]["$in"].append("x")
    bulk[0]["properties.createOrModify"]["value"] = "8"
    assert plan.search == {"name": {"$in": ["CPU 0"]}}
    assert plan.bulk == ROOM
    assert isinstance(plan.changes, tuple)
    assert isinstance(plan.already, tuple)
    assert plan.created.endswith("Z")
    assert plan.host == client.host


def test_to_dict() -> None:
    assert PLAN.to_dict()["changes"][0] == {
        "id": "a1",
        "name": "CPU",
        "fields": [{"field": "properties.Room", "before": SECRET, "after": "7"}],
    }
    assert PLAN.to_dict()["changes"][1]["fields"][0]["created"] is True
    assert REPORT.to_dict() == {
        "ok": False,
        "as_asked": ["a1"],
        "not_as_asked": [ObjectChange("a2", "CPU", (FIELD,), "unchanged").to_dict()],
        "unknown": [{"id": "a3", "name": None, "fields": [], "reason": "not-in-answer"}],
        "starts": [{"bulkId": "b", "request_id": "r", "objects": 3, "finished": True}],
    }


@pytest.mark.parametrize(
    ("not_as_asked", "unknown", "ok"),
    [((), (), True), (CHANGES, (), False), ((), CHANGES, False), (CHANGES, CHANGES, False)],
)
def test_ok(not_as_asked: Any, unknown: Any, ok: bool) -> None:
    assert BulkReport((), not_as_asked, unknown).ok is ok


def test_the_package_imports_none_of_it() -> None:
    code = "import sys, saymon_bulk; print([name for name in sys.modules if 'saymon_bulk._plans' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# The file


def test_one_change_a_line(path: Path) -> None:
    PLAN.save(path)
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    assert [sum(f'"id": "{id}"' in one for one in lines) for id in ("a1", "a2", "a3")] == [1, 1, 1]
    assert not any('"a1"' in one and '"a2"' in one for one in lines)
    for one in lines:
        if '"id": "a' in one:
            assert json.loads(one.rstrip(","))["name"] in ("CPU", None, CHANGES[2].name)
    assert json.loads(text) == PLAN.to_dict()
    assert json.loads(text)["format"] == "saymon-bulk-plan"
    assert json.loads(text)["version"] == 1
    assert text.endswith("}\n")
    for secret in (LOGIN, PASSWORD, "Basic", "uthorization"):
        assert secret not in text
    if POSIX:
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        dataclasses.replace(PLAN, changes=()),
        dataclasses.replace(PLAN, already=()),
        dataclasses.replace(PLAN, changes=(), already=(), notes=()),
        dataclasses.replace(PLAN, search={}, matched=5),
    ],
    ids=range(5),
)
def test_what_is_saved_is_what_is_loaded(path: Path, plan: BulkPlan) -> None:
    plan.save(path)
    assert BulkPlan.load(path) == BulkPlan.load(str(path)) == plan
    assert type(BulkPlan.load(path)) is BulkPlan


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab7\n\0\"\\,]}{[:\u2028\u202e😀", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab,]", max_size=2), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
IDS = st.text('abЖ\n",]}\\\u2028😀', min_size=1, max_size=6)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(IDS, st.none() | IDS, JSON), max_size=5, unique_by=lambda one: one[0]), JSON)
def test_any_plan_comes_back(tmp_path: Path, found: list[tuple[str, str | None, Any]], after: Any) -> None:
    (wish,) = compare.wanted([{"modify": {"x": after}}])
    changes = tuple(
        ObjectChange(id, name, () if wish.is_met_by(before) else (FieldChange("x", before, after),))
        for id, name, before in found
    )
    plan = dataclasses.replace(PLAN, bulk=[{"modify": {"x": after}}], changes=changes, already=(), matched=len(found))
    plan.save(tmp_path / "plan")
    loaded = BulkPlan.load(tmp_path / "plan")
    assert loaded == plan
    assert json.dumps(loaded.to_dict()) == json.dumps(plan.to_dict())
    # Any line of a change may go.
    lines = (tmp_path / "plan").read_text(encoding="utf-8").split("\n")
    first = next(number for number, line in enumerate(lines) if '"changes": [' in line) + 1
    for place in range(len(changes)):
        (tmp_path / "plan").write_text("\n".join(lines[: first + place] + lines[first + place + 1 :]), encoding="utf-8")
        assert BulkPlan.load(tmp_path / "plan").changes == changes[:place] + changes[place + 1 :]


@pytest.mark.parametrize(
    "gone", [{"a1"}, {"a2"}, {"a3"}, {"a1", "a3"}, {"a2", "a3"}, {"a1", "a2", "a3"}, {"a4"}, {"a5"}], ids=sorted
)
def test_a_deleted_line_leaves_the_object_out(path: Path, gone: set[str]) -> None:
    PLAN.save(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    is_left = [not any(f'"{id}"' in line for id in gone) for line in lines]
    deleted = [line for line, left in zip(lines, is_left) if left]
    emptied = [line if left else "" for line, left in zip(lines, is_left)]
    for edited in (deleted, emptied):
        path.write_text("\n".join(edited), encoding="utf-8")
        plan = BulkPlan.load(path)
        assert [one.id for one in plan.changes] == [one.id for one in PLAN.changes if one.id not in gone]
        assert list(plan.already) == [id for id in PLAN.already if id not in gone]
        assert plan.id == PLAN.id
        assert f"{1 + len(gone)} left out by hand" in str(plan)


@pytest.mark.parametrize(
    "layout",
    [
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps(json.loads(text), indent=7, sort_keys=True),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\n\n" + text + " \n",
        lambda text: text.replace('"version": 1,', '"version": 1, "more": {"a": [1]},'),
        lambda text: text.replace('"id": "a1",', '"id": "a1", "reason": "unchanged",'),
        lambda text: text.replace(']\n}', '],\n}'),
        lambda text: text.replace('"after": "7"', '"after": 7'),
    ],
    ids=range(9),
)  # fmt: skip
def test_any_layout_is_read(path: Path, layout: Callable[[str], str]) -> None:
    PLAN.save(path)
    text = path.read_text(encoding="utf-8")
    changed = layout(text)
    assert changed != text
    path.write_bytes(changed.encode())
    assert BulkPlan.load(path) == PLAN


def swapped(old: str, new: str, count: int = -1) -> Callable[[str], str]:
    def swap(text: str) -> str:
        assert old in text
        return text.replace(old, new, count)

    return swap


# (edit, words, whether the line is known)
EDITS: list[tuple[Callable[[str], str], str, bool]] = [
    (swapped('"after": "7"', '"after": "8"', 1), "another value than `bulk` does", True),
    (swapped('"value": "7"', '"value": "8"'), "another value than `bulk` does", True),
    (swapped('"before": [1, {"x": null}]', '"before": 7'), "that is as `bulk` asks", True),
    (swapped(f'"before": "{SECRET}"', '"before": "7"'), "that is as `bulk` asks", True),
    (swapped('"field": "weight"', '"field": "height"'), "which `bulk` does not", True),
    (swapped('"field": "weight"', '"field": "properties.Room"'), "another value|twice", True),
    (swapped('"field": "weight"', '"field": ["weight"]'), "which `bulk` does not", True),
    (swapped('"created": true', '"created": 1'), "without `field`", True),
    (
        swapped('"before": null, "after": "7", "created": true', '"before": "1", "after": "7", "created": true'),
        "that is as `bulk` asks",
        True,
    ),
    (swapped('"after": 7', '"then": 7'), "without `field`", True),
    (swapped('"id": "a2"', '"id": "a1"'), "a second time", True),
    (swapped('"id": "a2"', '"id": "a4"'), "a second time", True),
    (swapped('"id": "a2"', '"id": ""'), "must be an object with an `id`", True),
    (swapped('"id": "a2"', '"id": 7'), "must be an object with an `id`", True),
    (swapped('"name": null', '"name": 7'), "must have a `name`", True),
    (swapped('"fields": []', '"fields": {}'), "must have a `name`", True),
    (swapped('{"id": "a3"', '7, {"id": "a3"'), "must be an object", False),
    (swapped('"matched": 6', '"matched": 4'), "'matched' is 4, and the plan names 5", True),
    (swapped('"matched": 6', '"matched": true'), "'matched' must be an integer", False),
    (swapped('"matched": 6', '"matched": 6.0'), "'matched' must be an integer", False),
    (swapped('"id": "b57d1f0c"', '"id": 7'), "'id' must be a string", False),
    (swapped('"host": "https://monitor.example.com"', '"host": null'), "'host' must be a string", False),
    (swapped('"already": [', '"already": ["a4",'), "no id may stand in the plan twice", False),
    (swapped('"notes": ["a note"]', '"notes": [1]'), "'notes' must be an array", False),
    (swapped('"modify"', '"stateTriggers"'), "start_bulk takes it", True),
    (swapped('"bulk": [', '"bulk": [{},'), "not empty", True),
    (swapped('"bulk": [', '"bulk": [7,'), "not empty", True),
    (swapped('{"weight": 7}', "{}"), "not empty", True),
    (swapped('"format": "saymon-bulk-plan"', '"format": "another"'), "no plan", False),
    (swapped('"version": 1', '"version": 2'), "a plan of version 2", False),
    (swapped('"version": 1', '"version": true'), "a plan of version True", False),
    (swapped('"version": 1', '"version": "1"'), "a plan of version '1'", False),
    (swapped('"name": "CPU"', '"name": "CPU", "name": "Disk"'), "a name twice", True),
    (swapped('"value": "7"', '"value": "7", "value": "7"'), "a name twice", True),
    (swapped('"matched": 6', '"matched": 6, "matched": 6'), "a name twice", False),
    (swapped('"before": [1,', '"before": [NaN,'), "NaN is not a value", True),
    (swapped('"before": [1,', '"before": [-Infinity,'), "-Infinity is not a value", True),
    (swapped('"before": [1,', '"before": [1e999,'), "too large a number", True),
    (swapped('"before": [1,', '"before": [' + "9" * 5000 + ","), "not JSON", True),
    (swapped('"before": [1,', '"before": [' + "[" * 100_000 + ","), "not JSON", False),
    (swapped('"id": "a1"', '"id": "\\ud800"'), "half of a character", True),
    (swapped('"id": "a1",', '"id": "a1"'), "not JSON", True),
    (swapped('"id": "a1",', '"id": "a1",,'), "not JSON", True),
    (lambda text: text + "{}", "not JSON", True),
    (lambda text: text[: len(text) // 2], "not JSON", True),
    (lambda text: text[:-3], "not JSON", True),
    (lambda text: "", "not JSON", True),
    (lambda text: "[]", "no plan", False),
    (lambda text: "null", "no plan", False),
]


@pytest.mark.parametrize(("edit", "words", "has_line"), EDITS, ids=range(len(EDITS)))
def test_an_edit_that_does_not_fit(path: Path, edit: Callable[[str], str], words: str, has_line: bool) -> None:
    PLAN.save(path)
    text = path.read_text(encoding="utf-8")
    path.write_bytes(edit(text).encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=words) as caught:
        BulkPlan.load(path)
    message = str(caught.value)
    assert message.startswith(repr(str(path)))
    assert len(message) < 400
    if has_line:
        number = int(message.partition(", line ")[2].partition(":")[0])
        before, after = text.split("\n"), edit(text).split("\n")
        changed = next((n for n, pair in enumerate(zip(before, after), 1) if pair[0] != pair[1]), len(after))
        # Where `bulk` itself was changed, the first change that does not fit any more is named.
        assert number == changed or ("bulk" in before[changed - 1] and number > changed)
    for where, told in texts(caught.value):
        assert where.startswith("a local of") or SECRET not in told


def test_lines_are_counted_by_line_ends_alone(path: Path) -> None:
    """A name with other separators of lines, or an emptied line, moves no number."""
    plan = dataclasses.replace(PLAN, changes=(CHANGES[2], *CHANGES[:2]), notes=("a\u2028b\x0bc\x85",))
    plan.save(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    wrong = next(number for number, line in enumerate(lines, 1) if '"a2"' in line)
    lines[wrong - 1] = lines[wrong - 1].replace('"after": "7"', '"after": "8"')
    path.write_bytes("\n".join(lines).encode())
    with pytest.raises(ValueError, match=f"line {wrong}: "):
        BulkPlan.load(path)
    lines[wrong - 2] = ""
    path.write_bytes("\n".join(lines).encode())
    with pytest.raises(ValueError, match=f"line {wrong}: "):
        BulkPlan.load(path)


def test_cut_off_anywhere(path: Path) -> None:
    PLAN.save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole.rstrip()), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"plan\.json"):
            BulkPlan.load(path)


def test_what_is_no_file_of_a_plan(path: Path, tmp_path: Path) -> None:
    path.write_bytes('{"a":\n\n"Ж"}'.encode("koi8-r"))
    with pytest.raises(ValueError, match="line 3: not UTF-8"):
        BulkPlan.load(path)
    path.write_bytes("{}".encode("utf-16"))
    with pytest.raises(ValueError, match="not UTF-8"):
        BulkPlan.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        BulkPlan.load(tmp_path / "nowhere")
    with pytest.raises((ValueError, OSError), match=r"regular file|denied"):
        BulkPlan.load(tmp_path)
    if POSIX:
        os.mkfifo(tmp_path / "fifo")
        for special in (tmp_path / "fifo", "/dev/zero", "/dev/null"):
            with pytest.raises(ValueError, match="no regular file"):
                BulkPlan.load(special)
        path.chmod(0)
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                BulkPlan.load(path)
        with (tmp_path / "huge").open("wb") as huge:
            huge.truncate(2**40)
        with pytest.raises(ValueError, match="larger than a plan"):
            BulkPlan.load(tmp_path / "huge")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of descriptors")
def test_no_descriptor_is_left_open(path: Path, tmp_path: Path) -> None:
    PLAN.save(path)
    (tmp_path / "odd").write_bytes(b"\xff")
    before = os.listdir("/proc/self/fd")
    for wrong in (tmp_path, tmp_path / "odd", "/dev/null", tmp_path / "nowhere"):
        with pytest.raises((ValueError, OSError)):
            BulkPlan.load(wrong)
    assert BulkPlan.load(path) == PLAN
    with pytest.raises((ValueError, OSError)):
        PLAN.save(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_a_save_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        dataclasses.replace(PLAN, changes=(ObjectChange("a", None, (FieldChange("x", float("nan"), 1),)),)).save(path)
    with pytest.raises(UnicodeEncodeError):
        dataclasses.replace(PLAN, id="\ud800").save(path)
    resource = pytest.importorskip("resource")
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            PLAN.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]
    PLAN.save(path)
    assert BulkPlan.load(path) == PLAN
    assert os.listdir(path.parent) == [path.name]


def test_where_a_plan_can_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plan.json", "-", "x" * 255, "план", "a\nb"):
        PLAN.save(name)
        assert BulkPlan.load(name) == PLAN
    for name in ("nowhere/plan", ""):
        with pytest.raises(OSError, match=r"nowhere|No such"):
            PLAN.save(name)
    if POSIX:
        os.mkfifo("fifo")
        for name in ("fifo", "/dev/null"):
            with pytest.raises(ValueError, match="no regular file"):
                PLAN.save(name)
        (tmp_path / "open").touch(0o666)
        PLAN.save("open")
        assert (tmp_path / "open").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("count", [5000, 20_000])
def test_large_plans(path: Path, count: int) -> None:
    found = tuple(ObjectChange(f"{n:024x}", f"CPU {n}", (FIELD,)) for n in range(count))
    plan = dataclasses.replace(PLAN, changes=found, already=(), matched=count)
    plan.save(path)
    assert BulkPlan.load(path) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    lines = path.read_text(encoding="utf-8").split("\n")
    wrong = len(lines) // 2
    lines[wrong] = lines[wrong].replace('"after": "7"', '"after": "8"')
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=f"line {wrong + 1}: "):
        BulkPlan.load(path)


def test_the_objects_of_a_plan_are_in_the_order_of_the_server(server: PracticeServer, client: Client) -> None:
    for number in (3, 1, 2):
        server.objects[f"{number}"] = an_object(number) | {"id": f"{number}"}
    assert [one.id for one in a_plan(client).changes] == ["3", "1", "2"]


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need a permission")
def test_a_saved_plan_keeps_a_link(tmp_path: Path) -> None:
    """Its journal stands beside the target, and must stay that of the next plan."""
    (tmp_path / "plans").mkdir()
    link, target = tmp_path / "latest.json", tmp_path / "plans" / "rooms.json"
    for is_there in (False, True):
        if not is_there:
            link.symlink_to(target)
        PLAN.save(link)
        assert link.is_symlink()
        assert BulkPlan.load(target) == PLAN
        assert [one.name for one in tmp_path.iterdir()] in (["latest.json", "plans"], ["plans", "latest.json"])


@pytest.mark.clock
def test_a_file_that_is_cut_in_a_long_string_is_read_at_once(tmp_path: Path) -> None:
    text = '{"format": "saymon-bulk-plan", "x": "' + '\\"a\\":1,' * 100_000
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(ValueError, match="not JSON"):
        BulkPlan.load(tmp_path / "plan.json")
    assert time.monotonic() - began < 5
