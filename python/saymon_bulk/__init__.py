"""See, start, wait for and check bulk operations of SAYMON.

>>> import saymon_bulk
>>> client = saymon_bulk.Client("monitor.example.com", "login", "password")
>>> search = {"name": {"$regex": "^CPU$"}}
>>> bulk = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
>>> plan = client.plan_bulk(search, bulk)
>>> report = client.apply_plan(plan)
>>> report.ok
True

A plan shows which objects would change, and a report whether they have.
Without a plan:

>>> started = client.start_bulk(search, bulk)
>>> client.wait_for_bulk(started["bulkId"])
{'finished': True}

One question about one operation needs no client:

>>> bulk_id = "079b3102-c326-4dd7-bf48-a945232b32d6"
>>> saymon_bulk.get_bulk_status(
...     "monitor.example.com", bulk_id, "login", "password"
... )
{'finished': True}

Finished does not mean succeeded: the server reports only that an operation
has ended.

A start is sent at most once. `StartUncertainError` says that the server
may have started the operation: look at the server before you start it
again.

`Client.get_bulk_statuses` and `Client.wait_for_bulks` serve many
operations. Each function and method that sends requests has a coroutine
with the same arguments, whose name ends in `_async`.
`saymon_bulk.testing` has a practice server. All times are in seconds.
"""

import os as _os

from . import _core
from ._client import Client, get_bulk_status_async, wait_for_bulk, wait_for_bulk_async
from ._core import __version__, get_bulk_status
from .errors import (
    AuthError,
    ClosedError,
    HTTPStatusError,
    NotFoundError,
    PlanRefusedError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    StartUncertainError,
    TransportError,
    WaitTimeoutError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import testing as testing
    from ._plans.compare import FieldChange, ObjectChange
    from ._plans.model import BulkPlan, BulkReport
    from ._types import BulkChange, BulkStart, BulkStatus
    from ._warnings import InsecureConnectionWarning, InsecureFileWarning

__all__ = [
    "AuthError",
    "BulkChange",
    "BulkPlan",
    "BulkReport",
    "BulkStart",
    "BulkStatus",
    "Client",
    "ClosedError",
    "FieldChange",
    "HTTPStatusError",
    "InsecureConnectionWarning",
    "InsecureFileWarning",
    "NotFoundError",
    "ObjectChange",
    "PlanRefusedError",
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


def _before_fork() -> None:
    # What is imported at first use: a child would wait for ever for an import that another thread of its parent had begun.
    try:
        import inspect  # noqa: F401
        import json  # noqa: F401

        from . import _credentials, _iterators, _netrc, _start_body, _types, _warnings  # noqa: F401
        from ._plans import apply, compare, model, steps  # noqa: F401
    except Exception:
        pass  # the files cannot be read any more, after a chroot for example
    _core._before_fork()


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(before=_before_fork)


def __dir__() -> list[str]:
    return [*{*__all__, "testing", *(name for name in globals() if name.startswith("__"))}]


def __getattr__(name: str) -> object:
    # Few programs use these names, so each is imported at its first use.
    if name in ("BulkChange", "BulkStart", "BulkStatus"):
        from . import _types

        return getattr(_types, name)
    if name in ("InsecureConnectionWarning", "InsecureFileWarning"):
        from . import _warnings

        return getattr(_warnings, name)
    if name in ("BulkPlan", "BulkReport", "FieldChange", "ObjectChange"):
        from ._plans import compare, model

        return getattr(model, name, None) or getattr(compare, name)
    if name == "testing":
        import saymon_bulk.testing

        return saymon_bulk.testing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
