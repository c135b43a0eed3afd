"""The request as it stands on the wire: nothing missing, nothing else."""

from __future__ import annotations

import saymon_bulk
from peer import ID, Peer, ask, headers, token


def test_the_request_line(peer: Peer) -> None:
    ask(peer.host)
    line = peer.requests[0].split(b"\r\n")[0].decode()
    assert line == f"GET /node/api/bulk/{ID}/status HTTP/1.1"


def test_the_header_fields_are_these_four(peer: Peer) -> None:
    ask(peer.host)
    assert sorted(headers(peer.requests[0])) == [
        ("accept", "application/json"),
        ("authorization", f"Basic {token()}"),
        ("host", peer.authority),
        ("user-agent", "saymon-bulk/" + saymon_bulk.__version__.replace(".dev", "-dev.")),
    ]


def test_there_is_no_body(peer: Peer) -> None:
    for _ in range(3):
        ask(peer.host)
    # Bytes after a head would stand at the beginning of the next request.
    assert peer.connections == 1
    assert all(request.startswith(b"GET /") for request in peer.requests)
    assert all(request.count(b"\r\n\r\n") == 1 for request in peer.requests)


def test_every_request_is_the_same(peer: Peer) -> None:
    for _ in range(3):
        ask(peer.host)
    assert len(peer.requests) == 3
    assert len(set(peer.requests)) == 1


def test_one_call_is_one_request(peer: Peer) -> None:
    ask(peer.host)
    assert (peer.connections, len(peer.requests)) == (1, 1)
