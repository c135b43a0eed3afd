"""netrc: read as curl reads it, on every Python, and asked for the name of the host as the core reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from clean import assert_clean
from peer import Peer
from peer import credentials as sent
from processes import HOME, POSIX, run_script
from saymon_bulk import Client, InsecureFileWarning
from saymon_bulk._credentials import credentials
from saymon_bulk.cli.inputs import credentials_of
from saymon_bulk.cli.parser import parse

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
    path.touch(0o600)
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
    options = parse(["status", "--host", host, "id"])
    assert credentials_of(options) == credentials(host, None) == ("me", "secret")


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


# The file

HOST = "127.0.0.1"
MINE = f"machine {HOST} login me password secret\n"

# what stands in the file, and the login and the password that curl and this package take from it
AS_CURL = {
    "Cyrillic": (f"machine {HOST} login логин password пароль\n", "логин:пароль"),
    "Cyrillic of another": (f"machine other login a password пароль\n{MINE}", "me:secret"),
    "Cyrillic in a comment": (f"# пароли\n{MINE}", "me:secret"),
    "a machine in Cyrillic": (f"machine пример.рф login a password b\n{MINE}", "me:secret"),
    "quoted blanks": (f'machine {HOST} login "lo gin" password "se cret"\n', "lo gin:se cret"),
    "escapes": (rf'machine {HOST} login me password "s\"e\\c\r\e\tt"', 's"e\\c\re\tt'),
    "a backslash": (f"machine {HOST} login me password se\\cret\n", "me:se\\cret"),
    "a quote within": (f'machine {HOST} login me password se"cret\n', 'me:se"cret'),
    "single quotes": (f"machine {HOST} login me password 'secret'\n", "me:'secret'"),
    "a keyword as a value": (f"machine {HOST} login password password machine\n", "password:machine"),
    "a quoted keyword": (f'machine {HOST} login me password "machine"\n', "me:machine"),
    "a hash within": (f"machine {HOST} login me password sec#ret\n", "me:sec#ret"),
    "a quoted hash": (f'machine {HOST} login me password "#secret"\n', "me:#secret"),
    "comments": (f"machine {HOST} # password no\nlogin me #login no\n password secret # x\n", "me:secret"),
    "no newlines between": (f"machine other login a password b {MINE} machine more login c password d", "me:secret"),
    "nothing but newlines": (MINE.replace(" ", "\n"), "me:secret"),
    "tabs": (MINE.replace(" ", "\t\t"), "me:secret"),
    "CRLF": (MINE.replace("\n", "\r\n"), "me:secret"),
    "no newline at the end": (MINE.strip(), "me:secret"),
    "password before login": (f"machine {HOST} password secret login me\n", "me:secret"),
    "account": (f"machine {HOST} login me account it password secret\n", "me:secret"),
    "upper case": (f"MACHINE {HOST} LOGIN me Password secret\n", "me:secret"),
    "no-break space": (f"machine {HOST} login me password se\u00a0cret\u2028\n", "me:se\u00a0cret\u2028"),
    "macdef": (f"macdef init\nmachine {HOST} login a password b\n\n{MINE}", "me:secret"),
    "macdef after an entry": (f"machine other login a password b\nmacdef init\nput x\n\n{MINE}", "me:secret"),
    "macdef at the end": (f"{MINE}macdef init\nput x", "me:secret"),
    "the first of two": (f"{MINE}machine {HOST} login a password b\n", "me:secret"),
    "the first that is whole": (f"machine {HOST} login a\n{MINE}", "me:secret"),
    "default": ("machine other login a password b\ndefault login me password secret\n", "me:secret"),
    "words that nobody knows, of another": (f"machine other login a password b port 443\n{MINE}", "me:secret"),
    "a word before all": (f"rubbish\n{MINE}", "me:secret"),
}


@pytest.mark.parametrize(("text", "pair"), AS_CURL.values(), ids=AS_CURL)
def test_what_a_file_says(netrc: Path, text: str, pair: str) -> None:
    netrc.write_bytes(text.encode())
    login, password = credentials(HOST, None)
    assert pair in (f"{login}:{password}", password)
    assert credentials(HOST, login) == (login, password)


@pytest.mark.parametrize("text", [text for text, _ in AS_CURL.values()], ids=AS_CURL)
def test_curl_says_the_same(netrc: Path, peer: Peer, text: str) -> None:
    curl = shutil.which("curl")
    version = subprocess.run([curl, "-V"], capture_output=True, text=True, check=True).stdout if curl else ""
    found = re.match(r"curl (\d+)\.(\d+)", version)
    if curl is None or found is None or tuple(map(int, found.groups())) < (7, 84):
        pytest.skip("no curl that knows quotes in netrc")
    netrc.write_bytes(text.encode())
    subprocess.run([curl, "--netrc-file", netrc, "--silent", peer.host], capture_output=True, timeout=120, check=True)
    login, password = credentials(HOST, None)
    assert sent(peer.requests[-1]) == f"{login}:{password}"


# what curl reads in another way or not at all, and what is meant by it
FORGIVEN = {
    "a BOM": f"\ufeff{MINE}",
    "a hash at the beginning": f"machine {HOST} login me password #secret\n",
    "the default before the host": f"default login a password b\n{MINE}",
    "user": f"machine {HOST} user me password secret\n",
}


@pytest.mark.parametrize("text", FORGIVEN.values(), ids=FORGIVEN)
def test_what_is_meant(netrc: Path, text: str) -> None:
    netrc.write_bytes(text.encode())
    assert credentials(HOST, None) in (("me", "secret"), ("me", "#secret"))


def test_the_entry_of_the_login_is_taken(netrc: Path) -> None:
    netrc.write_text(f"{MINE}machine {HOST} login you password yours\n")
    assert credentials(HOST, "you") == ("you", "yours")
    assert credentials(HOST, "me") == ("me", "secret")


@pytest.mark.parametrize("other", [b"\xff", b"word \xff word", b'password "without end'], ids=ascii)
def test_what_cannot_be_read_spoils_no_other_entry(netrc: Path, other: bytes) -> None:
    netrc.write_bytes(b"machine other " + other + b"\n" + MINE.encode() + b"machine more " + other)
    assert credentials(HOST, None) == ("me", "secret")


BROKEN = {
    "an unquoted blank": ("login me password hush hush", 2),
    "a quote without its end": ('login me\n password "hush', 3),
    "an escaped end": ('login me password "hush\\"', 2),
    "a word after a quote": ('login me password "hush"hush', 2),
    "not UTF-8": (b"login me password hush\xff".decode("latin-1"), 2),
    "no value": ("login me password hush account", 3),
    "an unknown word": ("login me secret hush", 2),
}


@pytest.mark.parametrize(("text", "line"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("login", [None, "me"])
def test_no_word_of_the_file_stands_in_an_error(
    netrc: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, login: str | None
) -> None:
    netrc.write_bytes(f"\nmachine {HOST} {text}\n".encode("latin-1"))
    monkeypatch.setenv("SAYMON_HOST", HOST)
    if login:
        monkeypatch.setenv("SAYMON_LOGIN", login)
    with pytest.raises(ValueError, match=rf"^netrc cannot be read: {re.escape(str(netrc))}, line {line}$") as caught:
        Client.from_env()
    assert_clean(caught.value, "me", "hush")


# Why there is nothing

NOBODY = {
    "no login": ("machine other login a password hush\n", None, f"netrc has no entry for {HOST}"),
    "a login": (f"machine {HOST} login a password hush\n", "me", f"netrc has no entry for {HOST} and login me"),
    "a strange login": ("", "me\n", f"netrc has no entry for {HOST} and login 'me\\n'"),
    "no password": (f"machine {HOST} login hush\n", None, f"netrc has no entry for {HOST}"),
    "an empty password": (f'machine {HOST} login hush password ""\n', None, f"netrc has no entry for {HOST}"),
    "a slip": (
        f"machin {HOST} login a password hush\n",
        None,
        "netrc has no entry for {HOST}; line 1 of {netrc} cannot be read",
    ),
    "UTF-16": (
        "\ufeffmachine".encode("utf-16-le").decode("latin-1"),
        None,
        "netrc has no entry for {HOST}; line 1 of {netrc} cannot",
    ),
}


@pytest.mark.parametrize(("text", "login", "told"), NOBODY.values(), ids=NOBODY)
def test_the_error_says_what_netrc_lacks(
    netrc: Path, monkeypatch: pytest.MonkeyPatch, text: str, login: str | None, told: str
) -> None:
    netrc.write_bytes(text.encode("latin-1"))
    told = told.replace("{HOST}", HOST).replace("{netrc}", str(netrc))
    monkeypatch.setenv("SAYMON_HOST", f"https://{HOST}:8443")
    if login:
        monkeypatch.setenv("SAYMON_LOGIN", login)
    missing = "SAYMON_PASSWORD" if login else "SAYMON_LOGIN"
    with pytest.raises(ValueError, match="^" + re.escape(f"{missing} is not set, and {told}")) as caught:
        Client.from_env()
    assert_clean(caught.value, "me", "hush")
    options = parse(["status", "id"])
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        credentials_of(options)
    assert_clean(caught.value, "me", "hush")


@pytest.mark.parametrize("name", ["nothing", "file/.netrc", "nothing/nothing", ""], ids=ascii)
def test_no_file(netrc: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The home directory of a service account is often /dev/null, which is no directory."""
    netrc.with_name("file").touch()
    monkeypatch.setenv(HOME, os.devnull)
    monkeypatch.setenv("NETRC", name and str(netrc.parent / name))
    assert credentials(HOST, None) == (None, None)
    monkeypatch.setenv("SAYMON_HOST", HOST)
    path = os.environ["NETRC"] or os.path.join(os.devnull, "_netrc" if os.name == "nt" else ".netrc")
    with pytest.raises(ValueError, match=re.escape(f"and there is no netrc file {path}")):
        Client.from_env()


