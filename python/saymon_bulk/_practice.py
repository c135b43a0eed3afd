"""The objects of the practice server: which a search finds, and what a bulk operation does to one.

After the vendor's pages "Search Objects", "Run Bulk Operation for Objects", "Object" and "Property". A ValueError says what
is not as documented.
"""

from __future__ import annotations

import copy
import operator
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Callable

Object = dict[str, Any]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


def matcher(search: Mapping[str, Any]) -> Callable[[Object], bool]:
    """Whether an object fits all criteria of a search."""
    tests = [(field, _test(f"search[{field!r}]", criterion)) for field, criterion in search.items()]
    return lambda one: all(test(one.get(field)) for field, test in tests)


def _test(place: str, criterion: Any) -> Callable[[Any], bool]:
    if not isinstance(criterion, dict) or not any(name.startswith("$") for name in criterion):
        return lambda value: value == criterion or (isinstance(value, list) and criterion in value)
    tests = []
    for name, wanted in criterion.items():
        if name == "$options":
            if "$regex" not in criterion:
                raise ValueError(f"{place} has $options without $regex")
        elif name == "$regex":
            tests.append(_regex(place, wanted, criterion.get("$options", "")))
        elif name == "$in":
            tests.append(_any_of(place, wanted))
        elif name == "$elemMatch":
            tests.append(_element(place, wanted))
        elif name in _ORDER:
            tests.append(_compared(_ORDER[name], wanted))
        else:
            raise ValueError(f"{place} has the unknown modifier {name}")
    return lambda value: all(test(value) for test in tests)


def _items(value: Any) -> list[Any]:
    """A criterion fits a list if it fits an item."""
    return value if isinstance(value, list) else [value]


def _regex(place: str, pattern: Any, options: Any) -> Callable[[Any], bool]:
    if not isinstance(pattern, str) or not isinstance(options, str) or not set(options) <= set(_FLAGS):
        raise ValueError(f"{place}: $regex must be a string, and $options letters of {''.join(_FLAGS)}")
    flags = 0
    for letter in options:
        flags |= _FLAGS[letter]
    try:
        compiled = re.compile(pattern, flags)
    except re.error as error:
        raise ValueError(f"{place}: $regex: {error}") from None
    return lambda value: any(isinstance(item, str) and compiled.search(item) is not None for item in _items(value))


def _any_of(place: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, list):
        raise ValueError(f"{place}: $in must be an array")
    texts = {item for item in wanted if isinstance(item, str)}  # a search for 10,000 ids is a look-up
    others = [item for item in wanted if not isinstance(item, str)]
    return lambda value: any((item in texts) if isinstance(item, str) else (item in others) for item in _items(value))


def _element(place: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, dict):
        raise ValueError(f"{place}: $elemMatch must be an object")
    fits = matcher(wanted)
    return lambda value: isinstance(value, list) and any(isinstance(item, dict) and fits(item) for item in value)


def _compared(compare: Callable[[Any, Any], bool], wanted: Any) -> Callable[[Any], bool]:
    def fits(item: Any) -> bool:
        try:
            return compare(item, wanted)
        except TypeError:  # values of two types have no order
            return False

    return lambda value: any(map(fits, _items(value)))


def changed(one: Object, bulk: Iterable[Mapping[str, Any]], now: int) -> Object:
    """A copy of the object, after the changes of a bulk operation. Conditions and triggers change no field."""
    found = copy.deepcopy(one)
    for change in bulk:
        found.update(copy.deepcopy(change.get("modify", {})))
        if "properties.createOrModify" in change:
            _create_or_modify(found, change["properties.createOrModify"])
    found["updated"] = now
    found["_version"] = found.get("_version", 0) + 1
    return found


def _create_or_modify(one: Object, wanted: Mapping[str, Any]) -> None:
    given = {field: wanted[field] for field in ("value", "type_id") if field in wanted}
    properties = one.setdefault("properties", [])
    for property in properties:
        if property.get("name") == wanted.get("name"):
            property.update(given)
            return
    properties.append(_property(one["id"], wanted.get("name"), **given))


