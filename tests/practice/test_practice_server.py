"""The practice server, asked over real sockets by the standard library, curl and the client."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import saymon_bulk.testing
from peer import LOGIN, PASSWORD, PATIENCE, shape, token
from processes import needs_fork
from saymon_bulk.testing import PracticeServer, Start
from servers import wait_until

CLONE = "/node/api/objects/5e3d/clone-bulk"
OBJECTS = "/node/api/bulk/objects"
ORDER = b'{"search": {"name": "x"}, "bulk": [{"modify": {"tags": []}}]}'
NOT_LOGGED_IN = b'{"code":"Unauthorized","message":"{\\"errorCode\\":3,\\"message\\":\\"Not logged in.\\"}"}'
INVALID_CREDENTIALS = (
    b'{"code":"InvalidCredentials","message":"{\\"errorCode\\":3,\\"message\\":\\"Invalid login or password.\\"}"}'
)
CUT = (http.client.HTTPException, OSError)


def basic(login: str = LOGIN, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": f"Basic {token(login, password)}"}


def status_path(id: str) -> str:
    return f"/node/api/bulk/{id}/status"


def connect(host: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(host).netloc, timeout=10)


Reply = tuple[http.client.HTTPResponse, bytes]


def ask(
    where: PracticeServer | http.client.HTTPConnection,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """One request; on a connection of its own unless one is given."""
    with contextlib.ExitStack() as stack:
        if isinstance(where, PracticeServer):
            where = stack.enter_context(contextlib.closing(connect(where.host)))
        where.request(method, path, body, basic() if headers is None else headers)
        reply = where.getresponse()
        return reply, reply.read()


def finished(server: PracticeServer, id: str) -> bool:
    reply, body = ask(server, status_path(id))
    assert reply.status == 200
    answer = json.loads(body)["finished"]
    assert isinstance(answer, bool)
    return answer


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD, math.inf) as practice:
        yield practice


# The documented answers


def test_status_of_a_running_operation(server: PracticeServer) -> None:
    reply, body = ask(server, status_path(server.add_bulk()))
    assert (reply.status, body) == (200, b'{"finished":false}')
    assert reply.getheader("Content-Type") == "application/json"
    assert reply.version == 11


def test_status_of_a_finished_operation(server: PracticeServer) -> None:
    reply, body = ask(server, status_path(server.add_bulk(0)))
    assert (reply.status, body) == (200, b'{"finished":true}')


def test_an_operation_finishes_after_its_time(server: PracticeServer) -> None:
    began = time.monotonic()
    id = server.add_bulk(0.2)
    wait_until(lambda: finished(server, id), "the end of the operation")
    assert time.monotonic() - began >= 0.2
    assert finished(server, id)


@pytest.mark.parametrize(("path", "body"), [(OBJECTS, ORDER), (CLONE, None)])
def test_starters(server: PracticeServer, path: str, body: bytes | None) -> None:
    server.finishes_after = 0
    reply, answer = ask(server, path, "POST", body)
    order = json.loads(answer)
    assert reply.status == 200
    assert list(order) == ["bulkId", "finished"]
    assert order["finished"] is False
    assert str(uuid.UUID(order["bulkId"], version=4)) == order["bulkId"]
    assert finished(server, order["bulkId"])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer abc"}])
def test_no_credentials(server: PracticeServer, headers: dict[str, str]) -> None:
    reply, body = ask(server, status_path(server.add_bulk()), headers=headers)
    assert (reply.status, body) == (401, NOT_LOGGED_IN)


@pytest.mark.parametrize(
    "headers",
    [
        basic(password="wrong"),
        basic(login="wrong"),
        basic("", ""),
        {"Authorization": "Basic %%%"},
    ],
)
def test_wrong_credentials(server: PracticeServer, headers: dict[str, str]) -> None:
    reply, body = ask(server, status_path(server.add_bulk()), headers=headers)
    assert (reply.status, body) == (401, INVALID_CREDENTIALS)


def test_credentials_come_before_the_id(server: PracticeServer) -> None:
    assert ask(server, status_path("unknown"), headers={})[1] == NOT_LOGGED_IN


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"@", b"\xff", b"[" * 100_000, ORDER + b" x", ORDER.decode().encode("utf-16"),
     ORDER.replace(b"[]", b"NaN"), ORDER.replace(b"[]", b"-Infinity")],
)  # fmt: skip
def test_bad_json(server: PracticeServer, body: bytes) -> None:
    reply, answer = ask(server, OBJECTS, "POST", body)
    error = json.loads(answer)
    assert (reply.status, error["code"]) == (400, "InvalidContent")
    assert error["message"].startswith("Invalid JSON: ")


KEYS = ["modify", "properties.createOrModify", "stateConditions", "stateTriggers", "incidentConditions"]
ONE_OF_THEM = f"must have one of the keys {', '.join(KEYS)}"


def with_bulk(*bulk: Any) -> Any:
    return {"search": {}, "bulk": list(bulk)}


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (None, "the body must be an object, not null"),
        (1, "the body must be an object, not a number"),
        ("search", "the body must be an object, not a string"),
        ([], "the body must be an object, not an array"),
        ({}, "search is missing"),
        ({"bulk": [{"modify": {}}]}, "search is missing"),
        ({"search": [], "bulk": [{"modify": {}}]}, "search must be an object, not an array"),
        ({"search": {}}, "bulk is missing"),
        ({"search": {}, "bulk": {"modify": {}}}, "bulk must be an array, not an object"),
        (with_bulk(), "bulk must not be empty"),
        (with_bulk({"modify": {}}, True), "bulk[1] must be an object, not a boolean"),
        (with_bulk({}), f"bulk[0] {ONE_OF_THEM}"),
        (with_bulk({"modify": {}}, {"op": {}, "Modify": {}}), f"bulk[1] {ONE_OF_THEM}"),
        (with_bulk({"properties": {"createOrModify": {}}}), f"bulk[0] {ONE_OF_THEM}"),
        *[(with_bulk({key: [{}]}), f'bulk[0]["{key}"] must be an object, not an array') for key in KEYS],
        (with_bulk({"modify": {}, "stateTriggers": 1.5}), 'bulk[0]["stateTriggers"] must be an object, not a number'),
    ],
)
def test_wrong_shape(server: PracticeServer, order: Any, message: str) -> None:
    reply, answer = ask(server, OBJECTS, "POST", json.dumps(order).encode())
    assert (reply.status, json.loads(answer)) == (400, {"code": "InvalidContent", "message": message})


@pytest.mark.parametrize(
    "order",
    [
        *[with_bulk({key: {}}) for key in KEYS],
        with_bulk({key: {"$set": [1, None]} for key in KEYS}, {"modify": {}}),
        # Undocumented, but nowhere forbidden.
        with_bulk({"modify": {}, "op": 1}),
        {"bulk": [{"modify": {}}], "search": {"$or": [{}]}, "comment": None},
    ],
)
def test_no_stricter_than_the_documents(server: PracticeServer, order: Any) -> None:
    reply, answer = ask(server, OBJECTS, "POST", json.dumps(order).encode())
    assert reply.status == 200, answer


@pytest.mark.parametrize("body", [b"{}", b"null", b" ", ORDER])
def test_the_body_of_a_clone_is_empty(server: PracticeServer, body: bytes) -> None:
    reply, answer = ask(server, CLONE, "POST", body)
    assert reply.status == 400
    assert json.loads(answer) == {"code": "InvalidContent", "message": "the body of a clone must be empty"}


@pytest.mark.slow
def test_a_search_for_a_hundred_thousand_ids(server: PracticeServer) -> None:
    ids = [str(uuid.uuid4()) for _ in range(100_000)]
    order = json.dumps({"search": {"id": {"$in": ids}}, "bulk": [{"modify": {}}]}).encode()
    assert ask(server, OBJECTS, "POST", order)[0].status == 200
    (start,) = server.starts
    assert start.body is not None
    assert start.body["search"] == {"id": {"$in": ids}}


# The guessed answers


def test_unknown_operation(server: PracticeServer) -> None:
    reply, body = ask(server, status_path(str(uuid.uuid4())))
    assert reply.status == 404
    assert json.loads(body) == {
        "code": "NotFound",
        "message": "The item with the given id does not exist.",
    }


@pytest.mark.parametrize(
    "path",
    ["/", "/node/api/bulks/1/status", "/node/api/bulk//status",
     "/node/api/bulk/1/status/", "/node/api/bulk/a/b/status"],
)  # fmt: skip
def test_unknown_route(server: PracticeServer, path: str) -> None:
    reply, body = ask(server, path + "?q=1", headers={})
    assert reply.status == 404
    assert json.loads(body) == {
        "code": "ResourceNotFound",
        "message": f"{path} does not exist",
    }


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", status_path("1"), "GET"),
        ("DELETE", status_path("1"), "GET"),
        ("GET", OBJECTS, "POST"),
        ("PUT", CLONE, "POST"),
    ],
)
def test_wrong_method(server: PracticeServer, method: str, path: str, allow: str) -> None:
    reply, body = ask(server, path, method)
    assert (reply.status, reply.getheader("Allow")) == (405, allow)
    assert json.loads(body) == {
        "code": "MethodNotAllowed",
        "message": f"{method} is not allowed",
    }


def test_a_head_request_gets_no_body(server: PracticeServer) -> None:
    with contextlib.closing(connect(server.host)) as connection:
        reply, body = ask(connection, CLONE, "HEAD")
        assert (reply.status, body) == (405, b"")
        assert ask(connection, CLONE, "POST")[0].status == 200


# Ids and credentials beyond ASCII


@pytest.mark.parametrize(
    ("id", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("a b?c#d%", "a%20b%3Fc%23d%25"),
        ("задача", "%D0%B7%D0%B0%D0%B4%D0%B0%D1%87%D0%B0"),
        ("plain", "%70l%61in"),
        ("a+b", "a+b"),
    ],
)
def test_percent_encoded_id(server: PracticeServer, id: str, segment: str) -> None:
    assert server.add_bulk(0, id=id) == id
    assert finished(server, segment)
    assert server.requests == [("GET", status_path(segment))]


def test_an_id_that_is_not_utf8_is_unknown(server: PracticeServer) -> None:
    assert ask(server, status_path("%FF"))[0].status == 404


def test_cyrillic_credentials() -> None:
    with PracticeServer("оператор", "пароль: да") as server:
        path = status_path(server.add_bulk())
        assert ask(server, path, headers=basic("оператор", "пароль: да"))[1] == b'{"finished":false}'
        assert ask(server, path, headers=basic("оператор", "пароль"))[1] == INVALID_CREDENTIALS


# The wire


def test_keep_alive_and_one_send_for_an_answer(server: PracticeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sends: list[int] = []
    write = socket.SocketIO.write

    def recording_write(self: socket.SocketIO, data: Any) -> Any:
        sock = self._sock  # type: ignore[attr-defined]
        sends.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return write(self, data)

    monkeypatch.setattr(socket.SocketIO, "write", recording_write)
    path = status_path(server.add_bulk())
    with contextlib.closing(connect(server.host)) as connection:
        connection.connect()
        port = connection.sock.getsockname()[1]
        for expected in (200, 200, 404, 401, 400):
            method, target, headers = {
                200: ("GET", path, basic()),
                404: ("GET", "/", basic()),
                401: ("GET", path, {}),
                400: ("POST", OBJECTS, basic()),
            }[expected]
            reply, _ = ask(connection, target, method, b"{", headers)
            assert reply.status == expected
            assert connection.sock.getsockname()[1] == port
    assert len(sends) == 5
    assert all(sends)


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getfqdn", refuse)
    monkeypatch.setattr(socket, "gethostbyaddr", refuse)
    with PracticeServer(LOGIN, PASSWORD) as server:
        assert not finished(server, server.add_bulk())


def dial(server: PracticeServer) -> socket.socket:
    port = urlsplit(server.host).port
    assert port is not None
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def exchange(server: PracticeServer, data: bytes) -> bytes:
    """Send bytes as they are and read until the server hangs up."""
    with dial(server) as sock:
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"garbage\r\n\r\n", 400, "BadRequest"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "BadRequest"),
        (b"BREW / HTTP/1.1\r\n\r\n", 501, "NotImplemented"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411, "LengthRequired"),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
            "LengthRequired",
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413, None),
    ],
)
def test_improper_http(server: PracticeServer, data: bytes, status: int, code: str | None) -> None:
    head, _, body = exchange(server, data).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close" in head
    error = json.loads(body)
    assert sorted(error) == ["code", "message"]
    assert code in (None, error["code"])


def test_expect_100_continue(server: PracticeServer) -> None:
    authorization = basic()["Authorization"].encode()
    head = b"POST %b HTTP/1.1\r\nAuthorization: %b\r\nContent-Length: %d\r\n" % (
        OBJECTS.encode(),
        authorization,
        len(ORDER),
    )
    with dial(server) as sock:
        sock.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(ORDER)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_clients_that_hang_up_are_not_mentioned(server: PracticeServer, capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    for data in (b"", b"GET", b"GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"):
        for abort in (False, True):
            with dial(server) as sock:
                sock.sendall(data)
                if abort:
                    linger = b"\1\0\0\0\0\0\0\0"
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert not finished(server, server.add_bulk())
    wait_until(lambda: threading.active_count() <= threads, "the end of the threads")
    assert capfd.readouterr() == ("", "")


# What a user turns and reads


def test_requests_are_recorded_in_order(server: PracticeServer) -> None:
    ask(server, "/x?y=%20")
    ask(server, CLONE, "POST")
    server.requests.clear()
    assert server.requests == [("GET", "/x?y=%20"), ("POST", CLONE)]


def test_accepted_starts_are_recorded_in_order(server: PracticeServer) -> None:
    discovered = "/node/api/objects/discovery%20id:%D1%8F/clone-bulk?q=1"
    order = {"search": {"имя": {"$in": [[1.0, 1], True, None]}}, "bulk": [{"modify": {}}]}
    tagged = {**basic(), "x-request-ID": "a b"}
    ids = [
        json.loads(ask(server, path, "POST", body, headers)[1])["bulkId"]
        for path, body, headers in (
            (OBJECTS, json.dumps(order, ensure_ascii=False).encode(), tagged),
            (discovered, None, basic()),
            (OBJECTS, json.dumps(order).encode(), basic()),
        )
    ]
    server.starts.clear()
    assert server.starts == [
        Start(ids[0], OBJECTS, order, "a b"),
        Start(ids[1], discovered, None, None),
        Start(ids[2], OBJECTS, order, None),
    ]
    assert shape(server.starts[0].body) == shape(order)
    server.restart(forget=True)
    assert [start.id for start in server.starts] == ids


def test_what_is_no_accepted_start_is_not_recorded(server: PracticeServer) -> None:
    server.add_bulk()
    server.fail_next()
    for path, method, body, headers, status in (
        (CLONE, "POST", None, basic(), 503),
        (CLONE, "POST", None, basic(password="wrong"), 401),
        (CLONE, "POST", ORDER, basic(), 400),
        (CLONE, "GET", None, basic(), 405),
        (OBJECTS, "POST", b"{}", basic(), 400),
        (status_path("1"), "GET", None, basic(), 404),
    ):
        assert ask(server, path, method, body, headers)[0].status == status
    assert server.starts == []


def test_a_start_is_recorded_before_its_answer(server: PracticeServer) -> None:
    server.delay = 3600
    with contextlib.closing(connect(server.host)) as connection:
        connection.request("POST", CLONE, headers=basic())
        wait_until(lambda: len(server.starts) == 1, "the start")
        server.stop()
    assert server.requests == []


def test_fail_next(server: PracticeServer) -> None:
    path = status_path(server.add_bulk())
    server.fail_next(2)
    server.fail_next(status=429, retry_after=3)
    server.fail_next(status=500, retry_after="soon")
    with contextlib.closing(connect(server.host)) as connection:
        seen = []
        for _ in range(5):
            reply, body = ask(connection, path)
            code = json.loads(body).get("code")
            seen.append((reply.status, reply.getheader("Retry-After"), code))
    assert seen == [
        (503, None, "ServiceUnavailable"),
        (503, None, "ServiceUnavailable"),
        (429, "3", "TooManyRequests"),
        (500, "soon", "InternalServer"),
        (200, None, None),
    ]


@pytest.mark.parametrize("status", [0, 200, 304, 399, 600])
def test_fail_next_fails(server: PracticeServer, status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        server.fail_next(status=status)


def test_lose_next(server: PracticeServer) -> None:
    server.lose_next()
    with dial(server) as sock:
        sock.sendall(f"POST {CLONE} HTTP/1.1\r\nAuthorization: {basic()['Authorization']}\r\n\r\n".encode())
        assert sock.recv(100) == b""
    (start,) = server.starts
    assert server.requests == [("POST", CLONE)]
    assert not finished(server, start.id)


def test_lose_next_loses_any_answer(server: PracticeServer) -> None:
    id = server.add_bulk()
    server.lose_next(4)
    for path, method, headers in (
        (status_path(id), "GET", basic()),
        (CLONE, "POST", basic(password="wrong")),
        (OBJECTS, "POST", basic()),
        ("/", "GET", basic()),
    ):
        with pytest.raises(CUT):
            ask(server, path, method, headers=headers)
    assert not finished(server, id)
    assert server.starts == []
    assert len(server.requests) == 5


def test_a_kept_connection_is_cut_too(server: PracticeServer) -> None:
    path = status_path(server.add_bulk())
    with contextlib.closing(connect(server.host)) as connection:
        assert ask(connection, path)[0].status == 200
        server.lose_next()
        with pytest.raises(CUT):
            ask(connection, path)


def test_failures_and_lost_answers_queue_up_in_order(server: PracticeServer) -> None:
    server.fail_next()
    server.lose_next(2)
    server.fail_next(status=500)
    seen: list[int | None] = []
    for _ in range(5):
        try:
            seen.append(ask(server, CLONE, "POST")[0].status)
        except CUT:
            seen.append(None)
    assert seen == [503, None, None, 500, 200]
    assert len(server.starts) == 3


def test_an_answer_is_lost_after_the_delay(server: PracticeServer) -> None:
    server.delay = 0.2
    server.lose_next()
    began = time.monotonic()
    with pytest.raises(CUT):
        ask(server, CLONE, "POST")
    assert time.monotonic() - began >= 0.2


def test_an_uncertain_start(server: PracticeServer) -> None:
    client = saymon_bulk.Client(server.host, LOGIN, PASSWORD)
    server.lose_next()
    server.fail_next(status=502)
    for happened in (True, False):
        with pytest.raises(saymon_bulk.StartUncertainError) as caught:
            client.start_clone("5e3d")
        assert (caught.value.request_id in [start.request_id for start in server.starts]) is happened
    assert client.start_clone("5e3d")["bulkId"] == server.starts[1].id
    assert server.requests == [("POST", CLONE)] * 3


def test_a_wait_goes_on_after_a_lost_answer(server: PracticeServer) -> None:
    id = server.add_bulk(0)
    server.lose_next(2)
    client = saymon_bulk.Client(server.host, LOGIN, PASSWORD)
    assert client.wait_for_bulk(id, interval=0.02) == {"finished": True}
    assert server.requests == [("GET", status_path(id))] * 3


def test_delay(server: PracticeServer) -> None:
    id = server.add_bulk()
    server.delay = 0.2
    began = time.monotonic()
    assert not finished(server, id)
    assert time.monotonic() - began >= 0.2


def test_stop_cuts_an_answer_that_is_delayed(server: PracticeServer) -> None:
    server.delay = 3600
    threads = threading.active_count()
    with contextlib.closing(connect(server.host)) as connection:
        connection.request("GET", "/")
        wait_until(lambda: threading.active_count() > threads, "somebody to attend to it")
        began = time.monotonic()
        server.stop()
        with pytest.raises(CUT):
            connection.getresponse()
        assert time.monotonic() - began < PATIENCE
    wait_until(lambda: threading.active_count() < threads, "the end of the listener's thread too")
    assert server.requests == []


def test_stop_and_start(server: PracticeServer) -> None:
    host, id = server.host, server.add_bulk(0)
    with contextlib.closing(connect(host)) as idle:
        ask(idle, "/")
        server.stop()
        server.stop()
        assert idle.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            ask(server, "/")
        server.start()
        server.start()
    assert server.host == host
    assert finished(server, id)


def test_restart(server: PracticeServer) -> None:
    host, id = server.host, server.add_bulk(0)
    for _ in range(10):
        server.restart()
        assert finished(server, id)
    server.restart(forget=True)
    assert server.host == host
    assert ask(server, status_path(id))[0].status == 404


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and restarts as on Linux")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_restart_while_a_forked_process_has_the_sockets(server: PracticeServer) -> None:
    with contextlib.closing(connect(server.host)) as idle:
        ask(idle, "/")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent closes its end
            os._exit(0)
        try:
            server.stop()
            assert idle.sock.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                ask(server, "/")
            server.start()
            assert ask(server, "/")[0].status == 404
        finally:
            os.close(writing)
            os.close(reading)
            os.waitpid(child, 0)


@needs_fork
def test_a_forked_child_stops_nothing(server: PracticeServer) -> None:
    host = server.host
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            server.stop()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert server.host == host
    assert ask(server, "/")[0].status == 404


@pytest.mark.slow
def test_many_clients_at_once(server: PracticeServer) -> None:
    gate = threading.Barrier(64)

    def client(number: int) -> None:
        with contextlib.closing(connect(server.host)) as connection:
            gate.wait(60)
            for _ in range(5):
                order = json.loads(ask(connection, CLONE, "POST")[1])
                reply, body = ask(connection, status_path(order["bulkId"]))
                assert (reply.status, body) == (200, b'{"finished":false}')

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(client, range(64)))
    assert len(server.requests) == 640
    assert len({start.id for start in server.starts}) == 320


@pytest.mark.slow
def test_restarts_under_load(server: PracticeServer) -> None:
    id = server.add_bulk(0)
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            with contextlib.suppress(*CUT):
                assert finished(server, id)

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client) for _ in range(8)]
        try:
            for _ in range(20):
                before = len(server.requests)
                server.restart()
                wait_until(lambda before=before: len(server.requests) > before, "a request")  # type: ignore[misc]
        finally:
            done.set()
        for future in clients:
            future.result(60)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"POST {OBJECTS} HTTP/1.1\r\nContent-Length: {50 << 20}\r\n\r\n", 413),
        (f"POST {OBJECTS} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        ("GET /" + "a" * 70_000 + " HTTP/1.1\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\n" + "a: b\r\n" * 200 + "\r\n", 431),
    ],
)
def test_a_refusal_is_read_by_a_client_that_is_still_sending(server: PracticeServer, head: str, status: int) -> None:
    url = urlsplit(server.host)
    with socket.create_connection((url.hostname, url.port), PATIENCE) as sock:
        sock.sendall(head.encode() + bytes(8 << 20))
        time.sleep(0.2)  # a reset, if there is one, comes in this time
        sock.sendall(bytes(8 << 20))
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.slow
def test_a_start_that_is_too_long_is_not_started(server: PracticeServer) -> None:
    client = saymon_bulk.Client(server.host, LOGIN, PASSWORD)
    search = {"id": {"$in": ["a" * (1 << 20)] * 30}}
    for _ in range(3):
        with pytest.raises(saymon_bulk.HTTPStatusError) as caught:
            client.start_bulk(search, [{"modify": {}}])
        assert caught.value.status_code == 413
    assert server.starts == []


def test_stop_does_not_wait_for_a_client_that_is_refused(server: PracticeServer) -> None:
    url = urlsplit(server.host)
    with socket.create_connection((url.hostname, url.port), PATIENCE) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
        server.stop()
        sock.settimeout(PATIENCE)
        while sock.recv(65536):
            pass


def test_the_old_name_of_add_bulk(server: PracticeServer) -> None:
    with pytest.warns(DeprecationWarning, match="add_bulk") as caught:
        assert server.start_bulk(0, id="old") == "old"
    assert caught[0].filename == __file__
    assert finished(server, "old")


# The object itself


def test_the_password_is_not_shown(server: PracticeServer) -> None:
    assert LOGIN in repr(server)
    assert PASSWORD not in repr(server) + str(server)


def test_host_is_known_once_started() -> None:
    server = PracticeServer(LOGIN, PASSWORD)
    with pytest.raises(RuntimeError, match="started"):
        _ = server.host
    assert server.finishes_after == 2.0
    with server:
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", server.host)
    with pytest.raises(ConnectionRefusedError):
        ask(server, "/")


def test_a_chosen_port_that_is_taken(server: PracticeServer) -> None:
    port = urlsplit(server.host).port
    assert port is not None
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its text is in the language of the system
        PracticeServer(LOGIN, PASSWORD, port=port).start()
    assert caught.value.errno == errno.EADDRINUSE


def test_credentials_that_basic_cannot_carry() -> None:
    with pytest.raises(ValueError, match="login"):
        PracticeServer("a:b", PASSWORD)
    with pytest.raises(ValueError, match="UTF-8") as caught:
        PracticeServer(LOGIN, PASSWORD + "\udc80")
    assert caught.value.__cause__ is None
    assert PASSWORD not in str(caught.value)


# By hand: python -m saymon_bulk.testing


@contextlib.contextmanager
def demo(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    kept = {name: text for name, text in os.environ.items() if name[:7] != "SAYMON_"}
    process = subprocess.Popen(
        [sys.executable, "-m", "saymon_bulk.testing", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**kept, "PYTHONIOENCODING": "utf-8", **environment},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def instructions(process: subprocess.Popen[str]) -> str:
    """Everything the demo prints: its last line waits in Python."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("client.wait_for_bulk("):
            return text
    raise AssertionError(f"no such line in {text!r}")


def lines_of(text: str, heading: str) -> str:
    """The lines to paste below a heading."""
    _, found, rest = text.partition(f"\n{heading}")
    assert found, text
    return rest.split("\n\n")[1]


def run_python(text: str) -> Any:
    """The status that the printed lines of Python ask for, and what they start."""
    names: dict[str, Any] = {}
    pasted = lines_of(text, "In Python").replace("client.get_bulk_status", "status = client.get_bulk_status")
    exec(pasted.replace("client.wait_for_bulk", "client.get_bulk_status"), names)
    assert list(names["started"]) == ["bulkId", "finished"]
    return names["status"]


def run_shell(pasted: str, folder: Path) -> list[str]:
    """What pasted lines write, with the commands of this Python."""
    command = folder / "saymon-bulk"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m saymon_bulk "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    run = ["sh", "-e", "-c", pasted]
    done = subprocess.run(run, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, timeout=120)
    return done.stdout.decode().split()


posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_quietly(number: signal.Signals) -> None:
    with demo("--finishes-after", "0") as process:
        assert run_python(instructions(process)) == {"finished": True}
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0


@pytest.mark.slow
@posix
@pytest.mark.parametrize("password", [None, 'при\'вет "$HOME"'])
@pytest.mark.parametrize("proxy", ["", "http://proxy.invalid:3128"])
def test_lines_to_paste(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, password: str | None, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    login = "demo" if password is None else "и ван"
    if password is not None:
        monkeypatch.setenv("SAYMON_PASSWORD", password)
    with demo("--finishes-after", "0", "--login", login, **({"SAYMON_PASSWORD": password} if password else {})) as process:
        text = instructions(process)
        assert ("demo-password" in text) == (password is None)
        assert "вет" not in text
        assert max(map(len, text.splitlines())) <= 80
        assert run_python(text) == {"finished": True}
        known, state, id, ended = run_shell(lines_of(text, "In another shell"), tmp_path)
        assert (state, ended) == ("finished", "finished")
        assert known in text
        assert id not in text
        if shutil.which("curl"):
            exports = lines_of(text, "In another shell").partition("saymon-bulk")[0]
            (answer,) = run_shell(exports + lines_of(text, "In that shell with curl"), tmp_path)
            assert list(json.loads(answer)) == ["bulkId", "finished"]


@pytest.mark.slow
def test_demo_on_a_chosen_port(server: PracticeServer) -> None:
    taken = str(urlsplit(server.host).port)
    with demo("--port", taken) as process:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
    assert out == ""
    assert err.startswith("python -m saymon_bulk.testing: ")
    assert err.count("\n") == 1
    server.stop()
    with demo("--port", taken) as process:
        assert f"export SAYMON_HOST=http://127.0.0.1:{taken} " in instructions(process)
