"""A plan and a report as text and as HTML. Values of a server are shown escaped, cut, or not at all."""

from __future__ import annotations

import functools
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._text import cut, object_count, one_line
from .compare import FieldChange, ObjectChange

if TYPE_CHECKING:
    from typing import Callable


# Objects that get a line each.
_SHOWN = 10

# Transitions of a field that are told one by one.
_TRANSITIONS = 3

# Values of fields with such a word in their names are hidden. Russian words have endings.
_SECRETS = re.compile(
    r"\w*(?:password|passwd|passphrase|communit(?:y|ies)|secret(?!ar|ion))\w*|\w*tokens?|(?:api|auth|private|ssh)?keys?|pwd"
    r"|(?:парол|секрет(?!ар)|токен|комм?ьюнити|сообществ|ключ)\w*"  # noqa: RUF001
)

HIDDEN = "(hidden)"

_PROPERTY = "properties."


class Style:
    """How much is shown: values of secrets, all objects, columns, and where the rest can be seen."""

    def __init__(
        self, *, show_values: bool = False, all_objects: bool = False, width: int | None = None, rest: str | None = None
    ) -> None:
        self.show_values, self.all_objects, self.width, self.rest = show_values, all_objects, width, rest


def plan(changes: Sequence[ObjectChange], notes: Iterable[str], counts: str, style: Style) -> list[str]:
    """The lines of a plan. The last one has the counts."""
    labels = _labels(changes)
    lines = _transitions(changes, labels, style) if len(changes) > _SHOWN else []
    lines += _objects(changes, lambda one: _change_text(one, labels, style), style)
    return [*lines, *(f"note: {one_line(note)}" for note in notes), counts]


def report(
    starts: Sequence[dict[str, Any]], states: Iterable[Sequence[ObjectChange]], counts: str, style: Style
) -> list[str]:
    """The lines of a report. The last one has the counts."""
    return [*starts_of(starts, style), *(line for objects in states for line in states_of(objects, style)), counts]


def states_of(objects: Sequence[ObjectChange], style: Style) -> list[str]:
    """How objects are, the first of them."""
    text = functools.partial(_report_text, labels=_labels(objects), style=style)
    return _objects(objects, text, style)


def starts_of(starts: Sequence[dict[str, Any]], style: Style) -> list[str]:
    if style.all_objects or len(starts) <= _SHOWN:
        return [_start_line(start) for start in starts]
    shown = sorted(starts, key=lambda start: bool(start["finished"]))[:_SHOWN]  # what is open comes first
    return [*map(_start_line, shown), f"… and {len(starts) - _SHOWN:,} more operations"]


def _start_line(start: dict[str, Any]) -> str:
    if start["bulkId"] is None:
        return f"perhaps started: X-Request-Id {one_line(start['request_id'])}, {object_count(start['objects'])}"
    state = "finished" if start["finished"] else "not known to have finished"
    return f"bulk operation {one_line(start['bulkId'])}: {object_count(start['objects'])}, {state}"


def _objects(objects: Sequence[ObjectChange], text: Callable[[ObjectChange], str], style: Style) -> list[str]:
    shown = objects if style.all_objects else objects[:_SHOWN]
    lines = [line for one in shown for line in _pair(_title(one), text(one), style.width)]
    if len(objects) > len(shown):
        rest = f" ({style.rest})" if style.rest else ""
        lines.append(f"… and {len(objects) - len(shown):,} more{rest}")
    return lines


def _pair(title: str, text: str, columns: int | None) -> list[str]:
    """One line, or two where a narrow terminal would lose the values."""
    line = f"{title}  {text}"
    return [line] if fit(line, columns) == line else [fit(title, columns), fit(f"    {text}", columns)]


def _change_text(one: ObjectChange, labels: Mapping[str, str], style: Style) -> str:
    fields = "; ".join(f"{labels[field.field]}: {_before(field, style)} → {_after(field, style)}" for field in one.fields)
    return fields or "cannot be told"


def _report_text(one: ObjectChange, labels: Mapping[str, str], style: Style) -> str:
    if one.reason == "not-sent":
        return "not sent"
    if one.reason == "gone":
        return "gone, or not visible to this login"
    if not one.fields:
        return "cannot be told: a field is not in the answer" if one.reason else "not checked"
    fields = "; ".join(
        f"{labels[field.field]} is {_before(field, style)}, not {_after(field, style)}" for field in one.fields
    )
    reason = {"unchanged": " (unchanged)", "other-value": " (another value)"}.get(one.reason or "", "")
    return f"{fields}{reason}"


