"""The command line: see, start, wait, check.

Results go to stdout, everything else to stderr. What only some commands need
is imported where they need it: in a shell's loop, most of the time goes into
the start.
"""

from __future__ import annotations

import os
import signal
import sys

from ..errors import SaymonError
from .commands import COMMANDS
from .output import (
    BY_SIGNAL,
    ERROR,
    FINISHED,
    SIGNALS,
    emit,
    fatal,
    flush,
    interrupted,
    note,
    prepare,
    show_log,
    show_warnings,
)
from .parser import build, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Options

__all__ = ["main", "run"]


def run() -> int:
    """Run the command line as a process of its own.

    Ctrl-C, SIGTERM and SIGHUP end the process by that signal, and not by an
    exit code alone: a shell ends a loop only if the command died of Ctrl-C.
    """
    code = main()
    number = code - BY_SIGNAL
    if os.name == "posix" and number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code.

    Raises SystemExit as argparse does for --help and wrong usage.
    """
    try:
        prepare()
        words = sys.argv[1:] if argv is None else argv
        if words:
            return _run(parse(words))
        emit(build().format_short_help().rstrip())
        return FINISHED
    except SystemExit:
        try:
            sys.stdout.flush()  # argparse does not see that its help is lost
        except OSError as error:
            return _unread(error)
        raise
    except KeyboardInterrupt as interrupt:
        return interrupted(interrupt)
    except OSError as error:
        return _unread(error)
    finally:
        flush()


def _unread(error: OSError) -> int:
    """The exit code when nobody reads stdout, or its disk is full."""
    if isinstance(error, BrokenPipeError):
        return BY_SIGNAL + 13
    note(error)
    return ERROR


def _run(options: Options) -> int:
    try:
        _check_stdin(options)
        _catch_signals()
        show_warnings()
        if options.verbose:
            show_log()
        return COMMANDS[options.command].run(options)
    except BrokenPipeError:
        raise
    except (SaymonError, ValueError, TypeError, RuntimeError, OSError, Warning) as error:
        return fatal(error, options)


def _check_stdin(options: Options) -> None:
    readers = [f"--{name} -" for name in ("search", "bulk") if getattr(options, name, None) == "-"]
    readers += [word for word in getattr(options, "ids", []) if word == "-"]
    readers += ["--ids -" for path in options.ids_files if path == "-"]
    readers += ["--password-stdin"] if options.password_stdin else []
    if len(readers) > 1:
        raise ValueError(f"{' and '.join(readers)} exclude each other: stdin can be read once")


def _catch_signals() -> None:
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        if number == getattr(signal, "SIGHUP", None):  # a shell repeats it when its terminal goes away
            # Not ignored: Python complains about one that comes while its handler is changed.
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        came.append(number)
        if len(came) == 1:  # another one may come with it
            raise KeyboardInterrupt(number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # What is ignored stays so, as by nohup.
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
