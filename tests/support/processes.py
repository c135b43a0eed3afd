"""Python code in processes of its own: run to its end, or started and talked to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable

import pytest
from peer import PATIENCE, Peer

# Ctrl-C ends a call within 0.1 s. The rest is for busy machines, and less than any time limit of the scripts.
AT_ONCE = 20

POSIX = os.name == "posix"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
needs_signals = pytest.mark.skipif(not POSIX, reason="no signals from one process to another on this system")
needs_shell = pytest.mark.skipif(not POSIX, reason="no POSIX shell on this system")

# The variable of the user's own folder.
HOME = "HOME" if POSIX else "USERPROFILE"

# What a script prints of a status.
FINISHED = "{'finished': True}"
RUNNING = "{'finished': False}"


# Options of Python for scripts that fork: since 3.12 a fork where threads run gives a DeprecationWarning.
FORKING = ["-W", "ignore::DeprecationWarning"]


def run_script(
    code: str, *arguments: str, flags: Iterable[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end, with more in its environment."""
    return subprocess.run(
        [sys.executable, *flags, "-c", code, *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=5 * PATIENCE,
        check=False,
    )


def output_of(*command: str | Path, timeout: float, **environment: str) -> str:
    """What a command prints that must succeed; no Python settings of the caller's reach it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, env=clean | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pythons() -> dict[str, str]:
    """Other CPythons from 3.9 on, by version: those on PATH, and those of pyenv."""
    places = [Path(place) for place in os.get_exec_path()]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += sorted(root.glob("versions/*/bin"))
    found: dict[str, str] = {}
    for place in places:
        for path in sorted(place.glob("python3.*")) if place.is_dir() else []:
            match = re.fullmatch(r"python(3\.(\d+))", path.name)
            if match and int(match[2]) >= 9 and "shims" not in path.parts:
                found.setdefault(match[1], str(path))
    found.pop(f"{sys.version_info[0]}.{sys.version_info[1]}", None)
    return found


class Script:
    """Running Python code, until the end of its `with`; its time is limited, and its children end with it."""

    def __init__(self, code: str, *arguments: str, within: float = 2 * PATIENCE) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._watchdog = threading.Timer(within, self._kill)
        self._watchdog.start()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"the script has ended, or was ended: {self.outcome()}")
        return line.rstrip("\n")

    def signal(self, number: signal.Signals = signal.SIGINT) -> float:
        """Send it a signal; returns when."""
        if not POSIX:
            pytest.skip("no signals from one process to another on this system")
        sent = time.monotonic()
        self._process.send_signal(number)
        return sent

    def seconds_to_interrupt(self) -> float:
        """Send it Ctrl-C; returns how long its call went on, of which it prints the end."""
        sent = self.signal()
        return float(self.line()) - sent

    def go_on(self) -> None:
        """Let it read a line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def outcome(self) -> tuple[int, str, str]:
        """How it ends, the rest of what it prints, and what is on stderr."""
        # Not communicate: it would miss what `line` has read ahead.
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        out, err = self._process.stdout.read(), self._process.stderr.read()
        return self._process.wait(), out, err

    def finish(self) -> list[str]:
        """The rest of what it prints; it must end well, and without a word on stderr."""
        code, out, err = self.outcome()
        assert (code, err) == (0, ""), out
        return out.splitlines()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if POSIX:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()


Start = Callable[..., Script]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts scripts that end with the test: call it with the code and its arguments."""
    with contextlib.ExitStack() as stack:

        def start(code: str, *arguments: str) -> Script:
            return stack.enter_context(Script(code, *arguments))

        yield start


def asked(peer: Peer, count: int) -> None:
    """Wait for so many requests, and for the process that sends them to come up."""
    peer.wait_for(lambda: len(peer.requests) >= count)
