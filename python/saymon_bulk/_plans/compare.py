"""What a bulk asks for, and whether an object is so. Rules about values alone: no network, no clock.

The vendor's pages disagree about types (class_id is a string in one and an integer in another), so the text of an integer
is as good as the integer. A field that an object lacks cannot be told: the server may have left it out of the answer.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from .._text import one_line

if TYPE_CHECKING:
    from .._types import Reason

Object = Mapping[str, Any]

# The keys of a change whose effect can be foreseen, as the vendor names them.
_MODIFY, _PROPERTY = "modify", "properties.createOrModify"

# The type of a property whose change can run an operation.
_READ_WRITE = 3

# JavaScript writes numbers from here on with an exponent.
_EXPONENT = 1e21

# Lists whose order means nothing.
_SETS = ("tags", "parent_id")


class Absent(Enum):
    """In the place of a value: there is no such field, or it cannot be told."""

    CREATED = 0
    UNKNOWN = 1


class Wanted(NamedTuple):
    """One field that a bulk sets."""

    field: str
    """The name in texts and files: "weight", "properties.Room", "properties.Room.type_id"."""

    name: str
    """The field of the object, or the name of its property."""

    part: str | None
    """None for a field of the object; else "value" or "type_id" of the property."""

    value: Any

    def found_in(self, one: Object) -> Any:
        """The value in an object, or an Absent."""
        if self.part is None:
            return one.get(self.name, Absent.UNKNOWN)
        properties = one.get("properties")
        if not isinstance(properties, list) or not all(isinstance(item, dict) for item in properties):
            return Absent.UNKNOWN
        named = [item for item in properties if item.get("name") == self.name]
        if len(named) > 1:
            return Absent.UNKNOWN
        return named[0].get(self.part, Absent.UNKNOWN) if named else Absent.CREATED

    def is_met_by(self, found: Any) -> bool:
        """Whether a value that was found is what the bulk asks for."""
        return not isinstance(found, Absent) and self.equal(found, self.value)

    def equal(self, one: Any, other: Any) -> bool:
        """Whether two values of this field are the same."""
        if self.part == "value":
            return not _texts(one).isdisjoint(_texts(other))
        return same_set(one, other) if self.part is None and self.name in _SETS else same(one, other)

    def as_before(self, found: Any, before: Any, created: bool) -> bool:
        """Whether the value is still what a plan has seen. Here, null and absent are the same."""
        if self.part is not None and found is Absent.UNKNOWN:
            return False  # the property may be there, and more than once
        nothing = isinstance(found, Absent) or found is None
        if created or before is None or nothing:
            return nothing and (created or before is None)
        return self.equal(found, before)


# The other keys that the vendor documents.
_CONDITIONS = ("stateConditions", "stateTriggers", "incidentConditions")

_UNFORESEEN = "cannot be foreseen, so it cannot be planned; start_bulk takes it"


def wanted(bulk: Sequence[Mapping[str, Any]]) -> list[Wanted]:
    """The fields that a bulk sets. A ValueError says what cannot be foreseen."""
    found: dict[str, Wanted] = {}
    for place, change in enumerate(bulk):
        for key, order in change.items():
            at = f"bulk[{place}][{key!r}]"
            if key in _CONDITIONS:
                raise ValueError(f"{at}: what it does {_UNFORESEEN}")
            if key not in (_MODIFY, _PROPERTY):
                raise ValueError(f"bulk[{place}] has the unknown key {key!r}; plans know {_MODIFY!r} and {_PROPERTY!r}")
            if not isinstance(order, Mapping) or not order:
                raise ValueError(f"{at} must be an object that is not empty")
            for one in _fields(at, order) if key == _MODIFY else _property(at, order):
                known = found.setdefault(one.field, one)
                if known[:3] != one[:3]:
                    raise ValueError(f"{at}: two things of the bulk are called {one.field!r}")
                if not one.equal(known.value, one.value):
                    raise ValueError(f"{at} sets {one.field!r} to another value than the bulk does before")
    if "properties" in found and any(one.part for one in found.values()):
        raise ValueError(f"bulk changes a property and replaces all properties; which comes last {_UNFORESEEN}")
    return list(found.values())


def _fields(at: str, order: Mapping[str, Any]) -> list[Wanted]:
    for name in order:
        if "." in name or name.startswith("$") or name == "id":
            raise ValueError(f"{at}: what it does to {name!r} {_UNFORESEEN}")
    return [Wanted(name, name, None, value) for name, value in order.items()]


def _property(at: str, order: Mapping[str, Any]) -> list[Wanted]:
    unknown = order.keys() - {"name", "value", "type_id"}
    if unknown:
        names = ", ".join(sorted(map(repr, unknown)))
        raise ValueError(f"{at} has the unknown key {names}; a property has 'name', 'value' and 'type_id'")
    name = order.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{at} must have a `name`, a str that is not empty")
    if "value" not in order:
        raise ValueError(f"{at} must have a `value`")
    found = [Wanted(f"properties.{name}", name, "value", order["value"])]
    if "type_id" in order:
        found.append(Wanted(f"properties.{name}.type_id", name, "type_id", order["type_id"]))
    return found


def fields_to_read(wishes: Sequence[Wanted]) -> set[str]:
    """The fields of objects that the comparison needs, and the name for texts."""
    return {"name", *("properties" if wish.part else wish.name for wish in wishes)}


def is_read_write(one: Object, wish: Wanted) -> bool:
    """Whether a property is ReadWrite, or is to be: it can run an operation (the vendor's page "Property")."""
    if wish.part == "type_id" and same(wish.value, _READ_WRITE):
        return True
    return wish.part is not None and same(wish._replace(part="type_id").found_in(one), _READ_WRITE)


def replaced_lists(wishes: Sequence[Wanted]) -> list[str]:
    """The lists that `modify` probably replaces as a whole."""
    names = {wish.name for wish in wishes if wish.part is None}
    return sorted(names & {"properties", *_SETS})


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values mean the same: numbers by their value, an integer and its digits, lists in order."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int) and isinstance(other, str):
        return str(one) == other
    if isinstance(one, str) and isinstance(other, int):
        return one == str(other)
    return bool(one == other)


def same_set(one: Any, other: Any) -> bool:
    """The same for lists whose order means nothing. One value is a list of one, and an object is its id."""
    if one is None or other is None:
        return one is other
    return _keys(one) == _keys(other)


def _keys(values: Any) -> set[tuple[bool, str]]:
    items = values if isinstance(values, (list, tuple)) else [values]
    ids = [item["id"] if isinstance(item, Mapping) and "id" in item else item for item in items]
    return {(isinstance(item, str) or type(item) in (int, float), _text(item)) for item in ids}


def _texts(value: Any) -> set[str]:
    """How the server may have written a value of a property, which is a string there: as JSON or as JavaScript does."""
    return {_text(value)} if isinstance(value, str) else {_text(value), _stringified(value)}


def _stringified(value: Any) -> str:
    """A value as JSON.stringify writes it."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_stringified, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_stringified(name)}:{_stringified(one)}' for name, one in value.items())}}}"
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return _javascript(float(value))
    return json.dumps(value, ensure_ascii=False)


def _javascript(value: float) -> str:
    """A number as JavaScript writes it (ECMA-262, Number::toString)."""
    if value == 0:
        return "0"
    text = repr(value)
    if 1e-6 <= abs(value) < _EXPONENT:
        text = format(Decimal(text), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def _text(value: Any) -> str:
    """A value of a property, which is a string on the server. JavaScript writes 7.0 as 7."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXPONENT:
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, repr=False)
class FieldChange:
    """One field of an object: what it is, and what a bulk asks for.

    >>> change = plan.changes[0].fields[0]
    >>> change.field, change.before, change.after
    ('properties.Room', '5', '7')

    Attributes:
        field: The name: "weight" of a field, "properties.Room" of a
            property, "properties.Room.type_id" of its type.
        before: In a plan, the value that was seen. In a report, the value
            that was found. None where there is no such field.
        after: The value that the bulk asks for.
        created: True if the object has no such field yet.
    """

    field: str
    before: Any
    after: Any
    created: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The change as a JSON object.

        >>> plan.changes[0].fields[0].to_dict()
        {'field': 'properties.Room', 'before': '5', 'after': '7'}

        `created` is in it where it is True.
        """
        found = {"field": self.field, "before": copy.deepcopy(self.before), "after": copy.deepcopy(self.after)}
        return {**found, "created": True} if self.created else found

    def __repr__(self) -> str:
        # Without values, which may be confidential.
        return f"<saymon_bulk.FieldChange {one_line(self.field)}>"


@dataclass(frozen=True, repr=False)
class ObjectChange:
    """An object that a bulk changes, or one of a report.

    >>> change = plan.changes[0]
    >>> change.name, len(change.fields)
    ('CPU', 1)

    Attributes:
        id: The id of the object.
        name: The name of the object, or None.
        fields: The fields that are not as asked, as far as they can be
            told.
        reason: None in a plan. In a report, why the object is not as
            asked: "unchanged" since the plan, "other-value" than before and
            after, "gone" from what the login can see, "not-sent"; or why it
            cannot be told: "not-in-answer", a field is missing there. None
            if the object was not read, as after an uncertain start.
    """

    id: str
    name: str | None
    fields: tuple[FieldChange, ...] = ()
    reason: Reason | None = None

    def to_dict(self) -> dict[str, Any]:
        """The change as a JSON object.

        >>> sorted(plan.changes[0].to_dict())
        ['fields', 'id', 'name']

        `reason` is in it where there is one.
        """
        found = {"id": self.id, "name": self.name, "fields": [one.to_dict() for one in self.fields]}
        return {**found, "reason": self.reason} if self.reason is not None else found

    def __repr__(self) -> str:
        reason = f", {self.reason}" if self.reason else ""
        return f"<saymon_bulk.ObjectChange {one_line(self.id)}: {len(self.fields)} fields{reason}>"


def compared(one: Mapping[str, Any], wishes: Sequence[Wanted]) -> tuple[tuple[FieldChange, ...], list[str]]:
    """The fields of an object that are not as asked, and the names of those that cannot be told."""
    fields, untold = [], []
    for wish in wishes:
        found = wish.found_in(one)
        if found is Absent.UNKNOWN:
            untold.append(wish.field)
        elif not wish.is_met_by(found):
            created = found is Absent.CREATED
            after = copy.deepcopy(wish.value)  # each change has its own
            fields.append(FieldChange(wish.field, None if created else found, after, created))
    return tuple(fields), untold


def name_of(one: Mapping[str, Any]) -> str | None:
    name = one.get("name")
    return name if isinstance(name, str) else None
