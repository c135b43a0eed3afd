from __future__ import annotations

import sys
from collections.abc import Awaitable
from os import PathLike
from typing import TYPE_CHECKING, Callable, Protocol, TypeVar, Union

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
    """The server's answer, a plain dict at run time.

    The server documents one field; others that it may send are passed through in its order.
    """

    finished: bool
    """True once the operation has ended, whatever came of it; False while it runs."""


class BulkStart(TypedDict):
    """The server's answer to a start, a plain dict at run time.

    The server documents two fields; others that it may send are passed through in its order.
    """

    bulkId: str
    """The operation's id, for `get_bulk_status` and `wait_for_bulk`."""

    finished: bool
    """True if the operation has ended already."""


OnPoll = Callable[[str, BulkStatus, float], object]
"""Called as on_poll(id, status, elapsed) after every good answer; elapsed is in seconds since the start."""

AsyncOnPoll = Callable[[str, BulkStatus, float], Union[Awaitable[object], object]]
"""The same for the coroutines, which await what it returns if that can be awaited."""

Item = TypeVar("Item", covariant=True)


class ClosableIterator(Protocol[Item]):
    """An iterator with `close()`, as `contextlib.closing` takes it."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Item: ...
    def close(self) -> None: ...


class ClosableAsyncIterator(Protocol[Item]):
    """An async iterator with `aclose()`, as `contextlib.aclosing` takes it."""

    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[Item]: ...
    def aclose(self) -> Awaitable[None]: ...


_Path = Union[str, "PathLike[str]"]

Cert = Union[_Path, tuple[_Path, _Path]]
"""A PEM file with a client certificate and its key, or (certificate, key) with two paths."""
