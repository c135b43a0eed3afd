"""stdout for results, stderr for everything else; either may be closed, full or unread. Words, JSON and exit codes."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
import time

from .._text import one_line
from ..errors import AuthError, PlanRefusedError, SaymonError, StartUncertainError, WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

    from .._types import BulkStatus
    from .options import Options

FINISHED, ERROR, USAGE, NOT_AS_ASKED, NOT_AUTHORISED, REFUSED, RUNNING, UNCERTAIN = 0, 1, 2, 3, 4, 5, 8, 9
BY_SIGNAL = 128  # plus the signal's number, as shells count

# The streams


def prepare() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; a socket must not get its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        if isinstance(sys.stdout.buffer, io.RawIOBase):
            # PYTHONUNBUFFERED: what a full pipe that does not block refuses would be lost in silence.
            sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.buffer), sys.stdout.encoding)
        sys.stdout.reconfigure(errors="backslashreplace")  # an id in Cyrillic, a terminal in ASCII


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody sees the stream, or types into it."""
    if not stream.isatty():
        return False
    # Windows calls NUL a terminal too, and a service would wait for an answer for ever.
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return os.name != "nt" or type(raw).__name__ == "_WindowsConsoleIO"


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _abandon(stream)


def _abandon(stream: TextIO) -> None:
    # Otherwise Python fails again when it exits, with a text of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def emit(text: str) -> None:
    """Write a line to stdout. BrokenPipeError means that nobody reads it."""
    try:
        print(text, flush=True)
    except OSError as error:
        if os.name == "nt" and error.errno == errno.EINVAL:  # how Windows tells that the reader has gone away
            raise BrokenPipeError from error
        raise


def note(what: object) -> None:
    """Write a line to stderr."""
    show(f"saymon-bulk: {one_line(str(what))}\n")


def note_all(lines: Iterable[str]) -> None:
    for line in lines:
        note(line)


