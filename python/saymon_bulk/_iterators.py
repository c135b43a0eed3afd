"""The iterator of `wait_for_bulks_async`, and the calls of `on_poll`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

    from typing_extensions import Self

    from ._core import AsyncWaits, Step
    from ._types import AsyncOnPoll, BulkStatus, OnPoll

_ADVICE = "give a plain function, or use the coroutine, whose name ends in _async"


def on_step(on_poll: OnPoll | None) -> Callable[[Step | None], None] | None:
    """What the iterator of a blocking wait calls: `on_poll` for each good answer."""
    check(on_poll)
    if on_poll is None:
        return None
    from inspect import isawaitable, iscoroutinefunction  # a wait without on_poll does without

    if iscoroutinefunction(on_poll) or iscoroutinefunction(type(on_poll).__call__):
        raise TypeError(f"on_poll must not be a coroutine function here: {_ADVICE}")

    def poll(step: Step | None) -> None:
        if step is None or step.status is None:
            return
        result = on_poll(step.id, step.status, step.elapsed)
        if isawaitable(result):
            if hasattr(result, "close"):
                result.close()  # or Python warns that it was never awaited
            raise TypeError(f"on_poll must not return an awaitable here: {_ADVICE}")

    return poll


def check(on_poll: AsyncOnPoll | None) -> None:
    if on_poll is not None and not callable(on_poll):
        raise TypeError(f"on_poll must be callable, not {type(on_poll).__name__}")


async def next_item(waits: AsyncWaits, on_poll: AsyncOnPoll | None) -> tuple[str, Any] | None:
    """The id and the outcome of the next wait that is over, after `on_poll` for all good answers; None at the end."""
    async for step in waits:
        if step is None:
            continue
        if on_poll is not None and step.status is not None:
            result: Any = on_poll(step.id, step.status, step.elapsed)
            if result is not None:
                from inspect import isawaitable

                if isawaitable(result):
                    await result
        if step.is_over:
            return step.id, step.error or step.status
    return None


class AsyncBulkIterator:
    """What `Client.wait_for_bulks_async` returns, for `async for`.

    >>> waiting = client.wait_for_bulks_async(ids[:1])
    >>> async for bulk_id, status in waiting:
    ...     print(bulk_id, "has finished")
    079b3102-c326-4dd7-bf48-a945232b32d6 has finished

    The next item comes when the wait for an operation is over. With
    `return_exceptions=True` an item may be (id, error). One task at a time
    may use the iterator; a second one gets a RuntimeError. An error ends
    all its waits, as the cancellation of `__anext__` does, and who goes on
    gets a RuntimeError.
    """

    def __init__(self, waits: AsyncWaits, on_poll: AsyncOnPoll | None) -> None:
        self._waits = waits
        self._on_poll = on_poll
        self._is_used = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, BulkStatus]:
        self._refuse_a_second_user()
        try:
            self._is_used = True
            item = await next_item(self._waits, self._on_poll)
        except BaseException as error:
            self._waits.fail()
            if isinstance(error, StopAsyncIteration):  # which would end a loop as if all were done
                raise RuntimeError("on_poll raised StopAsyncIteration") from error
            raise
        finally:
            self._is_used = False
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """End the waits. No item comes after that.

        >>> statuses = client.wait_for_bulks_async(ids)
        >>> await statuses.aclose()
        >>> [item async for item in statuses]
        []

        A second `aclose` does nothing. The operations go on, on the server.
        """
        self._refuse_a_second_user()
        self._waits.close()

    def _refuse_a_second_user(self) -> None:
        if self._is_used:
            raise RuntimeError("this iterator is in use: by another task or thread, or since its own on_poll uses it")

    def __repr__(self) -> str:
        return repr(self._waits)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("cannot copy or pickle an AsyncBulkIterator: the waits are of this process and of one iterator")
