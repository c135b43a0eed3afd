"""One object and its fields: as a plan sees it, and as a report finds it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._text import one_line
from . import compare

if TYPE_CHECKING:
    from .._types import Reason


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


def compared(one: Mapping[str, Any], wishes: Sequence[compare.Wanted]) -> tuple[tuple[FieldChange, ...], list[str]]:
    """The fields of an object that are not as asked, and the names of those that cannot be told."""
    fields, untold = [], []
    for wish in wishes:
        found = wish.found_in(one)
        if found is compare.Absent.UNKNOWN:
            untold.append(wish.field)
        elif not wish.is_met_by(found):
            fields.append(_field_change(wish, found))
    return tuple(fields), untold


def _field_change(wish: compare.Wanted, found: Any) -> FieldChange:
    after = copy.deepcopy(wish.value)  # each change has its own
    if isinstance(found, compare.Absent):
        return FieldChange(wish.field, None, after, found is compare.Absent.CREATED)
    return FieldChange(wish.field, found, after)


def name_of(one: Mapping[str, Any]) -> str | None:
    name = one.get("name")
    return name if isinstance(name, str) else None
