"""close() from another thread, or another task, ends what the client has under way, and that of no other client."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from peer import END, RUN, Answer, Desk, Peer, Wire, at, headers, no_hanging, proved
from saymon_bulk import Client, ClosedError, StartUncertainError

_no_hanging = no_hanging()

IDS = [f"op-{number}" for number in range(200)]
BULK = [{"modify": {"a": 1}}]

BLOCKING: dict[str, tuple[Answer, Callable[[Client], Any]]] = {
    "a status": (Wire.hold, lambda client: client.get_bulk_status("x")),
    "a batch": (Wire.hold, lambda client: client.get_bulk_statuses(IDS, return_exceptions=True)),
    "a wait that polls": (Wire.hold, lambda client: client.wait_for_bulk("x", timeout=None)),
    "a wait that pauses": (RUN, lambda client: client.wait_for_bulk("x", timeout=None, interval=60)),
    "many waits": (RUN, lambda client: list(client.wait_for_bulks(IDS, timeout=None, interval=60))),
    "a start": (Wire.hold, lambda client: client.start_bulk({"a": 1}, BULK)),
    "a clone": (Wire.hold, lambda client: client.start_clone("x")),
}


async def each(client: Client) -> list[Any]:
    return [outcome async for outcome in client.wait_for_bulks_async(IDS, timeout=None, interval=60)]


AWAITED: dict[str, tuple[Answer, Callable[[Client], Any]]] = {
    "a status": (Wire.hold, lambda client: client.get_bulk_status_async("x")),
    "a batch": (Wire.hold, lambda client: client.get_bulk_statuses_async(IDS, return_exceptions=True)),
    "a wait that polls": (Wire.hold, lambda client: client.wait_for_bulk_async("x", timeout=None)),
    "a wait that pauses": (RUN, lambda client: client.wait_for_bulk_async("x", timeout=None, interval=60)),
    "many waits": (RUN, each),
    "a start": (Wire.hold, lambda client: client.start_bulk_async({"a": 1}, BULK)),
    "a clone": (Wire.hold, lambda client: client.start_clone_async("x")),
}


def assert_ended_by_close(error: BaseException | None) -> None:
    """A start may have happened, so that its error is not that of all others."""
    cause = error.__cause__ if isinstance(error, StartUncertainError) else error
    assert isinstance(cause, ClosedError)
    assert isinstance(cause, RuntimeError)
    assert (cause.id, cause.transient) == (None, False)
    assert str(cause) == f"{cause.host}: the client is closed"


@pytest.mark.parametrize(("answer", "call"), BLOCKING.values(), ids=BLOCKING)
def test_a_blocking_call_ends(peer: Peer, answer: Answer, call: Callable[[Client], Any]) -> None:
    peer.answer(answer)
    client = at(peer)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(call, client)
        peer.wait_for(lambda: len(peer.requests) >= 1)
        closed = time.monotonic()
        client.close()
        assert_ended_by_close(running.exception(60))
        assert time.monotonic() - closed < 20
    # A request that was under way ends its connection; an idle one is kept for others.
    peer.wait_for(lambda: peer.open <= (16 if answer is RUN else 0))


@pytest.mark.parametrize(("answer", "call"), AWAITED.values(), ids=AWAITED)
def test_an_awaited_call_ends(peer: Peer, answer: Answer, call: Callable[[Client], Any]) -> None:
    peer.answer(answer)
    client = at(peer)

    async def main() -> None:
        running = asyncio.ensure_future(call(client))
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) >= 1)
        client.close()
        await asyncio.wait({running}, timeout=60)
        assert_ended_by_close(running.exception())

    asyncio.run(main())


def test_a_pool_of_endless_waits_lets_the_process_go_on(peer: Peer) -> None:
    peer.answer(RUN)
    with ThreadPoolExecutor(8) as threads, at(peer) as client:
        ended = [threads.submit(client.wait_for_bulk, id, timeout=None) for id in IDS[:8]]
        peer.wait_for(lambda: len(peer.requests) >= 8)
    assert {str(one.exception()) for one in ended} == {f"{peer.host}: the client is closed"}


def test_another_client_of_the_same_server_goes_on(peer: Peer, other: Peer) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.5)
        wire.send(RUN)

    peer.answer(late)
    closed, kept = at(peer), at(peer)
    with ThreadPoolExecutor(2) as threads:
        ends, stays = threads.submit(closed.get_bulk_status, "x"), threads.submit(kept.get_bulk_status, "x")
        peer.wait_for(lambda: len(peer.requests) == 2)
        closed.close()
        assert isinstance(ends.exception(60), ClosedError)
        assert stays.result(60) == {"finished": False}


@pytest.mark.parametrize("verb", ["start_clone", "start_clone_async"])
def test_a_start_may_have_happened(peer: Peer, caplog: pytest.LogCaptureFixture, verb: str) -> None:
    caplog.set_level(logging.WARNING, "saymon_bulk")
    peer.answer(Wire.hold)
    client = at(peer)

    def close() -> None:
        peer.wait_for(lambda: len(peer.requests) == 1)
        client.close()

    def start() -> None:
        started = getattr(client, verb)("x")
        if verb.endswith("_async"):
            asyncio.run(started)

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(StartUncertainError, match=r"^Perhaps started\. Look at the server") as caught:
        start()
    closing.join()
    assert_ended_by_close(caught.value)
    assert caught.value.request_id == dict(headers(peer.requests[0]))["x-request-id"]
    assert caught.value.request_id in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("is_awaited", [False, True], ids=["blocking", "awaited"])
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_nothing_is_sent_while_the_loop_body_runs_on(desk: Desk, count: int, is_awaited: bool) -> None:
    desk.answer(RUN)
    desk.of = {"first": END}
    client, ids = proved(desk), ["first", *(f"op-{n}" for n in range(count))]
    after: list[int] = []
    schedule: dict[str, Any] = {"interval": 1.0, "max_interval": 1.0}

    def body() -> None:
        desk.wait_for(lambda: len(desk.requests) == 1 + count)
        client.close()
        after.append(len(desk.requests))

    def blocking() -> None:
        for _ in client.wait_for_bulks(ids, **schedule):
            body()
            time.sleep(2)

    async def awaited() -> None:
        async for _ in client.wait_for_bulks_async(ids, **schedule):
            body()
            await asyncio.sleep(2)

    with pytest.raises(ClosedError):
        asyncio.run(awaited()) if is_awaited else blocking()
    # Of many, as many as go at the same time are on their second poll by then.
    assert after[0] <= len(desk.requests) <= after[0] + (16 if count == 5_000 else 0)


def test_a_wait_that_is_closed_by_its_own_loop(peer: Peer) -> None:
    peer.answer(RUN)
    client = at(peer)
    polls = []

    def on_poll(*poll: Any) -> None:
        polls.append(poll)
        client.close()

    with pytest.raises(ClosedError, match="the client is closed"):
        client.wait_for_bulk("x", interval=0.01, on_poll=on_poll)
    assert len(polls) == 1
