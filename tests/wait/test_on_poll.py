"""`on_poll` of the coroutines may be awaited; that of the blocking waits may not."""

from __future__ import annotations

import asyncio
import functools
import warnings
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import END, FINISHED, ID, LOGIN, PASSWORD, QUICK, RUN, Peer, at, collected, no_hanging

_no_hanging = no_hanging()

Poll = tuple[str, Any]


async def coroutine(id: str, status: Any, elapsed: float) -> None:
    await asyncio.sleep(0)


class Owner:
    async def method(self, *_: object) -> None: ...

    async def __call__(self, *_: object) -> None: ...


class Plain:
    """An object that can be awaited, and no coroutine."""

    def __await__(self) -> Any:
        return iter(())


BLOCKING: dict[str, Callable[..., Any]] = {
    "wait_for_bulk": lambda peer, **more: at(peer).wait_for_bulk(ID, **QUICK, **more),
    "wait_for_bulks": lambda peer, **more: list(at(peer).wait_for_bulks([ID], **QUICK, **more)),
    "function": lambda peer, **more: saymon_bulk.wait_for_bulk(peer.host, ID, LOGIN, PASSWORD, **QUICK, **more),
}
AWAITED: dict[str, Callable[..., Any]] = {
    "wait_for_bulk_async": lambda peer, **more: at(peer).wait_for_bulk_async(ID, **QUICK, **more),
    "wait_for_bulks_async": lambda peer, **more: collected(at(peer), [ID], **QUICK, **more),
    "function": lambda peer, **more: saymon_bulk.wait_for_bulk_async(peer.host, ID, LOGIN, PASSWORD, **QUICK, **more),
}
blocking = pytest.mark.parametrize("wait", BLOCKING.values(), ids=BLOCKING)
awaited = pytest.mark.parametrize("wait", AWAITED.values(), ids=AWAITED)

COROUTINE_FUNCTIONS = {
    "function": coroutine,
    "method": Owner().method,
    "partial": functools.partial(coroutine),
    "partial of a method": functools.partial(Owner().method),
    "object": Owner(),
}


@blocking
@pytest.mark.parametrize("on_poll", COROUTINE_FUNCTIONS.values(), ids=COROUTINE_FUNCTIONS)
def test_a_blocking_wait_refuses_a_coroutine_function(peer: Peer, wait: Callable[..., Any], on_poll: Any) -> None:
    with pytest.raises(TypeError, match=r"\bon_poll\b.*_async"):
        wait(peer, on_poll=on_poll)
    assert (peer.connections, peer.requests) == (0, [])


@blocking
@pytest.mark.parametrize("returned", [lambda: coroutine(ID, None, 0), Plain], ids=["coroutine", "object"])
def test_a_blocking_wait_refuses_what_would_have_to_be_awaited(
    peer: Peer, wait: Callable[..., Any], returned: Callable[[], Any]
) -> None:
    peer.answer(RUN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "never awaited", for one
        with pytest.raises(TypeError, match=r"\bon_poll\b.*_async"):
            wait(peer, on_poll=lambda *_: returned())
    assert len(peer.requests) == 1


@blocking
@pytest.mark.parametrize("returned", [None, 0, True, [], iter(())])
def test_what_else_on_poll_returns_does_not_matter(peer: Peer, wait: Callable[..., Any], returned: object) -> None:
    peer.answer(RUN, END)
    assert wait(peer, on_poll=lambda *_: returned)


@awaited
@pytest.mark.parametrize("on_poll", COROUTINE_FUNCTIONS.values(), ids=COROUTINE_FUNCTIONS)
def test_a_coroutine_awaits_a_coroutine_function(peer: Peer, wait: Callable[..., Any], on_poll: Any) -> None:
    peer.answer(RUN, END)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(wait(peer, on_poll=on_poll))


@awaited
def test_the_next_poll_comes_after_the_coroutine(peer: Peer, wait: Callable[..., Any]) -> None:
    peer.answer(RUN, RUN, END)
    seen: list[int] = []

    async def on_poll(id: str, status: Any, elapsed: float) -> None:
        await asyncio.sleep(0.2)
        seen.append(len(peer.requests))

    asyncio.run(wait(peer, on_poll=on_poll))
    assert seen == [1, 2, 3]


@awaited
@pytest.mark.parametrize("wrap", [asyncio.ensure_future, lambda coroutine: coroutine], ids=["task", "coroutine"])
def test_a_plain_function_may_return_an_awaitable(peer: Peer, wait: Callable[..., Any], wrap: Any) -> None:
    peer.answer(RUN, END)
    polls: list[Poll] = []

    async def keep(id: str, status: Any) -> None:
        await asyncio.sleep(0)
        polls.append((id, status))

    asyncio.run(wait(peer, on_poll=lambda id, status, _: wrap(keep(id, status))))
    assert polls == [(ID, {"finished": False}), (ID, FINISHED)]


@awaited
def test_a_plain_function_is_called_as_before(peer: Peer, wait: Callable[..., Any]) -> None:
    polls: list[Poll] = []
    asyncio.run(wait(peer, on_poll=lambda id, status, _: polls.append((id, status))))
    assert polls == [(ID, FINISHED)]


@awaited
def test_what_the_coroutine_raises_ends_the_wait(peer: Peer, wait: Callable[..., Any]) -> None:
    peer.answer(RUN)

    async def on_poll(*_: object) -> None:
        await asyncio.sleep(0)
        raise LookupError("of on_poll")

    with pytest.raises(LookupError, match="of on_poll"):
        asyncio.run(wait(peer, on_poll=on_poll))
    assert len(peer.requests) == 1


@awaited
def test_cancelling_reaches_the_coroutine(peer: Peer, wait: Callable[..., Any]) -> None:
    peer.answer(RUN)
    ends: list[str] = []

    async def main() -> None:
        entered = asyncio.Event()

        async def on_poll(*_: object) -> None:
            entered.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        task = asyncio.ensure_future(wait(peer, on_poll=on_poll))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ends == ["cancelled"]
