"""What the commands read: the client, ids, each once, and JSON from a file or an option.

A ValueError names the place of a mistake.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

from .. import _core
from .._client import Client
from .._core import _checked_id, _shown_path
from .._credentials import certificate, credentials, why_netrc_has_none
from .._text import one_line
from .output import is_terminal, note, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable

    from .._types import Cert
    from .options import Options


_COMMENT = "#"  # begins a line without an id

# An id may be nearly any text, but these are mistakes.
_SCHEMES = ("http://", "https://")
_QUOTES = ('"', "'")
# What jq and other programs print where a field is missing.
_NOTHING = ("null", "None", "undefined")
# What a word processor makes of the hyphen of an option. The word behind it may be a password.
_DASHES = tuple("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")


def ids_of(options: Options) -> list[str]:
    found: dict[str, None] = {}
    for number, id in enumerate(options.ids, 1):
        found.update(dict.fromkeys(_ids_in("-") if id == "-" else [checked(id, f"ID {number}")]))
    for path in options.ids_files:
        found.update(dict.fromkeys(_ids_in(path, "--ids ")))
    if not found:
        raise ValueError("no ids: give each as an ID, or - to read stdin, or --ids FILE")
    return list(found)


def checked(id: str, place: str) -> str:
    """The id, or a ValueError that begins with the place where it stands."""
    if id.lower().startswith(_SCHEMES):
        raise ValueError(f"{place} looks like a URL: give the id alone here, and the server with --host")
    if len(id) > 1 and id[0] == id[-1] and id[0] in _QUOTES:
        raise ValueError(f"{place} is in quotes: give the id alone (jq prints it so with -r)")
    if id in _NOTHING:
        raise ValueError(f"{place} is {id}: what printed it had no id (jq -re ends with an error then)")
    if id.startswith(_DASHES):
        raise ValueError(f"{place} begins with a dash that is no hyphen: an option begins with -")
    try:
        return _checked_id(id)
    except ValueError as error:
        raise ValueError(place + str(error)[len("id") :]) from None


def is_word(id: str) -> bool:
    """Whether an id that the server chose is the same id to `wait "$id"` and to a file of ids."""
    try:
        checked(id, "")
    except ValueError:
        return False
    return not id.startswith(("-", _COMMENT)) and id == _stripped(id)


def _stripped(line: str) -> str:
    return line.strip().lstrip("\ufeff")  # `cat` leaves the byte order mark of each file


def _ids_in(path: str, option: str = "") -> Iterator[str]:
    if path == "-" and is_terminal(sys.stdin) and is_terminal(sys.stderr):
        keys = "Ctrl-Z and Enter end" if os.name == "nt" else "Ctrl-D ends"
        note(f"reading ids from the terminal, one a line; {keys} them")
    name, text = _text_of(path, option)
    is_empty = True
    for number, line in enumerate(text.split("\n"), 1):
        if (id := _stripped(line)) and not id.startswith(_COMMENT):
            is_empty = False
            yield checked(id, f"{name}, line {number}: the id")
    if is_empty:
        raise ValueError(f"{name}: no ids in it")


def job_of(options: Options) -> tuple[dict[str, Any], list[Any]]:
    """The criteria and the changes of a start or a plan, checked."""
    from .. import _start_body  # which a wait does without

    every_object = options.every_object
    if options.search is None and not every_object:
        raise ValueError("no criteria: give --search, or --every-object")
    if options.yes and not every_object:
        raise ValueError("--yes goes with --every-object")

    def check_changes(bulk: list[Any]) -> None:
        # In the words of JSON: those of the library speak of a mapping.
        for place, change in enumerate(bulk):
            if not isinstance(change, dict):
                raise ValueError(f"bulk[{place}] must be a JSON object")
        _start_body.changes(bulk)

    criteria: dict[str, Any] = {}
    if options.search is not None:
        criteria = json_of("--search", options.search, dict, lambda found: _start_body.start_criteria(found, every_object))
    return criteria, json_of("--bulk", options.bulk, list, check_changes)


def json_of(option: str, value: str, kind: type, check: Callable[[Any], object]) -> Any:
    """The dict or the list in a JSON file, or in the option itself. What `check` raises names the place too."""
    import json

    if value.lstrip().startswith(("{", "[")):
        name, text = option, value
    else:
        name, text = _text_of(value, f"{option} ")
    try:
        found = json.loads(text, object_pairs_hook=_object)
        if not isinstance(found, kind):
            raise ValueError(_wrong_kind(found, kind))
        check(found)
        return found
    except json.JSONDecodeError as error:
        what = "a comma before } or ]" if text[: error.pos].rstrip().endswith(",") else error.msg
        raise ValueError(f"{name}, line {error.lineno}, column {error.colno}: not JSON: {what}") from None
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from None


_SWAPPED = "; are --search and --bulk swapped?"


def _wrong_kind(found: object, kind: type) -> str:
    if kind is dict:
        return "must hold a JSON object" + (f", not a list{_SWAPPED}" if isinstance(found, list) else "")
    if isinstance(found, dict) and "bulk" in found:
        return "must hold a JSON list: the value of 'bulk' alone"
    if isinstance(found, dict):
        is_change = any(key == "modify" or key.startswith("properties.") or "Conditions" in key for key in found)
        return "must hold a JSON list" + (": put [ ] around the object" if is_change else f", not an object{_SWAPPED}")
    return "must hold a JSON list"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice in one object")
        found[name] = value
    return found


def _text_of(path: str, option: str) -> tuple[str, str]:
    """The name of a file in messages, and its text: UTF-8, or UTF-16 of Windows' PowerShell 5, with or without a BOM."""
    name = option + ("stdin" if path == "-" else _shown_path(path))
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        # Windows refuses a directory for want of a permission.
        reason = os.strerror(errno.EISDIR) if os.path.isdir(path) else error.strerror or error
        raise ValueError(f"{name}: {reason}") from None
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        try:
            return name, data.decode("utf-16")
        except UnicodeDecodeError:
            raise ValueError(f"{name}: not UTF-16, as its byte order mark says") from None
    data = data.removeprefix(BOM_UTF8)
    try:
        return name, data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}, line {line}: not UTF-8") from None