@pytest.mark.parametrize(
    ("files", "login"), [(["_netrc"], "_netrc"), ([".netrc", "_netrc"], ".netrc"), ([".netrc"], ".netrc"), ([], None)]
)
def test_the_names_on_windows(tmp_path: Path, files: list[str], login: str | None) -> None:
    for name in files:
        (tmp_path / name).write_text(f"machine {HOST} login {name} password secret\n")
        (tmp_path / name).chmod(0o600)
    # Elsewhere the script says that it runs on Windows.
    code = """
import os
from saymon_bulk import Client
os.name = "nt"
try:
    print(Client.from_env().login)
except ValueError as error:
    print(error)
"""
    done = run_script(code, SAYMON_HOST=HOST, NETRC="", **{HOME: str(tmp_path)})
    assert done.stdout.splitlines()[-1:] == [
        login or f"SAYMON_LOGIN is not set, and there is no netrc file {tmp_path / '_netrc'}"
    ]


# Who can read it


posix = pytest.mark.skipif(not POSIX, reason="the mode of a file does not tell who can read it on this system")


@posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o444, 0o600, 0o400, 0o700, 0o622])
def test_a_file_that_others_can_read_warns(netrc: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    netrc.write_text(MINE)
    netrc.chmod(mode)
    monkeypatch.setenv("SAYMON_HOST", HOST)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert Client.from_env().login == "me"
    told = [warning for warning in caught if warning.category is InsecureFileWarning]
    assert bool(told) == bool(mode & 0o044)
    for warning in told:
        assert str(netrc) in str(warning.message)
        assert "secret" not in str(warning.message)
        assert warning.filename == __file__


@pytest.mark.parametrize("text", ["", "machine other login a password b\n", f"machine {HOST} login me\n"])
def test_a_file_without_our_password_does_not(netrc: Path, text: str) -> None:
    netrc.write_text(text)
    netrc.chmod(0o644)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert credentials(HOST, None) == (None, None)


@posix
def test_the_warning_as_an_error(netrc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc.write_text(MINE.replace("secret", "hush-hush"))
    netrc.chmod(0o644)
    monkeypatch.setenv("SAYMON_HOST", HOST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InsecureFileWarning) as caught:
            Client.from_env()
    assert_clean(caught.value, "me", "hush-hush")


@posix
def test_a_script_is_told_once(netrc: Path) -> None:
    netrc.write_text(MINE)
    netrc.chmod(0o644)
    code = "import saymon_bulk\nfor _ in range(3): print(saymon_bulk.Client.from_env().login)"
    done = run_script(code, SAYMON_HOST=HOST)
    assert (done.returncode, done.stdout) == (0, "me\n" * 3)
    assert done.stderr.count("InsecureFileWarning") == 1


@posix
def test_the_command_line_tells_once(netrc: Path, peer: Peer) -> None:
    netrc.write_text(MINE)
    netrc.chmod(0o644)
    done = run_script(
        "import sys; from saymon_bulk.cli import main; sys.exit(main(['status', 'a', 'b']))", SAYMON_HOST=peer.host
    )
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "warning" in line] == [
        f"saymon-bulk: warning: {netrc}: other users of this machine can read the password in it; `chmod 600` prevents that"
    ]
