"""The ids of the operations: from the command line, from files and from stdin, each once."""

from __future__ import annotations

import os
import sys

from .._core import _checked_id
from .streams import is_terminal, note

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .options import Options

# An id may be nearly any text, but these are mistakes.
_SCHEMES = ("http://", "https://")
_QUOTES = ('"', "'")
# What a word processor makes of the hyphen of an option. The word behind it may be a password.
_DASHES = tuple("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")


def ids_of(options: Options) -> list[str]:
    found: dict[str, None] = {}
    for number, id in enumerate(options.ids, 1):
        found.update(dict.fromkeys(_in_file("-") if id == "-" else [checked(id, f"ID {number}")]))
    for path in options.ids_files:
        found.update(dict.fromkeys(_in_file(path)))
    if not found:
        raise ValueError("no ids: give each as an ID, or - to read stdin, or --ids FILE")
    return list(found)


def checked(id: str, place: str) -> str:
    """The id, or a ValueError that begins with the place where it stands."""
    if id.lower().startswith(_SCHEMES):
        raise ValueError(f"{place} looks like a URL: give the id alone here, and the server with --host")
    if len(id) > 1 and id[0] == id[-1] and id[0] in _QUOTES:
        raise ValueError(f"{place} is in quotes: give the id alone (jq prints it so with -r)")
    if id.startswith(_DASHES):
        raise ValueError(f"{place} begins with a dash that is no hyphen: an option begins with -")
    try:
        return _checked_id(id)
    except ValueError as error:
        raise ValueError(place + str(error)[len("id") :]) from None


def is_word(id: str) -> bool:
    """Whether an id that the server chose is the same id to `wait "$id"` and to a file of ids."""
    try:
        checked(id, "")
    except ValueError:
        return False
    return not id.startswith("-") and id == _stripped(id)


def _stripped(line: str) -> str:
    return line.strip().lstrip("\ufeff")  # `cat` leaves the byte order mark of each file


def _in_file(path: str) -> Iterator[str]:
    from .files import name_of, text_of

    if path == "-" and is_terminal(sys.stdin) and is_terminal(sys.stderr):
        keys = "Ctrl-Z and Enter end" if os.name == "nt" else "Ctrl-D ends"
        note(f"reading ids from the terminal, one a line; {keys} them")
    is_empty = True
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if id := _stripped(line):
            is_empty = False
            yield checked(id, f"{name_of(path)}, line {number}: the id")
    if is_empty:
        raise ValueError(f"{name_of(path)}: no ids in it")
