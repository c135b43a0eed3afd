"""The options of the command line, their help, and the reading of them.

The common options stand before or after the command. No option has a default of
argparse's: what was not given is absent, and the class `Options` has the defaults.
"""

from __future__ import annotations

import os
import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, HelpFormatter, _SubParsersAction

from .._client import CONCURRENCY, INTERVAL, MAX_INTERVAL, REQUEST_TIMEOUT, RETRIES, TIMEOUT
from .._core import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable, TypeVar

    _Number = TypeVar("_Number", int, float)


class Options:
    """The options of a command by name. `given` holds the names of those that the user gave."""

    given: set[str]
    command: str
    shell: str
    object_id: str
    ids: Sequence[str] = ()
    ids_files: Sequence[str] = ()
    search: str | None = None
    bulk = ""
    every_object = yes = wait = False
    json = quiet = verbose = False
    host = ""
    login: str | None = None
    password_stdin = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    insecure = False
    request_timeout = REQUEST_TIMEOUT
    timeout: float | None = TIMEOUT
    interval = INTERVAL
    max_interval = MAX_INTERVAL
    retries = RETRIES
    concurrency = CONCURRENCY


OF_A_WAIT = ("timeout", "interval", "max_interval", "retries", "concurrency")

SHELLS = ("bash", "zsh", "fish")

WIDTH = 80  # of the help at most

# A paragraph is one line; the formatter breaks it.
EPILOG = """\
TIME is 90 (seconds), 90s, 500ms, 5m, 1.5h or 1h30m.

A script writes -- before the id of a variable: saymon-bulk wait -- "$id".

The password comes from stdin (--password-stdin), else from SAYMON_PASSWORD, else from the file that \
SAYMON_PASSWORD_FILE names, else from netrc (the file that NETRC names, or ~/.netrc), else it is asked for on the \
terminal. The variables count if there is a login: a password belongs to a login.

With --json, stdout has one JSON object a line, for errors too. Its keys are promised; other fields of the server \
follow them:
  id           the operation, or null
  finished     true, false, or null after an error
  error        the class of the error, or null
  message      what went wrong, or null
  status_code  the HTTP status of the error, or null
  transient    true after an error that may pass: a wait goes on after it
A wrong option or a missing argument is told in words, on stderr.

Exit codes; where several apply, 4 goes before 1 and 1 before 8:
  0    all finished; without --wait, started
  1    an error, or unknown; without --wait, not started
  2    wrong usage
  4    not authorised
  8    not finished yet
  9    perhaps started, or the id is not safe in a shell: look at the server before you start it again
  129  the terminal hung up
  130  interrupted (Ctrl-C)
  141  nobody reads the output
  143  terminated

The operations go on, on the server. Finished does not mean succeeded: the server tells that an operation has ended, \
no more.
"""

COMPLETION = """\
To use it in this session:
  bash  eval "$(saymon-bulk completion bash)"
  zsh   eval "$(saymon-bulk completion zsh)", after compinit
  fish  saymon-bulk completion fish | source
To use it in every session, add the line to ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish.
"""

NO_PASSWORD = "others can read a command line; use --password-stdin, SAYMON_PASSWORD, SAYMON_PASSWORD_FILE or netrc"

DESCRIPTION = "Start SAYMON bulk operations, and ask whether they have finished."

# The name of an option as options are written, and what parts a value from it. Any other word may be a value.
_NAME = re.compile("(--[A-Za-z]?[a-z]*(?:-[a-z]+)*)(?:[=: ]|$)")

# What argparse takes for a value or an id.
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")


def parse(words: Sequence[str]) -> Options:
    parser = build()
    _check_options(parser, words)
    options, rest = parser.parse_known_args(words, Options())
    if "ids" in vars(options):
        # argparse takes no ids behind an option that stands behind an id, nor a -- there.
        if "--" in rest:
            rest.remove("--")
        options.ids = [*options.ids, *rest]
    elif rest:
        takes = {"clone": "one OBJECT_ID", "completion": "one SHELL"}.get(options.command, "no ID")
        parser.error(f"unrecognized arguments: {options.command} takes {takes}")
    options.given = set(vars(options))
    environment = {"host": os.environ.get("SAYMON_HOST", ""), "login": os.environ.get("SAYMON_LOGIN")}
    vars(options).update({**environment, **vars(options)})
    return options


