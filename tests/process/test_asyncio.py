"""asyncio: the twins are coroutines, cancelling drops the request, any number of loops, nothing left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import (
    END,
    FINISHED,
    ID,
    LOGIN,
    PASSWORD,
    PATIENCE,
    QUICK,
    RUN,
    Answer,
    Desk,
    Peer,
    Wire,
    at,
    closing,
    collected,
    no_hanging,
    proved,
    response,
    when,
)
from processes import run_script
from saymon_bulk import Client, NotFoundError, SaymonError

BUSY = response("{}", 503)

_no_hanging = no_hanging()


async def until(true: Callable[[], bool], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


Use = Callable[..., Coroutine[Any, Any, Any]]
USES: dict[str, Use] = {
    "get_bulk_status_async": lambda client, id=ID: client.get_bulk_status_async(id),
    "get_bulk_statuses_async": lambda client, id=ID: client.get_bulk_statuses_async([id]),
    "wait_for_bulk_async": lambda client, id=ID: client.wait_for_bulk_async(id, **QUICK),
    "wait_for_bulks_async": lambda client, id=ID: collected(client, [id], **QUICK),
}
use_each = pytest.mark.parametrize("use", USES.values(), ids=USES)

COROUTINES: list[Any] = [
    saymon_bulk.get_bulk_status_async,
    saymon_bulk.wait_for_bulk_async,
    Client.get_bulk_status_async,
    Client.get_bulk_statuses_async,
    Client.wait_for_bulk_async,
]


def status_in(result: Any) -> Any:
    return result.get(ID, result)


# What they are


@pytest.mark.parametrize("twin", COROUTINES, ids=lambda twin: twin.__qualname__)
def test_they_are_coroutine_functions(twin: Any) -> None:
    assert inspect.iscoroutinefunction(twin)
    assert twin.__doc__
    assert twin.__module__.startswith("saymon_bulk")


@pytest.mark.parametrize("twin", [*COROUTINES, Client.wait_for_bulks_async], ids=lambda twin: twin.__qualname__)
def test_a_twin_takes_what_the_other_takes(twin: Any) -> None:
    name = twin.__name__[: -len("_async")]
    owner = Client if twin.__qualname__.startswith("Client.") else saymon_bulk
    other = inspect.signature(getattr(owner, name)).parameters
    parameters = inspect.signature(twin).parameters
    assert [(p.name, p.kind, p.default) for p in parameters.values()] == [
        (p.name, p.kind, p.default) for p in other.values()
    ]


def test_the_iterator_is_an_async_one(peer: Peer) -> None:
    statuses = at(peer).wait_for_bulks_async([ID])
    assert not inspect.isawaitable(statuses)
    assert inspect.isasyncgen(statuses) or hasattr(statuses, "__anext__")
    assert hasattr(statuses, "__aiter__")


@use_each
def test_a_coroutine_that_is_not_awaited_does_nothing(peer: Peer, use: Use) -> None:
    use(at(peer)).close()
    assert (peer.connections, len(peer.requests)) == (0, 0)


@use_each
def test_await(peer: Peer, use: Use) -> None:
    peer.answer(response('{"z": 1, "finished": true, "a": [null]}'))
    result = status_in(asyncio.run(use(at(peer))))
    assert type(result) is dict
    assert list(result.items()) == [("z", 1), ("finished", True), ("a", [None])]


@use_each
def test_create_task(peer: Peer, use: Use) -> None:
    async def main() -> list[Any]:
        tasks = [asyncio.create_task(use(at(peer))) for _ in range(10)]
        return [status_in(await task) for task in tasks]

    assert asyncio.run(main()) == [FINISHED] * 10


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with Python 3.11")
@use_each
def test_a_task_group(desk: Desk, use: Use) -> None:
    group: Any = asyncio.TaskGroup  # type: ignore[attr-defined, unused-ignore]

    async def fine() -> list[Any]:
        async with group() as tasks:
            started = [tasks.create_task(use(at(desk))) for _ in range(10)]
        return [status_in(task.result()) for task in started]

    assert asyncio.run(fine()) == [FINISHED] * 10
    desk.of = {"bad": response("{}", 404), "hung": Wire.hold}
    errors: list[BaseException] = []

    async def failing() -> None:
        try:
            async with group() as tasks:
                hung = [tasks.create_task(use(at(desk), "hung")) for _ in range(3)]
                await until(lambda: len(desk.requests) == 13)
                tasks.create_task(use(at(desk), "bad"))
        except BaseException as error:
            errors.extend(error.exceptions)  # type: ignore[attr-defined, unused-ignore]
        assert all(task.cancelled() for task in hung)

    asyncio.run(failing())
    assert [type(error) for error in errors] == [NotFoundError]


@pytest.mark.slow
def test_a_thousand_at_once(peer: Peer) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        client = at(peer, request_timeout=60)

        async def main() -> list[Any]:
            return await asyncio.gather(*(client.get_bulk_status_async(f"op-{n}") for n in range(1000)))

        assert asyncio.run(main()) == [FINISHED] * 1000
        assert len(peer.requests) == 1000
    finally:
        peer.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_thousand_waits(desk: Desk) -> None:
    polled: dict[str, int] = {}

    def on_poll(id: str, status: object, elapsed: float) -> None:
        polled[id] = polled.get(id, 0) + 1

    ids = [f"op-{n}" for n in range(1000)]
    desk.answer(*[RUN] * 500, END)
    found = asyncio.run(collected(at(desk), ids, on_poll=on_poll, **QUICK))
    assert found == dict.fromkeys(ids, FINISHED)
    assert sum(polled.values()) == len(desk.requests) == 1500


def test_gather_with_errors(desk: Desk) -> None:
    desk.of = {"bad": response("{}", 404), "busy": BUSY, "cut": Wire.reset, "odd": response("[]")}

    async def main() -> list[Any]:
        names = ["bad", "busy", "cut", "odd", "fine", ".."]
        return await asyncio.gather(*map(at(desk).get_bulk_status_async, names), return_exceptions=True)

    kinds = [type(outcome).__name__ for outcome in asyncio.run(main())]
    assert kinds == ["NotFoundError", "HTTPStatusError", "TransportError", "ResponseError", "dict", "ValueError"]


# Errors


@use_each
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response("{}", 401), "AuthError"),
        (response("{}", 404), "NotFoundError"),
        (response("{}", 302), "HTTPStatusError"),
        (response("<html>"), "ResponseError"),
    ],
)
def test_errors(peer: Peer, use: Use, answer: Answer, kind: str) -> None:
    peer.answer(answer)

    async def main() -> SaymonError:
        with pytest.raises(getattr(saymon_bulk, kind)) as caught:
            await use(at(peer))
        error: SaymonError = caught.value
        return error

    error = asyncio.run(main())
    assert type(error).__name__ == kind
    assert (error.id, error.host) == (ID, peer.host)


@use_each
def test_nobody_there(nobody: str, use: Use) -> None:
    with pytest.raises(saymon_bulk.TransportError, match=nobody):
        asyncio.run(use(Client(f"http://{nobody}", LOGIN, PASSWORD)))


def test_a_request_timeout(peer: Peer) -> None:
    peer.answer(Wire.hold)
    began = time.monotonic()
    with pytest.raises(saymon_bulk.RequestTimeoutError, match=r"0\.2"):
        asyncio.run(at(peer, request_timeout=0.2).get_bulk_status_async(ID))
    assert 0.2 <= time.monotonic() - began < PATIENCE
    peer.wait_for(lambda: peer.open == 0)


# Cancelling


@use_each
def test_cancelling_drops_the_request(peer: Peer, use: Use) -> None:
    peer.answer(Wire.hold)

    async def main() -> None:
        task = asyncio.create_task(use(at(peer)))
        await until(lambda: peer.open == len(peer.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: peer.open == 0)

    asyncio.run(main())
    assert len(peer.requests) == 1


@use_each
def test_cancelling_drops_the_request_though_the_task_is_kept(peer: Peer, use: Use) -> None:
    """Whoever holds the task, or its error with the traceback, holds no request."""
    peer.answer(Wire.hold)

    async def main() -> list[Any]:
        asked = asyncio.create_task(use(at(peer)))
        waited_for = asyncio.create_task(use(at(peer)))
        await until(lambda: peer.open == len(peer.requests) == 2)
        kept: list[Any] = [asked, waited_for]
        for task in kept[:2]:
            task.cancel()
        await asyncio.wait({waited_for})
        try:
            await asked
        except asyncio.CancelledError as error:
            kept.append(error)
        await until(lambda: peer.open == 0, 3)
        return kept

    assert len(asyncio.run(main())) == 3


@use_each
def test_closing_the_coroutine_drops_the_request(peer: Peer, use: Use) -> None:
    peer.answer(Wire.hold)

    async def main() -> None:
        coroutine = use(at(peer))
        coroutine.send(None)
        await until(lambda: peer.open == len(peer.requests) == 1)
        coroutine.close()
        await until(lambda: peer.open == 0)

    asyncio.run(main())


def test_an_error_of_on_poll_drops_the_requests_though_it_is_kept(desk: Desk) -> None:
    desk.of = {"hung": Wire.hold}
    desk.answer(RUN)

    def on_poll(*_: object) -> None:
        if len(desk.requests) >= 2:
            raise LookupError("enough")

    async def main() -> BaseException:
        with pytest.raises(LookupError) as caught:
            await collected(proved(desk), ["hung", "other"], on_poll=on_poll, **QUICK)
        # What is left is at most the answered one.
        await until(lambda: desk.open <= 1, 3)
        return caught.value

    asyncio.run(main())


def test_cancelling_in_the_middle_of_a_pause(peer: Peer) -> None:
    peer.answer(RUN)

    async def main() -> None:
        polled = asyncio.Event()
        task = asyncio.create_task(at(peer).wait_for_bulk_async(ID, interval=0.2, on_poll=lambda *_: polled.set()))
        await polled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.5)

    asyncio.run(main())
    assert len(peer.requests) == 1


def test_cancelling_many(peer: Peer) -> None:
    peer.answer(Wire.hold)

    async def main() -> None:
        task = asyncio.create_task(proved(peer).get_bulk_statuses_async([f"op-{n}" for n in range(40)], concurrency=8))
        await until(lambda: len(peer.requests) == 8)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: peer.open == 0)

    asyncio.run(main())
    assert len(peer.requests) == 8


@use_each
def test_wait_for(peer: Peer, use: Use) -> None:
    peer.answer(Wire.hold)

    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(use(at(peer)), 0.3)
        assert 0.25 <= time.monotonic() - began < PATIENCE
        await until(lambda: peer.open == 0)

    asyncio.run(main())


@pytest.mark.slow
@use_each
def test_the_end_of_the_loop_drops_the_request(peer: Peer, use: Use) -> None:
    """asyncio.run cancels what is left."""
    peer.answer(Wire.hold)
    tasks: list[Any] = []

    async def main() -> None:
        tasks.append(asyncio.create_task(use(at(peer))))
        await until(lambda: len(peer.requests) == 1)

    asyncio.run(main())
    tasks.clear()
    gc.collect()
    peer.wait_for(lambda: peer.open == 0)


def test_cancelled_before_it_began(peer: Peer) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(use(at(peer))) for use in USES.values()]
        for task in tasks:
            task.cancel()
        assert {type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)} == {asyncio.CancelledError}

    asyncio.run(main())
    assert len(peer.requests) == 0


def test_after_cancelling_calls_go_on(desk: Desk) -> None:
    desk.of = {"hung": Wire.hold}

    async def main() -> None:
        for n in range(20):
            task = asyncio.create_task(at(desk).get_bulk_status_async("hung"))
            if n % 2:
                asked = len(desk.requests)
                await until(lambda asked=asked: len(desk.requests) > asked)  # type: ignore[misc]
            task.cancel()
            assert await at(desk).get_bulk_status_async(ID) == FINISHED

    asyncio.run(main())


@pytest.mark.slow
def test_an_answer_and_a_cancellation_at_the_same_time(peer: Peer) -> None:
    """Under -X dev, where asyncio tells of whatever is set twice, never awaited or destroyed pending."""
    code = """
