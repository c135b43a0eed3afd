"""`BulkPlan` and `BulkReport`: values that are frozen, equal by value, and pickle."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._text import object_count, one_line
from . import file, table

if TYPE_CHECKING:
    from os import PathLike

    from .compare import ObjectChange


@dataclass(frozen=True, repr=False)
class BulkPlan:
    """Which objects a bulk would change: the values now and after.

    >>> plan = client.plan_bulk(search, bulk)
    >>> print(plan)
    CPU (a1)  Room: "5" → "7"
    2 objects found, 1 to change, 1 already as asked
    >>> report = client.apply_plan(plan)
    >>> report.ok
    True

    `Client.plan_bulk` makes a plan, and `Client.apply_plan` carries it out.
    `str` of a plan is the table of the command line. A plan is frozen,
    equal by value, and pickles. It holds values of objects, which may be
    confidential, but no credentials.

    Attributes:
        id: The id of the plan, made once and kept in its file.
        host: The server, such as "https://monitor.example.com".
        search: The criteria.
        bulk: The changes, as for `Client.start_bulk`.
        created: When the plan was made: UTC, RFC 3339.
        matched: The number of objects that the search found.
        changes: The objects to change, in the order of the server.
        already: The ids of the objects that are as asked already. They
            need no change.
        notes: What else is to be known before an apply, in sentences.
    """

    id: str
    host: str
    search: dict[str, Any]
    bulk: list[dict[str, Any]]
    created: str
    matched: int
    changes: tuple[ObjectChange, ...]
    already: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        counts = f"{len(self.changes)} to change, {len(self.already)} already as asked"
        return f"<saymon_bulk.BulkPlan {one_line(self.id)} for {one_line(self.host)}: {counts}>"

    def __str__(self) -> str:
        return "\n".join(self._lines(table.Style()))

    def _lines(self, style: table.Style) -> list[str]:
        return table.plan(self.changes, self.notes, self._counts(), style)

    def _repr_html_(self) -> str:
        return table.plan_html(self.changes, self.notes, self._counts())

    def _counts(self) -> str:
        found = f"{object_count(self.matched)} found, {len(self.changes):,} to change"
        text = f"{found}, {len(self.already):,} already as asked"
        gone = self.matched - len(self.changes) - len(self.already)
        return f"{text}, {gone:,} left out by hand" if gone > 0 else text

    def _head(self) -> dict[str, Any]:
        # Copies, so that no caller changes the plan.
        return {
            "format": file.FORMAT,
            "version": file.VERSION,
            "id": self.id,
            "host": self.host,
            "created": self.created,
            "search": copy.deepcopy(self.search),
            "bulk": copy.deepcopy(self.bulk),
            "matched": self.matched,
            "notes": list(self.notes),
        }

    def to_dict(self) -> dict[str, Any]:
        """The plan as a JSON object, as its file holds it.

        >>> plan.to_dict()["matched"]
        2
        """
        return {**self._head(), "changes": [one.to_dict() for one in self.changes], "already": list(self.already)}

    def save(self, path: str | PathLike[str]) -> None:
        r"""Write the plan to a file.

        >>> plan.save("plan.json")
        >>> saymon_bulk.BulkPlan.load("plan.json") == plan
        True

        The file is JSON in UTF-8, one change a line. To leave an object
        out, delete its line. The file appears whole or not at all. On
        POSIX, only the owner may read it: values of objects may be
        confidential.

        Args:
            path: The path of the file, which is replaced if it exists.

        Raises:
            OSError: The file cannot be written.
            ValueError: The path is that of a device or a directory.
        """
        file.save(path, self._head(), self.changes, self.already)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> BulkPlan:
        """Read a plan from a file.

        >>> plan.save("plan.json")
        >>> saymon_bulk.BulkPlan.load("plan.json").id == plan.id
        True

        Args:
            path: The path of a file that `save` has written.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is no plan, or was edited in another way
                than by deleting lines of changes. The text names the line.
        """
        return cls(**file.load(path))


@dataclass(frozen=True, repr=False)
class BulkReport:
    """Whether objects are as a plan asks.

    >>> report = client.verify_plan(plan, settle=0)
    >>> report.ok, len(report.not_as_asked)
    (False, 1)
    >>> report.not_as_asked[0].reason
    'unchanged'

    Each object of the plan's `changes` stands in one of the three tuples.
    "As asked" says what is so, and not who did it. `str` of a report is
    what the command line prints.

    Attributes:
        as_asked: The ids of the objects that are as asked.
        not_as_asked: The objects that are not. `before` of a field is what
            was found.
        unknown: The objects of which it cannot be told.
        starts: A dict for each start: `bulkId` (None if it is not known),
            `request_id`, `objects` (how many) and `finished` (by the wait).
            A journal adds those of earlier runs.
    """

    as_asked: tuple[str, ...]
    not_as_asked: tuple[ObjectChange, ...]
    unknown: tuple[ObjectChange, ...]
    starts: tuple[dict[str, Any], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether each object is as asked.

        >>> client.verify_plan(plan, settle=0).ok
        False
        """
        return not self.not_as_asked and not self.unknown

    def to_dict(self) -> dict[str, Any]:
        """The report as a JSON object.

        >>> sorted(client.verify_plan(plan, settle=0).to_dict())
        ['as_asked', 'not_as_asked', 'ok', 'starts', 'unknown']
        """
        return {
            "ok": self.ok,
            "as_asked": list(self.as_asked),
            "not_as_asked": [one.to_dict() for one in self.not_as_asked],
            "unknown": [one.to_dict() for one in self.unknown],
            "starts": [dict(start) for start in self.starts],
        }

    def __repr__(self) -> str:
        counts = f"{len(self.as_asked)} as asked, {len(self.not_as_asked)} not as asked, {len(self.unknown)} unknown"
        return f"<saymon_bulk.BulkReport: {counts}>"

    def __str__(self) -> str:
        return "\n".join(self._lines(table.Style()))

    def _lines(self, style: table.Style) -> list[str]:
        return table.report(self.starts, (self.not_as_asked, self.unknown), self._counts(), style)

    def _repr_html_(self) -> str:
        return table.report_html(self.starts, [*self.not_as_asked, *self.unknown], self._counts())

    def _counts(self) -> str:
        # An operation that is not known to have finished may still change something.
        is_over = bool(self.starts) and all(start["finished"] for start in self.starts)
        yet = " yet" if self.not_as_asked and not is_over else ""
        unchecked = sum(one.reason is None for one in self.unknown)
        text = (
            f"{object_count(len(self.as_asked))} as asked, {len(self.not_as_asked):,} not as asked{yet}, "
            f"{len(self.unknown) - unchecked:,} cannot be told"
        )
        return f"{text}, {unchecked:,} not checked" if unchecked else text
