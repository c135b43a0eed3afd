"""Certificate files that are no regular files: a FIFO, a terminal, a device, a socket. What has an end is read; a signal's
handler ends the reading, and other threads run on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from commands import started
from peer import FINISHED, ID, LOGIN, PASSWORD, Peer, ask, failure
from processes import AT_ONCE, FORKING, POSIX, Start, run_script
from saymon_bulk import Client
from servers import Certificates, Nginx

pytestmark = pytest.mark.skipif(not POSIX, reason="no FIFO on this system")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@contextlib.contextmanager
def written(path: Path, content: bytes) -> Iterator[None]:
    """Write this into a FIFO, once, as soon as somebody reads it."""
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    try:
        yield
    finally:
        writer.join(60)


@pytest.fixture
def identity(certificates: Certificates) -> bytes:
    """A certificate with its key, in one file."""
    return certificates.certificate("good").read_bytes() + certificates.key("good").read_bytes()


# `path` blocks, and `good` is a certificate.
CALLS = [
    "Client('h', 'login', 'password', verify=path)",
    "Client('h', 'login', 'password', cert=path)",
    "Client('h', 'login', 'password', cert=(path, path))",
    "Client('h', 'login', 'password', cert=(path, good))",
    "Client('h', 'login', 'password', cert=(good, path))",
    "Client('h', 'login', 'password', verify=good, cert=(good, path))",
    "Client.from_env(cert=path)",
    "get_bulk_status('h', 'x', 'login', 'password', verify=path)",
    "wait_for_bulk('h', 'x', 'login', 'password', cert=path)",
    "asyncio.run(get_bulk_status_async('h', 'x', 'login', 'password', verify=path))",
    "asyncio.run(wait_for_bulk_async('h', 'x', 'login', 'password', verify=path))",
]

# Prints the moment at which the reading ends.
READS = """
import asyncio, os, pty, signal, sys, time
from saymon_bulk import *
path, good, call = sys.argv[1:]
if path == "a terminal":
    path = os.ttyname(pty.openpty()[1])
