"""The steps of a plan, once for threads and once for asyncio.

The steps are a generator that yields requests and gets their answers; what a request raises, it raises in the generator. So
`apply` and its twin are the same code.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from .. import _start_body

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Callable

Result = TypeVar("Result")

# Seconds between two looks whether the client is closed.
_LOOK = 0.05


class Client(Protocol):
    """What the steps need of a `saymon_bulk.Client`."""

    def _search(self, body: bytes, fields: set[str] | None) -> list[dict[str, Any]]: ...
    def _search_awaitable(self, body: bytes, fields: set[str] | None) -> Awaitable[list[dict[str, Any]]]: ...
    def _start_bulk(self, body: bytes, request_id: str) -> Any: ...
    def _start_bulk_awaitable(self, body: bytes, request_id: str) -> Awaitable[Any]: ...
    def _start_interrupted(self, error: BaseException, request_id: str) -> BaseException: ...
    def _check_open(self) -> None: ...
    @property
    def wait_for_bulk(self) -> Callable[..., Any]: ...
    @property
    def wait_for_bulk_async(self) -> Callable[..., Awaitable[Any]]: ...


class Request(Protocol):
    def block(self, client: Client) -> Any: ...
    async def await_(self, client: Client) -> Any: ...


Steps = Generator[Request, Any, Result]


class Search(NamedTuple):
    """Reads the objects that a search finds: a list of dicts."""

    search: dict[str, Any]
    fields: set[str]

    def _arguments(self) -> tuple[bytes, set[str] | None]:
        return _start_body.search_body(self.search, self.fields, "client_data" in self.fields)

    def block(self, client: Client) -> Any:
        return client._search(*self._arguments())

    async def await_(self, client: Client) -> Any:
        return await client._search_awaitable(*self._arguments())


class Start(NamedTuple):
    """Starts an operation: the server's answer."""

    body: bytes
    request_id: str

    def block(self, client: Client) -> Any:
        return client._start_bulk(self.body, self.request_id)

    async def await_(self, client: Client) -> Any:
        with _start_body.Interruptible(client._start_interrupted, self.request_id) as start:
            return await start.begin(client._start_bulk_awaitable, self.body)


class Wait(NamedTuple):
    """Waits until an operation has finished."""

    id: str
    polling: dict[str, Any]

    def block(self, client: Client) -> Any:
        return client.wait_for_bulk(self.id, **self.polling)

    async def await_(self, client: Client) -> Any:
        return await client.wait_for_bulk_async(self.id, **self.polling)


class Checkpoint(NamedTuple):
    """Sends nothing: a cancellation that has come takes effect here."""

    def block(self, client: Client) -> Any:
        client._check_open()

    async def await_(self, client: Client) -> Any:
        import asyncio

        await asyncio.sleep(0)
        client._check_open()


class Pause(NamedTuple):
    """Waits for so long, and says why. The closing of the client ends it."""

    seconds: float
    why: str

    def block(self, client: Client) -> Any:
        for length in self._slices(client):
            time.sleep(length)

    async def await_(self, client: Client) -> Any:
        import asyncio

        for length in self._slices(client):
            await asyncio.sleep(length)

    def _slices(self, client: Client) -> Iterator[float]:
        end = time.monotonic() + self.seconds
        while (left := end - time.monotonic()) > 0:
            client._check_open()
            yield min(left, _LOOK)


def run(client: Client, steps: Steps[Result], watch: Callable[[Request], object] | None = None) -> Result:
    """Does the steps in this thread. `watch` sees each request before it is made."""
    try:
        request = next(steps)
        while True:
            request = _step(client, steps, request, watch)
    except StopIteration as end:
        result: Result = end.value
        return result
    except BaseException as error:
        _end(steps, error)
        raise


def _step(client: Client, steps: Steps[Any], request: Request, watch: Callable[[Request], object] | None) -> Request:
    try:
        if watch is not None:
            watch(request)
        answer = request.block(client)
    except BaseException as error:
        return steps.throw(error)
    return steps.send(answer)


async def run_async(client: Client, steps: Steps[Result]) -> Result:
    """The same as a coroutine."""
    try:
        request = next(steps)
        while True:
            try:
                answer = await request.await_(client)
            except BaseException as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result
    except BaseException as error:
        _end(steps, error)
        raise


def _end(steps: Steps[Any], error: BaseException) -> None:
    """Ends the steps if an exception came between two of them, so that they close the journal."""
    if getattr(steps, "gi_frame", None) is not None:
        with contextlib.suppress(BaseException):
            steps.throw(error)
        steps.close()
