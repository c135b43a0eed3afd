"""A server that limits its rate: waits slow down together, and none is given up while others get answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from peer import END, RUN, Answer, Desk, Wire, at, collected, id_of, no_hanging, proved, response
from saymon_bulk import Client, ClosedError, WaitTimeoutError

_no_hanging = no_hanging()


class Limited(Desk):
    """It answers so many requests a second, and the rest with an error; each operation finishes at its third answer."""

    def __init__(self, rate: float, status: int, *headers: str) -> None:
        self.refusal = response("{}", status, *headers)
        self.rate, self.free, self.refused = rate, 0.0, 0
        self.answers: dict[str, int] = {}
        super().__init__()

    def _script_for(self, request: bytes) -> list[Answer]:
        now, id = time.monotonic(), id_of(request)
        if now < self.free:
            self.refused += 1
            return [self.refusal]
        self.free = now + 1 / self.rate
        self.answers[id] = self.answers.get(id, 0) + 1
        return [END if self.answers[id] >= 3 else RUN]


def waits(desk: Desk, ids: list[str], **more: Any) -> dict[str, Any]:
    return dict(proved(desk).wait_for_bulks(ids, **more))


def waits_async(desk: Desk, ids: list[str], **more: Any) -> dict[str, Any]:
    return asyncio.run(collected(proved(desk), ids, **more))


@pytest.mark.slow
@pytest.mark.parametrize("wait", [waits, waits_async])
@pytest.mark.parametrize("status", [429, 503])
def test_many_waits_behind_a_limit(wait: Any, status: int) -> None:
    ids = [f"op-{number}" for number in range(60)]
    with Limited(100, status) as desk:
        found = wait(desk, ids, interval=0.1, max_interval=1, retries=3, timeout=30)
        assert found == {id: {"finished": True} for id in ids}
        # Each needs three answers; of what was asked besides, most would be refused without a shared rate.
        assert desk.refused < 3 * 60


@pytest.mark.slow
def test_waits_of_several_threads_share_the_rate() -> None:
    ids = [f"op-{number}" for number in range(16)]
    with Limited(60, 503) as desk, ThreadPoolExecutor(16) as threads:
        clients = {id: proved(desk) for id in ids}
        more: dict[str, Any] = {"interval": 0.05, "max_interval": 1, "retries": 10}
        ends = [threads.submit(client.wait_for_bulk, id, **more) for id, client in clients.items()]
        assert [one.result(60) for one in ends] == [{"finished": True}] * 16
        assert desk.refused < 16 * 6


@pytest.mark.slow
def test_a_pause_that_one_is_asked_for_is_for_all() -> None:
    begun = threading.Event()
    times: list[float] = []

    class Once(Desk):
        def _script_for(self, request: bytes) -> list[Answer]:
            times.append(time.monotonic())
            if begun.is_set():
                return [END]
            begun.set()
            return [response("{}", 503, "Retry-After: 1")]

    with Once() as desk:
        dict(
            proved(desk).wait_for_bulks([f"op-{number}" for number in range(4)], concurrency=1, interval=0.1, max_interval=2)
        )
    assert len(times) == 5
    assert all(later - times[0] >= 0.95 for later in times[1:])


@pytest.mark.slow
@pytest.mark.clock
def test_the_rate_recovers(desk: Desk) -> None:
    refusals = [response("{}", 503)] * 6
    desk.of = {"op": [*refusals, *[RUN] * 60, END]}
    began = time.monotonic()
    assert at(desk).wait_for_bulk("op", interval=0.01, max_interval=0.06, retries=6)["finished"]
    slow = time.monotonic() - began
    desk.of = {"op": [*[RUN] * 20, END]}
    began = time.monotonic()
    at(desk).wait_for_bulk("op", interval=0.01, max_interval=0.01)
    assert time.monotonic() - began < slow / 4


class Outage(Desk):
    """It answers with an error until it is well."""

    is_well = False
    refusal = response("{}", 503)

    def _script_for(self, request: bytes) -> list[Answer]:
        return [END if self.is_well else self.refusal]

    def recovers_for(self, client: Client, **more: Any) -> None:
        """It is well from now on, and a wait of this client knows it soon."""
        self.is_well = True
        began = time.monotonic()
        assert client.wait_for_bulk("x", **more)["finished"]
        assert time.monotonic() - began < 5


@pytest.mark.slow
def test_looks_during_an_outage_delay_no_later_wait() -> None:
    with Outage() as desk:
        one = proved(desk)
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            with pytest.raises(WaitTimeoutError):
                one.wait_for_bulk("x", timeout=0)
        desk.recovers_for(one, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("wait", [waits, waits_async])
def test_a_wait_that_has_ended_delays_no_other_one(wait: Any) -> None:
    with Outage() as desk:
        other = proved(desk)
        with pytest.raises(WaitTimeoutError):
            wait(desk, [f"op-{number}" for number in range(16)], timeout=3, max_interval=2, retries=100)
        desk.recovers_for(other, timeout=60)


@pytest.mark.slow
def test_a_closed_client_delays_no_other_one() -> None:
    with Outage() as desk:
        one, other = proved(desk), proved(desk)
        threading.Timer(3, one.close).start()
        with pytest.raises(ClosedError, match="closed"):
            dict(one.wait_for_bulks([f"op-{number}" for number in range(16)], max_interval=2, retries=100))
        desk.recovers_for(other, timeout=60)


@pytest.mark.slow
def test_a_wait_pauses_no_longer_than_it_may_itself() -> None:
    with Outage() as desk:
        desk.refusal = response("{}", 503, "Retry-After: 30")
        one, other = proved(desk), proved(desk)
        with pytest.raises(WaitTimeoutError):
            one.wait_for_bulk("x", timeout=0, max_interval=3600)
        desk.recovers_for(other, interval=0.1, max_interval=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_a_large_wait_leaves_turns_to_a_small_one(is_async: bool) -> None:
    many = [f"many-{number}" for number in range(20)]
    more: dict[str, Any] = {"interval": 0.05, "max_interval": 0.2, "retries": 10**6, "timeout": 4}
    with Outage() as desk:
        one = proved(desk)

        async def at_once() -> None:
            few = [one.wait_for_bulk_async(f"few-{number}", **more) for number in range(3)]
            found = await asyncio.gather(collected(one, many, **more), *few, return_exceptions=True)
            assert {type(end) for end in found} == {WaitTimeoutError}

        if is_async:
            asyncio.run(at_once())
        else:
            with ThreadPoolExecutor(4) as threads:
                ends: list[Future[Any]] = [threads.submit(one.wait_for_bulk, f"few-{number}", **more) for number in range(3)]
                ends.append(threads.submit(lambda: dict(one.wait_for_bulks(many, **more))))
                assert {type(end.exception()) for end in ends} == {WaitTimeoutError}
        polls = Counter(map(id_of, desk.requests))
        assert min(polls[f"few-{number}"] for number in range(3)) > 3
        assert sum(polls[id] for id in many) > 3


def test_alone_an_operation_is_given_up(desk: Desk) -> None:
    desk.answer(response("{}", 503))
    with pytest.raises(Exception, match="HTTP 503"):
        at(desk).wait_for_bulk("x", interval=0.01, max_interval=0.02, retries=3)
    assert len(desk.requests) == 4


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize("concurrency", [16, 1024])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["blocking", "awaited"])
def test_polls_that_wait_at_the_gate_wait_as_the_server_asks(
    desk: Desk, count: int, concurrency: int, is_awaited: bool
) -> None:
    times: list[float] = []

    def throttle(wire: Wire) -> None:
        times.append(time.monotonic())
        wire.send(response("", 503, "Retry-After: 30"))

    desk.answer(throttle)
    ids = [f"op-{number}" for number in range(count)]
    schedule: dict[str, Any] = {"timeout": 4, "interval": 0.01, "max_interval": 60, "concurrency": concurrency}
    client = at(desk)
    if is_awaited:
        found = asyncio.run(collected(client, ids, return_exceptions=True, **schedule))
    else:
        found = dict(client.wait_for_bulks(ids, return_exceptions=True, **schedule))
    assert {type(error) for error in found.values()} == {WaitTimeoutError}
    # One of them goes ahead, and the others ask near the deadline.
    assert sum(moment < times[0] + 2 for moment in times) == 1