def interrupt(number, frame):
    raise KeyboardInterrupt
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, interrupt)
print("begun", flush=True)
try:
    eval(compile(call, "call", "eval"))
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "call", "number"),
    [
        *(("a FIFO", call, signal.SIGINT) for call in CALLS),
        *((kind, CALLS[0], number) for kind in ("a terminal", "/dev/stdin") for number in (signal.SIGINT, signal.SIGTERM)),
        ("a FIFO", CALLS[1], signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_reading(
    start: Start,
    fifo: Path,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    call: str,
    number: signal.Signals,
) -> None:
    for name, value in {"HOST": "h", "LOGIN": "login", "PASSWORD": "password"}.items():
        monkeypatch.setenv(f"SAYMON_{name}", value)
    path = str(fifo) if kind == "a FIFO" else kind
    script = start(READS, path, str(certificates.certificate("good")), call)
    assert script.line() == "begun"
    time.sleep(0.3)  # asyncio takes Ctrl-C for its own at some moment
    sent = script.signal(number)
    assert float(script.line()) - sent < AT_ONCE
    assert script.finish() == []


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--cacert", "--cert", "--key"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command(fifo: Path, certificates: Certificates, option: str, number: signal.Signals) -> None:
    words = [option, str(fifo)] + (["--cert", str(certificates.certificate("good"))] if option == "--key" else [])
    variables = {"SAYMON_HOST": "h", "SAYMON_LOGIN": "login", "SAYMON_PASSWORD": "password"}
    with started(None, "status", "x", *words, **variables) as process:
        time.sleep(1)
        sent = time.monotonic()
        process.send_signal(number)
        assert process.wait(60) == -number
        assert time.monotonic() - sent < 2 * AT_ONCE


OTHERS = """
import sys, threading, time
import saymon_bulk
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
def write():
    time.sleep(1)
    with open(sys.argv[1], "wb"):
        pass
threading.Thread(target=write, daemon=True).start()
try:
    eval(f"saymon_bulk.Client('h', 'login', 'password', {sys.argv[2]}=sys.argv[1])")
except ValueError:
    pass
print(max(b - a for a, b in zip(ticks, ticks[1:] + [time.monotonic()])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["verify", "cert"])
def test_other_threads_run_on(fifo: Path, argument: str) -> None:
    done = run_script(OTHERS, str(fifo), argument)
    assert float(done.stdout) < 0.5, done.stderr


FORKS = """
import os, signal, sys
import saymon_bulk

def fork(*_):
    global child
    child = os.fork()
    if child:
        with open(sys.argv[1], "wb"):  # ends the reading of the parent
            pass

signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    saymon_bulk.Client("h", "login", "password", verify=sys.argv[1])
except Exception as error:
    if child:
        os.waitpid(child, 0)
    print("parent" if child else "child", type(error).__name__, flush=True)
"""


@pytest.mark.slow
def test_a_child_that_a_handler_forks_waits_for_nothing(fifo: Path) -> None:
    done = run_script(FORKS, str(fifo), flags=FORKING)
    assert done.stdout.splitlines() == ["child RuntimeError", "parent ValueError"], done.stderr


HANDLES = """
import signal, sys, threading, time
import saymon_bulk
counted = []
signal.signal(signal.SIGALRM, lambda *_: counted.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
def write():
    time.sleep(0.7)
    with open(sys.argv[1], "wb") as file:
        file.write(open(sys.argv[2], "rb").read())
threading.Thread(target=write, daemon=True).start()
print(saymon_bulk.Client("h", "login", "password", verify=sys.argv[1]).login, len(counted) > 2)
"""


@pytest.mark.slow
def test_a_handler_that_returns_lets_the_reading_go_on(fifo: Path, certificates: Certificates) -> None:
    done = run_script(HANDLES, str(fifo), str(certificates.ca))
    assert done.stdout.split() == ["login", "True"], done.stderr


# What has an end is read


def test_a_fifo_is_read(front: Nginx, certificates: Certificates, fifo: Path, identity: bytes) -> None:
    host = front.url("good", "localhost")
    with written(fifo, certificates.ca.read_bytes()):
        assert ask(host, verify=fifo) == FINISHED
    with written(fifo, identity):
        assert ask(host, verify=certificates.ca, cert=fifo) == FINISHED
    with written(fifo, certificates.key("good").read_bytes()):
        assert ask(host, verify=certificates.ca, cert=(certificates.certificate("good"), fifo)) == FINISHED


def test_a_fifo_is_read_each_time(front: Nginx, certificates: Certificates, fifo: Path) -> None:
    host = front.url("good", "localhost")
    for _ in range(3):
        with written(fifo, certificates.ca.read_bytes()):
            assert ask(host, verify=fifo) == FINISHED
        with written(fifo, certificates.certificate("self-signed-ca").read_bytes()):
            assert "issuer" in str(failure(host, verify=fifo))


def test_a_client_goes_on_with_what_it_has_read(front: Nginx, certificates: Certificates, fifo: Path) -> None:
    with written(fifo, certificates.ca.read_bytes()):
        client = Client(front.url("good", "localhost"), LOGIN, PASSWORD, verify=fifo)
    for _ in range(2):
        assert client.get_bulk_status(ID) == FINISHED
        assert asyncio.run(client.wait_for_bulk_async(ID)) == FINISHED


def test_a_process_substitution(front: Nginx, certificates: Certificates) -> None:
    read, write = os.pipe()

    def substitute() -> None:
        with os.fdopen(write, "wb") as file:
            file.write(certificates.ca.read_bytes())

    writer = threading.Thread(target=substitute)
    writer.start()
    assert ask(front.url("good", "localhost"), verify=f"/dev/fd/{read}") == FINISHED
    writer.join()
    os.close(read)


# What has no end, and what cannot be read

ENDLESS = "/dev/zero"
TOO_LARGE = "larger than 8 MiB"


@pytest.mark.parametrize("where", ["verify", "certificate", "key"])
def test_a_device_without_an_end(certificates: Certificates, where: str) -> None:
    good = str(certificates.certificate("good"))
    places: dict[str, dict[str, Any]] = {
        "verify": {"verify": ENDLESS},
        "certificate": {"cert": ENDLESS},
        "key": {"cert": (good, ENDLESS)},
    }
    with pytest.raises(ValueError, match=f"{ENDLESS}: {TOO_LARGE}"):
        Client("h", LOGIN, PASSWORD, **places[where])


@pytest.mark.parametrize("argument", ["verify", "cert"])
def test_a_regular_file_that_is_too_large(tmp_path: Path, argument: str) -> None:
    path = tmp_path / "large.pem"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=TOO_LARGE):
        Client("h", LOGIN, PASSWORD, **{argument: path})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["verify", "cert"])
def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(ValueError, match=f"{argument} names a.* file that cannot be read"):
            Client("h", LOGIN, PASSWORD, **{argument: "socket"})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["verify", "cert"])
def test_a_device_without_content(argument: str) -> None:
    with pytest.raises(ValueError, match="without a PEM certificate"):
        Client("h", LOGIN, PASSWORD, **{argument: os.devnull})  # type: ignore[arg-type]


@pytest.mark.parametrize("variable", ["SAYMON_PASSWORD_FILE", "NETRC"])
def test_a_password_without_an_end(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name, value in {"SAYMON_HOST": "h", "SAYMON_LOGIN": "login", variable: ENDLESS}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="larger than 1 MiB") as caught:
        Client.from_env()
    assert ENDLESS in str(caught.value)


# Stores, which are read in the middle of a handshake


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "/dev/null", "socket", "a link to a fifo"])
def test_a_store_that_is_no_regular_file(
    front: Nginx, fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        os.symlink(fifo, "a link to a fifo")
        monkeypatch.setenv("SSL_CERT_FILE", kind)
        begin = time.monotonic()
        error = failure(front.url("good", "localhost"), request_timeout=60)
        assert time.monotonic() - begin < 20
    assert type(error) is saymon_bulk.TransportError
    assert f"{kind} is no regular file" in str(error)


@pytest.mark.parametrize("where", ["verify", "SSL_CERT_DIR"])
def test_a_directory_with_what_is_no_file(
    front: Nginx, certificates: Certificates, fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    shutil.copy(certificates.ca, tmp_path / "ca.pem")
    os.symlink("/dev/zero", tmp_path / "endless")
    os.symlink(fifo, tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        if where == "SSL_CERT_DIR":
            monkeypatch.setenv(where, str(tmp_path))
        verify = tmp_path if where == "verify" else True
        assert ask(front.url("good", "localhost"), verify=verify, request_timeout=20) == FINISHED


def test_a_store_s_directory_that_is_none(front: Nginx, fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(fifo))
    assert "no CA certificates found" in str(failure(front.url("good", "localhost"), request_timeout=20))


def test_what_was_left_behind_harms_nobody(peer: Peer, fifo: Path, certificates: Certificates) -> None:
    """A reading that was interrupted ends later, and nobody hears of it."""
    code = """
import signal, sys
import saymon_bulk
def stop(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    saymon_bulk.Client("h", "login", "password", verify=sys.argv[1])
except TimeoutError:
    pass
with open(sys.argv[1], "wb") as file:
    file.write(open(sys.argv[2], "rb").read())
print(saymon_bulk.get_bulk_status(sys.argv[3], "x", "login", "password"))
"""
    done = run_script(code, str(fifo), str(certificates.ca), peer.host)
    assert (done.stdout, done.stderr) == ("{'finished': True}\n", "")
