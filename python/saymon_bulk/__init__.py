"""Start SAYMON bulk operations, and know when they have finished.

>>> import saymon_bulk
>>> client = saymon_bulk.Client("monitor.example.com", "login", "password")
>>> changes = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
>>> started = client.start_bulk({"name": "CPU"}, changes)  # doctest: +SKIP
>>> client.wait_for_bulk(started["bulkId"])  # doctest: +SKIP
{'finished': True}

One question for one operation needs no client:

>>> saymon_bulk.get_bulk_status("monitor.example.com", "079b3102-...", "login", "password")  # doctest: +SKIP
{'finished': True}

Finished does not mean succeeded: the server tells that an operation has ended, and nothing else.

A start is sent at most once. `StartUncertainError` says that it may have happened: look at the server before you start
again. `Client.get_bulk_statuses` and `Client.wait_for_bulks` serve many operations; each function and method has its
coroutine twin, named `..._async`. `saymon_bulk.testing` has a practice server.
"""

from ._client import Client, get_bulk_status_async, wait_for_bulk, wait_for_bulk_async
from ._core import __version__, get_bulk_status
from .errors import (
    AuthError,
    HTTPStatusError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    StartUncertainError,
    TransportError,
    WaitTimeoutError,
)

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from . import testing as testing
    from ._types import BulkStart as BulkStart
    from ._types import BulkStatus as BulkStatus
    from ._warnings import InsecureConnectionWarning as InsecureConnectionWarning
    from ._warnings import InsecureFileWarning as InsecureFileWarning

__all__ = [
    "AuthError",
    "BulkStart",
    "BulkStatus",
    "Client",
    "HTTPStatusError",
    "InsecureConnectionWarning",
    "InsecureFileWarning",
    "NotFoundError",
    "RequestTimeoutError",
    "ResponseError",
    "SaymonError",
    "StartUncertainError",
    "TransportError",
    "WaitTimeoutError",
    "__version__",
    "get_bulk_status",
    "get_bulk_status_async",
    "wait_for_bulk",
    "wait_for_bulk_async",
]


def __dir__() -> list[str]:
    return [*{*__all__, "testing", *(name for name in globals() if name.startswith("__"))}]


def __getattr__(name: str) -> object:
    # What few scripts use comes when it is asked for.
    if name in ("BulkStart", "BulkStatus"):
        from . import _types

        return getattr(_types, name)
    if name in ("InsecureConnectionWarning", "InsecureFileWarning"):
        from . import _warnings

        return getattr(_warnings, name)
    if name == "testing":
        import saymon_bulk.testing

        return saymon_bulk.testing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