def _labels(objects: Iterable[ObjectChange]) -> dict[str, str]:
    """How fields are shown: a property by its name, unless a field of the object is called so too."""
    short = {field.field: field.field for one in objects for field in one.fields}
    for name in short:
        if name.startswith(_PROPERTY) and name[len(_PROPERTY) :] not in short:
            short[name] = name[len(_PROPERTY) :]
    return {name: cut(one_line(label)) for name, label in short.items()}


def _title(one: ObjectChange) -> str:
    name = "" if one.name is None else f"{cut(one_line(one.name))} "
    return f"{name}({one_line(one.id)})"


def _group(field: str, texts: Sequence[str], columns: int | None) -> list[str]:
    """One line, or a line for each text where a narrow terminal would lose them."""
    line = f"{field}: {', '.join(texts)}"
    return [line] if fit(line, columns) == line else [f"{field}:", *(fit(f"    {text}", columns) for text in texts)]


def _transitions(changes: Sequence[ObjectChange], labels: Mapping[str, str], style: Style) -> list[str]:
    """Each field with the values that it has now, the most frequent first."""
    befores: dict[str, Counter[str]] = {}
    afters: dict[str, str] = {}
    untold = 0
    for change in changes:
        untold += not change.fields
        for field in change.fields:
            if field.field not in afters:
                afters[field.field] = _after(field, style)
            befores.setdefault(field.field, Counter())[_before(field, style)] += 1
    lines = []
    for name, found in befores.items():
        shown = found.most_common(_TRANSITIONS)
        texts = [f"{before} → {afters[name]} in {object_count(number)}" for before, number in shown]
        others = sum(found.values()) - sum(number for _, number in shown)
        if others:
            texts.append(f"other values → {afters[name]} in {others:,}")
        lines += _group(labels[name], texts, style.width)
    return [*lines, *_group("cannot be told", [object_count(untold)], style.width)] if untold else lines


def _before(field: FieldChange, style: Style) -> str:
    return "absent" if field.created else _value(field.field, field.before, style)


def _after(field: FieldChange, style: Style) -> str:
    return _value(field.field, field.after, style)


def _value(name: str, value: Any, style: Style) -> str:
    if not style.show_values and is_hidden(name, value):
        return HIDDEN
    return cut(one_line(json.dumps(value, ensure_ascii=False)))


def is_hidden(name: str, value: Any) -> bool:
    """Whether a value is not shown, unless it is asked for: by the name of its field, or by a name in it."""
    is_document = isinstance(value, (dict, list)) or (isinstance(value, str) and value.lstrip()[:1] in ("{", "["))
    return is_secret(name) or (is_document and is_secret(json.dumps(value, ensure_ascii=False)))


def is_secret(name: str) -> bool:
    """Whether a word of a name says that the value is one."""
    words = [*_words(name), *_words(name.lower())]  # PassWord is one word
    return any(_SECRETS.fullmatch(word) for word in words)


def _words(name: str) -> list[str]:
    """The words of "snmp_community", "SNMPCommunity" and "пароль SNMP", in lower case."""
    name = unicodedata.normalize("NFKC", name)
    found = []
    for place, one in enumerate(name):
        is_first = one.isupper() and (name[place - 1 : place].islower() or name[place + 1 : place + 2].islower())
        found.append(" " if not one.isalpha() else f" {one}" if is_first else one)
    return "".join(found).lower().split()


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


def plan_html(changes: Sequence[ObjectChange], notes: Iterable[str], counts: str) -> str:
    labels = _labels(changes)
    rows = [(_title(one), _change_text(one, labels, Style())) for one in changes[:_SHOWN]]
    more = [f"… and {len(changes) - _SHOWN:,} more"] if len(changes) > _SHOWN else []
    above = _transitions(changes, labels, Style()) if more else []
    return _html(("object", "change"), rows, above, [*more, *map(one_line, notes), counts])


def report_html(starts: Sequence[dict[str, Any]], objects: Sequence[ObjectChange], counts: str) -> str:
    labels = _labels(objects)
    rows = [(_title(one), _report_text(one, labels, Style())) for one in objects[:_SHOWN]]
    more = [f"… and {len(objects) - _SHOWN:,} more"] if len(objects) > _SHOWN else []
    return _html(("object", "state"), rows, starts_of(starts, Style()), [*more, counts])


def _html(head: Iterable[str], rows: Iterable[Iterable[str]], above: Iterable[str], below: Iterable[str]) -> str:
    def cells(kind: str, texts: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{kind} style='text-align:left'>{html.escape(text)}</{kind}>" for text in texts) + "</tr>"

    def lines(texts: Iterable[str]) -> str:
        return "".join(f"<div>{html.escape(text)}</div>" for text in texts)

    body = "".join(cells("td", row) for row in rows)
    table = f"<table><thead>{cells('th', head)}</thead><tbody>{body}</tbody></table>" if body else ""
    return f"<div>{lines(above)}{table}{lines(below)}</div>"
