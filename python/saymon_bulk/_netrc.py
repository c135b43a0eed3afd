"""netrc as curl reads it, the same on every Python: the standard library's reader differs from version to version."""

from __future__ import annotations

import os
import re

from ._core import _shown_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A word in double quotes with escapes, a word up to an ASCII blank, or an opening quote without its end.
_WORD = re.compile(r'[ \t\r\v\f]*(?:"((?:[^"\\]|\\.)*)"|([^ \t\r\v\f"][^ \t\r\v\f]*)|("))')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}

# The words that a value follows, and what they set. Python's reader takes `user` for `login`, so files have it.
_FIELDS = {"machine": "machine", "login": "login", "user": "login", "password": "password", "account": "account"}


class Entry:
    """One entry. Its repr shows nothing of it: tracebacks print the variables of a frame."""

    def __init__(self, machine: str | None, is_default: bool = False) -> None:
        self.machine = machine
        self.is_default = is_default
        self.login: str | None = None
        self.password: str | None = None
        self.account: str | None = None
        self.problem: int | None = None
        """The first line of the entry that cannot be read."""


class Netrc:
    """The entries of a file."""

    def __init__(self, path: str, limit: int) -> None:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(limit + 1)
        if len(content) > limit:
            del content  # a traceback shows the variables of a frame
            raise ValueError(f"netrc cannot be read: {_shown_path(path)}: larger than 1 MiB")
        self.others_can_read = os.name == "posix" and bool(status.st_mode & 0o044)
        # Bytes that are not UTF-8 make their entry unreadable, no other. A BOM is passed over.
        self._entries = _entries(content.decode("utf-8-sig", "surrogateescape"))

    def find(self, is_host: Callable[[str], bool], login: str | None) -> Entry | None:
        """The first entry of the host, with that login if there is one; else the default."""
        named = [entry for entry in self._entries if entry.machine is not None and is_host(entry.machine)]
        for entry in named + [entry for entry in self._entries if entry.is_default]:
            is_of_login = not login or entry.login == login
            if is_of_login and (entry.problem or (entry.login and entry.password)):
                return entry
        return None

    @property
    def problem(self) -> int | None:
        """The first line that cannot be read."""
        return next((entry.problem for entry in self._entries if entry.problem), None)


def _entries(text: str) -> list[Entry]:
    entry = Entry(None)  # of no host: it takes what stands before the first machine
    entries, field, is_in_macro, number = [entry], None, False, 0
    for number, line in enumerate(text.split("\n"), 1):
        if is_in_macro:
            is_in_macro = bool(line.strip())  # an empty line ends a macro
            continue
        for word, is_quoted in _words(line):
            if word is None or any("\udc80" <= letter <= "\udcff" for letter in word):
                entry.problem, word = entry.problem or number, word or ""
            keyword = word.lower()
            if field == "machine":
                entry, field = Entry(word), None
                entries.append(entry)
            elif field:
                setattr(entry, field, word)
                field = None
            elif word.startswith("#") and not is_quoted:
                break
            elif keyword == "macdef":
                is_in_macro = True
                break
            elif keyword == "default":
                entry = Entry(None, is_default=True)
                entries.append(entry)
            elif keyword in _FIELDS:
                field = _FIELDS[keyword]
            else:
                entry.problem = entry.problem or number
    if field:
        entry.problem = entry.problem or number
    return entries


def _words(line: str) -> Iterator[tuple[str | None, bool]]:
    """The words of a line, and whether each is quoted; None for a quote without its end."""
    for found in _WORD.finditer(line):
        quoted, plain, _ = found.groups()
        if plain is not None:
            yield plain, False
        elif quoted is not None:
            yield _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), quoted), True
        else:
            yield None, False
            return
