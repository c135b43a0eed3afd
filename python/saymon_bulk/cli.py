"""The command line: `saymon-bulk status ID...` and `saymon-bulk wait ID...`.

Results go to stdout, everything else to stderr. What only some commands need is imported where they need it: in a
shell's loop, most of the time goes into the start.
"""

from __future__ import annotations

import io
import os
import sys

from ._client import INTERVAL, MAX_INTERVAL, REQUEST_TIMEOUT, TIMEOUT, Client
from ._core import __version__
from ._progress import progress
from .errors import AuthError, HTTPStatusError, SaymonError, WaitTimeoutError

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence
    from typing import Any, TextIO

    from ._types import BulkStatus

__all__ = ["main"]

FINISHED, ERROR, USAGE, NOT_AUTHORISED, RUNNING = 0, 1, 2, 4, 8
BY_SIGNAL = 128  # plus the signal's number, as shells count

EPILOG = """\
T is a time: 90 (seconds), 90s, 5m, 1.5h.

The password comes from stdin (--password-stdin), else from SAYMON_PASSWORD, else
from the file that SAYMON_PASSWORD_FILE names, else from netrc (the file that
NETRC names, or ~/.netrc), else it is asked for on the terminal.

Exit codes: 0 all finished, 1 an error, 2 wrong usage, 4 not authorised, 8 not finished
yet; where several apply, 4 goes before 1 and 1 before 8. 130 interrupted (Ctrl-C),
143 terminated, 141 nobody reads the output. The operations go on, on the server.

Finished does not mean succeeded: the server tells that an operation has ended, no more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code, or raise SystemExit as argparse does for --help and wrong usage."""
    try:
        _prepare_streams()
        return _run(argv)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except BrokenPipeError:
        return BY_SIGNAL + 13
    except SaymonError as error:
        _note(error)
        return _code(error)
    except (ValueError, TypeError, Warning) as error:  # a warning, if PYTHONWARNINGS makes it an error
        _note(error)
        return USAGE
    except OSError as error:
        _note(error)
        return ERROR
    finally:
        _settle_streams()


