"""What options there are, what they default to, and how their values are read. Several commands share some.

No option has a default of argparse's: what was not given is absent, and the class `Options` has the defaults.
"""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentTypeError

from .._client import CONCURRENCY, INTERVAL, MAX_INTERVAL, PART_SIZE, REQUEST_TIMEOUT, RETRIES, SETTLE, TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence
    from typing import Any, Callable, TypeVar

    _Option = Callable[[Any], object]
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
    plan = ""
    out: str | None = None
    journal: str | None = None
    at_most: int | None = None
    part_size = PART_SIZE
    settle = SETTLE
    count = exit_code = all = show_values = skip_stale = False
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


OF_A_WAIT = ("timeout", "interval", "max_interval", "retries")

SHELLS = ("bash", "zsh", "fish")

# Titles in the help. Every command has the common groups.
COMMON = ("output", "server")
WAITING = "waiting"
COMMAND_LIST = "commands"

NO_PASSWORD = "others can read a command line; use --password-stdin, SAYMON_PASSWORD, SAYMON_PASSWORD_FILE or netrc"


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
        raise ArgumentTypeError(f"{text!r} is not a time; write 90 (seconds), 90s, 500ms, 5m, 1.5h or 1h30m")
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


def refused(_: str) -> str:
    raise ArgumentTypeError(NO_PASSWORD)


# Options, as functions that add themselves to a parser or to a group


def option(*names: str, **more: Any) -> _Option:
    return lambda parser: parser.add_argument(*names, default=SUPPRESS, **more)


def flag(*names: str, help: str) -> _Option:
    return option(*names, action="store_true", help=help)


def argument(name: str, **more: Any) -> _Option:
    return lambda parser: parser.add_argument(name, **more)


def group(title: str, *options: _Option) -> _Option:
    def add(parser: ArgumentParser) -> None:
        inner = parser.add_argument_group(title)
        for one in options:
            one(inner)

    return add


def search(*, required: bool = False) -> _Option:
    what = "the criteria: a file with a JSON object, or the object itself; - is stdin"
    return option("--search", metavar="FILE", required=required, help=what)


BULK = option(
    "--bulk",
    metavar="FILE",
    required=True,
    help="the changes: a file with a JSON list of objects, or the list itself; - is stdin",
)
PLAN = argument("plan", metavar="PLAN", help="the file of a plan, from plan --out")
SHOW_VALUES = flag("--show-values", help="show values of fields whose names say password, secret, token, community or key")
AT_MOST = option("--at-most", metavar="N", type=_count, help="refuse a plan that changes more than N objects")
PART = option(
    "--part-size", metavar="N", type=_above_0(_count), help=f"objects of one operation at most; default: {PART_SIZE}"
)
SETTLE_TIME = option(
    "--settle",
    metavar="TIME",
    type=_time,
    help=f"how long objects that are not as asked are read again; default: {_in_words(SETTLE)}",
)
CONCURRENT = option(
    "--concurrency", metavar="N", type=_above_0(_count), help=f"requests under way at the same time; default: {CONCURRENCY}"
)
IDS = (
    argument(
        "ids",
        metavar="ID",
        nargs="*",
        help="an operation's id, the server's bulkId; - reads ids from stdin, one a line; a repeated one is asked for once",
    ),
    option(
        "--ids",
        metavar="FILE",
        dest="ids_files",
        action="append",
        help="read ids from FILE, one a line; a line that begins with # is a comment; - is stdin; may be repeated",
    ),
)


def schedule(limited: str = "everything") -> tuple[_Option, ...]:
    return (
        option(
            "--timeout",
            metavar="TIME",
            type=_time_or_none,
            help=f"limit for {limited}, or none; default: {_in_words(TIMEOUT)}",
        ),
        option(
            "--interval",
            metavar="TIME",
            type=_above_0(_time),
            help=f"shortest pause; a pause is a tenth of the time waited so far; default: {_in_words(INTERVAL)}",
        ),
        option(
            "--max-interval", metavar="TIME", type=_above_0(_time), help=f"longest pause; default: {_in_words(MAX_INTERVAL)}"
        ),
        option(
            "--retries",
            metavar="N",
            type=_count,
            help=f"failures in a row that are tolerated, for each operation; default: {RETRIES}",
        ),
    )


# For a command that can go on as `wait` does.
WAIT = group(WAITING, flag("--wait", help="go on as the command wait does; the options below go with it"), *schedule())

_HOST = "name, name:port or [IPv6 address]:port, with https:// (the default) or http:// before it; default: SAYMON_HOST"

# Before a command, and in each that uses the network.
ANYWHERE = (
    group(
        COMMON[0],
        flag("--json", help="print one JSON object a line, for errors too"),
        flag(
            "-q", "--quiet", help="no progress and no hints: only results, warnings, errors, and a line if a wait gives up"
        ),
        flag("-v", "--verbose", help="log every request to stderr, instead of progress"),
    ),
    group(
        COMMON[1],
        option("--host", metavar="HOST", help=_HOST),
        option("--login", metavar="LOGIN", help="default: SAYMON_LOGIN, else what netrc has for the host"),
        flag("--password-stdin", help="read the password from the first line of stdin"),
        option("--password", "--passwd", "--pass", "-p", type=refused, help=SUPPRESS),
        option("--cacert", metavar="PATH", help="trust the certificates of this PEM file or directory and no others"),
        option("--cert", metavar="FILE", help="a client certificate, PEM; default: SAYMON_CERT and SAYMON_KEY"),
        option("--key", metavar="FILE", help="its private key, if that is not in the file of --cert"),
        flag("--insecure", help="do not check the server's certificate"),
        option(
            "--request-timeout",
            metavar="TIME",
            type=_above_0(_time),
            help=f"limit for one request; default: {_in_words(REQUEST_TIMEOUT)}",
        ),
    ),
)
