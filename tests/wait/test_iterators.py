"""The iterators of `wait_for_bulks`: one user at a time, and the waits end with them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import signal
import sys
import threading
import weakref
from typing import Any, Callable

import pytest
from peer import END, FINISHED, QUICK, RUN, Desk, Wire, at, no_hanging, proved, response
from processes import needs_signals, run_script
from saymon_bulk import ClosedError, NotFoundError

_no_hanging = no_hanging()

IN_USE = "in use"
FAILED = "this iterator has raised an error before"


def held(desk: Desk, **more: Any) -> Any:
    """Waits of which "first" ends at once, and the others never."""
    desk.of = {"first": END, "held": Wire.hold}
    desk.answer(RUN)
    return proved(desk).wait_for_bulks(["first", "held", "runs"], **QUICK, **more)


def refusals(statuses: Any) -> list[str]:
    """What a second thread gets, that asks for the next item and then closes the iterator."""
    texts: list[str] = []

    def use() -> None:
        for act in (statuses.__next__, statuses.close):
            with pytest.raises(RuntimeError) as caught:
                act()
            texts.append(str(caught.value))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(60)
    return texts


def test_a_second_thread_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    desk.answer(RUN, END)
    texts: list[str] = []
    statuses: Any = at(desk).wait_for_bulks(["a"], on_poll=lambda *_: texts.extend(refusals(statuses)), **QUICK)
    assert list(statuses) == [("a", FINISHED)]
    assert len(texts) == 4
    assert all(IN_USE in text for text in texts)


def test_a_second_thread_is_refused_during_a_poll(desk: Desk) -> None:
    desk.answer(Wire.hold)
    client = at(desk)
    statuses = client.wait_for_bulks(["a"], timeout=None)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            next(statuses)
        except RuntimeError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    desk.wait_for(lambda: len(desk.requests) == 1)
    assert all(IN_USE in text for text in refusals(statuses))
    client.close()
    waiting.join(60)
    assert [str(error) for error in errors] == [f"{desk.host}: the client is closed"]


@pytest.mark.slow
def test_many_threads_get_each_item_once_or_are_refused(desk: Desk) -> None:
    ids = [f"op-{number}" for number in range(200)]
    statuses = at(desk).wait_for_bulks(ids, **QUICK)
    got: list[str] = []
    refusals: list[str] = []
    all_there = threading.Barrier(8)

    def take() -> None:
        all_there.wait()
        while True:
            try:
                got.append(next(statuses)[0])
            except StopIteration:
                return
            except RuntimeError as error:
                refusals.append(str(error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert sorted(got) == sorted(ids)
    assert all(IN_USE in text for text in refusals)


def test_on_poll_cannot_use_its_own_iterator(desk: Desk) -> None:
    desk.answer(RUN)
    statuses: Any = at(desk).wait_for_bulks(["a"], on_poll=lambda *_: next(statuses), **QUICK)
    with pytest.raises(RuntimeError, match=IN_USE):
        next(statuses)
    with pytest.raises(RuntimeError, match=FAILED):
        next(statuses)


def test_items_one_after_the_other_from_different_threads(desk: Desk) -> None:
    statuses = at(desk).wait_for_bulks(["a", "b", "c"], **QUICK)
    got: list[Any] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: got.append(next(statuses)))
        thread.start()
        thread.join(60)
    assert dict(got) == dict.fromkeys("abc", FINISHED)


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, GeneratorExit, LookupError])
def test_an_error_of_on_poll_does_not_look_like_the_end(desk: Desk, kind: type[BaseException]) -> None:
    desk.answer(RUN)
    error = kind("of on_poll")

    def on_poll(*_: object) -> None:
        raise error

    statuses = at(desk).wait_for_bulks(["a"], on_poll=on_poll, **QUICK)
    with pytest.raises(RuntimeError if kind is StopIteration else kind, match="on_poll") as caught:
        next(statuses)
    assert error in (caught.value, caught.value.__cause__)
    with pytest.raises(RuntimeError, match=FAILED):
        next(statuses)


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, GeneratorExit, LookupError])
def test_nor_does_an_awaited_one(desk: Desk, kind: type[BaseException]) -> None:
    desk.answer(RUN)

    def on_poll(*_: object) -> None:
        raise kind("of on_poll")

    async def main() -> None:
        statuses = at(desk).wait_for_bulks_async(["a"], on_poll=on_poll, **QUICK)
        with pytest.raises(RuntimeError if kind in (StopIteration, StopAsyncIteration) else kind):
            await statuses.__anext__()
        with pytest.raises(RuntimeError, match=FAILED):
            await statuses.__anext__()

    asyncio.run(main())


# The end


def test_closing(desk: Desk) -> None:
    with contextlib.closing(held(desk)) as statuses:
        assert next(statuses) == ("first", FINISHED)
    desk.wait_for(lambda: desk.open == 0)
    assert list(statuses) == []
    statuses.close()


def test_close_before_the_first_item_sends_nothing(desk: Desk) -> None:
    statuses = at(desk).wait_for_bulks(["a"])
    statuses.close()
    assert list(statuses) == []
    assert desk.requests == []


@pytest.mark.slow
def test_the_garbage_collector_ends_the_waits(desk: Desk) -> None:
    statuses = held(desk)
    next(statuses)

    class Holder:
        pass

    one: Any = Holder()
    one.itself, one.statuses = one, statuses
    gone = weakref.ref(one)
    del one, statuses
    assert gone() is not None
    gc.collect()
    assert gone() is None
    desk.wait_for(lambda: desk.open == 0)


def test_an_iterator_that_a_traceback_keeps_has_ended_its_waits(desk: Desk) -> None:
    def on_poll(id: str, *_: object) -> None:
        if id == "runs" and "held" in str(desk.requests):
            raise LookupError("of on_poll")

    with pytest.raises(LookupError) as kept:
        list(held(desk, on_poll=on_poll))
    desk.wait_for(lambda: desk.open == 0)
    assert kept.value.__traceback__ is not None


def test_aclosing(desk: Desk) -> None:
    desk.of = {"first": END, "held": Wire.hold}

    async def main() -> None:
        statuses = proved(desk).wait_for_bulks_async(["first", "held"], **QUICK)
        try:
            assert await statuses.__anext__() == ("first", FINISHED)
        finally:
            await statuses.aclose()
        assert [item async for item in statuses] == []
        await statuses.aclose()
        await asyncio.to_thread(desk.wait_for, lambda: desk.open <= 1)

    asyncio.run(main())


def test_an_async_iterator_that_nobody_holds_ends_its_waits(desk: Desk) -> None:
    desk.of = {"first": END, "held": Wire.hold}

    async def main() -> None:
        statuses = proved(desk).wait_for_bulks_async(["first", "held"], **QUICK)
        await statuses.__anext__()
        await asyncio.to_thread(desk.wait_for, lambda: len(desk.requests) == 2)
        del statuses
        await asyncio.to_thread(desk.wait_for, lambda: desk.open <= 1)

    asyncio.run(main())


def test_a_second_task_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.2)
        wire.send(END)

    desk.answer(late)

    async def main() -> None:
        statuses = at(desk).wait_for_bulks_async(["a"], **QUICK)
        first = asyncio.ensure_future(statuses.__anext__())
        await asyncio.sleep(0)
        for use in (statuses.__anext__, statuses.aclose):
            with pytest.raises(RuntimeError, match=IN_USE):
                await use()
        assert await first == ("a", FINISHED)

    asyncio.run(main())


def test_an_iterator_of_two_event_loops_is_refused(desk: Desk) -> None:
    desk.answer(Wire.hold)
    client = at(desk)
    statuses = client.wait_for_bulks_async(["a"], timeout=None)

    async def wait() -> None:
        with pytest.raises(ClosedError, match="closed"):
            await statuses.__anext__()

    other = threading.Thread(target=lambda: asyncio.run(wait()))
    other.start()
    desk.wait_for(lambda: len(desk.requests) == 1)

    async def refused() -> None:
        with pytest.raises(RuntimeError, match=IN_USE):
            await statuses.__anext__()

    asyncio.run(refused())
    client.close()
    other.join(60)


def test_they_are_iterators_and_no_generators(desk: Desk) -> None:
    client = at(desk)
    statuses, awaited = client.wait_for_bulks([]), client.wait_for_bulks_async([])
    assert iter(statuses) is statuses
    assert awaited.__aiter__() is awaited
    for one in (statuses, awaited):
        assert not hasattr(one, "gi_frame")
        assert not hasattr(one, "ag_frame")
        assert type(one).__module__.startswith("saymon_bulk.")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wait_for_bulks", "wait_for_bulks_async"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_no_copy_ends_the_waits(desk: Desk, name: str, copied: Callable[[object], object]) -> None:
    iterator = getattr(at(desk), name)(["a", "b"])
    with pytest.raises(TypeError, match=r"cannot copy or pickle"):
        copied(iterator)
    gc.collect()

    async def rest() -> list[str]:
        return [id async for id, _ in iterator]

    found = asyncio.run(rest()) if name.endswith("async") else [id for id, _ in iterator]
    assert sorted(found) == ["a", "b"]


INTERRUPTED_OFTEN = """
import random, signal, saymon_bulk
signal.signal(signal.SIGALRM, signal.default_int_handler)
iterator = saymon_bulk.Client("localhost", "login", "password").wait_for_bulks(["x"])
iterator.close()
for _ in range(5000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(20e-6, 120e-6))
        while True:
            next(iterator, None)
    except KeyboardInterrupt:
        iterator.close()
