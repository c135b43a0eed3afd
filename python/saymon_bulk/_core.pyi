from collections.abc import Awaitable as _Awaitable
from collections.abc import Callable, Iterable
from os import PathLike
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Self, disjoint_base

from ._types import BulkStart, BulkStatus, Cert
from .errors import SaymonError

__all__ = [
    "AsyncWaits",
    "Awaitable",
    "BulkIterator",
    "Client",
    "CompletionQueue",
    "Step",
    "__version__",
    "_before_fork",
    "_checked_id",
    "_host_name",
    "_shown_path",
    "_shutdown",
    "get_bulk_status",
]

__version__: str

def get_bulk_status(
    host: str,
    id: str,
    login: str,
    password: str,
    *,
    request_timeout: float = 30.0,
    verify: bool | str | PathLike[str] = True,
    cert: Cert | None = None,
) -> BulkStatus:
    """Ask a SAYMON server once whether a bulk operation has finished.

    >>> bulk_id = "079b3102-c326-4dd7-bf48-a945232b32d6"
    >>> saymon_bulk.get_bulk_status(
    ...     "monitor.example.com", bulk_id, "login", "password"
    ... )
    {'finished': True}

    The function sends one `GET /node/api/bulk/:id/status` with Basic
    credentials. It follows no redirect and retries nothing, with one
    exception: when a kept connection has died, it sends the request once
    more. All calls of the process share the kept connections.

    Args:
        host: The server: "monitor.example.com", "name:8443" or
            "[2001:db8::1]:8443". "https://" (the default) or "http://" may
            stand before it. A path may not follow.
        id: The id of the operation, which is the `bulkId` of the answer to
            the start; at most 255 bytes of UTF-8.
        login: The login. It cannot hold a colon (RFC 7617).
        password: The password. It appears in no text and in no Python
            frame of this package.
        request_timeout: Seconds for the whole exchange, from connecting to
            the last byte; 30 by default.
        verify: True (default) trusts the CA certificates of the system, or
            those that SSL_CERT_FILE and SSL_CERT_DIR name. A path trusts
            the certificates of that PEM file or directory, and no others.
            False checks nothing and warns.
        cert: The client certificate, if the server asks for one (mutual
            TLS): the path of a PEM file with the certificate and its key,
            or two paths, (certificate, key). The key must not be
            encrypted. None (default) sends no certificate.

    Returns:
        The JSON object of the server as a dict. `finished` is always in it:
        False while the operation runs, True when it has ended. Finished
        does not mean succeeded: the server says nothing about success.

    Raises:
        ValueError, TypeError: An argument cannot be used. The text names
            the argument. Nothing was sent.
        AuthError: HTTP 401 or 403.
        NotFoundError: HTTP 404.
        HTTPStatusError: Any other status than 200. A redirect is one.
        RequestTimeoutError: No complete answer came within
            `request_timeout`.
        TransportError: No answer came. The text names the cause, such as
            DNS, a refused connection or TLS.
        ResponseError: The status is 200, but the body is no JSON object
            with a boolean `finished`.

    Sources: the vendor's page "Get Bulk Operation Status"; RFC 7617, Basic
    credentials in UTF-8.
    """

def _checked_id(id: object) -> str: ...
def _host_name(host: object) -> str: ...
def _shown_path(path: str | PathLike[str]) -> str: ...
def _before_fork() -> None: ...
def _shutdown() -> None: ...

# timeout, interval, max_interval, retries, concurrency
_Plan = tuple[float | None, float, float, int, int]

@disjoint_base
class Client:
    def __new__(cls, *_arguments: object, **_named: object) -> Self: ...
    def _open(
        self,
        host: str,
        login: str,
        password: str,
        request_timeout: float,
        verify: bool | str | PathLike[str],
        cert: Cert | None,
    ) -> None: ...
    def _warn(self) -> None: ...
    def _check_open(self) -> None: ...
    @property
    def host(self) -> str:
        """The server, as the client understood the argument `host`."""

    @property
    def login(self) -> str:
        """The login."""

    def get_bulk_status(self, id: str) -> BulkStatus:
        """Ask once whether a bulk operation has finished."""

    def close(self) -> None:
        """End the use of this client."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
    def _get_bulk_status_awaitable(self, id: str) -> _Awaitable[BulkStatus]: ...
    def _get_bulk_statuses(self, ids: Iterable[str], concurrency: int, return_exceptions: bool) -> dict[str, Any]: ...
    def _get_bulk_statuses_awaitable(
        self, ids: Iterable[str], concurrency: int, return_exceptions: bool
    ) -> _Awaitable[dict[str, Any]]: ...
    def _search(self, body: bytes, fields: set[str] | None) -> list[dict[str, Any]]: ...
    def _search_awaitable(self, body: bytes, fields: set[str] | None) -> _Awaitable[list[dict[str, Any]]]: ...
    def _start_bulk(self, body: bytes, request_id: str) -> BulkStart: ...
    def _start_bulk_awaitable(self, body: bytes, request_id: str) -> _Awaitable[BulkStart]: ...
    def _start_clone(self, object_id: str, request_id: str) -> BulkStart: ...
    def _start_clone_awaitable(self, object_id: str, request_id: str) -> _Awaitable[BulkStart]: ...
    def _start_interrupted(self, error: BaseException, request_id: str) -> BaseException: ...
    def _waits(
        self,
        ids: Iterable[str],
        plan: _Plan,
        return_exceptions: bool,
        on_step: Callable[[Step | None], object] | None,
        tick: float | None,
    ) -> BulkIterator: ...
    def _async_waits(self, ids: Iterable[str], plan: _Plan, return_exceptions: bool) -> AsyncWaits: ...

@final
class Step:
    @property
    def id(self) -> str: ...
    @property
    def status(self) -> BulkStatus | None: ...
    @property
    def error(self) -> SaymonError | None: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def failures(self) -> int: ...
    @property
    def is_over(self) -> bool: ...

@final
class BulkIterator:
    """What `Client.wait_for_bulks` returns: (id, status) of ended waits.

    >>> statuses = client.wait_for_bulks(ids)
    >>> bulk_id, status = next(statuses)
    >>> statuses.close()

    The next item comes when the wait for an operation is over. With
    `return_exceptions=True` an item may be (id, error). One thread at a
    time may use the iterator; a second one gets a RuntimeError. An error
    ends all its waits, and who goes on gets a RuntimeError.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[str, Any]: ...
    def _only(self) -> tuple[str, Any]: ...
    def close(self) -> None:
        """End the waits. No item comes after that."""

@final
class AsyncWaits:
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> _Awaitable[Step | None]: ...
    def close(self) -> None: ...
    def fail(self) -> None: ...

@final
class Awaitable:
    def __await__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class CompletionQueue:
    def drain(self) -> None: ...
