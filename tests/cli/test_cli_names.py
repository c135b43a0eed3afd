"""Names of others in messages: a file, an argument or a login forges no line; names in another encoding work; pipes."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from commands import COMMAND, Terminal, Word, environment, run
from peer import LOGIN, PASSWORD
from processes import POSIX, needs_shell
from saymon_bulk import Client
from saymon_bulk._text import one_line
from saymon_bulk.cli import parser
from saymon_bulk.testing import PracticeServer
from servers import Certificates, Nginx

pytestmark = [pytest.mark.usefixtures("user"), pytest.mark.skipif(not POSIX, reason="names are text on this system")]

FORGED = "saymon-bulk: started bulk operation 1"
# A line end, a second line, an escape sequence, a mark that turns the line around.
ODD = f"\r\n{FORGED}\x1b[2J\u202e"
KOI8 = "мониторинг".encode("koi8-r")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Names that would forge a line


def clean(text: str, lines: int = 1) -> None:
    assert text.count("\n") == lines, text
    assert not any(mark in text for mark in "\r\x1b\u202e")
    assert FORGED in text, "the name is not shown at all"


BAD_NETRC = f"machine 127.0.0.1 login {LOGIN} password {PASSWORD} rubbish\n"


@pytest.mark.parametrize(
    ("words", "more", "content"),
    [
        (["status", "x"], {"SAYMON_PASSWORD_FILE": ODD, "SAYMON_PASSWORD": ""}, None),
        (["status", "x"], {"SAYMON_PASSWORD_FILE": ODD, "SAYMON_PASSWORD": ""}, ""),
        (["status", "x"], {"NETRC": ODD, "SAYMON_PASSWORD": ""}, None),
        (["status", "x"], {"NETRC": ODD, "SAYMON_PASSWORD": ""}, BAD_NETRC),
        (["status", "x"], {"NETRC": ODD, "SAYMON_PASSWORD": ""}, "what is this"),
        (["status", "x"], {"NETRC": ODD, "SAYMON_PASSWORD": ""}, "x" * 1_048_577),
        (["status", "--ids", ODD], {}, None),
        (["status", "--ids", ODD], {}, "a\n..\n"),
        (["start", "--search", ODD, "--bulk", ODD], {}, None),
        (["start", "--search", '{"a": 1}', "--bulk", ODD], {}, "{"),
        (["status", "--cacert", ODD, "x"], {}, None),
        (["status", "x"], {"SAYMON_CERT": ODD}, None),
        (["status", "--cert", ODD, "--key", ODD, "x"], {}, "no certificate"),
    ],
)
def test_a_file_name_is_one_line(
    server: PracticeServer, words: list[str], more: dict[str, str], content: str | None
) -> None:
    if content is not None:
        Path(ODD).write_text(content)
        Path(ODD).chmod(0o600)
    result = run(server, *words, **more)
    assert (result.returncode, result.stdout) == (2, "")
    clean(result.stderr)


def test_a_warning_of_a_file_is_one_line(server: PracticeServer) -> None:
    Path(ODD).write_text(f"machine 127.0.0.1 login {LOGIN} password {PASSWORD}\n")
    Path(ODD).chmod(0o644)
    result = run(server, "status", "done", NETRC=ODD, SAYMON_PASSWORD="")
    assert (result.returncode, result.stdout) == (0, "done finished\n")
    clean(result.stderr)


@pytest.mark.parametrize("words", [["wait", "--timeout", ODD, "x"], ["completion", ODD], ["wait", "--retries", ODD, "x"]])
def test_an_argument_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser.parse(words)
    usage, *error = capsys.readouterr().err.splitlines(keepends=True)
    clean("".join(error))
    assert usage.startswith("usage: ")


@pytest.mark.parametrize("words", [["wait", f"--{ODD}"], [ODD], ["wait", f"-{ODD}"], ["clone", "a", ODD]])
def test_what_is_not_shown_at_all(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser.parse(words)
    assert FORGED not in capsys.readouterr().err


def test_one_line() -> None:
    assert one_line("a\r\n\t\x1b\x85\u2028\u202e\udcff\xa0é") == "a\\r\\n\\t\\x1b\\x85\\u2028\\u202e\\udcff\xa0é"


def test_the_library_shows_a_path_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYMON_HOST", "h")
    monkeypatch.setenv("SAYMON_LOGIN", "login")
    monkeypatch.delenv("SAYMON_PASSWORD", raising=False)
    monkeypatch.setenv("SAYMON_PASSWORD_FILE", ODD)
    with pytest.raises(ValueError, match=r"names a file that cannot be read") as error:
        Client.from_env()
    clean(f"{error.value}\n")


# The hint


@needs_shell
@pytest.mark.parametrize("name", [b"a\nsaymon-bulk: b", KOI8, b"it's \\ \x1b", "Ж\u202e".encode()], ids=ascii)
def test_the_hint_names_any_file(server: PracticeServer, name: bytes) -> None:
    ids = [server.add_bulk(math.inf) for _ in range(11)]
    Path(os.fsdecode(name)).write_text("\n".join(ids))
    first = run(server, "wait", "--timeout", "0", "--ids", name)
    head, command = first.stderr.splitlines()
    assert "11 still running" in head
    assert command.isprintable()
    for id in ids:
        server.add_bulk(0, id=id)
    done = subprocess.run(["bash", "-c", command], env=environment(server), capture_output=True, timeout=60, check=True)
    assert done.stdout.count(b" finished\n") == 11


# Names in another encoding


def test_names_in_another_encoding(server: PracticeServer, folder: Path) -> None:
    search, bulk, ids, secret, netrc = (KOI8 + end for end in (b".json", b".list", b".ids", b".secret", b".netrc"))
    for name, content in [(search, '{"a": 1}'), (bulk, '[{"modify": {"b": 1}}]'), (ids, "done\n"), (secret, PASSWORD)]:
        (folder / os.fsdecode(name)).write_text(content)
    (folder / os.fsdecode(netrc)).write_text(f"machine 127.0.0.1 login {LOGIN} password {PASSWORD}\n")
    (folder / os.fsdecode(netrc)).chmod(0o600)
    assert run(server, "start", "--search", search, "--bulk", bulk).returncode == 0
    assert run(server, "status", "--ids", ids).stdout == "done finished\n"
    no_password = {"SAYMON_PASSWORD": ""}
    assert run(server, "status", "done", SAYMON_PASSWORD_FILE=os.fsdecode(secret), **no_password).returncode == 0
    assert run(server, "status", "done", NETRC=os.fsdecode(netrc), SAYMON_LOGIN="", **no_password).returncode == 0


@pytest.mark.parametrize("name", [KOI8, b"\xff", "Ж".encode("cp1251")], ids=ascii)
def test_certificates_in_another_encoding(front: Nginx, certificates: Certificates, folder: Path, name: bytes) -> None:
    text = os.fsdecode(name)
    (folder / text).write_bytes(certificates.certificate("good").read_bytes() + certificates.key("good").read_bytes())
    for path in (text, Path(text)):
        Client("localhost", "login", "password", verify=path, cert=path)
        Client("localhost", "login", "password", verify=path, cert=(path, path))
    files: list[Word] = ["--cacert", name, "--cert", name, "--key", name]
    result = run(None, "status", *files, "--host", front.url("good", "localhost"), "x")
    assert "no certificate" not in result.stderr
    assert result.returncode in (0, 1, 8), result.stderr
    missing = run(None, "status", "--cacert", name + b"-", "--host", "h.invalid", "x")
    assert "".join(f"\\x{byte:02x}" for byte in name if byte > 127) in missing.stderr


# Pipes


@needs_shell
@pytest.mark.parametrize("words", ["--cacert <(cat {0})", "--cert <(cat {0})", "--cert <(cat {0}) --key <(cat {0})"])
def test_a_certificate_from_a_pipe_and_a_password_from_the_prompt(
    server: PracticeServer, certificates: Certificates, folder: Path, words: str
) -> None:
    both = certificates.certificate("good").read_bytes() + certificates.key("good").read_bytes()
    (folder / "both.pem").write_bytes(both)
    line = f"{shlex.join(COMMAND)} status {words.format('both.pem')} done"
    with Terminal(server, command=["bash", "-c", line], SAYMON_PASSWORD="") as terminal:
        terminal.shows("^Password for ")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.end() == 0, terminal.screen()
        assert "done finished" in terminal.screen()


# A dumb terminal


def test_a_dumb_terminal_gets_no_bar(server: PracticeServer) -> None:
    with Terminal(server, "wait", "--timeout", "1", "never", TERM="dumb") as terminal:
        assert terminal.end() == 8
        assert not any(re.search(r"\[[#-]+\]|of 1 done", line) for line in terminal.screen())
        assert "never running" in terminal.screen()
