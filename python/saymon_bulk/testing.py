"""A practice server, to rehearse bulk operations.

>>> from saymon_bulk.testing import PracticeServer
>>> with PracticeServer("login", "password", finishes_after=0.5) as server:
...     client = saymon_bulk.Client(server.host, "login", "password")
...     started = client.start_clone("62d7e58056d203149a08001b")
...     client.wait_for_bulk(started["bulkId"])
{'finished': True}

`python -m saymon_bulk.testing` serves until Ctrl-C and prints lines to
paste into a shell or into Python.

The server follows the vendor's documents. It is no copy of the vendor's
server.

Documented, and answered as documented: the status request, the two
requests that start an operation, the search for objects, HTTP Basic, and
the bodies of 400 and 401. A start or a search whose body is not as
documented gets 400. The answer says what is wrong. What a change says is
not checked: a misspelt field becomes a new one.

The server keeps objects, none at first: `PracticeServer.objects`. A search
finds them by equality, `$in`, `$gt`, `$gte`, `$lt`, `$lte`, `$regex` with
`$options`, and `$elemMatch`. An operation changes them when it finishes:
`modify` sets fields, `properties.createOrModify` sets a property.

Guessed: an unknown operation id gets 404; the texts of 404, and of 400
except for invalid JSON. The framework is restify: hence an unknown route
gets 404 and a wrong method 405, both before the check of the credentials.

Not rehearsed: permissions, and what conditions and triggers do. Any
object can be cloned. No login lacks a permission (403).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hmac
import json
import os
import re
import shlex
import signal
import socket
import socketserver
import sys
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from ._practice import Object, Objects, park
from ._types import BulkChange

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PracticeServer", "Start"]


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


_DEMO_PASSWORD = "demo-password"
_LINGER = 30.0  # seconds, as of nginx
_CHANGES = tuple(BulkChange.__annotations__)
_STATUS = re.compile(r"/node/api/bulk/([^/]+)/status")
_SEARCH = "/node/api/objects/search"
_START = re.compile(r"/node/api/(bulk/objects|objects/[^/]+/clone-bulk)")


class Start(NamedTuple):
    """A start that the server accepted: one item of `PracticeServer.starts`.

    >>> with PracticeServer("login", "password") as server:
    ...     client = saymon_bulk.Client(server.host, "login", "password")
    ...     started = client.start_clone("62d7e58056d203149a08001b")
    ...     server.starts[0].id == started["bulkId"]
    True

    Attributes:
        id: The id of the operation, which the answer has as `bulkId`.
        path: The path of the request, as it was sent.
        body: The JSON body, parsed. None for a clone, which has no body.
        request_id: The X-Request-Id header, or None.
    """

    id: str
    path: str
    body: dict[str, Any] | None
    request_id: str | None


class PracticeServer:
    """A server on 127.0.0.1 that answers one login as the vendor documents.

    >>> from saymon_bulk.testing import PracticeServer
    >>> with PracticeServer("login", "password") as server:
    ...     bulk_id = server.add_bulk(finishes_after=0)
    ...     client = saymon_bulk.Client(server.host, "login", "password")
    ...     client.get_bulk_status(bulk_id)
    {'finished': True}

    A `with` block starts the server and stops it. `start` and `stop` do the
    same. Any thread may use the server.

    Args:
        login: The only login that the server accepts, without a colon.
        password: The password of that login.
        finishes_after: Seconds that an operation takes; 2 by default. 0
            means at once, `math.inf` never.
        port: The port of the server. 0 (default) finds a free port.

    Attributes:
        login: The login that the server accepts.
        finishes_after: Seconds, for operations started from now on.
        delay: Seconds to wait before each answer; 0 at first.
        max_body: Bytes that the body of a request may have; 16 MiB at
            first. A longer one gets 413. nginx allows 1 MiB by default.
    """

    def __init__(self, login: str, password: str, finishes_after: float = 2.0, *, port: int = 0) -> None:
        """Prepare a server; nothing listens before `start`."""
        if ":" in login:
            raise ValueError("login: HTTP Basic cannot carry a colon in it")
        self.login = login
        self.finishes_after = finishes_after
        self.delay = 0.0
        self.max_body = 16 * 1024 * 1024  # a search for 100,000 ids is 4 MB; no limit is documented
        try:
            self._credentials = f"{login}:{password}".encode()
        except UnicodeEncodeError:  # which carries the password
            raise ValueError("login or password: not encodable as UTF-8") from None
        self._port = port
        self._listener: _Listener | None = None
        self._starting_or_stopping = threading.Lock()
        self._lock = threading.Lock()  # guards the five below
        self._finish_times: dict[str, float] = {}
        self._failures: deque[_Answer] = deque()
        self._requests: list[tuple[str, str]] = []
        self._starts: list[Start] = []
        self._objects = Objects()

    @property
    def host(self) -> str:
        """The value for the argument `host` of a client.

        >>> server = PracticeServer("login", "pw")
        >>> server.start()
        >>> server.host.startswith("http://127.0.0.1:")
        True
        >>> server.stop()

        The host is known once the server has been started.

        Raises:
            RuntimeError: The server was never started, and its port is 0.
        """
        if self._port == 0:
            raise RuntimeError("the practice server has no port before it is started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[tuple[str, str]]:
        """The requests that were answered, oldest first: (method, path).

        >>> with PracticeServer("login", "pw") as server:
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     status = client.get_bulk_status(server.add_bulk(id="a"))
        ...     server.requests
        [('GET', '/node/api/bulk/a/status')]

        The path is as it was sent. The requests whose answers `lose_next`
        lost are in the list.
        """
        with self._lock:
            return self._requests.copy()

    @property
    def starts(self) -> list[Start]:
        """The starts that the server accepted, oldest first.

        >>> with PracticeServer("login", "pw") as server:
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     _ = client.start_bulk({"name": "CPU"}, [{"modify": {}}])
        ...     server.starts[0].body
        {'search': {'name': 'CPU'}, 'bulk': [{'modify': {}}]}

        A start is in the list as soon as it is done, before its answer. The
        method `add_bulk` sends no request and adds no start.
        """
        with self._lock:
            return self._starts.copy()

    @property
    def objects(self) -> dict[str, dict[str, Any]]:
        """The objects of the server by their ids, for reading and filling.

        >>> with PracticeServer("login", "pw", finishes_after=0) as server:
        ...     server.objects["a1"] = {"id": "a1", "name": "CPU"}
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     change = {"modify": {"x": 1}}
        ...     started = client.start_bulk({"name": "CPU"}, [change])
        ...     server.objects["a1"]["x"]
        1

        There are none at first. An object is a dict with `id`, `name` and
        other fields of the vendor's page "Object"; its `properties` are a
        list of dicts of the page "Property". Fill the dict while no
        request is under way.
        """
        with self._lock:
            self._objects.settle(time.monotonic())
            return self._objects.all

    def skip_next(self, n: int = 1) -> None:
        """Leave the next `n` objects unchanged that would be changed.

        >>> with PracticeServer("login", "pw", finishes_after=0) as server:
        ...     server.objects["a1"] = {"id": "a1", "name": "CPU"}
        ...     server.skip_next()
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     change = {"modify": {"x": 1}}
        ...     started = client.start_bulk({"name": "CPU"}, [change])
        ...     server.objects["a1"]
        {'id': 'a1', 'name': 'CPU'}

        No answer says so, and the operation finishes: finished does not
        mean succeeded.

        Args:
            n: The number of objects; 1 by default.
        """
        with self._lock:
            self._objects.skip += n

    def ignore_criteria(self, ignore: bool = True) -> None:
        """Let each search find every object, whatever its criteria are.

        >>> with PracticeServer("login", "pw") as server:
        ...     server.objects["a1"] = {"id": "a1", "name": "CPU"}
        ...     server.ignore_criteria()
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     len(client.search_objects({"name": "Disk"}))
        1

        The call rehearses a server that does not know a criterion. The
        searches of starts are meant too.

        Args:
            ignore: False ends it.
        """
        with self._lock:
            self._objects.ignores_criteria = ignore

    def lag_reads(self, seconds: float) -> None:
        """Let searches find changed objects as they were, for a while.

        >>> import math
        >>> with PracticeServer("login", "pw", finishes_after=0) as server:
        ...     server.objects["a1"] = {"id": "a1", "name": "CPU"}
        ...     server.lag_reads(math.inf)
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     change = {"modify": {"x": 1}}
        ...     started = client.start_bulk({"name": "CPU"}, [change])
        ...     client.search_objects({}), server.objects["a1"]["x"]
        ([{'id': 'a1', 'name': 'CPU'}], 1)

        The call rehearses reads that come from a cache.

        Args:
            seconds: How long after the end of an operation the searches
                find what was before. For operations that end from now on.
        """
        with self._lock:
            self._objects.settle(time.monotonic())
            self._objects.read_lag = seconds

    def add_bulk(self, finishes_after: float | None = None, *, id: str | None = None) -> str:
        """Add an operation without a request, and return its id.

        >>> server = PracticeServer("login", "pw")
        >>> server.add_bulk(finishes_after=0, id="a")
        'a'

        Args:
            finishes_after: Seconds until the operation has finished; by
                default those of the server.
            id: The id of the operation; by default a new UUID, as in the
                vendor's examples.
        """
        operation = str(uuid.uuid4()) if id is None else id
        seconds = self.finishes_after if finishes_after is None else finishes_after
        with self._lock:
            self._finish_times[operation] = time.monotonic() + seconds
        return operation

    def start_bulk(self, finishes_after: float | None = None, *, id: str | None = None) -> str:
        """Do what `add_bulk` does, with a `DeprecationWarning`.

        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     PracticeServer("login", "pw").start_bulk(id="a")
        'a'

        The old name of `add_bulk` is that of a method of `Client` with
        other arguments. A later version will have no such name here.

        Args:
            finishes_after: As for `add_bulk`.
            id: As for `add_bulk`.
        """
        message = "start_bulk of a PracticeServer is now called add_bulk"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.add_bulk(finishes_after, id=id)

    def fail_next(self, n: int = 1, status: int = 503, *, retry_after: int | str | None = None) -> None:
        """Answer the next `n` requests with an error, and do nothing else.

        >>> with PracticeServer("login", "pw") as server:
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     bulk_id = server.add_bulk(finishes_after=0)
        ...     server.fail_next(2, status=503)
        ...     client.wait_for_bulk(bulk_id, interval=0.1)
        {'finished': True}

        Several calls form a queue, together with those of `lose_next`.

        Args:
            n: The number of requests; 1 by default.
            status: The HTTP status, 400 to 599; 503 by default.
            retry_after: The Retry-After header: seconds, or any text. None
                (default) sends no such header.

        Raises:
            ValueError: `status` is not between 400 and 599.
        """
        if not 400 <= status <= 599:
            raise ValueError(f"status: {status} is not between 400 and 599")
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        answer = _error(status, _code(status), "A rehearsed failure.", headers)
        with self._lock:
            self._failures.extend([answer] * n)

    def lose_next(self, n: int = 1) -> None:
        """Do the next `n` requests, and cut the connection without an answer.

        >>> with PracticeServer("login", "pw") as server:
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     server.lose_next()
        ...     try:
        ...         client.start_clone("62d7e58056d203149a08001b")
        ...     except saymon_bulk.StartUncertainError as error:
        ...         server.starts[0].request_id == error.request_id
        True

        The example rehearses a `StartUncertainError` of a start that was
        done. `fail_next(status=502)` rehearses the same error of a start
        that was not done. Several calls form a queue, together with those
        of `fail_next`. The client itself asks again for a status that is
        lost on a kept connection.

        Args:
            n: The number of requests; 1 by default.
        """
        with self._lock:
            self._failures.extend([_LOST] * n)

    def start(self) -> None:
        """Start to serve.

        >>> server = PracticeServer("login", "pw")
        >>> server.start()
        >>> server.stop()

        After `stop`, the server comes back on the same port. A server that
        serves already is not changed.
        """
        with self._starting_or_stopping:
            if self._listener is None:
                self._listener = _Listener(self._port, self)
                self._port = self._listener.server_address[1]
                serve = self._listener.serve_forever
                threading.Thread(target=serve, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and cut every connection.

        >>> server = PracticeServer("login", "pw")
        >>> server.start()
        >>> client = saymon_bulk.Client(server.host, "login", "pw")
        >>> server.stop()
        >>> try:
        ...     client.start_clone("62d7e58056d203149a08001b")
        ... except saymon_bulk.TransportError as error:
        ...     print(error.kind)
        connect

        A server that is stopped already is not changed.
        """
        with self._starting_or_stopping:
            if self._listener is not None:
                self._listener.stop()
                self._listener = None

    def restart(self, *, forget: bool = False) -> None:
        """Stop, and start again on the same port.

        >>> with PracticeServer("login", "pw") as server:
        ...     client = saymon_bulk.Client(server.host, "login", "pw")
        ...     bulk_id = server.add_bulk(finishes_after=0)
        ...     server.restart()
        ...     client.wait_for_bulk(bulk_id)
        {'finished': True}

        Args:
            forget: True forgets all operations, so that their ids get 404.
                False (default) keeps them. `requests` and `starts` stay.
        """
        self.stop()
        if forget:
            with self._lock:
                self._finish_times.clear()
                self._objects.forget(time.monotonic())
        self.start()

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the server."""
        self.stop()

    def __repr__(self) -> str:
        """Show port and login, never the password."""
        return f"<PracticeServer port={self._port} login={self.login!r}>"

    def _answer(self, request: _Connection, content: bytes) -> _Answer:
        with self._lock:
            failure = self._failures.popleft() if self._failures else None
        if failure is not None and failure is not _LOST:
            return failure
        answer = self._perform(request, content)
        return failure or answer

    def _perform(self, request: _Connection, content: bytes) -> _Answer:
        path = request.path.partition("?")[0]
        status, start = _STATUS.fullmatch(path), _START.fullmatch(path)
        if not (status or start or path == _SEARCH):
            return _error(404, "ResourceNotFound", f"{path} does not exist")
        allow = "GET" if status else "POST"
        if request.command != allow:
            return _error(405, "MethodNotAllowed", f"{request.command} is not allowed", {"Allow": allow})
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return _unauthorized("Unauthorized", "Not logged in.")
        if not self._accepts(token.strip()):
            return _unauthorized("InvalidCredentials", "Invalid login or password.")
        if status:
            with self._lock:
                finish_time = self._finish_times.get(unquote(status[1]))
            if finish_time is None:
                return _error(404, "NotFound", "The item with the given id does not exist.")
            return _Answer(200, {"finished": time.monotonic() >= finish_time}, {})
        try:
            if not start:
                return _Answer(200, self._search(content), {})
            id, body = self._start(path, content)
        except ValueError as error:
            return _error(400, "InvalidContent", str(error))
        with self._lock:
            self._starts.append(Start(id, request.path, body, request.headers.get("X-Request-Id")))
        return _Answer(200, {"bulkId": id, "finished": False}, {})

    def _start(self, path: str, content: bytes) -> tuple[str, dict[str, Any] | None]:
        body = _start_body(path, content)
        now = time.monotonic()
        with self._lock:
            self._objects.settle(now)
            if body is None:
                self._objects.start_clone(unquote(path.split("/")[-2]), now + self.finishes_after)
            else:
                self._objects.start(body["search"], body["bulk"], now + self.finishes_after)
        return self.add_bulk(), body

    def _search(self, content: bytes) -> list[Object]:
        body = _parsed(content)
        if "search" not in body:
            raise ValueError("search is missing")
        for part in ("search", "options"):
            _check_type(part, body.get(part, {}), dict)
        now = time.monotonic()
        with self._lock:
            self._objects.settle(now)
            return self._objects.found(body, now)

    def _accepts(self, token: str) -> bool:
        try:
            credentials = base64.b64decode(token, validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(credentials, self._credentials)


class _Answer(NamedTuple):
    status: int
    body: dict[str, Any] | list[Object]
    headers: Mapping[str, str]


_LOST = _Answer(0, {}, {})  # stands for an answer that is never sent


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(status, {"code": code, "message": message}, headers or {})


def _unauthorized(code: str, message: str) -> _Answer:
    # The documents show a JSON document inside the message string.
    return _error(401, code, _json({"errorCode": 3, "message": message}))


def _code(status: int) -> str:
    """Name a status as restify does: 503 Service Unavailable is ServiceUnavailable."""
    phrase = BaseHTTPRequestHandler.responses.get(status, ("Unknown", ""))[0]
    return re.sub(r" Error$|\W", "", phrase)


def _start_body(path: str, body: bytes) -> dict[str, Any] | None:
    """Parse the body of a start; a ValueError says how it is not as documented."""
    if path.endswith("/clone-bulk"):
        if body:
            raise ValueError("the body of a clone must be empty")
        return None
    order = _parsed(body)
    for part, kind in (("search", dict), ("bulk", list)):
        if part not in order:
            raise ValueError(f"{part} is missing")
        _check_type(part, order[part], kind)
    if not order["bulk"]:
        raise ValueError("bulk must not be empty")
    for place, change in enumerate(order["bulk"]):
        _check_type(f"bulk[{place}]", change, dict)
        keys = [key for key in _CHANGES if key in change]
        if not keys:
            raise ValueError(f"bulk[{place}] must have one of the keys {', '.join(_CHANGES)}")
        for key in keys:
            _check_type(f'bulk[{place}]["{key}"]', change[key], dict)
    return order


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Invalid JSON: {error}") from None
    _check_type("the body", found, dict)
    return found


def _refuse(constant: str) -> None:
    # Python's json reads NaN and Infinity, which JSON does not have.
    raise ValueError(f"{constant} is not a value of JSON")


def _check_type(place: str, value: object, kind: type) -> None:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    if not isinstance(value, kind):
        raise ValueError(f"{place} must be {names[kind]}, not {names.get(type(value), 'a number')}")


def _json(value: Mapping[str, Any] | list[Object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Listener(socketserver.ThreadingTCPServer):
    """The port and its connections; an HTTPServer would ask the DNS for its own name."""

    # On Windows it would mean that two servers may share a port.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, practice: PracticeServer) -> None:
        self.practice = practice
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._process = os.getpid()
        super().__init__(("127.0.0.1", port), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        # Closed under the lock: stop() must not cut a descriptor that is reused.
        with self._lock:
            self._connections.discard(request)
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: clients that hang up are no news, and tracebacks no answer."""

    def stop(self) -> None:
        if os.getpid() != self._process:
            self.server_close()  # a forked child serves nobody, and its parent goes on
            return
        self.stopping.set()
        # Closing alone would leave the port open if a forked process has it too.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """Reads requests and writes the practice server's answers."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # else garbage is answered without a head
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # head and body leave in one send

    def serve(self) -> None:
        body = self._read_body()
        if body is None:
            return
        practice = self.server.practice
        answer = practice._answer(self, body)
        if self.server.stopping.wait(practice.delay):
            self.close_connection = True
            return
        with practice._lock:
            practice._requests.append((self.command, self.path))
        if answer is _LOST:
            self.close_connection = True
        else:
            self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    def _read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(411)
        elif int(length) > self.server.practice.max_body:
            self.send_error(413)
        else:
            self.wfile.flush()  # the client may be waiting for "100 Continue"
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True
        return None

    def _send(self, answer: _Answer) -> None:
        body = _json(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no proper HTTP, in JSON where the base class has HTML."""
        self.close_connection = True
        self._send(_error(code, _code(code), message or self.responses[code][1]))
        self._linger()

    def _linger(self) -> None:
        """Read on: to close a socket with unread bytes is a reset, and the answer is lost."""
        end = time.monotonic() + _LINGER
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER / 6)
            while time.monotonic() < end and self.connection.recv(64 * 1024):
                pass

    def version_string(self) -> str:
        return "saymon-bulk-practice"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: `PracticeServer.requests` is the log."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print lines to paste, serve until Ctrl-C or SIGTERM, and return the
    exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m saymon_bulk.testing",
        description="Rehearse bulk operations against a server on this machine.",
        epilog="The password is that of SAYMON_PASSWORD, or else a demo one.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--login", default="demo", help="default: %(default)s")
    what = "seconds an operation takes; default: %(default)g"
    parser.add_argument("--finishes-after", type=float, default=30.0, metavar="S", help=what)
    options = parser.parse_args(argv)
    password = os.environ.get("SAYMON_PASSWORD") or _DEMO_PASSWORD
    try:
        # Set for both: in a script's background job SIGINT is ignored until then.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with PracticeServer(options.login, password, options.finishes_after, port=options.port) as server:
            server.objects.update(park())
            print(_instructions(server, own_password=password != _DEMO_PASSWORD), flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    except (OSError, OverflowError, ValueError) as error:
        text = f"port {options.port}: {error.strerror}" if isinstance(error, OSError) and error.strerror else error
        print(f"{parser.prog}: {text}", file=sys.stderr)
        return 1


def _instructions(server: PracticeServer, *, own_password: bool) -> str:
    """What to paste. Not indented, since Python refuses that, and no line is longer than 80 columns."""
    id = server.add_bulk()
    login = json.dumps(server.login, ensure_ascii=False)
    shell, export = "In another shell", f"export SAYMON_PASSWORD={_DEMO_PASSWORD}\n"
    imports, password = "import saymon_bulk", json.dumps(_DEMO_PASSWORD)
    if own_password:
        shell, export = "In another shell that has the same SAYMON_PASSWORD", ""
        imports, password = "import os, saymon_bulk", 'os.environ["SAYMON_PASSWORD"]'
    search, change = '{"name": "CPU"}', '{"modify": {"weight": 2}}'
    return f"""\
Practice server on {server.host}, until Ctrl-C.
An operation takes {server.finishes_after:g} s.

{shell}:

export SAYMON_HOST={server.host} SAYMON_LOGIN={shlex.quote(server.login)}
{export}saymon-bulk status {id}
echo '{search}' > practice-search.json
echo '[{change}]' > practice-bulk.json
saymon-bulk start --search practice-search.json --bulk practice-bulk.json --wait

In that shell with curl:

curl --noproxy 127.0.0.1 -u "$SAYMON_LOGIN:$SAYMON_PASSWORD" \\
    -H 'Content-Type: application/json' \\
    -d '{{"search": {search}, "bulk": [{change}]}}' \\
    "$SAYMON_HOST/node/api/bulk/objects"

In Python:

{imports}
host, login = "{server.host}", {login}
password = {password}
client = saymon_bulk.Client(host, login, password)
client.get_bulk_status("{id}")
started = client.start_bulk({search}, [{change}])
client.wait_for_bulk(started["bulkId"])"""


if __name__ == "__main__":
    sys.exit(main())
