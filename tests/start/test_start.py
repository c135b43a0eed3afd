"""A start is sent at most once, and it ends in one of three ways: started, uncertain, not started."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import os
import re
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import (
    ID,
    LOGIN,
    PASSWORD,
    RUN,
    Act,
    Answer,
    Peer,
    Wire,
    at,
    authorization,
    chunked,
    end,
    headers,
    response,
    saying,
)
from saymon_bulk import Client, StartUncertainError
from saymon_bulk.testing import PracticeServer
from servers import Certificates, Nginx, Site, StartNginx

SEARCH = {"name": {"$regex": "^ЦП$", "$options": "i"}, "parent_id": {"$in": ["62d7e58056d203149a08001b"]}}
BULK = [{"properties.createOrModify": {"name": "New Property", "value": "value", "type_id": 1}}]
STARTED = {"bulkId": ID, "finished": False}
ANSWER = response(json.dumps(STARTED))

Starting = Callable[[Client], Any]


def start_bulk(client: Client) -> Any:
    return client.start_bulk(SEARCH, BULK)


def start_bulk_async(client: Client) -> Any:
    return asyncio.run(client.start_bulk_async(SEARCH, BULK))


def start_clone(client: Client) -> Any:
    return client.start_clone("62d7e58056d203149a08001b")


def start_clone_async(client: Client) -> Any:
    return asyncio.run(client.start_clone_async("62d7e58056d203149a08001b"))


every_way = pytest.mark.parametrize("start", [start_bulk, start_bulk_async, start_clone, start_clone_async])


def ended(start: Starting, host: str, **more: Any) -> saymon_bulk.SaymonError:
    with pytest.raises(saymon_bulk.SaymonError) as caught:
        start(Client(host, LOGIN, PASSWORD, **{"request_timeout": 5.0, **more}))
    return caught.value


def request_id(request: bytes) -> str:
    return dict(headers(request))["x-request-id"]


def body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


# The request


@pytest.mark.parametrize("start", [start_bulk, start_bulk_async])
def test_a_bulk_operation_as_the_vendor_documents_it(peer: Peer, start: Starting) -> None:
    peer.answer(ANSWER)
    assert start(at(peer)) == STARTED
    (request,) = peer.requests
    assert request.startswith(b"POST /node/api/bulk/objects HTTP/1.1\r\n")
    sent = dict(headers(request))
    assert sent.keys() == {
        *("accept", "authorization", "content-length", "content-type", "host", "user-agent", "x-request-id"),
    }
    assert (sent["content-type"], sent["accept"]) == ("application/json", "application/json")
    assert authorization(request) == dict(headers(request))["authorization"]
    assert json.loads(body(request)) == {"search": SEARCH, "bulk": BULK}
    assert "ЦП".encode() in request
    assert uuid.UUID(sent["x-request-id"]).version == 4


@pytest.mark.parametrize("start", ["start_clone", "start_clone_async"])
@pytest.mark.parametrize(
    ("object_id", "segment"),
    [
        ("62d7e58056d203149a08001b", "62d7e58056d203149a08001b"),
        ("discovery id:a/b 7", "discovery%20id%3Aa%2Fb%207"),
        ("../../x", "..%2F..%2Fx"),
        ("объект?#", "%D0%BE%D0%B1%D1%8A%D0%B5%D0%BA%D1%82%3F%23"),
    ],
)
def test_a_clone_as_the_vendor_documents_it(peer: Peer, start: str, object_id: str, segment: str) -> None:
    peer.answer(ANSWER)
    started = getattr(at(peer), start)(object_id)
    assert (asyncio.run(started) if start.endswith("_async") else started) == STARTED
    (request,) = peer.requests
    assert request.startswith(f"POST /node/api/objects/{segment}/clone-bulk HTTP/1.1\r\n".encode())
    sent = dict(headers(request))
    assert sent["content-length"] == "0"
    assert "content-type" not in sent
    assert body(request) == b""


def test_each_start_has_an_id_of_its_own(peer: Peer) -> None:
    peer.answer(ANSWER)
    for _ in range(20):
        start_clone(at(peer))
    assert len(set(map(request_id, peer.requests))) == 20


@every_way
def test_unknown_fields_pass_through_in_order(peer: Peer, start: Starting) -> None:
    fields = '{"z": [1, {"b": null}], "finished": true, "a": 123456789012345678901234567890, "bulkId": "x y"}'
    peer.answer(response(fields))
    assert json.dumps(start(at(peer))) == fields


def test_the_whole_job_in_one_line() -> None:
    with PracticeServer(LOGIN, PASSWORD, finishes_after=0.1) as server:
        client = Client(server.host, LOGIN, PASSWORD)
        assert client.wait_for_bulk(client.start_bulk(SEARCH, BULK)["bulkId"], interval=0.05) == {"finished": True}


@pytest.mark.parametrize("ids", [1, 100_000])
def test_a_body_of_many_ids(peer: Peer, ids: int) -> None:
    search = {"parent_id": {"$in": [f"{number:024x}" for number in range(ids)]}}
    peer.answer(ANSWER)
    assert at(peer).start_bulk(search, BULK) == STARTED
    (request,) = peer.requests
    assert json.loads(body(request)) == {"search": search, "bulk": BULK}


# Uncertain

PAGE = "<html><title>Sign in</title>"
UNDOCUMENTED: dict[str, Answer] = {
    "a login page": response(PAGE, content_type="text/html"),
    "nothing": response(""),
    "a list": response("[]"),
    "no bulkId": response('{"finished": false}'),
    "no finished": response('{"bulkId": "a"}'),
    "a number": response('{"bulkId": 7, "finished": false}'),
    "null": response('{"bulkId": null, "finished": false}'),
    "more behind it": response('{"bulkId": "a", "finished": false}}'),
    "an empty id": response('{"bulkId": "", "finished": false}'),
    "dots": response('{"bulkId": "..", "finished": false}'),
    "a tab": response('{"bulkId": "a\\tb", "finished": false}'),
    "a long id": response(json.dumps({"bulkId": "a" * 256, "finished": False})),
    "a string finished": response('{"bulkId": "a", "finished": "false"}'),
    "two ids": response('{"bulkId": "a", "bulkId": "b", "finished": false}'),
    "two finished": response('{"bulkId": "a", "finished": false, "finished": true}'),
    "gzip": response(gzip.compress(json.dumps(STARTED).encode()), 200, "Content-Encoding: gzip"),
    "too long": response(json.dumps({**STARTED, "x": "y" * 70_000})),
}
STATUSES = [101, 201, 202, 203, 204, 206, 226, 408, 500, 501, 502, 503, 504, 507, 599, 600, 999]
CUTS: dict[str, Answer] = {
    "an end": end,
    "a reset": Wire.reset,
    "no HTTP": saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a head": saying(ANSWER[:30]),
    "half a body": saying(ANSWER[:-3]),
    "half a chunk": saying(chunked(b'{"bulkId":', end=b"")),
    "a bad chunk": saying(chunked(b"{", end=b"xyz\r\n")),
    "100 and an end": saying(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "two lengths": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
}


def uncertain(start: Starting, peer: Peer, **more: Any) -> StartUncertainError:
    error = ended(start, peer.host, **more)
    assert type(error) is StartUncertainError
    assert error.host == peer.host
    assert error.id is None
    assert error.request_id == request_id(peer.requests[0])
    assert error.request_id in str(error)
    assert str(error).startswith("Perhaps started. Look at the server before you start again. ")
    assert "not started" not in f"{error} {error.__cause__}"
    assert isinstance(error.__cause__, saymon_bulk.SaymonError)
    assert str(error.__cause__) in str(error)
    # Nothing that code tries again after.
    assert not isinstance(error, (OSError, ValueError, LookupError))
    assert (len(peer.requests), peer.connections) == (1, 1)
    return error


@every_way
@pytest.mark.parametrize("answer", UNDOCUMENTED.values(), ids=UNDOCUMENTED)
def test_a_200_that_is_not_the_documented_answer(peer: Peer, start: Starting, answer: Answer) -> None:
    peer.answer(answer)
    assert type(uncertain(start, peer).__cause__) is saymon_bulk.ResponseError


@every_way
@pytest.mark.parametrize("status", STATUSES)
def test_a_status_that_proves_nothing(peer: Peer, start: Starting, status: int) -> None:
    text = '{"code": "X", "message": "y"}'
    peer.answer(saying(response("" if status in (101, 204) else text, status, "Retry-After: 7", "Location: /x")))
    error = uncertain(start, peer)
    assert isinstance(error.__cause__, saymon_bulk.HTTPStatusError)
    assert error.status_code == error.__cause__.status_code == status
    assert (error.code, error.message, error.body) == (error.__cause__.code, error.__cause__.message, error.__cause__.body)
    assert error.retry_after == 7
    if status not in (101, 204):
        assert (error.code, error.message, error.body) == ("X", "y", text)


@every_way
@pytest.mark.parametrize("answer", CUTS.values(), ids=CUTS)
def test_an_answer_that_breaks_off(peer: Peer, start: Starting, answer: Answer) -> None:
    peer.answer(answer)
    error = uncertain(start, peer)
    assert type(error.__cause__) is saymon_bulk.TransportError
    assert error.status_code is None


@every_way
@pytest.mark.parametrize(
    ("status", "location"),
    [
        (303, "/node/api/bulk/079b3102/status"),
        (303, "https://elsewhere.invalid/"),
        (303, None),
        (302, "/node/api/bulk/079b3102/status"),
        (302, "{host}/done"),
        (302, "http://["),
        (302, None),
    ],
)
def test_a_redirect_after_the_deed(peer: Peer, start: Starting, status: int, location: str | None) -> None:
    """303 answers a POST that was done (RFC 9110 section 15.4.4), and many frameworks write 302 for it."""
    headers = [] if location is None else ["Location: " + location.replace("{host}", peer.host)]
    peer.answer(response("", status, *headers))
    error = uncertain(start, peer)
    assert (error.status_code, type(error.__cause__)) == (status, saymon_bulk.HTTPStatusError)
    assert len(peer.requests) == 1


@every_way
def test_no_answer_in_time(peer: Peer, start: Starting) -> None:
    peer.answer(Wire.hold)
    assert type(uncertain(start, peer, request_timeout=0.3).__cause__) is saymon_bulk.RequestTimeoutError
    peer.wait_for(lambda: peer.open == 0)


@every_way
def test_half_an_answer_in_time(peer: Peer, start: Starting) -> None:
    peer.answer(saying(ANSWER[:-1], Wire.hold))
    assert type(uncertain(start, peer, request_timeout=0.3).__cause__) is saymon_bulk.RequestTimeoutError


# Not started


@every_way
@pytest.mark.parametrize("status", [300, 301, 302, *range(304, 309), *(set(range(400, 452)) - {408}), 499])
def test_a_status_that_refuses(peer: Peer, other: Peer, start: Starting, status: int) -> None:
    peer.answer(response('{"code": "X", "message": "y"}', status, f"Location: {other.host}/elsewhere"))
    error = ended(start, peer.host)
    kind = {401: saymon_bulk.AuthError, 403: saymon_bulk.AuthError, 404: saymon_bulk.NotFoundError}
    assert type(error) is kind.get(status, saymon_bulk.HTTPStatusError)
    assert error.id is None
    assert "not started: HTTP" in str(error)
    assert request_id(peer.requests[0]) in str(error)
    assert (len(peer.requests), len(other.requests)) == (1, 0)


@every_way
def test_a_refusal_whose_body_breaks_off(peer: Peer, start: Starting) -> None:
    peer.answer(saying(response('{"code": "X"}', 403)[:-5]))
    assert type(ended(start, peer.host)) is saymon_bulk.AuthError


@every_way
def test_a_refused_connection(nobody: str, start: Starting) -> None:
    error = ended(start, f"http://{nobody}")
    assert type(error) is saymon_bulk.TransportError
    assert "not started" in str(error)


@every_way
def test_a_name_that_does_not_resolve(start: Starting) -> None:
    assert type(ended(start, "https://monitor.invalid")) is saymon_bulk.TransportError


@every_way
@pytest.mark.parametrize("site", ["wrong-name", "expired", "unknown-ca", "tls-1.1"])
def test_a_handshake_that_fails(front: Nginx, certificates: Certificates, start: Starting, site: str) -> None:
    error = ended(start, front.url(site), verify=certificates.ca)
    assert type(error) is saymon_bulk.TransportError
    assert "not started" in str(error)


@every_way
@pytest.mark.parametrize("answer", [Wire.hold, Wire.reset, end, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")])
def test_a_handshake_that_does_not_end(peer: Peer, start: Starting, answer: Act) -> None:
    peer.answer(answer)
    error = ended(start, peer.host.replace("http:", "https:"), request_timeout=0.3)
    assert isinstance(error, saymon_bulk.TransportError)
    assert "not started" in str(error)
    assert peer.connections == 1


@every_way
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_wanted(certificates: Certificates, start: Starting, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    read: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(sock, server_side=True) as secured:
            read.append(secured.recv(1))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve)
        error = ended(start, f"https://localhost:{listener.getsockname()[1]}", verify=certificates.ca)
        serving.result(60)
    assert read == []
    if os.name == "nt" and isinstance(error, saymon_bulk.StartUncertainError):
        return  # a reset has thrown away the alert that came before it, which Windows allows itself
    assert type(error) is saymon_bulk.TransportError
    assert "not started" in str(error)


def test_a_closed_client(peer: Peer) -> None:
    client = at(peer)
    client.close()
    for start in (start_bulk, start_bulk_async, start_clone, start_clone_async):
        with pytest.raises(saymon_bulk.ClosedError, match="closed"):
            start(client)
    assert peer.connections == 0


# Proxies


@every_way
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_answers_for_the_server(
    peer: Peer, start: Starting, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("http_proxy", peer.host)
    peer.answer(response("", status))
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        error = ended(start, "http://monitor.invalid")
    assert type(error) is StartUncertainError
    assert len(peer.requests) == 1


@every_way
@pytest.mark.parametrize("answer", [response("", 502), response("", 407), b"SSH-2.0\r\n\r\n", end])
def test_a_proxy_that_opens_no_tunnel(peer: Peer, start: Starting, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setenv("https_proxy", peer.host)
    peer.answer(answer if not isinstance(answer, bytes) else saying(answer))
    error = ended(start, "https://monitor.invalid")
    assert type(error) is saymon_bulk.TransportError
    assert "not started" in str(error)
    assert all(request.startswith(b"CONNECT ") for request in peer.requests)


# Every byte


def cut_after(peer: Peer, count: int, how: Act) -> list[bytes]:
    """Makes the peer read so many bytes of a connection and no more; returns what it has read."""
    got: list[bytes] = []

    def greet(wire: Wire) -> None:
        wire.socket.settimeout(5)
        data = b""
        while len(data) < count and (piece := wire.socket.recv(count - len(data))):
            data += piece
        got.append(data)
        how(wire)

    peer.greeting = greet
    return got


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A start as it goes out, of the same length each time."""
    with Peer() as peer:
        peer.answer(ANSWER)
        start_bulk(at(peer))
        return peer.requests[0]


