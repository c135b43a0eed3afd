"""`concurrency` requests at once are as many connections, also where a new connection takes long, and 16 are kept."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from peer import LOGIN, PASSWORD, collected
from saymon_bulk import AuthError, Client
from servers import Certificates, wait_until

HANDSHAKE = 0.5
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"finished": true}'


class SlowServer:
    """Speaks TLS; each handshake takes a while, and each answer none unless it is told so."""

    def __init__(self, certificates: Certificates) -> None:
        self.connections = self.open = self.most = self.requests = 0
        self.answer, self.delay = ANSWER, 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.host = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            self._stopping.wait(HANDSHAKE)
            with connection, self._context.wrap_socket(connection, server_side=True) as secure:
                while secure.recv(65536):
                    self.requests += 1
                    self._stopping.wait(self.delay)
                    secure.sendall(self.answer)
        except OSError:
            pass
        finally:
            with self._lock:
                self.open -= 1

    def stop(self) -> None:
        self._stopping.set()
        self._listener.close()


@pytest.fixture
def slow(certificates: Certificates) -> Iterator[SlowServer]:
    server = SlowServer(certificates)
    yield server
    server.stop()


Ask = Callable[[Client, list[str], int], Any]


WAYS: dict[str, tuple[bool, Ask]] = {
    "batch": (False, lambda client, ids, concurrency: client.get_bulk_statuses(ids, concurrency=concurrency)),
    "batch_async": (True, lambda client, ids, concurrency: client.get_bulk_statuses_async(ids, concurrency=concurrency)),
    "waits": (False, lambda client, ids, concurrency: dict(client.wait_for_bulks(ids, concurrency=concurrency))),
    "waits_async": (True, lambda client, ids, concurrency: collected(client, ids, concurrency=concurrency)),
}


def in_turn(ask: Ask, is_async: bool, client: Client, counts: list[int], concurrency: int) -> None:
    """Asks for so many operations, one call after the other, in one event loop."""

    def names(count: int) -> list[str]:
        return [f"op-{number}" for number in range(count)]

    async def all_of_them() -> None:
        for count in counts:
            assert len(await ask(client, names(count), concurrency)) == count

    if is_async:
        asyncio.run(all_of_them())
    else:
        for count in counts:
            assert len(ask(client, names(count), concurrency)) == count


@pytest.mark.slow
@pytest.mark.parametrize(("is_async", "ask"), WAYS.values(), ids=WAYS)
def test_call_after_call_uses_the_same_connections(
    slow: SlowServer, certificates: Certificates, is_async: bool, ask: Ask
) -> None:
    client = Client(slow.host, LOGIN, PASSWORD, verify=certificates.ca)
    in_turn(ask, is_async, client, [1, 16, 16, 17, 61, 200, 1000, 5000], 16)
    assert slow.connections == slow.most == 16


@pytest.mark.slow
@pytest.mark.parametrize(("is_async", "ask"), WAYS.values(), ids=WAYS)
def test_a_burst_has_no_more_connections_than_requests_at_once(
    slow: SlowServer, certificates: Certificates, is_async: bool, ask: Ask
) -> None:
    client = Client(slow.host, LOGIN, PASSWORD, verify=certificates.ca)
    in_turn(ask, is_async, client, [1000], 64)
    assert slow.most <= 64
    wait_until(lambda: slow.open <= 16, "16 connections stay at most")


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [17, 64, 200])
@pytest.mark.parametrize(("is_async", "ask"), WAYS.values(), ids=WAYS)
def test_a_burst_keeps_16_connections_for_the_next(
    slow: SlowServer, certificates: Certificates, is_async: bool, ask: Ask, concurrency: int
) -> None:
    client = Client(slow.host, LOGIN, PASSWORD, verify=certificates.ca)
    kept = []

    def settled() -> bool:
        return slow.open <= 16

    async def awaited() -> None:
        for _ in range(3):
            await ask(client, ids, concurrency)
            while not settled():
                await asyncio.sleep(0.01)
            kept.append((slow.open, slow.connections))

    ids = [f"op-{number}" for number in range(500)]
    if is_async:
        asyncio.run(awaited())
    else:
        for _ in range(3):
            ask(client, ids, concurrency)
            wait_until(settled, "16 connections stay at most")
            kept.append((slow.open, slow.connections))
    made = [after - before for (_, before), (_, after) in zip(kept, kept[1:])]
    assert min(open for open, _ in kept) >= 12, kept
    assert max(made) <= concurrency - 12, kept


@pytest.mark.slow
def test_what_one_thread_has_kept_leaves_room_for_several(slow: SlowServer, certificates: Certificates) -> None:
    """A wait has one thread with 16 connections, a batch two with eight each; another server has used these lanes before."""
    other = SlowServer(certificates)
    ids = [f"op-{number}" for number in range(200)]
    for server in (other, slow):
        client = Client(server.host, LOGIN, PASSWORD, verify=certificates.ca)
        assert len(dict(client.wait_for_bulks(ids))) == 200
        for _ in range(3):
            assert len(client.get_bulk_statuses(ids)) == 200
            wait_until(lambda: server.open <= 16, "16 connections stay at most")  # noqa: B023
            assert server.open >= 15
    assert slow.connections <= 16 + 8
    other.stop()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize("what", ["status", "wait"])
def test_tasks_that_wait_for_a_connection_do_not_send_what_was_refused(
    slow: SlowServer, certificates: Certificates, count: int, what: str
) -> None:
    """The password was accepted before, and at most 16 connections are made at the same time."""
    client = Client(slow.host, LOGIN, PASSWORD, verify=certificates.ca, request_timeout=60)
    assert client.get_bulk_status("first") == {"finished": True}
    slow.answer = UNAUTHORIZED
    before = slow.requests

    async def run() -> list[Any]:
        call: Callable[[str], Any] = client.get_bulk_status_async if what == "status" else client.wait_for_bulk_async
        return await asyncio.gather(*(call(f"op-{n}") for n in range(count)), return_exceptions=True)

    assert {type(error) for error in asyncio.run(run())} == {AuthError}
    assert 1 <= slow.requests - before <= 32


@pytest.mark.slow
@pytest.mark.parametrize("count", [16, 17, 200, 5_000])
def test_a_connection_that_brought_a_refusal_does_not_serve_those_that_wait_for_one(
    slow: SlowServer, certificates: Certificates, count: int
) -> None:
    client = Client(slow.host, LOGIN, PASSWORD, verify=certificates.ca, request_timeout=60)

    async def run(count: int) -> list[Any]:
        return await asyncio.gather(*(client.get_bulk_status_async(f"op-{n}") for n in range(count)), return_exceptions=True)

    # Long beside a handshake, so that each has a connection of its own.
    slow.delay = 2 * HANDSHAKE
    assert client.get_bulk_status("proves the password") == {"finished": True}
    assert asyncio.run(run(16)) == [{"finished": True}] * 16
    kept = slow.open
    assert kept >= 16
    slow.answer, slow.delay = UNAUTHORIZED, HANDSHAKE / 2
    before = slow.requests
    assert {type(error) for error in asyncio.run(run(count))} == {AuthError}
    assert 1 <= slow.requests - before <= kept