def _run(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    options.ids = list(dict.fromkeys(options.ids))
    _catch_sigterm()
    _show_warnings()
    if options.verbose:
        _show_log()
    client = _client(options)
    return _status(client, options) if options.command == "status" else _wait(client, options)


# The two commands


def _status(client: Client, options: Namespace) -> int:
    outcomes = client.get_bulk_statuses(options.ids, return_exceptions=True)
    return _worst([_report(id, outcome, options) for id, outcome in outcomes.items()])


def _wait(client: Client, options: Namespace) -> int:
    left = dict.fromkeys(options.ids)
    try:
        code = _follow(client, options, left)
    except KeyboardInterrupt as interrupt:
        code = _interrupted(interrupt)
    if left and not options.quiet:
        _note(f"{len(left)} still running on the server. To go on waiting:\n  {_resumption(left, client, options)}")
    return code


def _follow(client: Client, options: Namespace, left: dict[str, None]) -> int:
    """Report each operation as its wait ends, and take out of `left` those whose wait is over for good."""
    codes = []
    bar = progress(len(left), wanted=not (options.quiet or options.verbose))  # the log's lines would run into it
    try:
        for id, outcome in client.wait_for_bulks(
            options.ids,
            timeout=options.timeout,
            interval=options.interval,
            max_interval=options.max_interval,
            on_poll=lambda *_: bar.refresh(),
            return_exceptions=True,
        ):
            bar.clear()
            codes.append(_report(id, outcome, options))
            if not isinstance(outcome, WaitTimeoutError):
                del left[id]
                bar.update(1)
            bar.refresh()
    except KeyboardInterrupt:
        bar.leave = True  # the terminal has put its ^C into the same line
        raise
    finally:
        bar.close()
    return _worst(codes)


def _resumption(left: dict[str, None], client: Client, options: Namespace) -> str:
    """The command that waits for what is left: as this one was called, with what it had from the environment spelt out."""
    import shlex

    words = [sys.executable, "-m", "saymon_bulk"] if sys.argv[0].endswith("__main__.py") else [sys.argv[0]]
    words += ["wait", "--host", options.host, "--login", client.login]
    for name, default in vars(_parser().parse_args(["wait", "ID"])).items():
        value = getattr(options, name)
        if value != default and name not in ("ids", "host", "login"):
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append("none" if value is None else f"{value:.15g}" if isinstance(value, float) else value)
    return shlex.join([*words, "--", *left])


# What is printed


def _report(id: str, outcome: BulkStatus | SaymonError, options: Namespace) -> int:
    """Print how it stands with one operation, and return the exit code of that."""
    if options.json:
        import json

        print(json.dumps(_as_object(id, outcome)), flush=True)
    elif not isinstance(outcome, SaymonError):
        print(id, "finished" if outcome["finished"] else "running", flush=True)
    elif isinstance(outcome, WaitTimeoutError) and outcome.pending.get(id):
        print(id, "running", flush=True)
    else:
        _note(outcome)
    return _code(outcome)


def _as_object(id: str, outcome: BulkStatus | SaymonError) -> dict[str, object]:
    if isinstance(outcome, SaymonError):
        status_code = outcome.status_code if isinstance(outcome, HTTPStatusError) else None
        return {"id": id, "error": type(outcome).__name__, "message": str(outcome), "status_code": status_code}
    # A field of the server's that is called so too must not say whose line it is.
    return {"id": id, **{name: value for name, value in outcome.items() if name != "id"}}


def _code(outcome: BulkStatus | SaymonError) -> int:
    if isinstance(outcome, AuthError):
        return NOT_AUTHORISED
    if isinstance(outcome, WaitTimeoutError):
        return RUNNING
    if isinstance(outcome, SaymonError):
        return ERROR
    return FINISHED if outcome["finished"] else RUNNING


def _worst(codes: list[int]) -> int:
    return next((code for code in (NOT_AUTHORISED, ERROR, RUNNING) if code in codes), FINISHED)


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    import signal

    # From here on the next one kills at once, instead of interrupting these last words.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    _note("interrupted" if number == signal.SIGINT else "terminated")
    return BY_SIGNAL + number


def _note(what: object) -> None:
    try:
        print(f"saymon-bulk: {what}", file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)  # nobody reads it, which is no reason to end the work


def _show_warnings() -> None:
    import warnings

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _note(f"warning: {message}")

    warnings.showwarning = show  # without the source line, which is none of the user's


def _show_log() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("saymon-bulk: %(asctime)s %(message)s"))
    logger = logging.getLogger("saymon_bulk")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logging.raiseExceptions = False  # as _note: nobody may read it


# Signals and streams


def _catch_sigterm() -> None:
    import signal

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, interrupt)


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; a socket must not get its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an id in Cyrillic, a terminal in ASCII


def _settle_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _abandon(stream)


def _abandon(stream: TextIO) -> None:
    # What it still holds would fail again when Python exits, with words of Python's own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# Credentials


def _client(options: Namespace) -> Client:
    # The password stands in this frame, which is gone when requests are made.
    if not options.host:
        raise ValueError("no host: give --host or set SAYMON_HOST")
    login, password = _credentials(options)
    if options.insecure and options.cacert is not None:
        raise ValueError("--insecure and --cacert exclude each other")
    verify = options.cacert if options.cacert is not None else not options.insecure
    return Client(options.host, login, password, request_timeout=options.request_timeout, verify=verify)


def _credentials(options: Namespace) -> tuple[str, str]:
    login, password = options.login, None
    if options.password_stdin:
        password = _password_on_stdin()
    else:
        from ._environment import credentials

        login, password = credentials(options.host, login)
    if not login:
        raise ValueError(f"no login: {_absence(options)}give --login or set SAYMON_LOGIN")
    if not password and not sys.stdin.isatty():
        sources = "use --password-stdin, SAYMON_PASSWORD, SAYMON_PASSWORD_FILE or netrc"
        raise ValueError(f"no password: {_absence(options)}{sources}")
    return login, password or _prompt(login)


def _absence(options: Namespace) -> str:
    """Why netrc gave nothing, if it was asked."""
    if options.password_stdin:
        return ""
    from ._environment import absence

    return absence(options.host, options.login) + "; "


