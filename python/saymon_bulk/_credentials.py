"""Host, credentials and client certificate from the environment, for `from_env` and the command line.

The password comes from SAYMON_PASSWORD, else from the file that SAYMON_PASSWORD_FILE names, else from netrc. Without
a login both come from netrc: a password must not be tried for another account.
"""

from __future__ import annotations

import os

from ._core import _host_name, _shown_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._netrc import Entry, Netrc
    from ._types import Cert

PASSWORD, PASSWORD_FILE = "SAYMON_PASSWORD", "SAYMON_PASSWORD_FILE"
CERT, KEY = "SAYMON_CERT", "SAYMON_KEY"

_MAX_FILE_BYTES = 1024 * 1024  # of a file with passwords; a device may have no end


def client_arguments() -> tuple[str, str, str]:
    """Host, login and password, all from the environment."""
    host = os.environ.get("SAYMON_HOST")
    if not host:
        raise ValueError("SAYMON_HOST is not set")
    login, password = credentials(host, os.environ.get("SAYMON_LOGIN"))
    if login and password:
        return host, login, password
    del password  # a traceback shows the variables of a frame
    raise ValueError(f"{PASSWORD if login else 'SAYMON_LOGIN'} is not set, and {why_netrc_has_none(host, login)}")


def certificate() -> Cert | None:
    """The client certificate that the environment names."""
    cert, key = os.environ.get(CERT), os.environ.get(KEY)
    if key and not cert:
        raise ValueError(f"{KEY} is set, and {CERT} is not")
    return (cert, key) if cert and key else cert or None


def credentials(host: str, login: str | None) -> tuple[str | None, str | None]:
    """Login and password by the order of sources. What is missing is None."""
    if login and os.environ.get(PASSWORD):
        return login, os.environ[PASSWORD]
    if login and os.environ.get(PASSWORD_FILE):
        return login, _password_in(os.environ[PASSWORD_FILE])
    return _netrc_entry(host, login) or (login, os.environ.get(PASSWORD))


def _password_in(path: str) -> str:
    """The content of a password file, without the newline that editors and `echo` add."""
    # An error is raised outside of `except`: UnicodeDecodeError holds the content, and would stay as its context.
    try:
        with open(path, "rb") as file:
            password, problem = _text(file.read(_MAX_FILE_BYTES + 1))
    except OSError as error:
        password, problem = "", f"cannot be read ({error.strerror})"
    if password:
        return password
    raise ValueError(f"{PASSWORD_FILE} names a file that {problem or 'is empty'}: {_shown_path(path)}")


def _text(content: bytes) -> tuple[str, str | None]:
    """The text of a file with one line, or what is wrong with the file."""
    if len(content) > _MAX_FILE_BYTES:
        return "", "is larger than 1 MiB"
    if content.endswith(b"\n"):
        content = content[:-2] if content.endswith(b"\r\n") else content[:-1]
    try:
        return content.decode("utf-8-sig"), None  # Windows begins a file with a BOM
    except UnicodeDecodeError:
        return "", "is not UTF-8"


def why_netrc_has_none(host: str, login: str | None) -> str:
    """Why netrc gave nothing. Reads netrc again, so that no frame of the traceback holds a password."""
    path = _netrc_path()
    netrc = _netrc(path)
    if netrc is None:
        return f"there is no netrc file {_shown_path(path)}"
    text = f"netrc has no entry for {_host_name(host)}"
    if login:
        text += f" and login {login if login.isprintable() else ascii(login)}"
    return text if netrc.problem is None else f"{text}; line {netrc.problem} of {_shown_path(path)} cannot be read"


def _netrc_entry(host: str, login: str | None) -> tuple[str, str] | None:
    """netrc's login and password for a host, as curl finds them: by name, without scheme and port."""
    path, name = _netrc_path(), _host_name(host)
    entry, others_can_read = _entry(path, name, login)
    if entry is not None and others_can_read:
        from ._warnings import InsecureFileWarning, warn

        del entry  # a program that handles warnings can see the variables of this frame
        text = f"{_shown_path(path)}: other users of this machine can read the password in it; `chmod 600` prevents that"
        warn(text, InsecureFileWarning)
        entry, _ = _entry(path, name, login)
    return (entry.login or "", entry.password or "") if entry is not None else None


def _entry(path: str, name: str, login: str | None) -> tuple[Entry | None, bool]:
    """netrc's entry for a name, and whether other users of this machine can read the file."""
    netrc = _netrc(path)
    if netrc is None:
        return None, False
    entry = netrc.find(lambda machine: _is_name(machine, name), login)
    if entry is not None and entry.problem is not None:
        raise ValueError(f"netrc cannot be read: {_shown_path(path)}, line {entry.problem}")
    return entry, netrc.others_can_read


def _netrc_path() -> str:
    if os.environ.get("NETRC"):
        return os.environ["NETRC"]
    home = os.path.expanduser("~")
    path = os.path.join(home, ".netrc")
    if os.name == "nt" and not os.path.exists(path):
        return os.path.join(home, "_netrc")  # the usual name on Windows, and the second that curl looks for
    return path


def _netrc(path: str) -> Netrc | None:
    from ._netrc import Netrc

    try:
        return Netrc(path, _MAX_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):  # the home of a service account may be /dev/null
        return None
    except OSError as error:
        raise ValueError(f"netrc cannot be read: {_shown_path(path)}: {error.strerror}") from None


def _is_name(machine: str, name: str) -> bool:
    """Whether a machine of netrc is that host; an address or an IDN may be spelt in several ways."""
    try:
        return machine == name or _host_name(machine) == name
    except ValueError:
        return False