@pytest.mark.slow
@pytest.mark.parametrize("how", [end, Wire.reset])
@pytest.mark.parametrize("start", [start_bulk, start_bulk_async])
def test_a_request_cut_at_every_byte(whole: bytes, start: Starting, how: Act) -> None:
    def one(count: int) -> None:
        with Peer() as peer:
            got = cut_after(peer, count, how)
            error = ended(start, peer.host)
            # A reset at once can come before the connection is known to stand, and then nothing was sent.
            kinds = [StartUncertainError] if count or how is end else [StartUncertainError, saymon_bulk.TransportError]
            assert type(error) in kinds, (count, error)
            assert peer.connections == len(got) == 1, count

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(len(whole) + 1)))


@pytest.mark.slow
@pytest.mark.parametrize("how", [end, Wire.reset])
@pytest.mark.parametrize("start", [start_bulk, start_bulk_async])
def test_an_answer_cut_at_every_byte(start: Starting, how: Act) -> None:
    def one(count: int) -> None:
        with Peer() as peer:
            peer.answer(saying(ANSWER[:count], how))
            error = ended(start, peer.host)
            assert type(error) is StartUncertainError, (count, error)
            assert (peer.connections, len(peer.requests)) == (1, 1), count

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(len(ANSWER))))


# Connections


