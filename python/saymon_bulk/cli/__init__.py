"""The command line: `saymon-bulk start`, `clone`, `status` and `wait`.

Results go to stdout, everything else to stderr. What only some commands need
is imported where they need it: in a shell's loop, most of the time goes into
the start.
"""

from __future__ import annotations

import os
import sys

from ..errors import SaymonError
from .options import WAITING, plain
from .results import BY_SIGNAL, ERROR, FINISHED, fatal
from .streams import emit, note, prepare, settle, show_log, show_warnings

TYPE_CHECKING = False  # typing's own would cost the import of typing
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
    if os.name == "posix" and number in _LAST_WORDS:
        import _signal  # type: ignore[import-not-found]  # signal itself would import enum

        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [number])
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code.

    Raises SystemExit as argparse does for --help and wrong usage.
    """
    try:
        prepare()
        return _main(sys.argv[1:] if argv is None else argv)
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
        settle()


def _main(words: Sequence[str]) -> int:
    options = plain(words)
    if options is None:
        from .parser import build, parse

        if not words:
            emit(build().format_help().rstrip())
            return FINISHED
        options = parse(words)
    return _run(options)


def _unread(error: OSError) -> int:
    """The exit code when nobody reads stdout, or its disk is full."""
    if isinstance(error, BrokenPipeError):
        return BY_SIGNAL + 13
    note(error)
    return ERROR


def _run(options: Options) -> int:
    try:
        return _done(options)
    except BrokenPipeError:
        raise
    except (SaymonError, ValueError, TypeError, RuntimeError, OSError, Warning) as error:
        return fatal(error, options)


def _done(options: Options) -> int:
    if options.command == "completion":
        from .completion import script

        emit(script(options.shell))
        return FINISHED
    if not options.wait and options.command != "status":
        for name in WAITING:
            if name in options.given:
                raise ValueError(f"--{name.replace('_', '-')} goes with --wait")
    _check_stdin(options)
    _catch_signals()
    _show(options)
    if options.command in ("start", "clone"):
        from .starting import start

        return start(options)
    from . import waiting
    from .ids import ids_of
    from .login import client_of

    ids = ids_of(options)
    command = waiting.status if options.command == "status" else waiting.wait
    return command(client_of(options), ids, options)


def _check_stdin(options: Options) -> None:
    readers = [f"--{name} -" for name in ("search", "bulk") if getattr(options, name, None) == "-"]
    readers += [word for word in getattr(options, "ids", []) if word == "-"]
    readers += ["--ids -" for path in options.ids_files if path == "-"]
    readers += ["--password-stdin"] if options.password_stdin else []
    if len(readers) > 1:
        raise ValueError(f"{' and '.join(readers)} exclude each other: stdin can be read once")


def _show(options: Options) -> None:
    from .words import in_words

    show_warnings(in_words)
    if options.verbose:
        show_log()


# SIGHUP, SIGINT and SIGTERM
_HANG_UP = 1
_LAST_WORDS = {_HANG_UP: "hung up", 2: "interrupted", 15: "terminated"}


def _catch_signals() -> None:
    import _signal  # signal itself would import enum

    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        if number == _HANG_UP:  # a shell whose terminal goes away repeats it, and the last words would be lost
            # Not ignored: Python complains about one that comes while its handler is changed.
            _signal.pthread_sigmask(_signal.SIG_BLOCK, [number])
        came.append(number)
        if len(came) == 1:  # another one may come with it
            raise KeyboardInterrupt(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)  # Windows has no SIGHUP
        if number is not None and _signal.getsignal(number) is _signal.SIG_DFL:  # nohup ignores it
            _signal.signal(number, interrupt)


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """The last words after Ctrl-C, SIGTERM or SIGHUP, and the exit code."""
    import signal

    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    # From here on the next one kills at once, instead of interrupting these last words.
    for one in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL)
    note(_LAST_WORDS[number])
    for text in getattr(interrupt, "__notes__", ()):  # of a start whose outcome is uncertain
        note(text)
    return BY_SIGNAL + number
