"""A raw TCP peer: it records every byte it is sent and answers from a script.

An answer is either bytes (sent; the connection stays open for the next request) or a
callable that is handed the `Wire` and misbehaves as it likes (the connection is closed
when it returns).
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Callable, TypeVar, Union

import pytest
import saymon_bulk
from saymon_bulk import Client

LOGIN = "operator@example.com"
PASSWORD = "correct-Horse-battery-9"
ID = "079b3102-c326-4dd7-bf48-a945232b32d6"
FINISHED, RUNNING = {"finished": True}, {"finished": False}

# How long a test waits for what must come, in seconds: what is slow on a busy machine passes, what hangs fails.
PATIENCE = 60

# POSIX leads this address to loopback, and the package does not count it as such: requests to it may go through a proxy.
NOT_LOOPBACK = "0.0.0.0"

# The pauses of a wait whose schedule is not what is tested.
QUICK: dict[str, Any] = {"interval": 0.02, "max_interval": 0.05}


class Wire:
    """The peer's end of one connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.socket = sock
        self.stopping = stopping
        self.request = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, pieces: Iterable[bytes], every: float = 0.05) -> None:
        """Send one piece at a time, until they end or the client has gone."""
        for piece in pieces:
            self.send(piece)
            if self.stopping.wait(every):
                return

    def flood(self, data: bytes) -> None:
        """Send the same bytes for ever, as fast as the client takes them."""
        while not self.stopping.is_set():
            self.send(data)

    def hold(self) -> None:
        """Say nothing more until the client hangs up."""
        while self.socket.recv(65536):
            pass

    def reset(self) -> None:
        """Hang up with a TCP reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Act = Callable[[Wire], None]
Answer = Union[bytes, Act]


def response(
    body: bytes | str = b'{"finished": true}',
    status: int = 200,
    *headers: str,
    content_type: str | None = "application/json",
) -> bytes:
    """A whole, well-formed HTTP/1.1 answer."""
    payload = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Peer", f"Content-Length: {len(payload)}", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload


# What the peer says of an operation that still runs, and of one at its end.
RUN = response('{"finished": false}')
END = response()


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """An HTTP/1.1 200 answer in chunked transfer coding."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return head + b"".join(parts) + end


def end(wire: Wire) -> None:
    """Nothing more: the peer closes the connection in good order."""


def saying(data: bytes, then: Act = end) -> Act:
    """Send the bytes, then this."""

    def act(wire: Wire) -> None:
        wire.send(data)
        then(wire)

    return act


def closing(data: bytes) -> Act:
    """Send the bytes, then end the connection."""
    return saying(data)


def when(told: threading.Event, then: Act) -> Act:
    """Hold the answer back until the test sets the event, then this."""

    def act(wire: Wire) -> None:
        while not told.wait(0.01):
            if wire.stopping.is_set():
                return
        then(wire)

    return act


P = TypeVar("P", bound="Peer")


class Peer:
    """The listening side, until the end of its `with`; `wait_for` blocks until something about it has come true."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.authority = f"[{address}]:{self.port}" if ":" in address else (f"{address}:{self.port}")
        self.host = f"http://{self.authority}"
        self.connections = 0
        self.requests: list[bytes] = []
        self.greeting: Act | None = None
        self._script: list[Answer] = [response()]
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._serving: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, *script: Answer) -> None:
        """Each request takes the next answer; the last one stands for all the rest."""
        self._script = list(script)

    @property
    def is_stopped(self) -> bool:
        return self._stopping.is_set()

    @property
    def open(self) -> int:
        """How many connections are open at this moment."""
        return len(self._open)

    def connected(self) -> list[socket.socket]:
        """The peer's ends of the connections that are open."""
        with self._changed:
            return list(self._open)

    def wait_for(self, true: Callable[[], bool], within: float = PATIENCE) -> None:
        with self._changed:
            assert self._changed.wait_for(true, within), "the peer waited in vain"

    def wait_until_left(self) -> None:
        """Wait until nobody has a connection. They are accepted in order, and the last is this method's own."""
        with socket.create_connection(self._listener.getsockname()[:2]) as last:
            last.shutdown(socket.SHUT_WR)
            assert last.recv(1) == b""
        self.wait_for(lambda: self.open == 0)
        self.connections -= 1

    def stop(self) -> None:
        self._stopping.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:  # not on every system does it wake `accept`; a connection does
            with contextlib.suppress(OSError):
                socket.create_connection(self._listener.getsockname()[:2], 5).close()
        _join(self._accepting)  # first, or a connection that it accepts now would stay open
        self._listener.close()
        with self._changed:  # sockets are closed under it: no descriptor that is reused is shut down
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                if os.name == "nt":  # where a shutdown does not wake `recv`
                    sock.close()
        for thread in self._serving:
            _join(thread)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.is_stopped:
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                self._open.add(sock)
                self._changed.notify_all()
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._serving.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._converse(Wire(sock, self._stopping))
        finally:
            with self._changed:
                sock.close()
                self._open.discard(sock)
                self._changed.notify_all()

    def _converse(self, wire: Wire) -> None:
        if self.greeting is not None:
            self.greeting(wire)
            return
        received = b""
        while True:
            while (first := _first_request(received)) is None:
                data = wire.socket.recv(65536)
                if not data:
                    return
                received += data
            wire.request, received = first
            answer = PROVED if PROOF in wire.request else self._next_answer(wire.request)
            if not isinstance(answer, bytes):
                answer(wire)
                return
            wire.send(answer)

    def _next_answer(self, request: bytes) -> Answer:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            script = self._script_for(request)
            return script.pop(0) if len(script) > 1 else script[0]

    def _script_for(self, request: bytes) -> list[Answer]:
        return self._script