import asyncio, random, sys, saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password")

async def main():
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: complaints.append(context))
    loop.slow_callback_duration = 60  # a busy machine is no complaint
    began = loop.time()
    for _ in range(20):
        await client.get_bulk_status_async("op")
    longest = 2 * (loop.time() - began) / 20 + 0.002  # a loop's clock is not much finer than milliseconds
    ends = {"answered": 0, "cancelled": 0}
    for _ in range(300):
        for make in (lambda: client.get_bulk_status_async("op"), lambda: client.wait_for_bulk_async("op")):
            task = asyncio.create_task(make())
            loop.call_later(random.random() * longest, task.cancel)
            try:
                ends["answered"] += (await task)["finished"]
            except asyncio.CancelledError:
                ends["cancelled"] += 1
    assert min(ends.values()) > 10, ends
    print(await client.get_bulk_status_async("op"), complaints)

asyncio.run(main())
"""
    done = run_script(code, peer.host, flags=["-X", "dev", "-W", "error"])
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "{'finished': True} []\n")


# Leaving the iterator


def test_break_stops_the_polling(desk: Desk) -> None:
    desk.of = {"first": END, "held": Wire.hold}
    desk.answer(RUN)

    async def main() -> int:
        async for id, _ in at(desk).wait_for_bulks_async(["first", "held", "a", "b"], **QUICK):
            assert id == "first"
            break
        # All but the answered ones are gone, and then nobody asks any more.
        await until(lambda: desk.open <= 3)
        await asyncio.sleep(0.1)
        count = len(desk.requests)
        await asyncio.sleep(0.3)
        assert len(desk.requests) == count
        return count

    count = asyncio.run(main())
    assert len(desk.requests) == count


def test_aclose_drops_what_is_under_way(desk: Desk) -> None:
    desk.of = {"first": END, "held": Wire.hold}

    async def main() -> Any:
        statuses: Any = proved(desk).wait_for_bulks_async(["first", "held"], **QUICK)
        await until(lambda: True)
        assert (await statuses.__anext__())[0] == "first"
        await until(lambda: len(desk.requests) == 2)
        await statuses.aclose()
        await until(lambda: desk.open <= 1)
        with pytest.raises(StopAsyncIteration):
            await statuses.__anext__()
        return statuses

    asyncio.run(main())


# Loops


@pytest.mark.slow
def test_one_loop_after_the_other(peer: Peer) -> None:
    client = at(peer)
    for _ in range(20):
        for use in USES.values():
            assert status_in(asyncio.run(use(client))) == FINISHED
    assert len(peer.requests) == 80
    # All loops share the connections.
    assert peer.connections <= 2


@pytest.mark.slow
def test_several_loops_at_once(peer: Peer) -> None:
    client = at(peer)
    results: list[Any] = []

    async def main() -> None:
        for _ in range(5):
            for use in USES.values():
                got = await asyncio.gather(*(use(client) for _ in range(4)))
                results.extend(map(status_in, got))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [FINISHED] * 320
    assert peer.connections <= 32


def test_a_coroutine_made_elsewhere(peer: Peer) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for use in USES.values():
            future = asyncio.run_coroutine_threadsafe(use(at(peer)), loop)
            assert status_in(future.result(60)) == FINISHED
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.slow
def test_a_loop_that_is_closed_in_the_middle_of_a_request(desk: Desk) -> None:
    code = """
