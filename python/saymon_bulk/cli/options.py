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


def add_option(parser: Any, *names: str, **more: Any) -> None:
    parser.add_argument(*names, default=SUPPRESS, **more)


def add_flag(parser: Any, *names: str, help: str) -> None:
    add_option(parser, *names, action="store_true", help=help)


def add_common(parser: ArgumentParser) -> None:
    output = parser.add_argument_group(COMMON[0])
    add_flag(output, "--json", help="print one JSON object a line, for errors too")
    add_flag(
        output,
        "-q",
        "--quiet",
        help="no progress and no hints: only results, warnings, errors, and a line if a wait gives up",
    )
    add_flag(output, "-v", "--verbose", help="log every request to stderr, instead of progress")

    server = parser.add_argument_group(COMMON[1])
    what = "name, name:port or [IPv6 address]:port, with https:// (the default) or http:// before it; default: SAYMON_HOST"
    add_option(server, "--host", metavar="HOST", help=what)
    add_option(server, "--login", metavar="LOGIN", help="default: SAYMON_LOGIN, else what netrc has for the host")
    add_flag(server, "--password-stdin", help="read the password from the first line of stdin")
    add_option(server, "--password", "--passwd", "--pass", "-p", type=refused, help=SUPPRESS)
    add_option(server, "--cacert", metavar="PATH", help="trust the certificates of this PEM file or directory and no others")
    add_option(server, "--cert", metavar="FILE", help="a client certificate, PEM; default: SAYMON_CERT and SAYMON_KEY")
    add_option(server, "--key", metavar="FILE", help="its private key, if that is not in the file of --cert")
    add_flag(server, "--insecure", help="do not check the server's certificate")
    what = f"limit for one request; default: {_in_words(REQUEST_TIMEOUT)}"
    add_option(server, "--request-timeout", metavar="TIME", type=_above_0(_time), help=what)


def add_search(parser: ArgumentParser, *, required: bool = False) -> None:
    what = "the criteria: a file with a JSON object, or the object itself; - is stdin"
    add_option(parser, "--search", metavar="FILE", required=required, help=what)


def add_bulk(parser: ArgumentParser) -> None:
    what = "the changes: a file with a JSON list of objects, or the list itself; - is stdin"
    parser.add_argument("--bulk", metavar="FILE", required=True, help=what)


def add_plan(parser: ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the file of a plan, from plan --out")


def add_show_values(parser: ArgumentParser) -> None:
    add_flag(parser, "--show-values", help="show values of fields whose names say password, secret, token, community or key")


def add_at_most(parser: ArgumentParser) -> None:
    add_option(parser, "--at-most", metavar="N", type=_count, help="refuse a plan that changes more than N objects")


def add_apply(parser: ArgumentParser) -> None:
    add_flag(parser, "--skip-stale", help="leave out objects that have changed since the plan was made, or are gone")
    what = f"objects of one operation at most; default: {PART_SIZE}"
    add_option(parser, "--part-size", metavar="N", type=_above_0(_count), help=what)
    add_option(parser, "--journal", metavar="PATH", help="the file that remembers what was started; default: PLAN.log")


def add_settle(parser: ArgumentParser) -> None:
    what = f"how long objects that are not as asked are read again; default: {_in_words(SETTLE)}"
    add_option(parser, "--settle", metavar="TIME", type=_time, help=what)


def add_schedule(parser: ArgumentParser) -> None:
    _add_schedule(parser.add_argument_group(WAITING), "the wait of each part")


def add_ids(parser: ArgumentParser) -> None:
    what = "an operation's id, the server's bulkId; - reads ids from stdin, one a line; a repeated one is asked for once"
    parser.add_argument("ids", metavar="ID", nargs="*", help=what)
    what = "read ids from FILE, one a line; a line that begins with # is a comment; - is stdin; may be repeated"
    add_option(parser, "--ids", metavar="FILE", dest="ids_files", action="append", help=what)


def add_wait_flag(parser: ArgumentParser) -> None:
    """For a command that can go on as `wait` does."""
    group = parser.add_argument_group(WAITING)
    add_flag(group, "--wait", help="go on as the command wait does; the options below go with it")
    _add_schedule(group)


def add_wait(parser: ArgumentParser) -> None:
    parser.set_defaults(wait=True)
    group = parser.add_argument_group(WAITING)
    _add_schedule(group)
    add_concurrency(group)


def _add_schedule(group: Any, limited: str = "everything") -> None:
    what = f"limit for {limited}, or none; default: {_in_words(TIMEOUT)}"
    add_option(group, "--timeout", metavar="TIME", type=_time_or_none, help=what)
    what = f"shortest pause; each is a tenth of the time waited; default: {_in_words(INTERVAL)}"
    add_option(group, "--interval", metavar="TIME", type=_above_0(_time), help=what)
    what = f"longest pause; default: {_in_words(MAX_INTERVAL)}"
    add_option(group, "--max-interval", metavar="TIME", type=_above_0(_time), help=what)
    what = f"failures in a row that are tolerated, for each operation; default: {RETRIES}"
    add_option(group, "--retries", metavar="N", type=_count, help=what)


def add_concurrency(parser: Any) -> None:
    what = f"requests under way at the same time; default: {CONCURRENCY}"
    add_option(parser, "--concurrency", metavar="N", type=_above_0(_count), help=what)


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


def refused(_: str) -> str:
    raise ArgumentTypeError(NO_PASSWORD)
