"""netrc is asked for the name of the host as the core reads it, however host and entry are spelt."""

from __future__ import annotations

from pathlib import Path

import pytest
from saymon_bulk import Client, cli
from saymon_bulk._environment import credentials

# host as it is given, machine as netrc has it
SPELLINGS = [
    ("monitor.example.com", "monitor.example.com"),
    ("https://Monitor.Example.COM:8443/", "monitor.example.com"),
    ("monitor.example.com", "Monitor.Example.com"),
    ("[2001:DB8::0:1]:8443", "2001:db8::1"),
    ("[2001:db8::1]", "2001:DB8::0:1"),
    ("2001:db8::1", "[2001:db8::1]"),
    ("::1", "::1"),
    ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
    ("ПРИМЕР.рф", "пример.рф"),
    ("xn--e1afmkfd.xn--p1ai", "пример.рф"),
    ("default", "default"),
]


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    return path


@pytest.mark.parametrize(("host", "machine"), SPELLINGS)
def test_from_env_finds_the_entry(netrc: Path, monkeypatch: pytest.MonkeyPatch, host: str, machine: str) -> None:
    netrc.write_text(
        f"machine other.example\nlogin no\npassword no\nmachine {machine}\nlogin me\npassword secret\n", "utf-8"
    )
    monkeypatch.setenv("SAYMON_HOST", host)
    assert Client.from_env().login == "me"


@pytest.mark.parametrize(("host", "machine"), SPELLINGS)
def test_the_command_line_finds_the_same_entry(netrc: Path, host: str, machine: str) -> None:
    netrc.write_text(f"machine {machine} login me password secret\n", "utf-8")
    options = cli._parser().parse_args(["status", "--host", host, "id"])
    assert cli._credentials(options) == credentials(host, None) == ("me", "secret")


def test_the_entry_of_another_host_is_not_taken(netrc: Path) -> None:
    netrc.write_text("machine example.com login me password secret\n", "utf-8")
    assert credentials("monitor.example.com", None) == (None, None)


def test_default_serves_hosts_without_an_entry(netrc: Path) -> None:
    netrc.write_text("machine example.com login no password no\ndefault login me password secret\n", "utf-8")
    assert credentials("monitor.example.com", None) == ("me", "secret")


def test_a_bad_host_is_refused_by_name(netrc: Path) -> None:
    netrc.write_text("machine h login me password secret\n", "utf-8")
    with pytest.raises(ValueError, match=r"^host "):
        credentials("h/path", None)
