"""Connections and addresses that say nothing: one time-out is a lesson for all kept ones, and a second address is tried."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import LOGIN, PASSWORD, RUN, Peer, Wire, no_hanging
from saymon_bulk import Client, RequestTimeoutError

_no_hanging = no_hanging()


class Firewalled(Peer):
    """A server whose connections of before `forget` are forgotten: nothing comes through, nobody says so."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten = 0
        self._numbers = itertools.count(1)
        self.greeting = self._talk

    def forget(self) -> None:
        self.forgotten = self.connections

    def _talk(self, wire: Wire) -> None:
        number = next(self._numbers)
        while wire.socket.recv(65536):
            if number > self.forgotten:
                wire.stopping.wait(0.02)  # so that a batch opens many
                wire.send(RUN)


@pytest.fixture
def server() -> Iterator[Firewalled]:
    with Firewalled() as one:
        yield one


def client(server: Firewalled) -> Client:
    one = Client(server.host, LOGIN, PASSWORD, request_timeout=0.5)
    one.get_bulk_status("x")
    return one


@pytest.mark.slow
def test_one_call_is_lost_and_no_more(server: Firewalled) -> None:
    one = client(server)
    one.get_bulk_statuses([f"op-{number}" for number in range(64)])
    assert server.connections > 8
    server.forget()
    with pytest.raises(RequestTimeoutError):
        one.get_bulk_status("x")
    for _ in range(20):
        assert one.get_bulk_status("x") == {"finished": False}
    assert server.connections == server.forgotten + 1


@pytest.mark.slow
def test_the_lesson_is_for_other_threads_and_for_asyncio(server: Firewalled) -> None:
    one = client(server)
    asyncio.run(one.get_bulk_status_async("x"))
    one.get_bulk_statuses([f"op-{number}" for number in range(300)])
    server.forget()
    with pytest.raises(RequestTimeoutError):
        one.get_bulk_status("x")
    assert asyncio.run(one.get_bulk_status_async("x")) == {"finished": False}
    assert len(one.get_bulk_statuses([f"op-{number}" for number in range(300)])) == 300
    assert Client(server.host, "another", "login").get_bulk_status("x") == {"finished": False}


@pytest.mark.slow
def test_a_wait_counts_no_failure(server: Firewalled) -> None:
    one = client(server)
    one.get_bulk_statuses([f"op-{number}" for number in range(64)])
    server.forget()
    polls = []

    def on_poll(*poll: object) -> None:
        polls.append(poll)
        if len(polls) == 5:
            raise LookupError("enough")

    with pytest.raises(LookupError):
        one.wait_for_bulk("x", interval=0.01, max_interval=0.02, retries=0, on_poll=on_poll)


@pytest.mark.slow
def test_a_time_out_on_a_new_connection_is_no_lesson(server: Firewalled) -> None:
    one = client(server)
    server.forgotten = 1000
    before = server.connections
    for _ in range(3):
        with pytest.raises(RequestTimeoutError):
            one.get_bulk_status("x")
    assert server.connections == before + 2


# A name's addresses are dead but for the last: there a server answers by `serve`. The system gives them in this order, since
# 127.0.0.2 has more in common with the client's 127.0.0.1 (RFC 6724 section 5, rule 9).
INSIDE = """
import asyncio, socket, sys, threading, time, warnings
import saymon_bulk
warnings.simplefilter("ignore")
live = socket.create_server(("127.0.0.8", 0))
port = live.getsockname()[1]
body = b'{"bulkId": "x", "finished": true}'
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n%s\\r\\n" % (len(body), b"%s") + body
closing = answer % b"Connection: close\\r\\n"
keeping = answer % b""
def serve(sock):
    sock.recv(65536)
    sock.sendall(closing)
    sock.close()
def accept():
    while True:
        sock, _ = live.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
# A full backlog drops a SYN, as a dead machine does.
held = []
for address in (("127.0.0.2", port), ("127.0.0.4", port)):
    dead = socket.socket()
    dead.bind(address)
    dead.listen(0)
    full = [socket.socket() for _ in range(3)]
    for sock in full:
        sock.setblocking(False)
        sock.connect_ex(address)
    held += [dead, *full]
def client_of(name):
    return saymon_bulk.Client(f"http://{name}.example:{port}", "login", "password", request_timeout=3)
client = client_of("pair")
"""

EACH_ON_A_NEW_CONNECTION = """
for _ in range(2):
    print(client.get_bulk_status("x")["finished"])
print(client.start_clone("x")["bulkId"])
print(client.wait_for_bulk("x", retries=0)["finished"])
"""

# The second request begins to make a connection, then takes the one that the first request leaves.
AN_IDLE_CONNECTION_WINS = """
requests = []
def serve(sock):
    while request := sock.recv(65536):
        requests.append(request)
        time.sleep({1: 0, 2: 0.5}.get(len(requests), 2))
        sock.sendall(keeping)
async def main():
    await client.get_bulk_status_async("warm-up")
    await asyncio.gather(client.get_bulk_status_async("first"), client.get_bulk_status_async("second"))
asyncio.run(main())
print(len(requests))
"""

THE_THIRD_ADDRESS = """
client = client_of("triple")
began = time.monotonic()
print(client.get_bulk_status("x")["finished"])
assert time.monotonic() - began > 2, "the third address was not the third"
print(client.start_clone("x")["bulkId"])
print(asyncio.run(client.get_bulk_status_async("x"))["finished"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "prints"),
    [
        (EACH_ON_A_NEW_CONNECTION, "True\nTrue\nx\nTrue\n"),
        (AN_IDLE_CONNECTION_WINS, "3\n"),
        (THE_THIRD_ADDRESS, "True\nx\nTrue\n"),
    ],
)
def test_the_next_address_of_a_name(tmp_path: Path, script: str, prints: str) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("a hosts file of one's own needs unshare and root")
    hosts = tmp_path / "hosts"
    addresses = [(2, "pair"), (8, "pair"), (2, "triple"), (4, "triple"), (8, "triple")]
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.{last} {name}.example\n" for last, name in addresses))
    os.chmod(tmp_path, 0o755)
    inside = tmp_path / "inside.py"
    inside.write_text(INSIDE + script)
    mount = f"mount --bind {hosts} /etc/hosts && exec {sys.executable} {inside}"
    done = subprocess.run([unshare, "--mount", "sh", "-c", mount], capture_output=True, text=True, timeout=60, check=False)
    if "permission" in done.stderr.lower() and "mount" in done.stderr:
        pytest.skip("this user may make no mount namespace")
    assert (done.stdout, done.stderr) == (prints, "")