import asyncio, gc, sys, time, saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password")
client.get_bulk_status("op")  # the password is proved, so that many go at the same time

async def ask():
    return [await asyncio.wait({asyncio.ensure_future(client.get_bulk_status_async("late"))}, timeout=0.2)]

loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda loop, context: None)  # asyncio's own complaint about tasks that are left
kept = [loop.run_until_complete(ask()) for _ in range(3)]
loop.close()
client.get_bulk_status("release")
time.sleep(0.3)  # the answers come to nobody
del kept
gc.collect()
print(asyncio.run(client.get_bulk_status_async("op")))
"""
    answer = threading.Event()

    def release(wire: Wire) -> None:
        assert desk.open == 4
        answer.set()
        wire.send(END)

    desk.of = {"late": when(answer, closing(END)), "release": release}
    done = run_script(code, desk.host)
    assert (done.returncode, done.stdout) == (0, "{'finished': True}\n")
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "client.get_bulk_status_async('op')",
        "client.get_bulk_statuses_async(['op'])",
        "client.wait_for_bulk_async('op')",
        "saymon_bulk.wait_for_bulk_async(sys.argv[1], 'op', 'login', 'password')",
    ],
)
def test_a_loop_that_is_closed_after_one_call(peer: Peer, call: str) -> None:
    """run_until_complete and close, as before asyncio.run: nothing is left to be done."""
    code = f"""
