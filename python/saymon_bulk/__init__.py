"""Has a SAYMON bulk operation finished?

>>> import saymon_bulk
>>> saymon_bulk.get_bulk_status("monitor.example.com", "079b3102-...", "login", "password")  # doctest: +SKIP
{'finished': True}

Finished does not mean succeeded: the server tells that an operation has ended, and nothing else. The id is the `bulkId` with
which it answered when the operation was started; starting one is not this package's work.

`wait_for_bulk` waits for one operation; a `Client` holds the credentials for many: `Client.get_bulk_statuses` and
`Client.wait_for_bulks`. Each has its coroutine twin. `saymon_bulk.testing` has a practice server.
"""

from __future__ import annotations

from ._client import Client, get_bulk_status_async, wait_for_bulk, wait_for_bulk_async
from ._core import __version__, get_bulk_status
from .errors import (
    AuthError,
    HTTPStatusError,
    InsecureConnectionWarning,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    TransportError,
    WaitTimeoutError,
)

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from ._types import BulkStatus as BulkStatus

__all__ = [
    "AuthError",
    "BulkStatus",
    "Client",
    "HTTPStatusError",
    "InsecureConnectionWarning",
    "NotFoundError",
    "RequestTimeoutError",
    "ResponseError",
    "SaymonError",
    "TransportError",
    "WaitTimeoutError",
    "__version__",
    "get_bulk_status",
    "get_bulk_status_async",
    "wait_for_bulk",
    "wait_for_bulk_async",
]


def __getattr__(name: str) -> object:
    # A TypedDict needs typing, which few scripts import: it comes when it is asked for.
    if name == "BulkStatus":
        from ._types import BulkStatus

        return BulkStatus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
