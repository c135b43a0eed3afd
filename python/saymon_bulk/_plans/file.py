"""A plan as a JSON document: one change a line, for `grep` and `diff`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from os import PathLike
from typing import Any, NoReturn, Protocol

from . import compare
from .changes import FieldChange, ObjectChange


class Plan(Protocol):
    """What the file holds of a `BulkPlan`."""

    @property
    def id(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def created(self) -> str: ...
    @property
    def search(self) -> dict[str, Any]: ...
    @property
    def bulk(self) -> list[dict[str, Any]]: ...
    @property
    def matched(self) -> int: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def changes(self) -> tuple[ObjectChange, ...]: ...
    @property
    def already(self) -> tuple[str, ...]: ...


_FORMAT = "saymon-bulk-plan"
_VERSION = 1


def to_dict(plan: Plan) -> dict[str, Any]:
    return {**_head(plan), "changes": [one.to_dict() for one in plan.changes], "already": list(plan.already)}


def _head(plan: Plan) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "id": plan.id,
        "host": plan.host,
        "created": plan.created,
        "search": plan.search,
        "bulk": plan.bulk,
        "matched": plan.matched,
        "notes": list(plan.notes),
    }


def save(plan: Plan, path: str | PathLike[str]) -> None:
    """Writes a new file beside the old one and puts it in its place. mkstemp lets the owner alone read it."""
    path = os.fspath(path)
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError(f"{path!r} is no regular file, so a plan cannot take its place")
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(_text(plan))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _text(plan: Plan) -> Any:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    yield "{\n"
    for name, value in _head(plan).items():
        yield f'  "{name}": {encode(value)},\n'
    yield '  "changes": ['
    for place, change in enumerate(plan.changes):
        yield f"{',' if place else ''}\n    {encode(change.to_dict())}"
    yield '\n  ],\n  "already": [' if plan.changes else '],\n  "already": ['
    for place, id in enumerate(plan.already):
        yield f"{',' if place else ''}\n    {encode(id)}"
    yield "\n  ]\n}\n" if plan.already else "]\n}\n"


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """The arguments of the plan that a file holds."""
    path = os.fspath(path)
    # A FIFO would block, and a device never end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path!r} is no regular file")
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path!r}, line {line}: not UTF-8") from None
    return _Reader(path, text).plan()


# A string, or a comma before a closing bracket, which stays when the last change's line is deleted.
_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])', re.DOTALL)


class _Reader:
    """Checks a document against what it says it does."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text

    def fail(self, what: str, line: int | None = None) -> NoReturn:
        raise ValueError(f"{self.path!r}{f', line {line}' if line else ''}: {what}") from None

    def plan(self) -> dict[str, Any]:
        try:
            try:
                document = _parsed(self.text)
            except json.JSONDecodeError:
                # A blank in the place of the comma: the lines stay where they are.
                document = _parsed(_TRAILING_COMMA.sub(lambda found: " " if found[0] == "," else found[0], self.text))
        except json.JSONDecodeError as error:
            self.fail(f"not JSON: {error.msg}", error.lineno)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON: {error}")
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            self.fail(f'no plan: it must be a JSON object with "format": "{_FORMAT}"')
        version = document.get("version")
        if version != _VERSION or isinstance(version, bool):
            self.fail(f"a plan of version {version!r}, and this package reads version {_VERSION}")
        kinds = {"id": str, "host": str, "created": str, "search": dict, "bulk": list, "matched": int, "changes": list}
        for name, kind in {**kinds, "already": list}.items():
            if not isinstance(document.get(name), kind) or isinstance(document[name], bool):
                self.fail(f"{name!r} must be {_KINDS[kind]}")
        return self._plan(document)

    def _plan(self, document: dict[str, Any]) -> dict[str, Any]:
        bulk = document["bulk"]
        if not bulk or not all(isinstance(change, dict) and change for change in bulk):
            self.fail("'bulk' must be an array of objects that are not empty")
        try:
            wishes = {wish.field: wish for wish in compare.wanted(bulk)}
        except ValueError as error:
            self.fail(str(error))
        seen: set[str] = set()
        already = []
        for place, id in enumerate(document["already"]):
            if not isinstance(id, str) or not id or id in seen:
                self.fail(f"'already': item {place} must be an id that is not in the plan before")
            seen.add(id)
            already.append(id)
        changes = []
        for place, change in enumerate(document["changes"]):
            try:
                changes.append(_change(change, wishes, seen))
            except ValueError as error:
                self.fail(f"'changes': item {place} {error}", self._line_of(place))
        names = ("id", "host", "search", "bulk", "created", "matched")
        head = {name: document[name] for name in names}
        notes = document.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            self.fail("'notes' must be an array of strings")
        return {**head, "changes": tuple(changes), "already": tuple(already), "notes": tuple(notes)}

    def _line_of(self, place: int) -> int | None:
        """The line of a change, if each has one, as in the files that are written here."""
        lines = self.text.splitlines()
        start = next((number for number, line in enumerate(lines) if line.lstrip().startswith('"changes"')), None)
        number = None if start is None else start + 1 + place
        is_own = number is not None and number < len(lines) and lines[number].lstrip().startswith("{")
        return number + 1 if is_own and number is not None else None


_KINDS = {str: "a string", dict: "an object", list: "an array", int: "an integer"}


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a value of JSON")


def _change(change: Any, wishes: Mapping[str, compare.Wanted], seen: set[str]) -> ObjectChange:
    if not isinstance(change, dict) or not isinstance(change.get("id"), str) or not change["id"]:
        raise ValueError("must be an object with an `id`")
    if change["id"] in seen:
        raise ValueError(f"names the object {change['id']!r} a second time")
    seen.add(change["id"])
    name, fields = change.get("name"), change.get("fields")
    if not (name is None or isinstance(name, str)) or not isinstance(fields, list):
        raise ValueError("must have a `name`, a string or null, and `fields`, an array")
    made = tuple(_field(one, wishes) for one in fields)
    if len({one.field for one in made}) != len(made):
        raise ValueError("has a field twice")
    return ObjectChange(change["id"], name, made)


def _field(one: Any, wishes: Mapping[str, compare.Wanted]) -> FieldChange:
    created = one.get("created", False) if isinstance(one, dict) else None
    if not isinstance(created, bool) or not {"field", "before", "after"} <= one.keys():
        raise ValueError("has a field without `field`, `before` and `after`")
    wish = wishes.get(one["field"]) if isinstance(one["field"], str) else None
    if wish is None:
        raise ValueError(f"changes {one['field']!r}, which `bulk` does not")
    if not wish.is_met_by(one["after"]):
        raise ValueError(f"gives {wish.field!r} another value than `bulk` does")
    if (created and one["before"] is not None) or (not created and wish.is_met_by(one["before"])):
        raise ValueError(f"says of {wish.field!r} that it is as asked before")
    return FieldChange(wish.field, one["before"], wish.value, created)