import asyncio, gc, sys, saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password")
for _ in range(5):
    loop = asyncio.new_event_loop()
    loop.slow_callback_duration = 60  # a busy machine is no complaint
    print(loop.run_until_complete({call}))
    assert not asyncio.all_tasks(loop)
    loop.close()
    gc.collect()
"""
    done = run_script(code, peer.host, flags=["-X", "dev", "-W", "error"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("True") == 5


@pytest.mark.slow
def test_debug_mode_is_silent(desk: Desk) -> None:
    desk.of = {"bad": response("{}", 404), "hung": Wire.hold}
    desk.answer(RUN, RUN, BUSY, END)
    code = """
import asyncio, sys, saymon_bulk

async def main():
    assert asyncio.get_running_loop().get_debug()
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is slow
    async with saymon_bulk.Client(sys.argv[1], "login", "password") as client:
        assert (await client.wait_for_bulk_async("op", interval=0.02))["finished"]
        assert (await client.get_bulk_status_async("op"))["finished"]
        assert len(await client.get_bulk_statuses_async(["a", "b"])) == 2
        print([pair async for pair in client.wait_for_bulks_async(["a"])])
        async for pair in client.wait_for_bulks_async(["a", "b"]):
            break
        for use in (client.get_bulk_status_async, client.wait_for_bulk_async):
            try:
                await use("bad")
            except saymon_bulk.NotFoundError:
                pass
            try:
                await asyncio.wait_for(use("hung"), 0.1)
            except asyncio.TimeoutError:
                pass
        try:
            await client.wait_for_bulk_async("hung", timeout=0.1)
        except saymon_bulk.WaitTimeoutError:
            pass