def _password_on_stdin() -> str | None:
    if sys.stdin.isatty():
        return None  # the prompt reads it, without showing it
    try:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n").decode()
    except UnicodeDecodeError:  # which carries the password
        raise ValueError("the password on stdin is not UTF-8") from None
    if not password:
        raise ValueError("no password on stdin")
    return password


def _prompt(login: str) -> str:
    from getpass import getpass

    try:
        password = getpass(f"Password of {login}: ")
    except (EOFError, KeyboardInterrupt) as end:
        print(file=sys.stderr)  # ends the prompt's line
        if isinstance(end, KeyboardInterrupt):
            raise
        password = ""
    if not password:
        raise ValueError("no password was entered")
    return password


# Arguments


def _parser() -> ArgumentParser:
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    # No abbreviations: --password X would be one of --password-stdin, and X an id.
    style: dict[str, Any] = {"epilog": EPILOG, "formatter_class": RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = ArgumentParser(prog="saymon-bulk", description="Have SAYMON bulk operations finished?", **style)
    parser.add_argument("--version", action="version", version=f"saymon-bulk {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="saymon-bulk")

    text = "Ask once, and print for each ID whether it is finished or running."
    status = commands.add_parser("status", help="ask once", description=text, **style)
    _add_options(status)

    text = "Poll until all have finished, and print each ID when it has."
    wait = commands.add_parser("wait", help="poll until all have finished", description=text, **style)
    _add_options(wait)
    add = wait.add_argument_group("waiting").add_argument
    add(
        "--timeout",
        metavar="T",
        type=_seconds_or_none,
        default=TIMEOUT,
        help=f"limit for everything, or none; default: {_in_words(TIMEOUT)}",
    )
    add(
        "--interval",
        metavar="T",
        type=_seconds,
        default=INTERVAL,
        help=f"first pause; each is 1.5 times the last; default: {_in_words(INTERVAL)}",
    )
    add(
        "--max-interval",
        metavar="T",
        type=_seconds,
        default=MAX_INTERVAL,
        help=f"what the pauses grow to; default: {_in_words(MAX_INTERVAL)}",
    )
    return parser


def _add_options(parser: ArgumentParser) -> None:
    from argparse import SUPPRESS

    add = parser.add_argument
    add("ids", metavar="ID", nargs="+", help="an operation's id, the server's bulkId; a repeated one counts once")
    add("--json", action="store_true", help="print one JSON object a line, for errors too")
    add("-q", "--quiet", action="store_true", help="no progress and no hints: only results, warnings and errors")
    add("-v", "--verbose", action="store_true", help="log every request to stderr")

    add = parser.add_argument_group("server").add_argument
    where = "name, name:port or [v6]:port, with https:// (the default) or http:// before it; default: SAYMON_HOST"
    add("--host", metavar="H", default=os.environ.get("SAYMON_HOST"), help=where)
    who = "default: SAYMON_LOGIN, else what netrc has for the host"
    add("--login", metavar="L", default=os.environ.get("SAYMON_LOGIN"), help=who)
    add("--password-stdin", action="store_true", help="read the password from the first line of stdin")
    add("--password", "--passwd", "--pass", "-p", type=_refused, help=SUPPRESS)
    add("--cacert", metavar="FILE", help="trust the CA certificates of this PEM file and no others")
    add("--insecure", action="store_true", help="do not check the server's certificate")
    add(
        "--request-timeout",
        metavar="T",
        type=_seconds,
        default=REQUEST_TIMEOUT,
        help=f"limit for one request; default: {_in_words(REQUEST_TIMEOUT)}",
    )


_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _in_words(seconds: float) -> str:
    """A time as the options take it: 3600 is 1h."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds / size:g}{unit}"


def _seconds(text: str) -> float:
    from argparse import ArgumentTypeError

    unit = _UNITS.get(text[-1:])
    try:
        value = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no duration: 30, 30s, 5m and 1.5h are")
    return value


def _seconds_or_none(text: str) -> float | None:
    return None if text in ("none", "forever") else _seconds(text)


def _refused(_: str) -> str:
    from argparse import ArgumentTypeError

    # Not even an "unrecognized argument", which would be quoted.
    sources = "--password-stdin, SAYMON_PASSWORD, SAYMON_PASSWORD_FILE or netrc"
    raise ArgumentTypeError(f"others can read a command line; use {sources}")
