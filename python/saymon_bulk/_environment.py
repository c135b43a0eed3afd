"""Host and credentials from the environment and netrc: the order of sources of `from_env` and the command line."""

from __future__ import annotations

import os

from ._core import _host_name


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
    """The login with SAYMON_PASSWORD, else netrc's entry for the host and that login; what is missing is None."""
    variable = "SAYMON_PASSWORD"
    if login and os.environ.get(variable):
        return login, os.environ[variable]
    return _netrc_entry(host, login) or (login, os.environ.get(variable))


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