asyncio.run(main(), debug=True)
"""
    done = run_script(code, desk.host, flags=["-X", "dev", "-W", "error"])
    silent = [line for line in done.stderr.splitlines() if "polling goes on" not in line]
    assert (done.returncode, silent) == (0, [])
    assert done.stdout == "[('a', {'finished': True})]\n"


class WithoutReaders(asyncio.SelectorEventLoop):
    """As the proactor of Windows is."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop", reason="no uvloop here").new_event_loop()
    return loop


@pytest.mark.slow
@pytest.mark.parametrize("make", [uvloop, WithoutReaders], ids=["uvloop", "without readers"])
def test_other_loops(desk: Desk, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    desk.of = {"hung": Wire.hold}

    async def main() -> None:
        client = at(desk)
        for use in USES.values():
            results = await asyncio.gather(*(use(client) for _ in range(50)))
            assert [status_in(result) for result in results] == [FINISHED] * 50
            asked = len(desk.requests)
            task = asyncio.create_task(use(client, "hung"))
            await until(lambda asked=asked: len(desk.requests) > asked)  # type: ignore[misc]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    for _ in range(3):
        loop = make()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


@pytest.mark.slow
@pytest.mark.parametrize("make", ["uvloop.new_event_loop", "WithoutReaders"])
def test_other_loops_at_the_end(desk: Desk, make: str) -> None:
    """Closed in the middle of a request whose answer comes too late, and then no word at the exit."""
    if make != "WithoutReaders":
        pytest.importorskip("uvloop", reason="no uvloop here")
    waited = threading.Event()
    desk.of = {"late": when(waited, closing(END))}
    code = f"""
import asyncio, sys
from saymon_bulk import Client

class WithoutReaders(asyncio.SelectorEventLoop):
    def add_reader(self, *_): raise NotImplementedError

client = Client(sys.argv[1], {LOGIN!r}, {PASSWORD!r})

async def main():
    await client.get_bulk_status_async("op")
    global late
    late = asyncio.create_task(client.get_bulk_status_async("late"))
    await asyncio.sleep(0.05)

if {make!r} != "WithoutReaders": import uvloop
loop = {make}()
loop.run_until_complete(main())
loop.close()
client.get_bulk_status("op")
late._log_destroy_pending = False
print("done")
"""
    threading.Timer(0.3, waited.set).start()
    done = run_script(code, desk.host)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, WithoutReaders], ids=["readers", "without readers"])