@every_way
def test_a_kept_connection_that_has_died_is_not_used(peer: Peer, start: Starting) -> None:
    client = at(peer)
    peer.answer(RUN, RUN, saying(RUN), ANSWER)
    for _ in range(2):
        client.get_bulk_status(ID)
    asyncio.run(client.get_bulk_status_async(ID))
    before = peer.connections
    assert start(client) == STARTED
    assert peer.connections == before + 1


def test_a_start_takes_no_connection_that_another_call_keeps(peer: Peer) -> None:
    client = at(peer)
    peer.answer(RUN, ANSWER, ANSWER, RUN)
    client.get_bulk_status(ID)
    start_bulk(client)
    start_clone(client)
    peer.wait_for(lambda: peer.open == 1)
    client.get_bulk_status(ID)
    assert (peer.connections, len(peer.requests)) == (3, 4)


@pytest.mark.slow
def test_many_threads_start_at_once(peer: Peer) -> None:
    peer.answer(ANSWER)
    client = at(peer)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda _: start_bulk(client), range(64))) == [STARTED] * 64
    assert len({request_id(request) for request in peer.requests}) == len(peer.requests) == peer.connections == 64


def test_many_tasks_start_at_once(peer: Peer) -> None:
    peer.answer(ANSWER)
    client = at(peer)

    async def main() -> None:
        assert await asyncio.gather(*(client.start_bulk_async(SEARCH, BULK) for _ in range(64))) == [STARTED] * 64

    asyncio.run(main())
    assert len({request_id(request) for request in peer.requests}) == len(peer.requests) == peer.connections == 64