def _check_options(main: ArgumentParser, words: Sequence[str]) -> None:
    """Refuses the first word that is no option, by its name alone: its value may be a password.

    argparse would repeat the value, take it for an id, or for the command.
    """
    parser, rest = main, iter(words)
    for word in rest:
        if word == "--":
            return
        if _is_option(word):
            if _takes_next(parser, word) and _is_option(next(rest, "--")):
                return  # argparse says that the value is missing
        elif parser is main:
            commands = _commands(main)
            if word not in commands:
                *names, last = commands
                # Behind an option, the word may be meant as its value.
                found = f", not {word!r}" if word is words[0] and word.isalpha() else ""
                main.error(f"COMMAND must be {', '.join(names)} or {last}{found}")
            parser = commands[word]


def _commands(main: ArgumentParser) -> dict[str, ArgumentParser]:
    return next(dict(action.choices) for action in main._actions if isinstance(action, _SubParsersAction))


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and _NEGATIVE.fullmatch(word) is None


def _takes_next(parser: ArgumentParser, word: str) -> bool:
    """Whether the next word is the value of this option. Refuses what is no option, and a value where none belongs."""
    is_long = word.startswith("--")
    name, equals, _ = word.partition("=")
    names = [name] if is_long else [f"-{letter}" for letter in word[1:]]
    flag = None
    for place, name in enumerate(names, 1):
        action = parser._option_string_actions.get(name)
        if action is None and flag is None:
            parser.error(_no_option(word, is_long))
        if action is not None and action.type is _refused:
            parser.error(NO_PASSWORD)
        if action is not None and action.nargs != 0:
            return not equals if is_long else place == len(names)
        flag = action or flag
        if action is None or (is_long and equals):
            assert flag is not None
            parser.error(f"argument {'/'.join(flag.option_strings)}: takes no value")
    return False


def _no_option(word: str, is_long: bool) -> str:
    if word.startswith("--pass"):
        return NO_PASSWORD
    found = _NAME.match(word)
    return f"unrecognized arguments: {found[1] if found else '--' if is_long else word[:2]}"


def build() -> ArgumentParser:
    # No abbreviations: --password X would be one of --password-stdin, and X an id.
    style: dict[str, Any] = {"formatter_class": _Formatter, "allow_abbrev": False}
    usage = "saymon-bulk COMMAND [OPTION]... [ID]..."
    main = ArgumentParser(prog="saymon-bulk", usage=usage, description=DESCRIPTION, epilog=EPILOG, **style)
    commands = main.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True, prog="saymon-bulk")
    main.add_argument("--version", action="version", version=f"saymon-bulk {__version__}", help="print the version")
    _add_common(main)
    for name, (arguments, help, description) in _COMMANDS.items():
        usage = f"saymon-bulk {name} [OPTION]... {arguments}"
        epilog = COMPLETION if name == "completion" else EPILOG
        command = commands.add_parser(name, usage=usage, help=help, description=description, epilog=epilog, **style)
        _add_options(command, name)
    return main


# Of each command: its arguments, its line in the help, and its description.
_COMMANDS = {
    "start": (
        "--search FILE --bulk FILE",
        "start a bulk operation",
        "Start a bulk operation on the objects that a search finds, and print its id. A FILE is JSON in UTF-8; - is stdin.",
    ),
    "clone": (
        "OBJECT_ID",
        "start the clone of an object",
        "Start the clone of an object, and print the id of the operation.",
    ),
    "status": (
        "ID...",
        "ask once",
        "Ask once, and print for each ID whether it is finished or running. A line comes with its answer.",
    ),
    "wait": ("ID...", "poll until all have finished", "Poll until all have finished, and print each ID when it has."),
    "completion": ("|".join(SHELLS), "print a completion script", "Print the completion script of a shell."),
}


