"""The suite can be collected where POSIX's modules and calls are missing, as on Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]

# The first collection loads the libraries, which need POSIX on this system. The second one imports the tests again.
TWICE = """
import os, pytest, signal, sys

class Collected:
    def pytest_collection_finish(self, session):
        self.names = [item.nodeid.partition("[")[0] for item in session.items]

def collect():
    found = Collected()
    assert pytest.main(["--collect-only", "-qqq", "-p", "no:cacheprovider", *sys.argv[1:]], [found]) == 0
    return found.names

everywhere = collect()
for name, module in list(sys.modules.items()):
    if (getattr(module, "__file__", None) or "").startswith(os.path.join(sys.argv[1], "")):
        del sys.modules[name]
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty", "uvloop"):
    sys.modules[name] = None  # an import of it is an ImportError
for owner, names in {
    os: "fork forkpty getegid geteuid getgid getuid killpg mkfifo openpty register_at_fork setsid sysconf uname",
    signal: "SIGALRM SIGHUP SIGKILL SIGSTOP SIGUSR1 SIGUSR2 alarm pthread_sigmask setitimer",
}.items():
    for name in names.split():
        vars(owner).pop(name, None)
assert collect() == everywhere
print(len(everywhere), "tests")
"""


def test_every_test_is_collected_without_posix() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(TESTS)],
        cwd=TESTS.parent,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) > 1000
