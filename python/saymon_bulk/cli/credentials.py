"""The client that the options and the environment describe; the password may be read from stdin or be asked for."""

from __future__ import annotations

import os
import signal
import sys
from codecs import BOM_UTF8

from .. import _core
from .._client import Client
from .._credentials import certificate, credentials, why_netrc_has_none
from .._text import one_line
from .output import is_terminal, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .._types import Cert
    from .options import Options


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
        verify = True if _is_pipe(verify) else verify
        cert = None if any(map(_is_pipe, cert if isinstance(cert, tuple) else [cert])) else cert
    client = _core.Client.__new__(Client)
    client._open(options.host, login, password, timeout, verify, cert)
    return client


def _is_pipe(path: object) -> bool:
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
