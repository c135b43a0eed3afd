from __future__ import annotations

from os import PathLike
from typing import Callable, TypedDict, Union


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

_Path = Union[str, "PathLike[str]"]

Cert = Union[_Path, tuple[_Path, _Path]]
"""A PEM file with a client certificate and its key, or (certificate, key) with two paths."""
