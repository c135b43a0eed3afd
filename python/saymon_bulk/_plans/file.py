"""A plan as a JSON document: one change a line, for `grep` and `diff`."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from math import isinf
from os import PathLike
from typing import IO, Any, NoReturn

from .._text import cut
from . import compare
from .compare import FieldChange, ObjectChange

FORMAT = "saymon-bulk-plan"
VERSION = 1


def target(path: str) -> str:
    """Where the plan and its journal stand, by whichever link the plan is named."""
    return os.path.realpath(path) if os.path.islink(path) else path


def is_at(path: str, stream: IO[Any] | None) -> bool:
    """Whether an open stream is that of the file which stands there now."""
    try:
        return stream is not None and os.path.samestat(os.stat(path), os.fstat(stream.fileno()))
    except (OSError, ValueError):
        return False


def save(
    path: str | PathLike[str], head: Mapping[str, Any], changes: Sequence[ObjectChange], already: Sequence[str]
) -> None:
    """Writes a new file beside the old one and puts it in its place. mkstemp lets the owner alone read it."""
    path = target(os.fspath(path))
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError(f"{path!r} is no regular file, so a plan cannot take its place")
    # A name of its own: the one of the plan may be as long as a name can be.
    descriptor, temporary = tempfile.mkstemp(prefix=".saymon-bulk-", dir=os.path.dirname(path) or ".")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(_text(head, changes, already))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _text(head: Mapping[str, Any], changes: Sequence[ObjectChange], already: Sequence[str]) -> Any:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    yield "{\n"
    for name, value in head.items():
        yield f'  "{name}": {encode(value)},\n'
    yield '  "changes": ['
    for place, change in enumerate(changes):
        yield f"{',' if place else ''}\n    {encode(change.to_dict())}"
    yield '\n  ],\n  "already": [' if changes else '],\n  "already": ['
    for place, id in enumerate(already):
        yield f"{',' if place else ''}\n    {encode(id)}"
    yield "\n  ]\n}\n" if already else "]\n}\n"


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """The arguments of the plan that a file holds."""
    path = os.fspath(path)
    # A FIFO would block, and a device never end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path!r} is no regular file")
        if status.st_size > _MAX_BYTES:
            raise ValueError(f"{path!r} is larger than a plan can be")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read()
    finally:
        os.close(descriptor)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    else:
        return _Document(path, text).plan()
    raise ValueError(f"{path!r}, line {line}: not UTF-8")


# As large as the largest answer to a search.
_MAX_BYTES = 2**30

# A string, open at the end of a cut file. Or a comma before a closing bracket: it stays when the last change is deleted.
_TRAILING_COMMA = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|,(?=\s*[\]}])', re.DOTALL)

# Half of a character outside of the first 65,536, alone perhaps.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Document:
    """Checks a document against what it says it does."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text

    def fail(self, what: str, line: int | None = None) -> NoReturn:
        raise ValueError(f"{self.path!r}{f', line {line}' if line else ''}: {what}") from None

    def plan(self) -> dict[str, Any]:
        document, error = _parsed(self.text)
        if isinstance(error, json.JSONDecodeError):
            # A blank in the place of the comma: the lines stay where they are.
            text = _TRAILING_COMMA.sub(lambda found: " " if found[0] == "," else found[0], self.text)
            document, error = _parsed(text)
        if isinstance(error, json.JSONDecodeError):
            self.fail(f"not JSON: {error.msg}", error.lineno)
        if error is not None:
            self.fail(f"not JSON: {error}", self._line_with_the_error())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            self.fail(f'no plan: it must be a JSON object with "format": "{FORMAT}"')
        version = document.get("version")
        if version != VERSION or isinstance(version, bool):
            self.fail(f"a plan of version {cut(repr(version))}, and this package reads version {VERSION}")
        kinds = {"id": str, "host": str, "created": str, "search": dict, "bulk": list, "matched": int, "changes": list}
        for name, kind in {**kinds, "already": list}.items():
            if not isinstance(document.get(name), kind) or isinstance(document[name], bool):
                self.fail(f"{name!r} must be {_KINDS[kind]}")
        if not document["id"]:
            self.fail("'id' must not be empty")
        try:
            return self._plan(document)
        except RecursionError:
            self.fail("nested too deeply")

    def _plan(self, document: dict[str, Any]) -> dict[str, Any]:
        bulk = document["bulk"]
        if not bulk or not all(isinstance(change, dict) and change for change in bulk):
            self.fail("'bulk' must be an array of objects that are not empty", self._line_of_name("bulk"))
        try:
            wishes = {wish.field: wish for wish in compare.wanted(bulk)}
        except ValueError as error:
            self.fail(str(error), self._line_of_name("bulk"))
        seen: set[str] = set()
        for place, id in enumerate(document["already"]):
            if not isinstance(id, str) or not id or id in seen:
                self.fail(f"'already': item {place} must be an id, and no id may stand in the plan twice")
            seen.add(id)
        changes = []
        for place, change in enumerate(document["changes"]):
            try:
                changes.append(_change(change, wishes, seen))
            except ValueError as error:
                self.fail(f"'changes': item {place} {error}", self._line_of(place, len(document["changes"])))
        if len(seen) > document["matched"]:
            what = f"'matched' is {document['matched']}, and the plan names {len(seen)} objects"
            self.fail(what, self._line_of_name("matched"))
        notes = document.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            self.fail("'notes' must be an array of strings")
        head = {name: document[name] for name in ("id", "host", "search", "bulk", "created", "matched")}
        return {**head, "changes": tuple(changes), "already": tuple(document["already"]), "notes": tuple(notes)}

    # The lines, where they are laid out as in the files that are written here. Line ends inside of strings are none.

    def _line_of_name(self, name: str) -> int | None:
        lines = self.text.split("\n")
        return next((number for number, line in enumerate(lines, 1) if line.lstrip().startswith(f'"{name}"')), None)

    def _line_of(self, place: int, count: int) -> int | None:
        start = self._line_of_name("changes")
        found = []
        for number, line in enumerate(self.text.split("\n")[start or 0 :], (start or 0) + 1):
            if line.lstrip().startswith("]"):
                break
            if line.strip():
                found.append(number)
        return found[place] if start is not None and len(found) == count else None

    def _line_with_the_error(self) -> int | None:
        for number, line in enumerate(self.text.split("\n"), 1):
            for text in (line.rstrip().rstrip(","), "{" + line.rstrip().rstrip(",") + "}"):
                error = _parsed(text)[1]
                if error is not None and not isinstance(error, json.JSONDecodeError):
                    return number
        return None