def show(text: str) -> None:
    """Write to stderr, as it is."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)  # nobody reads it, which is no reason to end the work


def show_warnings() -> None:
    import warnings

    def show(message: Warning | str, *_: object, **__: object) -> None:
        note(f"warning: {in_words(message)}")

    warnings.showwarning = show  # without the source line, which is none of the user's


def show_log() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("saymon-bulk: %(asctime)s %(message)s"))
    logger = logging.getLogger("saymon_bulk")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logging.raiseExceptions = False  # as `note`: nobody may read it


# Errors of many operations: one cause, one line

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


# Results


def report(id: str | None, outcome: BulkStatus | SaymonError, options: Options, errors: Errors | None = None) -> int:
    """Print the state of one operation, and return its exit code. A failed start has no id; `errors` are of many."""
    if options.json:
        print_json(id, outcome, options)
    elif not isinstance(outcome, SaymonError):
        emit(f"{id} {'finished' if outcome['finished'] else 'running'}")
    elif isinstance(outcome, WaitTimeoutError) and id is not None and outcome._is_running(id):
        emit(f"{id} running")
    else:
        if isinstance(outcome, WaitTimeoutError):
            emit(f"{id} unknown")
        text = in_words(outcome, options)
        if id is None or errors is None:
            note(text)
        else:
            errors.add(id, text)
    return code(outcome)


def fatal(error: Exception, options: Options) -> int:
    """Print an error that ends the command, and return its exit code."""
    if options.json:
        try:
            print_json(getattr(error, "id", None), error, options)
            return code(error)
        except BrokenPipeError:
            raise
        except OSError:
            pass
    note(in_words(error, options))
    return code(error)


# The keys of --json that are promised. Others follow them.
_PROMISED = {"id": None, "finished": None, "error": None, "message": None, "status_code": None, "transient": False}


def print_json(id: str | None, outcome: Mapping[str, object] | Exception, options: Options) -> None:
    value: dict[str, object] = {**_PROMISED, "id": id}
    if isinstance(outcome, Exception):
        value |= outcome.to_dict() if isinstance(outcome, SaymonError) else {"error": type(outcome).__name__}
        value |= {"id": id, "message": in_words(outcome, options)}
        if isinstance(outcome, StartUncertainError):
            value["request_id"] = outcome.request_id
    else:
        value["finished"] = outcome["finished"]
        # A field of the server's that has a promised name is left out.
        value |= {name: field for name, field in outcome.items() if name not in _PROMISED}
    emit_json(value)


def emit_json(value: object) -> None:
    """Write a JSON document in one line."""
    emit(_json(value))


def _json(value: object) -> str:
    import json

    try:
        return json.dumps(value)
    except ValueError:
        if sys.version_info < (3, 11):
            raise
        # An integer of the server's is longer than PYTHONINTMAXSTRDIGITS lets Python write.
        limit = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        try:
            return json.dumps(value)
        finally:
            sys.set_int_max_str_digits(limit)


# Exit codes


def code(outcome: BulkStatus | Exception) -> int:
    if isinstance(outcome, AuthError):
        return NOT_AUTHORISED
    if isinstance(outcome, WaitTimeoutError):
        return RUNNING if all(map(outcome._is_running, outcome.pending)) else ERROR
    if isinstance(outcome, StartUncertainError):
        return UNCERTAIN
    if isinstance(outcome, PlanRefusedError):
        return REFUSED
    if isinstance(outcome, (SaymonError, OSError, RuntimeError)):
        return ERROR
    if isinstance(outcome, Exception):  # a warning, if PYTHONWARNINGS makes it an error
        return USAGE
    return FINISHED if outcome["finished"] else RUNNING


def worst(codes: list[int]) -> int:
    """The exit code of a command that asks for several operations."""
    return next((code for code in (NOT_AUTHORISED, ERROR, RUNNING) if code in codes), FINISHED)


# The words for the signals that end a command: SIGHUP, SIGINT and SIGTERM.
SIGNALS = {1: "hung up", 2: "interrupted", 15: "terminated"}


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Print what ended the command: Ctrl-C, SIGTERM or SIGHUP. Return the exit code."""
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    # From here on the next one ends the process at once, instead of interrupting these lines.
    for one in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL)
    note(SIGNALS[number])
    for text in getattr(interrupt, "__notes__", ()):  # of a start whose outcome is uncertain
        note(text)
    return BY_SIGNAL + number


# Words

# A refusal of the library begins with the name of an argument, which it also has as its attribute `argument`. Any
# other argument is the option of the same name.
_ARGUMENTS = {"verify": "--cacert", "password": "the password", "id": "ID", "object_id": "OBJECT_ID"}

# Advice of the library in Python → the same for a command line.
_ADVICE = {
    "verify='/path/to/ca.pem'": "--cacert /path/to/ca.pem",
    "verify='/path/to/it.pem'": "--cacert /path/to/it.pem",
    "cert=(certificate, key) names two files": "--key names the file of the key",
    "(cert)": "(--cert)",
    "every_object=True": "--every-object",
    "start_bulk takes it": "the command start takes it",
}


def in_words(error: object, options: Options | None = None) -> str:
    """The text of an error or a warning of the library, in the words of the command line."""
    text = str(error)
    for advice, words in _ADVICE.items():
        text = text.replace(advice, words)
    argument = getattr(error, "argument", None)
    if isinstance(argument, str) and text.startswith(argument):
        return _word(argument, options) + text[len(argument) :]
    return text


def _word(argument: str, options: Options | None) -> str:
    word = _ARGUMENTS.get(argument) or "--" + argument.replace("_", "-")
    if argument not in ("host", "login", "cert") or options is None or argument in options.given:
        return word
    name = f"SAYMON_{argument.upper()}"
    return name if os.environ.get(name) else f"the {argument} of netrc"


def quoted(words: list[str]) -> str:
    """The words for the shell that is there."""
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    import shlex

    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    """A word for bash, zsh and ksh that shows no line end and names the bytes of another encoding."""
    letters = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}" for byte in os.fsencode(word))
    return f"$'{''.join(letters)}'"
