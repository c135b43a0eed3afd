"""What plans ask of a client, blocking and awaited.

`plan`, `apply` and `verify` are coroutines. With `Blocking` nothing in them suspends, so `run` needs no event loop: each and
its twin are the same code.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _start_body

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import Callable

    from .._core import Client

Result = TypeVar("Result")

# Seconds between two looks whether the client is closed.
_LOOK = 0.05


class Blocking:
    """In this thread. `polling` has the arguments of each wait; most of them hold for reads too."""

    def __init__(self, client: Client, wait: Callable[..., Any], polling: Mapping[str, Any]) -> None:
        self.client, self._wait, self.polling = client, wait, polling

    async def search(self, search: dict[str, Any], fields: set[str]) -> list[Any]:
        return self.client._search(*_body(search, fields))

    async def start(self, body: bytes, request_id: str) -> Any:
        return self.client._start_bulk(body, request_id)

    async def wait(self, id: str) -> None:
        self._wait(id, **self.polling)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def pause(self, seconds: float, why: str = "") -> None:
        """The closing of the client ends it, and so does a cancellation, also of 0 seconds."""
        end = time.monotonic() + seconds
        left = seconds
        while left >= 0:
            await self.sleep(min(left, _LOOK))
            self.client._check_open()
            left = end - time.monotonic()


class Awaited(Blocking):
    """In asyncio."""

    async def search(self, search: dict[str, Any], fields: set[str]) -> list[Any]:
        return await self.client._search_awaitable(*_body(search, fields))

    async def start(self, body: bytes, request_id: str) -> Any:
        return await _start_body.awaited(self.client, self.client._start_bulk_awaitable, body, request_id)

    async def wait(self, id: str) -> None:
        await self._wait(id, **self.polling)

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


def _body(search: dict[str, Any], fields: set[str]) -> tuple[bytes, set[str] | None]:
    return _start_body.search_body(search, fields, "client_data" in fields)


def run(steps: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that does not suspend."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise AssertionError("a step has suspended")