def _add_options(parser: ArgumentParser, name: str) -> None:
    add = parser.add_argument
    if name == "completion":
        add("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
        return
    if name == "start":
        _option(parser, "--search", metavar="FILE", help="the criteria, a JSON object")
        add("--bulk", metavar="FILE", required=True, help="the changes, a JSON list of objects")
        _flag(parser, "--every-object", help="no criteria: change every object of the installation")
        _flag(parser, "--yes", help="with --every-object: do not ask whether that is meant")
    elif name == "clone":
        add("object_id", metavar="OBJECT_ID", help='its id, or "discovery id:" and its discovery id')
    else:
        what = "an operation's id, the server's bulkId; - reads ids from stdin, one a line; a repeated one counts once"
        add("ids", metavar="ID", nargs="*", help=what)
        what = "read ids from FILE too, one a line; - is stdin; may be repeated"
        _option(parser, "--ids", metavar="FILE", dest="ids_files", action="append", help=what)
    if name == "status":
        _add_concurrency(parser)
    else:
        _add_waiting(parser, is_optional=name != "wait")
    _add_common(parser)


def _add_common(parser: ArgumentParser) -> None:
    _flag(parser, "--json", help="print one JSON object a line, for errors too")
    _flag(parser, "-q", "--quiet", help="no progress and no hints: only results, warnings and errors")
    _flag(parser, "-v", "--verbose", help="log every request to stderr, instead of progress")

    server = parser.add_argument_group("server")
    what = "name, name:port or [IPv6 address]:port, with https:// (the default) or http:// before it; default: SAYMON_HOST"
    _option(server, "--host", metavar="HOST", help=what)
    _option(server, "--login", metavar="LOGIN", help="default: SAYMON_LOGIN, else what netrc has for the host")
    _flag(server, "--password-stdin", help="read the password from the first line of stdin")
    _option(server, "--password", "--passwd", "--pass", "-p", type=_refused, help=SUPPRESS)
    _option(server, "--cacert", metavar="PATH", help="trust the certificates of this PEM file or directory and no others")
    _option(server, "--cert", metavar="FILE", help="a client certificate, PEM; default: SAYMON_CERT and SAYMON_KEY")
    _option(server, "--key", metavar="FILE", help="its private key, if that is not in the file of --cert")
    _flag(server, "--insecure", help="do not check the server's certificate")
    what = f"limit for one request; default: {_in_words(REQUEST_TIMEOUT)}"
    _option(server, "--request-timeout", metavar="TIME", type=_above_0(_time), help=what)


def _option(parser: Any, *names: str, **more: Any) -> None:
    parser.add_argument(*names, default=SUPPRESS, **more)


def _flag(parser: Any, *names: str, help: str) -> None:
    _option(parser, *names, action="store_true", help=help)


def _add_waiting(parser: ArgumentParser, *, is_optional: bool) -> None:
    group = parser.add_argument_group("waiting")
    if is_optional:
        _flag(group, "--wait", help="go on as the command wait does; the options below go with it")
    else:
        parser.set_defaults(wait=True)
    what = f"limit for everything, or none; default: {_in_words(TIMEOUT)}"
    _option(group, "--timeout", metavar="TIME", type=_time_or_none, help=what)
    what = f"shortest pause; each is a tenth of the time waited; default: {_in_words(INTERVAL)}"
    _option(group, "--interval", metavar="TIME", type=_above_0(_time), help=what)
    what = f"longest pause; default: {_in_words(MAX_INTERVAL)}"
    _option(group, "--max-interval", metavar="TIME", type=_above_0(_time), help=what)
    what = f"failures in a row that are tolerated, for each operation; default: {RETRIES}"
    _option(group, "--retries", metavar="N", type=_count, help=what)
    _add_concurrency(group)


def _add_concurrency(parser: Any) -> None:
    what = f"requests under way at the same time; default: {CONCURRENCY}"
    _option(parser, "--concurrency", metavar="N", type=_above_0(_count), help=what)


# Values

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_PARTS = re.compile(r"(\d+\.?\d*|\.\d+)(ms|[dhms])")


def _in_words(seconds: float) -> str:
    """A time as the options take it: 3600 is 1h."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds / size:g}{unit}"


def _time(text: str) -> float:
    value = -1.0
    parts = _PARTS.findall(text)
    try:
        if parts and "".join(map("".join, parts)) == text:
            value = sum(float(number) * _UNITS[unit] for number, unit in parts)
        else:
            value = float(text)
    except ValueError:
        pass
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no time: 90, 90s, 500ms, 5m, 1.5h and 1h30m are")
    return value


def _time_or_none(text: str) -> float | None:
    return None if text in ("none", "forever") else _time(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} is no number")
    return min(int(text[:20]), 2**62)  # Python refuses to read more than 4300 digits


def _above_0(read: Callable[[str], _Number]) -> Callable[[str], _Number]:
    def value_of(text: str) -> _Number:
        if value := read(text):
            return value
        raise ArgumentTypeError("must be above 0")

    return value_of


def _refused(_: str) -> str:
    raise ArgumentTypeError(NO_PASSWORD)


# The help


def _columns() -> int:
    """The width of the terminal, up to a limit. argparse itself would import shutil for it."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (ValueError, OSError):
        columns = 0
    return min(columns, WIDTH) if columns > 0 else WIDTH


class _Formatter(HelpFormatter):
    """Breaks no word, and keeps the lines of a text. A line of a table goes on below its second column."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line for paragraph in text.splitlines() for line in _wrapped(paragraph, width) or [""])

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(text, width)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    found = re.match(r" +\S+ +", text)
    indent = " " * found.end() if found else ""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
