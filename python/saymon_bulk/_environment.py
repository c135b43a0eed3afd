"""Host and credentials from the environment and netrc."""

from __future__ import annotations

import os


def host() -> str:
    """SAYMON_HOST."""
    value = os.environ.get("SAYMON_HOST")
    if not value:
        raise ValueError("SAYMON_HOST is not set")
    return value


def credentials(host: str, login: str | None = None) -> tuple[str, str]:
    """SAYMON_LOGIN and SAYMON_PASSWORD, else netrc's entry for the host's name; a given login goes before both."""
    login = login or os.environ.get("SAYMON_LOGIN")
    if login and os.environ.get("SAYMON_PASSWORD"):
        return login, os.environ["SAYMON_PASSWORD"]
    entry = netrc_entry(host, login)
    if entry is None:
        missing = "SAYMON_PASSWORD" if login else "SAYMON_LOGIN"
        raise ValueError(f"{missing} is not set, and netrc has no entry for this host" + (" and login" if login else ""))
    return entry


def netrc_entry(host: str, login: str | None = None) -> tuple[str, str] | None:
    """netrc's login and password for a host, as curl finds them: by name, without scheme and port."""
    import netrc

    path = os.environ.get("NETRC") or os.path.join(os.path.expanduser("~"), ".netrc")
    try:
        found = netrc.netrc(path).authenticators(host_name(host))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"netrc cannot be read: {path}: {type(error).__name__}") from None
    except netrc.NetrcParseError as error:
        # Its text may quote a token of the file.
        raise ValueError(f"netrc cannot be read: {path}, line {error.lineno}") from None
    if found is None or found[2] is None or (login and found[0] != login):
        return None
    return found[0], found[2]


def host_name(host: str) -> str:
    """The bare name in a host argument."""
    name = host.split("://", 1)[-1].rstrip("/").lower()
    if name.startswith("["):
        return name[1:].split("]", 1)[0]
    return name if name.count(":") > 1 else name.split(":", 1)[0]