def _parsed(text: str) -> tuple[Any, Exception | None]:
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None, ValueError("a string has half of a character")
    except (ValueError, RecursionError) as error:
        return None, error
    return value, None


_KINDS = {str: "a string", dict: "an object", list: "an array", int: "an integer"}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a value of JSON")


def _finite(number: str) -> float:
    if isinf(value := float(number)):
        raise ValueError(f"{cut(number)} is too large a number")
    return value


def _change(change: Any, wishes: Mapping[str, compare.Wanted], seen: set[str]) -> ObjectChange:
    if not isinstance(change, dict) or not isinstance(change.get("id"), str) or not change["id"]:
        raise ValueError("must be an object with an `id`")
    if change["id"] in seen:
        raise ValueError(f"names the object {cut(repr(change['id']))} a second time")
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
        raise ValueError(f"changes {cut(repr(one['field']))}, which `bulk` does not")
    if not wish.is_met_by(one["after"]):
        raise ValueError(f"gives {wish.field!r} another value than `bulk` does")
    if (created and one["before"] is not None) or (not created and wish.is_met_by(one["before"])):
        raise ValueError(f"has a 'before' of {wish.field!r} that is as `bulk` asks")
    # A copy: who changes one field changes no other, and not the bulk.
    return FieldChange(wish.field, one["before"], copy.deepcopy(wish.value), created)
