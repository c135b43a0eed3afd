"""stdout for results, stderr for everything else; either may be closed, full or unread."""

from __future__ import annotations

import errno
import io
import os
import sys

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Callable, TextIO


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


def settle() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _abandon(stream)


def _abandon(stream: TextIO) -> None:
    # What it still holds would fail again when Python exits, with words of Python's own.
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
    show(f"saymon-bulk: {what}\n")


def show(text: str) -> None:
    """Write to stderr, as it is."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)  # nobody reads it, which is no reason to end the work


def show_warnings(in_words: Callable[[object], str]) -> None:
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
