"""A plan and a report as text and as HTML. Values of a server are shown escaped, cut, or not at all."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from .changes import FieldChange, ObjectChange


class Plan(Protocol):
    """What is shown of a `BulkPlan`."""

    @property
    def matched(self) -> int: ...
    @property
    def changes(self) -> tuple[ObjectChange, ...]: ...
    @property
    def already(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class Report(Protocol):
    """What is shown of a `BulkReport`."""

    @property
    def as_asked(self) -> tuple[str, ...]: ...
    @property
    def not_as_asked(self) -> tuple[ObjectChange, ...]: ...
    @property
    def unknown(self) -> tuple[ObjectChange, ...]: ...
    @property
    def starts(self) -> tuple[dict[str, Any], ...]: ...


# Objects that get a line each.
_SHOWN = 10

# Transitions of a field that are told one by one.
_TRANSITIONS = 3

# Characters of a value or a name.
_WIDTH_OF_A_VALUE = 40

# Values of fields with such a word in their names are hidden. The Russian ones have endings.
_SECRETS = re.compile(
    r"(?:(?:password|passwd|passphrase|pwd|secret|token|community|communities|key)s?|(?:парол|секрет|токен|комьюнити|ключ)\w*)"
)
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|\W+|_+")

HIDDEN = "(hidden)"


class Style:
    """How much is shown: values of secrets, all objects, columns, and where the rest can be seen."""

    def __init__(
        self, *, show_values: bool = False, all_objects: bool = False, width: int | None = None, rest: str | None = None
    ) -> None:
        self.show_values, self.all_objects, self.width, self.rest = show_values, all_objects, width, rest


def plan(plan: Plan, style: Style | None = None) -> list[str]:
    """The lines of a plan. The last one has the counts."""
    style = style or Style()
    lines = []
    if len(plan.changes) > _SHOWN:
        lines += _transitions(plan.changes, style)
    lines += _objects(plan.changes, lambda one: _change_line(one, style), style)
    lines += [f"note: {plain(note)}" for note in plan.notes]
    lines.append(counts(plan))
    return [fit(line, style.width) for line in lines]


def counts(plan: Plan) -> str:
    found = f"{_count(plan.matched)} found, {len(plan.changes):,} to change, {len(plan.already):,} already as asked"
    gone = plan.matched - len(plan.changes) - len(plan.already)
    return f"{found}, {gone:,} left out by hand" if gone > 0 else found


def report(report: Report, style: Style | None = None) -> list[str]:
    """The lines of a report. The last one has the counts."""
    style = style or Style()
    lines = [_start_line(start) for start in report.starts]
    lines += _objects(report.not_as_asked, lambda one: _report_line(one, style), style)
    lines += _objects(report.unknown, lambda one: _report_line(one, style), style)
    lines.append(report_counts(report))
    return [fit(line, style.width) for line in lines]


def report_counts(report: Report) -> str:
    # An operation that is not known to have finished may still change something.
    yet = "" if report.starts and all(start["finished"] for start in report.starts) else " yet"
    return (
        f"{_count(len(report.as_asked))} as asked, {len(report.not_as_asked):,} not as asked{yet}, "
        f"{len(report.unknown):,} cannot be told"
    )


def states(objects: Sequence[ObjectChange], style: Style) -> list[str]:
    """How objects are that are not as a plan has seen them."""
    return [fit(line, style.width) for line in _objects(objects, lambda one: _report_line(one, style), style)]


def _start_line(start: dict[str, Any]) -> str:
    if start["bulkId"] is None:
        return f"perhaps started: X-Request-Id {plain(start['request_id'])}, {_count(start['objects'])}"
    state = "finished" if start["finished"] else "not known to have finished"
    return f"bulk operation {plain(start['bulkId'])}: {_count(start['objects'])}, {state}"


def _count(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"


def _objects(objects: Sequence[ObjectChange], line: Any, style: Style) -> list[str]:
    shown = objects if style.all_objects else objects[:_SHOWN]
    lines = [line(one) for one in shown]
    if len(objects) > len(shown):
        rest = f" ({style.rest})" if style.rest else ""
        lines.append(f"… and {len(objects) - len(shown):,} more{rest}")
    return lines


def _change_line(one: ObjectChange, style: Style) -> str:
    fields = "; ".join(f"{_field_name(field)}: {_before(field, style)} → {_after(field, style)}" for field in one.fields)
    return f"{_title(one)}  {fields or 'cannot be told'}"


def _report_line(one: ObjectChange, style: Style) -> str:
    if one.reason == "not-sent":
        return f"{_title(one)}  not sent"
    if one.reason == "gone":
        return f"{_title(one)}  gone, or not visible to this login"
    if not one.fields:
        return f"{_title(one)}  cannot be told" + (": a field is not in the answer" if one.reason else "")
    fields = "; ".join(
        f"{_field_name(field)} is {_before(field, style)}, not {_after(field, style)}" for field in one.fields
    )
    reason = {"unchanged": " (unchanged)", "other-value": " (another value)"}.get(one.reason or "", "")
    return f"{_title(one)}  {fields}{reason}"


def _title(one: ObjectChange) -> str:
    name = "" if one.name is None else f"{cut(plain(one.name))} "
    return f"{name}({plain(one.id)})"


def _transitions(changes: Iterable[ObjectChange], style: Style) -> list[str]:
    """Each field with the values that it has now, the most frequent first."""
    befores: dict[str, Counter[str]] = {}
    afters: dict[str, str] = {}
    untold = 0
    for change in changes:
        untold += not change.fields
        for field in change.fields:
            name = _field_name(field)
            afters.setdefault(name, _after(field, style))
            befores.setdefault(name, Counter())[_before(field, style)] += 1
    lines = []
    for name, found in befores.items():
        shown = found.most_common(_TRANSITIONS)
        texts = [f"{before} → {afters[name]} in {_count(number)}" for before, number in shown]
        others = sum(found.values()) - sum(number for _, number in shown)
        if others:
            texts.append(f"other values → {afters[name]} in {others:,}")
        lines.append(f"{name}: {', '.join(texts)}")
    return [*lines, f"cannot be told: {_count(untold)}"] if untold else lines


def _field_name(field: FieldChange) -> str:
    return cut(plain(field.field[len("properties.") :] if field.field.startswith("properties.") else field.field))


def _before(field: FieldChange, style: Style) -> str:
    return "absent" if field.created else _value(field.field, field.before, style)


def _after(field: FieldChange, style: Style) -> str:
    return _value(field.field, field.after, style)


def _value(name: str, value: Any, style: Style) -> str:
    if not style.show_values and is_hidden(name, value):
        return HIDDEN
    return cut(plain(json.dumps(value, ensure_ascii=False)))


def is_hidden(name: str, value: Any) -> bool:
    """Whether a value is not shown, unless it is asked for: by the name of its field, or by a name in it."""
    return is_secret(name) or (isinstance(value, (dict, list)) and is_secret(json.dumps(value, ensure_ascii=False)))


def is_secret(name: str) -> bool:
    """Whether a word of a name says that the value is one."""
    return any(_SECRETS.fullmatch(word.lower()) for word in _WORD_ENDS.split(name))


def plain(text: str) -> str:
    """The text on one line, without what a terminal obeys: control characters and marks of direction are escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)


