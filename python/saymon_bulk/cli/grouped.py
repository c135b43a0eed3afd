"""The errors of many operations: one cause, one line."""

from __future__ import annotations

import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A message waits so many seconds for another operation with the same one.
_QUIET = 1.0

_PAUSE = 0.2  # between two looks: there may be thousands of messages

# Lines of one message before the end; what comes later is told at the end.
_MAX_EARLY_LINES = 3

_MAX_IDS = 3  # in one line

_MIN_ID = 8  # letters of an id that is looked for in a message; 404 may be a status


class _Group:
    def __init__(self) -> None:
        self.ids: list[str] = []
        self.text = ""
        self.last = 0.0
        self.lines = 0


class Errors:
    """Errors that are yet to be printed, by their messages without the ids."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._groups: dict[str, _Group] = {}
        self._looked = 0.0

    def add(self, id: str, text: str) -> None:
        before, _, after = text.partition(f"bulk operation {id}: ")
        message = before + after
        if len(id) >= _MIN_ID and id in message:  # a server may name it too
            message = re.sub(rf"(?<![\w-]){re.escape(id)}(?![\w-])", "ID", message)
        group = self._groups.setdefault(message, _Group())
        group.ids.append(id)
        group.text, group.last = text, time.monotonic()

    def lines(self, *, is_end: bool = False) -> Iterator[str]:
        """What is to be printed now. Looked at again and again, and at the end."""
        now = time.monotonic()
        if now - self._looked < _PAUSE and not is_end:
            return
        self._looked = now
        for message, group in self._groups.items():
            is_due = now - group.last >= _QUIET and group.lines < _MAX_EARLY_LINES
            if group.ids and (is_end or is_due):
                ids, group.ids = group.ids, []
                group.lines += 1
                yield group.text if len(ids) == 1 else f"{message} ({self._which(ids)})"

    def _which(self, ids: list[str]) -> str:
        if len(ids) == self._total:
            return f"all {len(ids):,} operations"
        return f"{len(ids):,} operations: {listed(ids)}"


def listed(ids: list[str]) -> str:
    """The first ids, and how many more there are."""
    named = ", ".join(id if id.isprintable() else repr(id) for id in ids[:_MAX_IDS])
    return named + (f" and {len(ids) - _MAX_IDS:,} more" if len(ids) > _MAX_IDS else "")
