"""The iterators of `wait_for_bulks` and its twin, and the calls of `on_poll`."""

from __future__ import annotations

from ._core import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from typing_extensions import Self

    from . import _core
    from ._types import AsyncOnPoll, BulkStatus, OnPoll

_ADVICE = "give a plain function, or use the coroutine, whose name ends in _async"


def callback(on_poll: OnPoll | None) -> OnPoll | None:
    """The `on_poll` of a blocking wait."""
    on_poll = async_callback(on_poll)
    if on_poll is not None:
        from inspect import iscoroutinefunction  # a wait without on_poll does without

        if iscoroutinefunction(on_poll) or iscoroutinefunction(type(on_poll).__call__):
            raise TypeError(f"on_poll must not be a coroutine function here: {_ADVICE}")
    return on_poll


def async_callback(on_poll: AsyncOnPoll | None) -> AsyncOnPoll | None:
    if on_poll is None or callable(on_poll):
        return on_poll
    raise TypeError(f"on_poll must be callable, not {type(on_poll).__name__}")


def ended(steps: list[_core.Step], on_poll: OnPoll | None) -> Iterator[tuple[str, BulkStatus]]:
    """The operations whose wait is over, after `on_poll` was called for all good answers."""
    if on_poll is not None:
        for step in steps:
            if step.status is not None:
                result = on_poll(step.id, step.status, step.elapsed)
                if _is_awaitable(result):
                    if hasattr(result, "close"):
                        result.close()  # or Python warns that it was never awaited
                    raise TypeError(f"on_poll must not return an awaitable here: {_ADVICE}")
    return _ended(steps)


async def ended_async(steps: list[_core.Step], on_poll: AsyncOnPoll | None) -> Iterator[tuple[str, BulkStatus]]:
    if on_poll is not None:
        for step in steps:
            if step.status is not None:
                result: Any = on_poll(step.id, step.status, step.elapsed)
                if _is_awaitable(result):
                    await result
    return _ended(steps)


def _is_awaitable(result: object) -> bool:
    if result is None:
        return False
    from inspect import isawaitable

    return isawaitable(result)


def _ended(steps: list[_core.Step]) -> Iterator[tuple[str, BulkStatus]]:
    over: list[Any] = [(step.id, step.error or step.status) for step in steps if step.is_over]
    return iter(over)


class _Iterator:
    """The waits end at the last item, at an error, when the iterator is closed, and when nobody holds it any more."""

    _is_started = _is_over = False

    def __init__(self, waits: Any, on_poll: Any) -> None:
        self._waits = waits
        self._on_poll = on_poll
        self._items: Iterator[tuple[str, BulkStatus]] = iter(())
        self._turn = Turn()

    def _end(self) -> None:
        self._items = iter(())
        self._is_over = True
        self._waits.close()

    def _close(self) -> None:
        user = object()
        try:
            self._turn.take(user)
            self._end()
        finally:
            self._turn.leave(user)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # The end of a copy would end the waits of both.
        raise TypeError(f"cannot copy or pickle a {type(self).__name__}: the waits are of this process and of one iterator")

    def __del__(self) -> None:
        if self._is_started and not self._is_over:
            self._end()


# No generator: two threads in one generator crash a Python without the GIL.
class BulkIterator(_Iterator):
    """What `Client.wait_for_bulks` returns: (id, status) of ended waits.

    >>> statuses = client.wait_for_bulks(ids)
    >>> bulk_id, status = next(statuses)
    >>> statuses.close()

    The next item comes when the wait for an operation is over. With
    `return_exceptions=True` an item may be (id, error). One thread at a
    time may use the iterator; a second one gets a RuntimeError.
    """

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[str, BulkStatus]:
        user = object()
        try:
            self._turn.take(user)
            try:
                while True:
                    for item in self._items:
                        return item
                    self._items = self._next()
            except BaseException:
                self._end()
                raise
        finally:
            self._turn.leave(user)

    def _next(self) -> Iterator[tuple[str, BulkStatus]]:
        if self._is_over:
            raise StopIteration
        self._is_started = True
        steps = next(self._waits)
        try:
            return ended(steps, self._on_poll)
        except StopIteration as error:  # which would end a loop as if all were done
            raise RuntimeError("on_poll raised StopIteration") from error

    def close(self) -> None:
        """End the waits. No item comes after that.

        >>> statuses = client.wait_for_bulks(ids)
        >>> statuses.close()
        >>> list(statuses)
        []

        A second `close` does nothing. The operations go on, on the server.
        """
        self._close()


class AsyncBulkIterator(_Iterator):
    """What `Client.wait_for_bulks_async` returns, for `async for`.

    >>> waiting = client.wait_for_bulks_async(ids[:1])
    >>> async for bulk_id, status in waiting:
    ...     print(bulk_id, "has finished")
    079b3102-c326-4dd7-bf48-a945232b32d6 has finished

    The next item comes when the wait for an operation is over. With
    `return_exceptions=True` an item may be (id, error). One task at a time
    may use the iterator; a second one gets a RuntimeError.
    """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, BulkStatus]:
        user = object()
        try:
            self._turn.take(user)
            try:
                while True:
                    for item in self._items:
                        return item
                    self._items = await self._next()
            except BaseException:
                self._end()
                raise
        finally:
            self._turn.leave(user)

    async def _next(self) -> Iterator[tuple[str, BulkStatus]]:
        if self._is_over:
            raise StopAsyncIteration
        self._is_started = True
        steps = await self._waits.__anext__()
        try:
            return await ended_async(steps, self._on_poll)
        except StopAsyncIteration as error:  # which would end a loop as if all were done
            raise RuntimeError("on_poll raised StopAsyncIteration") from error

    async def aclose(self) -> None:
        """End the waits. No item comes after that.

        >>> statuses = client.wait_for_bulks_async(ids)
        >>> await statuses.aclose()
        >>> [item async for item in statuses]
        []

        A second `aclose` does nothing. The operations go on, on the server.
        """
        self._close()