def cut(text: str, width: int = _WIDTH_OF_A_VALUE) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def fit(line: str, columns: int | None) -> str:
    """The line within the columns of a terminal. Some characters take two, and some none."""
    if columns is None or len(line) * 2 <= columns:
        return line
    taken, last = 0, 0
    for place, one in enumerate(line):
        taken += 0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        if taken > columns:
            return f"{line[:last]}…"
        if taken < columns:
            last = place + 1
    return line


def plan_html(plan: Plan) -> str:
    rows = [(_title(one), _change_line(one, Style()).partition("  ")[2]) for one in plan.changes[:_SHOWN]]
    more = [f"… and {len(plan.changes) - _SHOWN:,} more"] if len(plan.changes) > _SHOWN else []
    above = _transitions(plan.changes, Style()) if more else []
    return _html(("object", "change"), rows, above, [*more, *map(plain, plan.notes), counts(plan)])


def report_html(report: Report) -> str:
    objects = [*report.not_as_asked, *report.unknown]
    rows = [(_title(one), _report_line(one, Style()).partition("  ")[2]) for one in objects[:_SHOWN]]
    more = [f"… and {len(objects) - _SHOWN:,} more"] if len(objects) > _SHOWN else []
    return _html(("object", "state"), rows, map(_start_line, report.starts), [*more, report_counts(report)])


def _html(head: Iterable[str], rows: Iterable[Iterable[str]], above: Iterable[str], below: Iterable[str]) -> str:
    def cells(kind: str, texts: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{kind} style='text-align:left'>{html.escape(text)}</{kind}>" for text in texts) + "</tr>"

    def lines(texts: Iterable[str]) -> str:
        return "".join(f"<div>{html.escape(text)}</div>" for text in texts)

    body = "".join(cells("td", row) for row in rows)
    table = f"<table><thead>{cells('th', head)}</thead><tbody>{body}</tbody></table>" if body else ""
    return f"<div>{lines(above)}{table}{lines(below)}</div>"