def _property(owner: str, name: Any, value: Any = None, type_id: int = 1) -> dict[str, Any]:
    found = {"id": uuid.uuid4().hex[:24], "name": name, "value": value, "type_id": type_id}
    return {**found, "owner_id": owner, "owner_type": 1}


def clone(one: Object, now: int) -> Object:
    """A copy of the object, with an id of its own."""
    found = copy.deepcopy(one)
    found.update(id=uuid.uuid4().hex[:24], created=now, updated=now, _version=1)
    return found


# What stands in each rack of `park`.
_PARTS = [("CPU", "Linux", 3), ("Disk", "/var", 4), ("Сервер", "web", 5)]


def park() -> dict[str, Object]:
    """Twelve objects: three in each of four racks."""
    found, now = {}, _milliseconds()
    for rack in range(1, 5):
        for part, (name, kind, class_id) in enumerate(_PARTS):
            id = f"62d7e58056d203149a08{rack:02d}{part:02d}"
            found[id] = {
                "id": id,
                "name": name,
                "parent_id": [f"62d7e58056d203149a08{rack:02d}ff"],
                "class_id": class_id,
                "state_id": 1,
                "tags": ["demo"],
                "weight": 10 * rack,
                "owner_id": "1",
                "properties": [
                    _property(id, "Rack", f"{rack}"),
                    _property(id, "Kind", kind),
                    *([_property(id, "Room", "5" if rack < 3 else "6")] if rack < 4 else []),
                ],
                "client_data": '{"color":"gray"}',
                "created": now,
                "updated": now,
                "_version": 1,
            }
    return found


class Objects:
    """All objects, and the operations that will change them. The caller has the lock."""

    def __init__(self) -> None:
        self.all: dict[str, Object] = {}
        self.ignores_criteria = False
        self.skip = 0
        self.read_lag = 0.0
        self._due: list[tuple[float, list[str], list[dict[str, Any]] | None]] = []
        self._old: list[tuple[float, str, Object | None]] = []

    def start(self, search: Mapping[str, Any], bulk: list[dict[str, Any]], end: float) -> None:
        """Let an operation on what the search finds now change it at its end."""
        self._due.append((end, [one["id"] for one in self._matching(search, self.all.values())], bulk))

    def start_clone(self, id: str, end: float) -> None:
        if id in self.all:
            self._due.append((end, [id], None))

    def forget(self, now: float) -> None:
        """Drop the operations that have not finished by now."""
        self.settle(now)
        self._due.clear()

    def settle(self, now: float) -> None:
        """Do what the operations do that have finished by now."""
        for due in sorted((due for due in self._due if due[0] <= now), key=lambda due: due[0]):
            self._due.remove(due)
            end, ids, bulk = due
            for id in ids:
                one = self.all.get(id)
                if one is None:
                    continue
                if self.skip > 0:
                    self.skip -= 1
                    continue
                new = clone(one, _milliseconds()) if bulk is None else changed(one, bulk, _milliseconds())
                self._old.append((end + self.read_lag, new["id"], self.all.get(new["id"])))
                self.all[new["id"]] = new

    def found(self, body: Mapping[str, Any], now: float) -> list[Object]:
        """The answer to a search."""
        self._old = [old for old in self._old if old[0] > now]
        seen = dict(self.all)
        for _, id, before in reversed(self._old):  # the oldest that is still seen wins
            if before is None:
                seen.pop(id, None)
            elif id in seen:
                seen[id] = before
        found = self._matching(body["search"], seen.values())
        if body.get("options", {}).get("includeClientData") is True:
            return found
        return [{field: value for field, value in one.items() if field != "client_data"} for one in found]

    def _matching(self, search: Mapping[str, Any], objects: Iterable[Object]) -> list[Object]:
        fits = matcher(search)
        return [one for one in objects if self.ignores_criteria or fits(one)]


def _milliseconds() -> int:
    return int(time.time() * 1000)
