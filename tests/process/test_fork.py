"""A child that libc has forked is never taken for its parent, and neither gets the other's answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from processes import FORKING, run_script
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

SCRIPT = """
import asyncio, ctypes, os, sys
import saymon_bulk

way, host, finished, running = sys.argv[1:]
libc = ctypes.PyDLL(None)  # keeps the interpreter, so that the child has it
client = saymon_bulk.Client(host, "login", "password", request_timeout=5)
loop = asyncio.new_event_loop()

def ask(id):
    yield client.get_bulk_status(id)["finished"]
    yield client.get_bulk_statuses([id])[id]["finished"]
    # A child has its parent's epoll of an event loop, so it makes a loop of its own.
    yield (asyncio.run(client.get_bulk_status_async(id)))["finished"]

for _ in range(2):
    assert list(ask(finished)) == [True] * 3
before = os.getpid()

if way == "pid namespace":
    CLONE_NEWPID = 0x20000000
    assert libc.unshare(CLONE_NEWPID) == 0
    child = os.fork()
elif way == "libc":
    child = libc.fork()
else:
    child = os.fork()

id, wanted = (finished, True) if child == 0 else (running, False)
wrong = 0
for _ in range(20):
    wrong += sum(answer is not wanted for answer in ask(id))
if way == "grandchild" and child == 0 and os.fork() == 0:
    wrong += sum(answer is not False for _ in range(20) for answer in ask(running))
    os._exit(bool(wrong))
if child == 0:
    if way == "grandchild":
        wrong += os.wait()[1]
    # A pid namespace of a container: pid 1 has forked a pid 1.
    same_pid = os.getpid() == before
    os.write(1, f"child {wrong} {same_pid}\\n".encode())
    os._exit(0)
os.wait()
os.write(1, f"parent {wrong}\\n".encode())
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["os.fork", "libc", "grandchild"])
def test_neither_gets_the_other_s_answers(way: str) -> None:
    with PracticeServer("login", "password") as server:
        done = run_script(SCRIPT, way, server.host, server.add_bulk(0.0), server.add_bulk(3600.0), flags=FORKING)
    assert (done.stdout, done.stderr, done.returncode) == ("child 0 False\nparent 0\n", "", 0)


@pytest.mark.slow
def test_nor_where_both_have_the_same_pid() -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare")
    inside = [unshare, "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        inside += ["--user", "--map-root-user"]
    if subprocess.run([*inside, "true"], capture_output=True, timeout=120, check=False).returncode != 0:
        pytest.skip("this user may make no PID namespace")
    with PracticeServer("login", "password") as server:
        ids = (server.add_bulk(0.0), server.add_bulk(3600.0))
        done = subprocess.run(
            [*inside, sys.executable, *FORKING, "-c", SCRIPT, "pid namespace", server.host, *ids],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.stdout, done.stderr, done.returncode) == ("child 0 True\nparent 0\n", "", 0)
