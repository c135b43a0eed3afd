"""A server refuses a long start by its head and closes the connection with the body unread, as haproxy does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import LOGIN, PASSWORD, Peer, Wire, response
from saymon_bulk import Client
from servers import Certificates

TRIES = 20
MEBIBYTE = 1 << 20


def search_of(size: int) -> dict[str, Any]:
    return {"id": {"$in": ["a" * 1000] * (size // 1000)}}


def start(client: Client, size: int) -> Any:
    return client.start_bulk(search_of(size), [{"modify": {}}])


def start_async(client: Client, size: int) -> Any:
    return asyncio.run(client.start_bulk_async(search_of(size), [{"modify": {}}]))


def refusing(answer: bytes, context: ssl.SSLContext | None) -> Callable[[Wire], None]:
    """Answer the head, and close at once: the kernel resets what is unread."""

    def act(wire: Wire) -> None:
        with contextlib.suppress(OSError):
            sock = wire.socket if context is None else context.wrap_socket(wire.socket, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1024)
            sock.sendall(answer)
            if isinstance(sock, ssl.SSLSocket):
                socket.close(sock.detach())

    return act


@pytest.mark.slow
@pytest.mark.parametrize("way", [start, start_async])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("status", "size"), [(413, 5 * MEBIBYTE), (401, MEBIBYTE), (403, 200_000)])
def test_the_refusal_is_read(peer: Peer, certificates: Certificates, way: Any, tls: bool, status: int, size: int) -> None:
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))
    peer.greeting = refusing(response(b"too long", status, "Connection: close"), context)
    host = f"https://{peer.authority}" if tls else peer.host
    read = 0
    for _ in range(TRIES):
        client = Client(host, LOGIN, PASSWORD, verify=certificates.ca)
        with pytest.raises((saymon_bulk.HTTPStatusError, saymon_bulk.StartUncertainError)) as caught:
            way(client, size)
        if isinstance(caught.value, saymon_bulk.HTTPStatusError):
            assert caught.value.status_code == status
            read += 1
        else:
            assert "perhaps the other side refuses a body of this length, or this login" in str(caught.value)
    assert read >= TRIES - 5  # a reset can still come between the look at the socket and the write


def test_a_server_that_closes_and_says_nothing(peer: Peer) -> None:
    peer.greeting = refusing(b"", None)
    with pytest.raises(saymon_bulk.StartUncertainError) as caught:
        start(Client(peer.host, LOGIN, PASSWORD), 5 * MEBIBYTE)
    assert isinstance(caught.value.__cause__, saymon_bulk.TransportError)


@pytest.mark.parametrize("way", [start, start_async])
@pytest.mark.parametrize("size", [60_000, 66_000, 131_000, 3 * MEBIBYTE])
def test_a_long_start_arrives_whole(peer: Peer, way: Any, size: int) -> None:
    peer.answer(response(b'{"bulkId": "x", "finished": false}'))
    way(Client(peer.host, LOGIN, PASSWORD), size)
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert f"\r\ncontent-length: {len(body)}\r\n".encode() in head.lower() + b"\r\n"
    assert b"transfer-encoding" not in head.lower()
    assert body.count(b"a" * 1000) == size // 1000
    assert body.endswith(b"]}")
