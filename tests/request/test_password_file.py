"""SAYMON_PASSWORD_FILE: a file with the password, after SAYMON_PASSWORD and before netrc."""

from __future__ import annotations

import codecs
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from clean import assert_clean
from peer import ID, LOGIN, PASSWORD, Peer, credentials
from processes import HOME
from saymon_bulk import Client

CYRILLIC = "тайный пароль"
VARIABLE = "SAYMON_PASSWORD_FILE"


@pytest.fixture
def file(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secret of the service"
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("SAYMON_HOST", peer.host)
    monkeypatch.setenv("SAYMON_LOGIN", LOGIN)
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def sent(peer: Peer) -> str:
    Client.from_env().get_bulk_status(ID)
    return credentials(peer.requests[-1])


CONTENTS = {
    "no newline": (PASSWORD.encode(), PASSWORD),
    "LF": (f"{PASSWORD}\n".encode(), PASSWORD),
    "CRLF": (f"{PASSWORD}\r\n".encode(), PASSWORD),
    "BOM": (codecs.BOM_UTF8 + f"{PASSWORD}\r\n".encode(), PASSWORD),
    "Cyrillic": (f"{CYRILLIC}\n".encode(), CYRILLIC),
    "blanks around it": (b" pass word \n", " pass word "),
    "one letter": (b"p\n", "p"),
}


@pytest.mark.parametrize(("content", "password"), CONTENTS.values(), ids=CONTENTS)
def test_what_a_file_holds(peer: Peer, file: Path, content: bytes, password: str) -> None:
    file.write_bytes(content)
    assert sent(peer) == f"{LOGIN}:{password}"


@pytest.mark.parametrize("content", [b"%s\n\n", b"%s\nanother line\n", b"%s\r", b"\n%s"], ids=ascii)
def test_one_newline_is_cut_and_no_more(file: Path, content: bytes) -> None:
    file.write_bytes(content % PASSWORD.encode())
    with pytest.raises(ValueError, match=r"^password ") as caught:
        Client.from_env()
    assert_clean(caught.value, LOGIN, PASSWORD)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes in folders on this system")
def test_a_pipe(peer: Peer, file: Path) -> None:
    """`SAYMON_PASSWORD_FILE=<(pass show saymon)` of a shell."""
    os.mkfifo(file)
    writer = threading.Thread(target=file.write_text, args=(f"{PASSWORD}\n",))
    writer.start()
    assert sent(peer) == f"{LOGIN}:{PASSWORD}"
    writer.join()


def missing(path: Path) -> None:
    pass


def below_a_file(path: Path) -> None:
    path.parent.joinpath("file").write_bytes(b"")
    os.environ[VARIABLE] = str(path.parent / "file" / path.name)


def directory(path: Path) -> None:
    path.mkdir()


def circle(path: Path) -> None:
    path.symlink_to(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newline(path: Path) -> None:
    path.write_bytes(b"\r\n")


def bom(path: Path) -> None:
    path.write_bytes(codecs.BOM_UTF8 + b"\n")


def latin_1(path: Path) -> None:
    path.write_bytes(PASSWORD.encode() + b"\xe9\n")


def utf_16(path: Path) -> None:
    path.write_bytes(f"{PASSWORD}\n".encode("utf-16"))


UNUSABLE = [missing, below_a_file, directory, circle, empty, newline, bom, latin_1, utf_16]


@pytest.mark.parametrize("make", UNUSABLE)
def test_a_file_that_cannot_be_used(peer: Peer, file: Path, make: object) -> None:
    assert callable(make)
    make(file)
    file.with_name(".netrc").write_text(f"machine 127.0.0.1 login {LOGIN} password {PASSWORD}\n")
    with pytest.raises(ValueError, match=rf"^{VARIABLE} .*: {re.escape(os.environ[VARIABLE])}$") as caught:
        Client.from_env()
    assert not isinstance(caught.value, UnicodeError)
    assert_clean(caught.value, LOGIN, PASSWORD)
    assert PASSWORD[:6] not in f"{caught.value!r} {caught.value.__context__!r}"
    assert peer.requests == []


# The order


def test_the_password_itself_goes_before_its_file(peer: Peer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"of the file")
    monkeypatch.setenv("SAYMON_PASSWORD", PASSWORD)
    assert sent(peer) == f"{LOGIN}:{PASSWORD}"
    file.unlink()
    assert sent(peer) == f"{LOGIN}:{PASSWORD}"


def test_an_empty_variable_is_none(peer: Peer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"of the file")
    monkeypatch.setenv("SAYMON_PASSWORD", "")
    assert sent(peer) == f"{LOGIN}:of the file"
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(ValueError, match=r"^SAYMON_PASSWORD is not set"):
        Client.from_env()


def test_the_file_goes_before_netrc(peer: Peer, file: Path) -> None:
    file.write_bytes(b"of the file")
    file.with_name(".netrc").write_text(f"machine 127.0.0.1 login {LOGIN} password of-netrc\n")
    assert sent(peer) == f"{LOGIN}:of the file"


def test_without_a_login_netrc_gives_both(peer: Peer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"of the file")
    monkeypatch.delenv("SAYMON_LOGIN")
    with pytest.raises(ValueError, match=r"^SAYMON_LOGIN is not set"):
        Client.from_env()
    file.with_name(".netrc").write_text("machine 127.0.0.1 login of password of-netrc\n")
    file.with_name(".netrc").chmod(0o600)
    assert sent(peer) == "of:of-netrc"


# The command line


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saymon_bulk", "status", *words, ID]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_command_line_reads_the_same_file(peer: Peer, file: Path) -> None:
    file.write_bytes(f"{PASSWORD}\n".encode())
    assert run().returncode == 0
    assert credentials(peer.requests[-1]) == f"{LOGIN}:{PASSWORD}"
    file.write_bytes(PASSWORD.encode() + b"\xe9\n")
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"saymon-bulk: {VARIABLE} names a file that is not UTF-8: {file}\n"


def test_stdin_goes_before_the_file(peer: Peer, file: Path) -> None:
    file.mkdir()
    done = run("--password-stdin")
    assert (done.returncode, done.stderr) == (2, "saymon-bulk: no password on stdin\n")


@pytest.mark.slow
def test_the_help_names_the_sources_in_their_order() -> None:
    told = " ".join(run("--help").stdout.partition("The password comes from")[2].split())
    places = [told.index(word) for word in ("--password-stdin", "SAYMON_PASSWORD,", VARIABLE, "netrc", "asked for")]
    assert places == sorted(places)
