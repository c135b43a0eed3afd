"""Host and credentials from the environment, a password file and netrc: the order of sources of `from_env` and the command
line. The password is taken from SAYMON_PASSWORD, else from the file that SAYMON_PASSWORD_FILE names, else from netrc."""

from __future__ import annotations

import os

from ._core import _host_name

PASSWORD, PASSWORD_FILE = "SAYMON_PASSWORD", "SAYMON_PASSWORD_FILE"


def client_arguments() -> tuple[str, str, str]:
    """Host, login and password, all from the environment."""
    host = os.environ.get("SAYMON_HOST")
    if not host:
        raise ValueError("SAYMON_HOST is not set")
    login, password = credentials(host, os.environ.get("SAYMON_LOGIN"))
    if login and password:
        return host, login, password
    del password  # a traceback shows the variables of a frame
    missing = "SAYMON_PASSWORD" if login else "SAYMON_LOGIN"
    raise ValueError(f"{missing} is not set, and netrc has no entry for this host" + (" and login" if login else ""))


def credentials(host: str, login: str | None) -> tuple[str | None, str | None]:
    """The login with the password that the environment has or names, else netrc's entry for the host and that login; what is
    missing is None."""
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
            password, problem = _text(file.read())
    except OSError as error:
        password, problem = "", f"cannot be read: {type(error).__name__}"
    if password:
        return password
    raise ValueError(f"{PASSWORD_FILE} names a file that {problem or 'is empty'}: {path}")


def _text(content: bytes) -> tuple[str, str | None]:
    """The text of a file with one line, or what is wrong with the file."""
    if content.endswith(b"\n"):
        content = content[:-2] if content.endswith(b"\r\n") else content[:-1]
    try:
        return content.decode("utf-8-sig"), None  # Windows begins a file with a BOM
    except UnicodeDecodeError:
        return "", "is not UTF-8"


def _netrc_entry(host: str, login: str | None) -> tuple[str, str] | None:
    """netrc's login and password for a host, as curl finds them: by name, without scheme and port."""
    import netrc

    path = os.environ.get("NETRC") or os.path.join(os.path.expanduser("~"), ".netrc")
    try:
        entries = netrc.netrc(path)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"netrc cannot be read: {path}: {type(error).__name__}") from None
    except netrc.NetrcParseError as error:
        # Its text may quote a token of the file.
        raise ValueError(f"netrc cannot be read: {path}, line {error.lineno}") from None
    name = _host_name(host)
    machine = next((machine for machine in entries.hosts if _is_name(machine, name)), "default")
    found = entries.authenticators(machine)
    if found is None or found[2] is None or (login and found[0] != login):
        return None
    return found[0], found[2]


def _is_name(machine: str, name: str) -> bool:
    """Whether a machine of netrc is that host; an address or an IDN may be spelt in several ways."""
    try:
        return machine == name or (machine != "default" and _host_name(machine) == name)
    except ValueError:
        return False