# The client that the options and the environment describe; the password may be read from stdin or be asked for


def client_of(options: Options) -> Client:
    if not options.host:
        raise ValueError("no host: give --host or set SAYMON_HOST")
    if options.insecure and options.cacert is not None:
        raise ValueError("--insecure and --cacert exclude each other")
    client = _client(options, *credentials_of(options))
    client._warn()  # now that the password stands in no frame
    return client


def _client(options: Options, login: str, password: str, *, with_pipes: bool = True) -> Client:
    """The client, without its warnings. What is read from a pipe, such as `<(…)`, is there once."""
    verify = options.cacert if options.cacert is not None else not options.insecure
    timeout, cert = options.request_timeout, _certificate(options)
    if not with_pipes:
        verify = True if is_special(verify) else verify
        cert = None if any(map(is_special, cert if isinstance(cert, tuple) else [cert])) else cert
    client = _core.Client.__new__(Client)
    client._open(options.host, login, password, timeout, verify, cert)
    return client


def is_special(path: object) -> bool:
    """A pipe or a device."""
    return isinstance(path, str) and os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _certificate(options: Options) -> Cert | None:
    if options.cert is not None:
        if ":" in os.path.splitdrive(options.cert)[1] and not os.path.exists(options.cert):  # curl has file:password
            raise ValueError("--cert names no file; what stands behind a colon may be a password, so it is not shown")
        return options.cert if options.key is None else (options.cert, options.key)
    if options.key is not None:
        raise ValueError("--key goes with --cert")
    return certificate()


def credentials_of(options: Options) -> tuple[str, str]:
    if options.password_stdin:
        login, password = options.login, _password_on_stdin()
    else:
        login, password = credentials(options.host, options.login)
    if login and password:
        return login, password
    if not login:
        raise ValueError(f"no login: {_absence(options)}give --login or set SAYMON_LOGIN")
    # The prompt is answered on the terminal, also if stdin holds ids.
    if not is_terminal(sys.stdin) and not is_terminal(sys.stderr):
        sources = "use --password-stdin, SAYMON_PASSWORD, SAYMON_PASSWORD_FILE or netrc"
        raise ValueError(f"no password: {_absence(options)}{sources}")
    # Options that make a password useless are refused before it is asked for.
    return login, _prompt(login, _client(options, login, "", with_pipes=False).host)


def _absence(options: Options) -> str:
    """Why netrc gave nothing, if it was asked."""
    return "" if options.password_stdin else why_netrc_has_none(options.host, options.login) + "; "


def _password_on_stdin() -> str | None:
    if is_terminal(sys.stdin):
        return None  # the prompt reads it, without showing it
    try:
        # Windows begins a text with a BOM.
        password = sys.stdin.buffer.readline().removeprefix(BOM_UTF8).rstrip(b"\r\n").decode()
    except UnicodeDecodeError:  # which carries the password
        raise ValueError("the password on stdin is not UTF-8") from None
    if not password:
        raise ValueError("no password on stdin")
    return password


def _prompt(login: str, origin: str) -> str:
    from getpass import getpass

    problem = "no password was entered"
    restore = _let_hang_up()
    try:
        password = getpass(f"Password for {one_line(login)} at {origin}: ")
    except (EOFError, KeyboardInterrupt, UnicodeDecodeError) as end:
        show("\n")  # ends the prompt's line
        if isinstance(end, KeyboardInterrupt):
            raise
        if isinstance(end, UnicodeDecodeError):  # which carries the password
            problem = f"the password is not {end.encoding.upper()}"
        password = ""
    finally:
        restore()
    if not password:
        raise ValueError(problem)
    return password


def _let_hang_up() -> Callable[[], object]:
    """Lets SIGHUP end the process at once: getpass would go on, and take a line of stdin for the password."""
    number = getattr(signal, "SIGHUP", None)  # Windows has none
    if number is None or not callable(handler := signal.getsignal(number)):
        return lambda: None
    signal.signal(number, signal.SIG_DFL)
    return lambda: signal.signal(number, handler)
