"""The command line: `saymon-bulk start`, `clone`, `status` and `wait`.

Results go to stdout, everything else to stderr. What only some commands need is imported where they need it: in a
shell's loop, most of the time goes into the start.
"""

from __future__ import annotations

import io
import os
import sys

from ._client import CONCURRENCY, INTERVAL, MAX_INTERVAL, REQUEST_TIMEOUT, RETRIES, TIMEOUT, Client
from ._core import __version__, _checked_id
from ._progress import progress
from .errors import AuthError, SaymonError, StartUncertainError, WaitTimeoutError

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TextIO

    from ._core import Step
    from ._types import BulkStart, BulkStatus, Cert

__all__ = ["main"]

FINISHED, ERROR, USAGE, NOT_AUTHORISED, RUNNING, UNCERTAIN = 0, 1, 2, 4, 8, 9
BY_SIGNAL = 128  # plus the signal's number, as shells count

WAITING = {"timeout": TIMEOUT, "interval": INTERVAL, "max_interval": MAX_INTERVAL}

EPILOG = """\
T is a time: 90 (seconds), 90s, 5m, 1.5h.

The password comes from stdin (--password-stdin), else from SAYMON_PASSWORD,
else from the file that SAYMON_PASSWORD_FILE names, else from netrc (the file
that NETRC names, or ~/.netrc), else it is asked for on the terminal.

Exit codes; where several apply, 4 goes before 1 and 1 before 8:
  0    all finished; without --wait, started
  1    an error, or unknown; without --wait, not started
  2    wrong usage
  4    not authorised
  8    not finished yet
  9    perhaps started: look at the server before you start it again
  130  interrupted (Ctrl-C); 143 terminated; 141 nobody reads the output
The operations go on, on the server.

Finished does not mean succeeded: the server tells that an operation has ended,
no more.
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
    for name, default in WAITING.items():
        if name in options and not options.wait:
            raise ValueError(f"--{name.replace('_', '-')} goes with --wait")
        vars(options).setdefault(name, default)
    _catch_sigterm()
    _show_warnings()
    if options.verbose:
        _show_log()
    if options.command in ("start", "clone"):
        return _start(options)
    options.ids = list(dict.fromkeys(options.ids))
    client = _client(options)
    return _status(client, options) if options.command == "status" else _wait(client, options)


# The commands


def _start(options: Namespace) -> int:
    """Start a bulk operation or a clone. Everything is checked before a password is asked for, where possible."""
    from ._starting import request_id

    terminal = None
    if options.command == "start":
        what: Any = _body(options)
        if options.every_object and not options.yes:
            terminal = _terminal()
    else:
        what = _checked_id(options.object_id)
    client = _client(options)
    if options.wait:
        options.ids = []
        _outcomes(client, options, lambda _: None)  # an interval of 0 is refused now, not after the start
    if terminal and not _is_meant(terminal, client):
        _note("not started")
        return ERROR
    start: Any = client._start_bulk if options.command == "start" else client._start_clone
    outcomes: list[BulkStart | SaymonError] = []
    try:
        try:
            # One step of the interpreter: a Ctrl-C that comes with the answer cannot take it away.
            outcomes.extend(map(start, [what], [request_id()]))
        except SaymonError as error:
            outcomes.append(error)
        return _go_on(outcomes[0], client, options)
    except BaseException as error:
        if not outcomes:
            raise
        # Nobody may have read the outcome: stdout has failed, or it is the Ctrl-C above.
        outcome = outcomes[0]
        _note(outcome if isinstance(outcome, SaymonError) else _started(outcome))
        if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
            raise
        _note(error)
        return _code(outcome) if isinstance(outcome, SaymonError) else UNCERTAIN  # 1 would mean not started


def _go_on(outcome: BulkStart | SaymonError, client: Client, options: Namespace) -> int:
    """Print what came of a start, then wait if that is wanted."""
    if isinstance(outcome, SaymonError):
        return _report(None, outcome, options)
    if (options.wait and not options.quiet) or sys.__stdout__ is None:  # None: closed by the caller
        _note(_started(outcome))
    if options.json:
        import json

        print(json.dumps(outcome), flush=True)
    elif not options.wait:
        print(outcome["bulkId"], flush=True)
    if not options.wait:
        return FINISHED
    options.ids = [outcome["bulkId"]]
    return _wait(client, options)


def _started(start: BulkStart) -> str:
    return f"started bulk operation {start['bulkId']}"


def _body(options: Namespace) -> bytes:
    """The request body that the two files make, checked."""
    from . import _starting
    from ._files import encoded

    every_object: bool = options.every_object
    if options.search is None and not every_object:
        raise ValueError("no criteria: give --search FILE, or --every-object")
    if options.yes and not every_object:
        raise ValueError("--yes goes with --every-object")
    readers = [f"{name} -" for name in ("search", "bulk") if getattr(options, name) == "-"]
    readers += ["password-stdin"] if options.password_stdin else []
    if len(readers) > 1:
        raise ValueError(f"--{' and --'.join(readers)} exclude each other: stdin can be read once")

    def criteria(search: dict[str, Any]) -> bytes:
        if search and every_object:
            raise ValueError("holds criteria, and --every-object goes without")
        if not search and not every_object:
            raise ValueError("holds no criteria, which means every object of the installation; if so, add --every-object")
        return _starting.criteria(search, every_object)

    search = b"{}" if options.search is None else encoded(options.search, dict, criteria)
    return _starting.joined(search, encoded(options.bulk, list, _starting.changes))


def _terminal() -> TextIO:
    """The terminal, to read an answer from: stdin may hold a file."""
    if sys.stderr.isatty():
        try:
            return open("/dev/tty", errors="replace")
        except OSError:
            if sys.stdin.isatty():  # as on Windows
                return sys.stdin
    raise ValueError("--every-object asks on the terminal whether it is meant; without a terminal, add --yes")


def _is_meant(terminal: TextIO, client: Client) -> bool:
    question = f'This changes every object of {client.host}. To start, type "yes": '
    answer = ""
    try:
        print(question, end="", file=sys.stderr, flush=True)
        with terminal:
            answer = terminal.readline()
    finally:
        if not answer:
            print(file=sys.stderr)  # ends the question's line
    return answer.strip() == "yes"


def _status(client: Client, options: Namespace) -> int:
    outcomes = client.get_bulk_statuses(options.ids, return_exceptions=True)
    return _worst([_report(id, outcome, options) for id, outcome in outcomes.items()])


def _wait(client: Client, options: Namespace) -> int:
    left = dict.fromkeys(options.ids, False)
    try:
        code = _follow(client, options, left)
    except KeyboardInterrupt as interrupt:
        code = _interrupted(interrupt)
    if left and not options.quiet:
        _note(f"{_states(left)}. To go on waiting:\n  {_resumption(left, client, options)}")
    return code


def _states(left: dict[str, bool]) -> str:
    running = sum(left.values())
    unknown = len(left) - running
    counts = [(running, "still running on the server"), (unknown, "not known to have finished")]
    return ", ".join(f"{count} {state}" for count, state in counts if count)


def _follow(client: Client, options: Namespace, left: dict[str, bool]) -> int:
    """Report each operation as its wait ends. `left` keeps those to wait for, and whether each is known to run."""
    codes = []
    bar = progress(len(left), wanted=not (options.quiet or options.verbose))  # the log's lines would run into it

    def on_step(step: Step) -> None:
        if not isinstance(step.error, WaitTimeoutError):
            left[step.id] = step.error is None
        bar.set_postfix_str(_trouble(step), refresh=False)
        bar.refresh()

    try:
        for id, outcome in _outcomes(client, options, on_step):
            bar.clear()
            codes.append(_report(id, outcome, options))
            if isinstance(outcome, WaitTimeoutError):
                left[id] = _is_running(id, outcome)
            else:
                del left[id]
                bar.update(1)
            bar.refresh()
    except KeyboardInterrupt:
        bar.leave = True  # the terminal has put its ^C into the same line
        raise
    finally:
        bar.close()
    return _worst(codes)


def _trouble(step: Step) -> str:
    """What the progress line says after a failure that is tolerated."""
    if step.error is None or step.is_over:
        return ""
    status_code = getattr(step.error, "status_code", None)
    what = f"answers {status_code}" if status_code else "does not answer"
    return f"server {what}, {step.failures} of {RETRIES}"


def _outcomes(
    client: Client, options: Namespace, on_step: Callable[[Step], None]
) -> Iterator[tuple[str, BulkStatus | SaymonError]]:
    """What `wait_for_bulks` yields; `on_step` sees the failures too."""
    waits = client._waits(options.ids, (options.timeout, options.interval, options.max_interval, RETRIES, CONCURRENCY), True)

    def outcomes() -> Iterator[tuple[str, Any]]:
        try:
            for steps in waits:
                for step in steps:
                    on_step(step)
                    if step.is_over:
                        yield step.id, step.status if step.error is None else step.error
        finally:
            waits.close()

    return outcomes()


def _resumption(left: dict[str, bool], client: Client, options: Namespace) -> str:
    """The command that waits for what is left: as this one was called, with what it had from the environment spelt out."""
    import shlex

    words = [sys.executable, "-m", "saymon_bulk"] if sys.argv[0].endswith("__main__.py") else [sys.argv[0]]
    words += ["wait", "--host", options.host, "--login", client.login]
    for name, default in {**vars(_parser().parse_args(["wait", "ID"])), **WAITING}.items():
        value = getattr(options, name)
        if value != default and name not in ("command", "ids", "host", "login"):
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append("none" if value is None else f"{value:.15g}" if isinstance(value, float) else value)
    return shlex.join([*words, "--", *left])


# What is printed


def _report(id: str | None, outcome: BulkStatus | SaymonError, options: Namespace) -> int:
    """Print how it stands with one operation, and return the exit code of that; a failed start has no id."""
    if options.json:
        import json

        print(json.dumps(_as_object(id, outcome)), flush=True)
    elif not isinstance(outcome, SaymonError):
        print(id, "finished" if outcome["finished"] else "running", flush=True)
    elif isinstance(outcome, WaitTimeoutError) and id:
        is_running = _is_running(id, outcome)
        print(id, "running" if is_running else "unknown", flush=True)
        if not is_running:
            _note(outcome)
    else:
        _note(outcome)
    return _code(outcome)


def _as_object(id: str | None, outcome: BulkStatus | SaymonError) -> dict[str, object]:
    if isinstance(outcome, SaymonError):
        status_code = getattr(outcome, "status_code", None)
        request_id = {"request_id": outcome.request_id} if isinstance(outcome, StartUncertainError) else {}
        text = {"error": type(outcome).__name__, "message": str(outcome), "status_code": status_code}
        return {"id": id, **text, **request_id}
    # A field of the server's that is called so too must not say whose line it is.
    return {"id": id, **{name: value for name, value in outcome.items() if name != "id"}}


def _is_running(id: str, late: WaitTimeoutError) -> bool:
    """Whether an operation ran when it was last asked for; a poll that failed tells nothing."""
    return bool(late.pending.get(id)) and id not in late.failures


def _code(outcome: BulkStatus | SaymonError) -> int:
    if isinstance(outcome, AuthError):
        return NOT_AUTHORISED
    if isinstance(outcome, WaitTimeoutError):
        return RUNNING if all(_is_running(id, outcome) for id in outcome.pending) else ERROR
    if isinstance(outcome, StartUncertainError):
        return UNCERTAIN
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
    for note in getattr(interrupt, "__notes__", ()):  # of a start whose outcome is uncertain
        _note(note)
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
    return Client(
        options.host, login, password, request_timeout=options.request_timeout, verify=verify, cert=_certificate(options)
    )


def _certificate(options: Namespace) -> Cert | None:
    if options.cert is None:
        if options.key is not None:
            raise ValueError("--key goes with --cert")
        from ._environment import certificate

        return certificate()
    return options.cert if options.key is None else (options.cert, options.key)


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
    text = "Start SAYMON bulk operations, and ask whether they have finished."
    parser = ArgumentParser(prog="saymon-bulk", description=text, **style)
    parser.add_argument("--version", action="version", version=f"saymon-bulk {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="saymon-bulk")

    text = "Start a bulk operation on the objects that a search finds, and print its id."
    text += "\nA FILE is JSON in UTF-8; - is stdin."
    start = commands.add_parser("start", help="start a bulk operation", description=text, **style)
    add = start.add_argument
    add("--search", metavar="FILE", help="the criteria, a JSON object")
    add("--bulk", metavar="FILE", required=True, help="the changes, a JSON list of objects")
    add("--every-object", action="store_true", help="no criteria: change every object of the installation")
    add("--yes", action="store_true", help="with --every-object: do not ask whether that is meant")
    _add_options(start)
    _add_waiting(start, is_optional=True)

    text = "Start the clone of an object, and print the id of the operation."
    clone = commands.add_parser("clone", help="start the clone of an object", description=text, **style)
    clone.add_argument("object_id", metavar="OBJECT_ID", help='its id, or "discovery id:" and its discovery id')
    _add_options(clone)
    _add_waiting(clone, is_optional=True)

    text = "Ask once, and print for each ID whether it is finished or running."
    status = commands.add_parser("status", help="ask once", description=text, **style)
    _add_ids(status)
    _add_options(status)

    text = "Poll until all have finished, and print each ID when it has."
    wait = commands.add_parser("wait", help="poll until all have finished", description=text, **style)
    _add_ids(wait)
    _add_options(wait)
    _add_waiting(wait, is_optional=False)
    return parser


def _add_ids(parser: ArgumentParser) -> None:
    what = "an operation's id, the server's bulkId; a repeated one counts once"
    parser.add_argument("ids", metavar="ID", nargs="+", help=what)


def _add_waiting(parser: ArgumentParser, *, is_optional: bool) -> None:
    from argparse import SUPPRESS

    add = parser.add_argument_group("waiting").add_argument
    if is_optional:
        add("--wait", action="store_true", help="go on as the command wait does; the options below go with it")
    else:
        parser.set_defaults(wait=True)
    # What was not given stays absent, so that it can be told from a default.
    add(
        "--timeout",
        metavar="T",
        type=_seconds_or_none,
        default=SUPPRESS,
        help=f"limit for everything, or none; default: {_in_words(TIMEOUT)}",
    )
    add(
        "--interval",
        metavar="T",
        type=_seconds,
        default=SUPPRESS,
        help=f"shortest pause; each is a tenth of the time waited so far; default: {_in_words(INTERVAL)}",
    )
    add(
        "--max-interval",
        metavar="T",
        type=_seconds,
        default=SUPPRESS,
        help=f"longest pause; default: {_in_words(MAX_INTERVAL)}",
    )


def _add_options(parser: ArgumentParser) -> None:
    from argparse import SUPPRESS

    add = parser.add_argument
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
    add("--cacert", metavar="PATH", help="trust the certificates of this PEM file or directory and no others")
    add("--cert", metavar="FILE", help="a client certificate, PEM; default: SAYMON_CERT and SAYMON_KEY")
    add("--key", metavar="FILE", help="its key, if that is not in the file of --cert")
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