print("free")
"""


@pytest.mark.slow
@needs_signals
def test_an_interrupt_leaves_no_iterator_in_use() -> None:
    done = run_script(INTERRUPTED_OFTEN)
    assert (done.stdout, done.stderr) == ("free\n", "")


# What they show


@pytest.mark.parametrize(("ids", "count"), [(["a"], "1 operation"), ([f"op-{n}" for n in range(200)], "200 operations")])
def test_an_iterator_says_that_nothing_was_sent_yet(desk: Desk, ids: list[str], count: str) -> None:
    waiting = at(desk).wait_for_bulks(ids, **QUICK)
    assert repr(waiting) == f"<saymon_bulk.BulkIterator of {count}: nothing was sent yet, loop over it>"
    assert desk.connections == 0
    next(waiting)
    assert repr(waiting) == "<saymon_bulk.BulkIterator>"
    list(waiting)
    assert repr(waiting) == "<saymon_bulk.BulkIterator>"


def test_an_awaited_iterator_says_that_nothing_was_sent_yet(desk: Desk) -> None:
    async def main() -> None:
        waiting = at(desk).wait_for_bulks_async(["a", "b"], **QUICK)
        assert repr(waiting) == "<saymon_bulk.AsyncBulkIterator of 2 operations: nothing was sent yet, use async for>"
        assert desk.connections == 0
        await waiting.__anext__()
        assert repr(waiting) == "<saymon_bulk.AsyncBulkIterator>"
        await waiting.aclose()
        assert repr(waiting) == "<saymon_bulk.AsyncBulkIterator>"

    asyncio.run(main())


def test_an_iterator_can_be_shown_while_it_is_used(desk: Desk) -> None:
    shown = []
    waiting: Any = at(desk).wait_for_bulks(["a"], on_poll=lambda *_: shown.append(repr(waiting)))
    list(waiting)
    assert shown == ["<saymon_bulk.BulkIterator>"]


@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_a_cancelled_iterator_does_not_end_as_if_all_were_done(desk: Desk, count: int) -> None:
    desk.answer(RUN)

    async def run() -> None:
        statuses = proved(desk).wait_for_bulks_async([f"op-{n}" for n in range(count)], **QUICK)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(statuses.__anext__(), 0.1)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=FAILED):
                await statuses.__anext__()
        await statuses.aclose()
        assert [item async for item in statuses] == []

    asyncio.run(run())


@needs_signals
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, LookupError])
def test_nor_does_one_that_a_signal_has_interrupted(desk: Desk, kind: type[BaseException], count: int) -> None:
    desk.answer(RUN)
    statuses = proved(desk).wait_for_bulks([f"op-{n}" for n in range(count)], **QUICK)

    def ring(*_: object) -> None:
        raise kind("of a handler")

    handler = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(kind, match="of a handler"):
            next(statuses)
    finally:
        signal.signal(signal.SIGALRM, handler)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=FAILED):
            next(statuses)
    desk.wait_for(lambda: desk.open == 0)
    statuses.close()
    assert list(statuses) == []


@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_nor_does_one_of_failures(desk: Desk, count: int) -> None:
    ids = [f"op-{n}" for n in range(count)]
    desk.of = dict.fromkeys(ids[::2], response("{}", 404))
    desk.answer(END)
    client = at(desk)

    async def run() -> None:
        awaited = client.wait_for_bulks_async(ids, **QUICK)
        with pytest.raises(NotFoundError):
            _ = [item async for item in awaited]
        with pytest.raises(RuntimeError, match=FAILED):
            _ = [item async for item in awaited]

    statuses = client.wait_for_bulks(ids, **QUICK)
    with pytest.raises(NotFoundError):
        list(statuses)
    with pytest.raises(RuntimeError, match=FAILED):
        list(statuses)
    asyncio.run(run())