def _join(thread: threading.Thread) -> None:
    thread.join(PATIENCE)
    assert not thread.is_alive(), "a thread of the peer did not end"


# A request that proves a client's credentials, and its answer.
PROOF = b"/node/api/bulk/proof/status"
PROVED = response('{"finished": false}', 200, "Connection: close")


class Desk(Peer):
    """A peer that may have an answer or a script for each id; the others share the script of `answer`."""

    def __init__(self) -> None:
        self.of: dict[str, Answer | list[Answer]] = {}
        super().__init__()

    def _script_for(self, request: bytes) -> list[Answer]:
        found = self.of.get(id_of(request), self._script)
        return found if isinstance(found, list) else [found]


def _first_request(received: bytes) -> tuple[bytes, bytes] | None:
    """The first request with its body, and what follows; None while the request is not whole."""
    if received.startswith(b"\x16"):  # a TLS ClientHello has no blank line; taken as it comes
        return received, b""
    head, end, rest = received.partition(b"\r\n\r\n")
    length = int(dict(headers(head + end)).get("content-length", 0)) if end else 0
    if not end or len(rest) < length:
        return None
    return head + end + rest[:length], rest[length:]


def ask(host: Any, **changes: Any) -> dict[str, Any]:
    """`get_bulk_status` with good arguments, but for those that the test changes."""
    arguments: dict[str, Any] = {
        "id": ID,
        "login": LOGIN,
        "password": PASSWORD,
        "request_timeout": float(PATIENCE),
    }
    arguments.update(changes)
    return {**saymon_bulk.get_bulk_status(host, **arguments)}


def at(peer: Peer, **more: Any) -> Client:
    """A client of the peer."""
    return Client(peer.host, LOGIN, PASSWORD, **more)


def proved(peer: Peer, **more: Any) -> Client:
    """A client that has proved its credentials, so that many requests go out at once. The peer counts nothing of it."""
    client = at(peer, **more)
    before = peer.open
    client.get_bulk_status("proof")
    peer.wait_for(lambda: peer.open == before)
    peer.connections -= 1
    return client


async def collected(client: Client, ids: Any, **more: Any) -> dict[str, Any]:
    """All that `wait_for_bulks_async` yields, by id."""
    return {id: status async for id, status in client.wait_for_bulks_async(ids, **more)}


def shape(value: Any) -> Any:
    """The value with its order and types: 1, 1.0 and True are three things here."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value), repr(value)


def failure(host: Any, **changes: Any) -> saymon_bulk.SaymonError:
    """The error that such a call ends with."""
    with pytest.raises(saymon_bulk.SaymonError) as caught:
        ask(host, **changes)
    return caught.value


def id_of(request: bytes) -> str:
    """The id that a request asks for, still as the path spells it."""
    return request.split(b"/")[4].decode()


def headers(request: bytes) -> list[tuple[str, str]]:
    """A request's header fields in order, names in lower case."""
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    pairs = [line.partition(":") for line in lines]
    return [(name.lower(), value.strip()) for name, _, value in pairs]


def token(login: str = LOGIN, password: str = PASSWORD) -> str:
    """What HTTP Basic makes of them."""
    return base64.b64encode(f"{login}:{password}".encode()).decode()


def authorization(request: bytes) -> str:
    return dict(headers(request))["authorization"]


def credentials(request: bytes) -> str:
    """As a server sees them, login:password."""
    return base64.b64decode(authorization(request)[len("Basic ") :]).decode()


def no_hanging(seconds: int = 3 * PATIENCE) -> object:
    """A fixture for every test of a module: what hangs for so long fails, and the other tests go on."""

    number = getattr(signal, "SIGALRM", signal.SIGINT)

    def hangs(*_: object) -> None:
        pytest.fail("it hangs")

    @pytest.fixture(autouse=True)
    def alarm() -> Iterator[None]:
        before = signal.signal(number, hangs)
        cancel = _alarm(seconds)
        yield
        cancel()
        signal.signal(number, before)

    return alarm


def _alarm(seconds: int) -> Callable[[], object]:
    """Sets an alarm; returns what cancels it."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)
        return lambda: signal.alarm(0)
    timer = threading.Timer(seconds, signal.raise_signal, [signal.SIGINT])  # Windows wakes the main thread
    timer.daemon = True
    timer.start()
    return timer.cancel


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Peer]:
    """A second peer, for a request that must not go there."""
    with Peer() as one:
        yield one


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as one:
        yield one


@pytest.fixture
def peer6() -> Iterator[Peer]:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as reason:
        pytest.skip(f"no IPv6 loopback on this machine: {reason}")
    with Peer("::1") as one:
        yield one