def test_ctrl_c_where_a_future_gets_its_result(
    desk: Desk, make: Callable[[], asyncio.AbstractEventLoop], count: int
) -> None:
    """It ends the loop, as it does while asyncio's own futures get theirs, and loses no other answer."""
    client, loop = at(desk), make()
    call_soon: Any = loop.call_soon
    interrupted: list[Any] = []

    def interrupt(callback: Any, *args: Any, **more: Any) -> Any:
        if args and isinstance(args[0], asyncio.Future) and not isinstance(args[0], asyncio.Task) and not interrupted:
            interrupted.append(args[0])
            raise KeyboardInterrupt
        return call_soon(callback, *args, **more)

    async def main() -> list[Any]:
        await client.get_bulk_status_async("op")
        loop.call_soon = interrupt  # type: ignore[assignment,method-assign]
        return [asyncio.create_task(client.get_bulk_status_async("op")) for _ in range(count)]

    try:
        tasks = loop.run_until_complete(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.wait(tasks, timeout=PATIENCE))
        # Nobody can wake the task whose callback was lost.
        loop.run_until_complete(until(lambda: sum(not task.done() for task in tasks) <= 1))
        for task in tasks:
            task._log_destroy_pending = False
    finally:
        loop.close()


# Beside the loop


def test_the_loop_goes_on_meanwhile(peer: Peer) -> None:
    release = threading.Event()
    peer.answer(when(release, closing(END)))

    async def main() -> int:
        turns = 0
        tasks = [asyncio.create_task(use(at(peer))) for use in USES.values()]
        await until(lambda: len(peer.requests) == len(USES))
        for _ in range(100):
            await asyncio.sleep(0)
            turns += 1
        assert not any(task.done() for task in tasks)
        release.set()
        assert [status_in(result) for result in await asyncio.gather(*tasks)] == [FINISHED] * len(USES)
        return turns

    assert asyncio.run(main()) == 100


def test_blocking_calls_inside_a_running_loop(desk: Desk) -> None:
    async def main() -> None:
        client = at(desk)
        pending = asyncio.create_task(client.get_bulk_status_async("pending"))
        await asyncio.sleep(0)
        assert saymon_bulk.get_bulk_status(desk.host, ID, LOGIN, PASSWORD) == FINISHED
        assert client.get_bulk_status(ID) == FINISHED
        assert client.wait_for_bulk(ID, **QUICK) == FINISHED
        assert client.get_bulk_statuses(["a", "b"]) == {"a": FINISHED, "b": FINISHED}
        assert dict(client.wait_for_bulks(["a", "b"])) == {"a": FINISHED, "b": FINISHED}
        assert await pending == FINISHED

    asyncio.run(main())


def test_on_poll_runs_on_the_loop(peer: Peer) -> None:
    peer.answer(RUN, RUN, END)
    notes: list[Any] = []

    async def main() -> None:
        loop, task, thread = asyncio.get_running_loop(), asyncio.current_task(), threading.get_ident()
        left: list[asyncio.Task[None]] = []

        def on_poll(id: str, status: object, elapsed: float) -> None:
            notes.append(
                asyncio.get_running_loop() is loop
                and asyncio.current_task() is task
                and threading.get_ident() == thread
                and (id, elapsed >= 0) == (ID, True)
            )
            left.append(asyncio.create_task(asyncio.sleep(0)))

        assert await at(peer).wait_for_bulk_async(ID, on_poll=on_poll, **QUICK) == FINISHED
        await asyncio.gather(*left)

    asyncio.run(main())
    assert notes == [True] * 3


def test_context_variables(peer: Peer) -> None:
    peer.answer(RUN, RUN, RUN, RUN, END)
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: set[tuple[str, str]] = set()

    async def caller(name: str) -> str:
        who.set(name)
        client = at(peer)
        more: dict[str, Any] = {"on_poll": lambda id, *_: seen.add((id, who.get())), **QUICK}
        await client.wait_for_bulk_async(name, **more)
        await collected(client, [name], **more)
        await client.get_bulk_status_async(name)
        return who.get()

    async def main() -> list[str]:
        return [*await asyncio.gather(caller("a"), caller("b"), caller("c"))]

    assert asyncio.run(main()) == ["a", "b", "c"]
    assert seen == {("a", "a"), ("b", "b"), ("c", "c")}
    assert who.get() == "nobody"


def test_async_with(peer: Peer) -> None:
    async def main() -> None:
        async with at(peer) as client:
            for use in USES.values():
                assert status_in(await use(client)) == FINISHED
        for use in USES.values():
            with pytest.raises(saymon_bulk.ClosedError, match="closed"):
                await use(client)

    asyncio.run(main())
    assert len(peer.requests) == len(USES)
