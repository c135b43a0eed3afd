from collections.abc import Awaitable as _Awaitable
from collections.abc import Iterable
from os import PathLike
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Self, disjoint_base

from ._types import BulkStart, BulkStatus, Cert
from .errors import SaymonError

__all__ = [
    "AsyncWaits",
    "Awaitable",
    "Client",
    "CompletionQueue",
    "Step",
    "Waits",
    "__version__",
    "_before_fork",
    "_checked_id",
    "_host_name",
    "_is_transient",
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

    One `GET /node/api/bulk/:id/status` with Basic credentials in UTF-8 (the vendor's page "Get Bulk Operation Status";
    RFC 7617). Connections are kept and shared by all calls of the process. No redirect is followed and nothing is retried,
    but a request on a kept connection that has died, once and in silence.

    Args:
        host: The server: "monitor.example.com", "name:8443", "[2001:db8::1]:8443", with "https://" (the default) or
            "http://" before it. No path.
        id: The operation's id, as the server's `bulkId` gave it; at most 255 bytes of UTF-8.
        login: The login; no colon (RFC 7617).
        password: The password. It stands in no text and no Python frame of this package.
        request_timeout: Seconds for the whole exchange, connect to last byte; 30 by default.
        verify: True (default) trusts the system's CA certificates, or those that SSL_CERT_FILE names; a path trusts the
            certificates of that PEM file or directory and no others; False checks nothing and warns.
        cert: A client certificate, where the server asks for one: the path of a PEM file with certificate and key, or
            (certificate, key) with two paths. None (default) gives none.

    Returns:
        The server's JSON object as a dict. `finished` is always there and always a bool; False means that the operation
        still runs, True that it has ended. Finished does not mean succeeded: the server tells nothing about that.

    Raises:
        ValueError, TypeError: An argument cannot be used; its name is in the text. Nothing was sent.
        AuthError: HTTP 401 or 403.
        NotFoundError: HTTP 404.
        HTTPStatusError: Any other status but 200, redirects among them.
        RequestTimeoutError: No complete answer within `request_timeout`.
        TransportError: No answer: DNS, refused, TLS, cut off; the text names the cause.
        ResponseError: A 200 that is not an object with a boolean `finished`.
    """

def _checked_id(id: object) -> str: ...
def _host_name(host: object) -> str: ...
def _is_transient(kind: str | None, status_code: int | None) -> bool: ...
def _before_fork() -> None: ...
def _shutdown() -> None: ...

# timeout, interval, max_interval, retries, concurrency
_Plan = tuple[float | None, float, float, int, int]

@disjoint_base
class Client:
    def __new__(
        cls,
        host: str,
        login: str,
        password: str,
        request_timeout: float,
        verify: bool | str | PathLike[str],
        cert: Cert | None,
    ) -> Self: ...
    @property
    def host(self) -> str:
        """The server's origin as it was understood: "https://monitor.example.com:8443"."""

    @property
    def login(self) -> str:
        """The login."""

    def get_bulk_status(self, id: str) -> BulkStatus:
        """Ask once whether a bulk operation has finished; see the function `get_bulk_status`.

        Raises:
            RuntimeError: The client is closed.
        """

    def close(self) -> None:
        """End the use of this client, from any thread. May be repeated.

        Its calls and waits that are under way end with a RuntimeError, within a tenth of a second; so do later calls. The
        connections are the process's, shared with other clients, and stay.
        """

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
    def _start_bulk(self, body: bytes, request_id: str) -> BulkStart: ...
    def _start_bulk_awaitable(self, body: bytes, request_id: str) -> _Awaitable[BulkStart]: ...
    def _start_clone(self, object_id: str, request_id: str) -> BulkStart: ...
    def _start_clone_awaitable(self, object_id: str, request_id: str) -> _Awaitable[BulkStart]: ...
    def _start_interrupted(self, error: BaseException, request_id: str) -> None: ...
    def _waits(self, ids: Iterable[str], plan: _Plan, return_exceptions: bool) -> Waits: ...
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
class Waits:
    def __iter__(self) -> Self: ...
    def __next__(self) -> list[Step]: ...
    def next_within(self, seconds: float) -> list[Step] | None: ...
    def close(self) -> None: ...

@final
class AsyncWaits:
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> _Awaitable[list[Step]]: ...
    def close(self) -> None: ...

@final
class Awaitable:
    def __await__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class CompletionQueue:
    def drain(self) -> None: ...
