"""The command line in processes of its own, run to their end, started and talked to, or on terminals of their own."""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import pytest
from peer import LOGIN, PASSWORD, PATIENCE
from processes import HOME, POSIX
from saymon_bulk.testing import PracticeServer

with contextlib.suppress(ImportError):  # not on Windows
    import fcntl
    import pty
    import termios

COMMAND = [sys.executable, "-m", "saymon_bulk"]

# What every object of --json begins with.
KEYS = ("id", "finished", "error", "message", "status_code", "transient")


def good(id: str, finished: bool) -> dict[str, object]:
    """The promised keys of an answer, in JSON."""
    return dict(zip(KEYS, (id, finished, None, None, None, False)))


# What a command that needs none of it does not import.
UNUSED = {"asyncio", "getpass", "json", "logging", "netrc", "socket", "ssl", "threading", "tqdm", "typing", "urllib.parse"}

Word = Union[str, bytes]


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the caller's: no netrc, no TTY variables, UTF-8."""
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("NETRC", "COLUMNS", "PYTHONWARNINGS", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    """The server that most commands ask: one operation has finished, another never will."""
    with PracticeServer(LOGIN, PASSWORD) as one:
        one.add_bulk(0, id="done")
        one.add_bulk(math.inf, id="never")
        yield one


def environment(server: Any = None, **more: str) -> dict[str, str]:
    """What a user has exported; an empty value is as good as none."""
    host = {} if server is None else {"SAYMON_HOST": server.host}
    return {**os.environ, **host, "SAYMON_LOGIN": LOGIN, "SAYMON_PASSWORD": PASSWORD, **more}


def run(server: Any, *words: Word, stdin: str | bytes = "", **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *words],
        env=environment(server, **more),
        input=stdin if isinstance(stdin, bytes) else stdin.encode(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    out, err = (stream.decode().replace(os.linesep, "\n") for stream in (done.stdout, done.stderr))
    result = subprocess.CompletedProcess(done.args, done.returncode, out, err)
    assert "Traceback" not in result.stderr
    assert PASSWORD not in result.stdout + result.stderr
    return result


def told_of(stderr: str) -> list[str]:
    """The operation of each error; of operations that share a line, a blank for each."""
    found: list[str] = []
    for line in stderr.splitlines():
        group = re.search(r" \((?:all )?([\d,]+) operations(?:: .*)?\)$", line)
        found += [""] * int(group[1].replace(",", "")) if group else [line.partition("bulk operation ")[2].partition(":")[0]]
    return found


def words_of(line: str) -> list[str]:
    """The words of a command line, as this system takes it apart."""
    if POSIX:
        return shlex.split(line)
    import ctypes

    split, count = getattr(ctypes, "windll").shell32.CommandLineToArgvW, ctypes.c_int()  # noqa: B009 - mypy runs on Linux
    split.restype = ctypes.POINTER(ctypes.c_wchar_p)
    # The first word goes by other rules.
    found: list[str] = split(f"program {line}", ctypes.byref(count))[1 : count.value]
    return found


# Windows has no SIGHUP, and skips what sends signals.
SIGHUP: int = getattr(signal, "SIGHUP", 1)

# What ends a command, its exit code in a shell, and its last words.
SIGNALS = pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (SIGHUP, 129, "hung up")],
)


def default_signals() -> None:
    # A test run in the background has SIGINT ignored, one under nohup SIGHUP, and so would what it starts.
    for number in (signal.SIGINT, SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def started(server: Any, *words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *words],
        env=environment(server, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=default_signals if POSIX else None,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def exit_code(process: subprocess.Popen[Any]) -> int:
    """As a shell counts it: 128 and the signal, if the process died of one."""
    code = process.wait(PATIENCE)
    return 128 - code if code < 0 else code


LOADED = """
import atexit, sys
atexit.register(lambda: sys.stderr.write(" ".join(sorted(sys.modules))))
from saymon_bulk.cli import main
sys.exit(main())
"""


def loaded(server: PracticeServer, *words: str, **more: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        env=environment(server, **more),
        input=PASSWORD.encode(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    listed = set(done.stderr.decode().splitlines()[-1].split())
    plain = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, timeout=30, check=True
    )
    return listed - set(plain.stdout.decode().split())


class Terminal:
    """A command with a terminal of its own, 80 columns wide unless it is told otherwise."""

    def __init__(self, server: Any, *words: str, command: Sequence[str] = COMMAND, columns: int = 80, **more: str) -> None:
        if not POSIX:
            pytest.skip("the tests have no terminals on this system")
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self._raw = b""
        self._process = subprocess.Popen(
            [*command, *words],
            env=environment(server, **more),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def hang_up(self) -> int:
        """The terminal goes away; the exit code as of `end`."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDWR)
        return exit_code(self._process)

    def type(self, text: str) -> None:
        if text == "\x03":
            # Python does not see a signal that comes between its last look and a read that blocks.
            deadline = time.monotonic() + PATIENCE
            while not self._is_asleep():
                assert time.monotonic() < deadline, f"it reads nothing: {self.screen()}"
        os.write(self._master, text.encode(errors="surrogateescape"))

    def _is_asleep(self) -> bool:
        status = Path(f"/proc/{self._process.pid}/status")
        return not status.exists() or "State:\tS" in status.read_text()

    def screen(self) -> list[str]:
        """The lines as one sees them: after a carriage return the line is written over."""
        lines = []
        for line in self._raw.decode(errors="replace").replace("\r\n", "\n").split("\n"):
            shown = ""
            for part in line.split("\r"):
                shown = part + shown[len(part) :]
            lines.append(shown.rstrip())
        return lines

    def shows(self, pattern: str) -> None:
        """Wait until a line on the screen matches."""
        deadline = time.monotonic() + PATIENCE
        while not any(re.search(pattern, line) for line in self.screen()):
            going_on = self._read() and time.monotonic() < deadline
            assert going_on, f"{pattern!r} does not come: {self.screen()}"

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def end(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"it does not end: {self.screen()}"
        assert PASSWORD.encode() not in self._raw
        return exit_code(self._process)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.2)[0]:
            return self._process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux tells that nobody has the other side open
            return False
        self._raw += data
        return bool(data)


def _take_terminal() -> None:
    default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