def test_through_nginx_whose_log_has_the_request_id(
    practice: PracticeServer,
    certificates: Certificates,
    start_nginx: StartNginx,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "saymon_bulk")
    directives = f"access_log request_ids.log request_ids; location / {{ proxy_pass {practice.host}; }}"
    nginx = start_nginx({"site": Site(directives, "good")})
    client = Client(nginx.url("site"), LOGIN, PASSWORD, verify=certificates.ca)
    started = client.start_bulk(SEARCH, BULK)
    assert client.get_bulk_status(started["bulkId"]).keys() == {"finished"}
    assert [request.status for request in nginx.requests("site", 2)] == [200, 200]
    start, status = nginx._text("request_ids.log").splitlines()
    assert status == "-"
    assert uuid.UUID(start).version == 4
    assert start in caplog.text
    assert practice.starts[-1].request_id == start


def test_a_server_that_stops_in_the_middle() -> None:
    with PracticeServer(LOGIN, PASSWORD) as server:
        server.delay = 30.0
        with ThreadPoolExecutor(1) as threads:
            error = threads.submit(ended, start_bulk, server.host, request_timeout=20.0)
            connected = threading.Event()
            while not connected.wait(0.01):
                if server._listener is not None and server._listener._connections:
                    connected.set()
            server.stop()
            assert type(error.result(60)) in (StartUncertainError, saymon_bulk.TransportError)
        assert server.requests == []


