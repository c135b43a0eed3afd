from __future__ import annotations

import sys
from collections.abc import Awaitable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Callable, Literal, Protocol, TypeVar, Union

if TYPE_CHECKING:
    from typing_extensions import Self, TypedDict
elif sys.version_info >= (3, 12):
    from typing import TypedDict
else:
    try:
        from typing_extensions import TypedDict  # pydantic takes no other below Python 3.12
    except ImportError:
        from typing import TypedDict


class BulkStatus(TypedDict):
    """The answer of the server to a status request.

    >>> status = client.get_bulk_status(bulk_id)
    >>> status["finished"], type(status)
    (True, <class 'dict'>)

    At run time a status is a plain dict. The server documents one field.
    Other fields that it may send are passed through in its order.

    Source: the vendor's page "Get Bulk Operation Status".
    """

    finished: bool
    """False while the operation runs, True when it has ended."""


class BulkStart(TypedDict):
    """The answer of the server to a start.

    >>> started = client.start_clone("62d7e58056d203149a08001b")
    >>> started["finished"], type(started)
    (False, <class 'dict'>)

    At run time a start is a plain dict. The server documents two fields.
    Other fields that it may send are passed through in its order.

    Source: the vendor's page "Run Bulk Operation for Objects".
    """

    bulkId: str
    """The id of the operation, for `get_bulk_status` and `wait_for_bulk`."""

    finished: bool
    """True if the operation has already ended."""


BulkChange = TypedDict(
    "BulkChange",
    {
        "modify": Mapping[str, Any],
        "properties.createOrModify": Mapping[str, Any],
        "stateConditions": Mapping[str, Any],
        "stateTriggers": Mapping[str, Any],
        "incidentConditions": Mapping[str, Any],
    },
    total=False,
)
BulkChange.__doc__ = """One change of `start_bulk`, for type checkers and editors.

>>> change: saymon_bulk.BulkChange = {
...     "properties.createOrModify": {"name": "Room", "value": "7"}
... }
>>> client.start_bulk({"name": "CPU"}, [change])["finished"]
False

A type checker finds a key that is misspelt. At run time a change is any
mapping, and the server decides about its keys.

Source: the vendor's page "Run Bulk Operation for Objects".
"""

OnPoll = Callable[[str, BulkStatus, float], object]
"""A function that a wait calls after every good answer.

The arguments are the id, the status and the seconds since the start of the
wait.
"""

AsyncOnPoll = Callable[[str, BulkStatus, float], Union[Awaitable[object], object]]
"""The same for the coroutines. They await an awaitable result."""

Reason = Literal["unchanged", "other-value", "gone", "not-sent", "not-in-answer"]
"""Why an object of a report is not as asked, or cannot be told."""

Refusal = Literal["stale", "too-many", "other-server", "criterion-ignored", "already-applied", "running"]
"""Why an apply was refused."""

Event = Literal["not-started", "started", "finished", "verified", "done"]
"""What the journal tells of a start, or of a whole plan."""

Item = TypeVar("Item", covariant=True)


class ClosableIterator(Protocol[Item]):
    """The type of `wait_for_bulks`: an iterator with `close()`.

    >>> import contextlib
    >>> with contextlib.closing(client.wait_for_bulks(ids)) as statuses:
    ...     bulk_id, status = next(statuses)
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Item: ...
    def close(self) -> None: ...


class ClosableAsyncIterator(Protocol[Item]):
    """The type of `wait_for_bulks_async`: an iterator with `aclose()`.

    >>> statuses = client.wait_for_bulks_async(ids)
    >>> await statuses.aclose()

    `contextlib.aclosing` (Python 3.10) closes it at the end of a block.
    """

    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[Item]: ...
    def aclose(self) -> Awaitable[None]: ...


_Path = Union[str, "PathLike[str]"]

Cert = Union[_Path, tuple[_Path, _Path]]
"""The path of a PEM file with a client certificate and its key, or two paths.

Two paths are a tuple: (certificate, key).
"""