# What is logged


def test_a_start_is_logged_with_its_ids(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "saymon_bulk")
    peer.answer(ANSWER)
    start_bulk(at(peer))
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    for part in (peer.host, ID, request_id(peer.requests[0])):
        assert part in record.getMessage()


@every_way
def test_an_uncertain_start_is_a_warning(peer: Peer, caplog: pytest.LogCaptureFixture, start: Starting) -> None:
    caplog.set_level(logging.INFO, "saymon_bulk")
    peer.answer(end)
    error = uncertain(start, peer)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, str(error))


def test_no_body_and_no_secret_in_any_record(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for answer in (ANSWER, response(PASSWORD, 500), response(PASSWORD, 403), response(PASSWORD), end):
        peer.answer(answer)
        with contextlib.suppress(saymon_bulk.SaymonError):
            start_bulk(at(peer))
    assert len(caplog.records) == 9
    for secret in (PASSWORD, authorization(peer.requests[0]), "ЦП", "createOrModify", "New Property"):
        assert secret not in caplog.text


def test_the_error_survives_pickle_and_copy(peer: Peer) -> None:
    import copy
    import pickle

    peer.answer(response('{"code": "X"}', 503))
    error = uncertain(start_bulk, peer)
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_help_says_that_it_may_have_happened() -> None:
    assert re.search(r"may have\s+started", saymon_bulk.StartUncertainError.__doc__ or "")


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")]
