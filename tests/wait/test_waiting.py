"""Waiting: the schedule, the deadline, what is tolerated, on_poll; for one and for many, blocking and awaited."""

from __future__ import annotations

import asyncio
import copy
import email.utils
import math
import pickle
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import (
    END,
    FINISHED,
    ID,
    LOGIN,
    PASSWORD,
    QUICK,
    RUN,
    RUNNING,
    Act,
    Answer,
    Desk,
    Peer,
    Wire,
    at,
    id_of,
    no_hanging,
    response,
)
from saymon_bulk import (
    Client,
    HTTPStatusError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    TransportError,
    WaitTimeoutError,
)
from saymon_bulk.testing import PracticeServer
from servers import Certificates

BUSY = response("{}", 503)
BROKEN = response("{}", 500)
NOT_FOUND = response("{}", 404)

# What a busy machine may add to a pause. Between an answer and the next request, no pause is shorter than it should be. A
# request without an answer may reach the server late, and the next one on time: such pauses count from an earlier moment.
SLACK = 8.0
# The same, where nothing else runs (`clock`).
TIGHT = 0.5
LATEST = 1.0 + SLACK

Wait = Callable[..., Any]

_no_hanging = no_hanging()


class Clock(Desk):
    """A desk that notes when it was asked, and for what."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.asked: list[str] = []
        super().__init__()

    def _next_answer(self, request: bytes) -> Answer:
        with self._changed:
            self.times.append(time.monotonic())
            self.asked.append(id_of(request))
        return super()._next_answer(request)

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:])]

    def settled(self) -> int:
        """How often it was asked, once nobody asks any more."""
        time.sleep(0.05)
        count = len(self.requests)
        time.sleep(0.2)
        assert len(self.requests) == count, "the polling goes on"
        return count


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as clock:
        yield clock


def client_of(host: str, more: dict[str, Any]) -> Client:
    options = {name: more.pop(name) for name in ("request_timeout", "verify") if name in more}
    return Client(host, LOGIN, PASSWORD, **options)


def wait_blocking(host: str, id: str = ID, **more: Any) -> Any:
    return client_of(host, more).wait_for_bulk(id, **more)


def wait_awaited(host: str, id: str = ID, **more: Any) -> Any:
    return asyncio.run(client_of(host, more).wait_for_bulk_async(id, **more))


@pytest.fixture(params=["blocking", "awaited"])
def wait(request: pytest.FixtureRequest) -> Wait:
    """wait_for_bulk, and its twin."""
    return wait_blocking if request.param == "blocking" else wait_awaited


def waits_blocking(host: str, ids: Any, **more: Any) -> list[tuple[str, Any]]:
    return list(client_of(host, more).wait_for_bulks(ids, **more))


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def waits_awaited(host: str, ids: Any, **more: Any) -> list[tuple[str, Any]]:
    return asyncio.run(listed(client_of(host, more).wait_for_bulks_async(ids, **more)))


@pytest.fixture(params=["blocking", "awaited"])
def waits(request: pytest.FixtureRequest) -> Wait:
    """wait_for_bulks, and its twin, as a list."""
    return waits_blocking if request.param == "blocking" else waits_awaited


def late(wait: Wait, *arguments: Any, **more: Any) -> WaitTimeoutError:
    with pytest.raises(WaitTimeoutError) as caught:
        wait(*arguments, **more)
    return caught.value


# The schedule


def test_the_first_poll_is_at_once(clock: Clock, wait: Wait) -> None:
    began = time.monotonic()
    assert wait(clock.host, interval=30) == FINISHED
    assert clock.times[0] - began < SLACK
    assert len(clock.times) == 1


@pytest.mark.clock
def test_a_pause_is_a_tenth_of_the_time_waited_within_its_limits(clock: Clock, wait: Wait) -> None:
    interval, max_interval, polls = 0.05, 0.1, 20
    clock.answer(*[RUN] * polls, END)
    began = time.monotonic()
    assert wait(clock.host, interval=interval, max_interval=max_interval) == FINISHED
    assert len(clock.pauses) == polls
    for moment, pause in zip(clock.times, clock.pauses):
        assert pause >= 0.9 * min(max((moment - clock.times[0]) / 10, interval), max_interval) - 0.005
    assert clock.times[-1] - began < 1.1 * polls * max_interval + TIGHT
    # Pauses that grew by half would reach the limit with the third.
    assert sorted(clock.pauses[:8])[4] < 0.08


@pytest.mark.clock
def test_pauses_after_failures_grow_by_half_up_to_their_limit(clock: Clock, wait: Wait) -> None:
    expected = [0.05, 0.05, 0.075, *[0.1] * 4]
    clock.answer(RUN, *[BROKEN] * (len(expected) - 1), END)
    assert wait(clock.host, interval=0.05, max_interval=0.1) == FINISHED
    assert len(clock.pauses) == len(expected)
    for pause, nominal in zip(clock.pauses, expected):
        assert pause >= 0.9 * nominal
    # Without a limit, the last alone would be 0.38 s.
    assert clock.times[-1] - clock.times[0] < 1.1 * sum(expected) + TIGHT


@pytest.mark.clock
def test_an_answer_ends_the_growth_of_the_pauses(clock: Clock, wait: Wait) -> None:
    clock.answer(*[BROKEN] * 6, RUN, *[RUN] * 4, END)
    assert wait(clock.host, interval=0.05, max_interval=2) == FINISHED
    assert clock.pauses[5] >= 0.9 * 0.05 * 1.5**5
    # A tenth of the time that the failures took, or the interval.
    assert sorted(clock.pauses[6:])[2] < 0.2


def test_a_limit_below_the_interval(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN, RUN, END)
    wait(clock.host, interval=0.2, max_interval=0.01)
    assert all(0.18 <= pause < 0.22 + SLACK for pause in clock.pauses)


@pytest.mark.clock
def test_the_pauses_of_many_differ(clock: Clock, waits: Wait) -> None:
    """By a tenth at most, and so also less than their nominal length."""
    ids = [f"op-{n}" for n in range(40)]
    clock.of = {id: [RUN, RUN, END] for id in ids}
    assert sorted(waits(clock.host, ids, interval=0.4, concurrency=40)) == [(id, FINISHED) for id in sorted(ids)]
    of: dict[str, list[float]] = {id: [] for id in ids}
    for id, moment in zip(clock.asked, clock.times):
        of[id].append(moment)
    for turn, nominal in enumerate([0.4, 0.4]):
        pauses = sorted(moments[turn + 1] - moments[turn] for moments in of.values())
        assert 0.9 * nominal <= pauses[0] < nominal
        assert pauses[-1] - pauses[0] > 0.02
        assert pauses[-1] < 1.1 * nominal + TIGHT


def test_the_pause_begins_when_the_answer_has_come(clock: Clock, wait: Wait) -> None:
    def slowly(wire: Wire) -> None:
        wire.stopping.wait(0.3)
        wire.send(RUN)

    clock.answer(slowly, END)
    wait(clock.host, interval=0.2)
    assert clock.pauses[0] >= 0.3 + 0.18 - 0.005  # two clocks of milliseconds


# Retry-After


@pytest.mark.clock
def test_retry_after_seconds_lengthen_the_next_pause(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN, response("{}", 429, "Retry-After: 1"), RUN, END)
    assert wait(clock.host, **QUICK) == FINISHED
    before, at, after = clock.pauses
    assert 1.0 <= at < 1.0 + TIGHT
    assert before < TIGHT
    assert after < TIGHT


@pytest.mark.slow
def test_retry_after_a_date_lengthens_the_next_pause(clock: Clock, wait: Wait) -> None:
    moments: list[float] = []

    def busy(wire: Wire) -> None:
        moments.append(math.floor(time.time()) + 2)
        date = email.utils.formatdate(moments[0], usegmt=True)
        wire.send(response("{}", 503, f"Retry-After: {date}"))

    def end(wire: Wire) -> None:
        moments.append(time.time())
        wire.send(END)

    clock.answer(busy, end)
    assert wait(clock.host, **QUICK) == FINISHED
    asked_for, came = moments
    assert asked_for - 0.01 <= came < asked_for + SLACK


def test_retry_after_shortens_nothing(clock: Clock, wait: Wait) -> None:
    past = "Sun, 06 Nov 1994 08:49:37 GMT"
    clock.answer(response("{}", 503, "Retry-After: 0"), response("{}", 503, f"Retry-After: {past}"), END)
    wait(clock.host, interval=0.2)
    assert clock.pauses[0] >= 0.18
    assert clock.pauses[1] >= 0.27  # the second failure in a row


RUBBISH = [
    "",
    "-1",
    "-999999",
    "1.5",
    "9 s",
    "soon",
    "0x10",
    "+9",
    "1e3",
    "9, 9",
    "Sun, 99 Nov 2094 08:49:37 GMT",
    "\xb2\xb9",
]


def test_rubbish_in_retry_after_is_ignored(clock: Clock, wait: Wait) -> None:
    clock.answer(*[response("{}", 503, f"Retry-After: {text}") for text in RUBBISH], END)
    assert wait(clock.host, retries=len(RUBBISH), **QUICK) == FINISHED
    assert max(clock.pauses) < SLACK


@pytest.mark.parametrize("value", ["3600", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_beyond_the_deadline(clock: Clock, wait: Wait, value: str) -> None:
    clock.answer(response("{}", 503, f"Retry-After: {value}"), END)
    began = time.monotonic()
    assert wait(clock.host, timeout=0.3, **QUICK) == FINISHED
    assert 0.28 <= clock.times[1] - began < 0.3 + SLACK


@pytest.mark.parametrize("timeout", [0.3, 1.5])
def test_retry_after_longer_than_the_longest_pause(clock: Clock, wait: Wait, timeout: float) -> None:
    """The wait polls at its deadline all the same: the operation may have finished."""
    clock.answer(response("{}", 503, "Retry-After: 100"), END)
    began = time.monotonic()
    assert wait(clock.host, timeout=timeout) == FINISHED
    assert timeout <= clock.times[1] - began < timeout + SLACK


@pytest.mark.slow
def test_retry_after_that_another_wait_was_told(clock: Clock, wait: Wait) -> None:
    pause = response("{}", 503, "Retry-After: 100")
    clock.answer(pause, pause, END)
    client = Client(clock.host, LOGIN, PASSWORD)
    with pytest.raises(WaitTimeoutError):
        client.wait_for_bulk("told", timeout=0.1)
    with ThreadPoolExecutor(1) as pool:
        longer = pool.submit(client.wait_for_bulk, "longer", timeout=3)
        time.sleep(0.2)  # until it waits for its turn
        began = time.monotonic()
        assert wait(clock.host, timeout=0.5) == FINISHED
        assert 0.5 <= clock.times[2] - began < 0.5 + SLACK
        assert longer.result() == FINISHED


# The deadline


def test_the_last_pause_is_cut_and_followed_by_one_last_poll(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN)
    began = time.monotonic()
    error = late(wait, clock.host, timeout=0.3, interval=30, max_interval=60)
    took = time.monotonic() - began
    assert len(clock.times) == 2
    assert 0.3 <= clock.times[1] - began < 0.3 + SLACK
    assert 0.3 <= error.elapsed <= took < 0.3 + 2 * SLACK


def test_the_last_poll_counts(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN, END)
    assert wait(clock.host, timeout=0.2, interval=30) == FINISHED


def test_the_deadline_among_many_polls(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN)
    began = time.monotonic()
    error = late(wait, clock.host, timeout=0.5, interval=0.1, max_interval=0.1)
    assert 2 <= len(clock.times) <= 7
    assert 0.5 <= clock.times[-1] - began < 0.5 + SLACK
    assert (error.id, error.host) == (ID, clock.host)


@pytest.mark.slow
@pytest.mark.parametrize("polls", [0, 1])
def test_a_hung_server_does_not_hold_it(clock: Clock, wait: Wait, polls: int) -> None:
    clock.answer(*[RUN] * polls, Wire.hold)
    began = time.monotonic()
    error = late(wait, clock.host, timeout=0.3, **QUICK)
    took = time.monotonic() - began
    assert 0.3 <= took < 0.3 + LATEST
    assert error.pending == {ID: RUNNING if polls else None}
    clock.wait_until_left()


@pytest.mark.slow
def test_a_dripping_server_does_not_hold_it(clock: Clock) -> None:
    clock.answer(RUN, lambda wire: wire.drip([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 400], 0.02))
    began = time.monotonic()
    late(wait_blocking, clock.host, timeout=0.3, **QUICK)
    assert 0.3 <= time.monotonic() - began < 0.3 + LATEST


@pytest.mark.slow
def test_many_hung_requests_do_not_hold_it(clock: Clock, waits: Wait) -> None:
    clock.answer(Wire.hold)
    ids = [f"op-{n}" for n in range(8)]
    began = time.monotonic()
    error = late(waits, clock.host, ids, timeout=0.2, concurrency=2)
    assert 0.2 <= time.monotonic() - began < 0.2 + LATEST
    assert error.pending == dict.fromkeys(ids)


def test_a_request_timeout_shorter_than_the_deadline(clock: Clock, wait: Wait) -> None:
    clock.answer(Wire.hold, RUN, Wire.hold, END)
    began = time.monotonic()
    assert wait(clock.host, request_timeout=0.2, **QUICK) == FINISHED
    assert clock.times[1] - began >= 0.2
    assert clock.times[3] - clock.times[1] >= 0.2


@pytest.mark.slow
def test_many_request_timeouts_in_a_row(clock: Clock, wait: Wait) -> None:
    """At the very moments at which a blocking call looks for signals."""
    hold: list[Answer] = [Wire.hold]
    clock.answer(RUN, *hold * 12, END)
    assert wait(clock.host, request_timeout=0.1, retries=12, interval=0.01, max_interval=0.01) == FINISHED
    assert len(clock.times) == 14


def test_no_time_asks_once(clock: Clock, wait: Wait) -> None:
    assert wait(clock.host, timeout=0) == FINISHED
    clock.answer(RUN, END)
    error = late(wait, clock.host, timeout=0.0)
    assert error.pending == {ID: RUNNING}
    assert len(clock.times) == 2


def test_no_time_and_a_failure(clock: Clock, wait: Wait) -> None:
    clock.answer(BUSY, END)
    error = late(wait, clock.host, timeout=0)
    assert isinstance(error.__cause__, HTTPStatusError)
    assert len(clock.times) == 1
    clock.answer(NOT_FOUND)
    with pytest.raises(NotFoundError):
        wait(clock.host, timeout=0)


def test_no_time_asks_each_once(clock: Clock, waits: Wait) -> None:
    ids = [f"op-{n}" for n in range(50)]
    clock.of = {id: [RUN] for id in ids}
    clock.of["op-7"] = [END]
    found = waits(clock.host, ids, timeout=0, concurrency=3, return_exceptions=True)
    assert sorted(clock.asked) == sorted(ids)
    assert {id for id, outcome in found if outcome == FINISHED} == {"op-7"}
    assert sorted(id for id, _ in found) == sorted(ids)


@pytest.mark.parametrize("timeout", [None, 1e300, 10**18])
def test_no_limit(clock: Clock, wait: Wait, timeout: Any) -> None:
    clock.answer(RUN, BUSY, RUN, END)
    assert wait(clock.host, timeout=timeout, **QUICK) == FINISHED


def test_a_very_short_time_asks_once_or_twice(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN)
    error = late(wait, clock.host, timeout=1e-9)
    assert 1 <= len(clock.times) <= 2
    assert error.pending == {ID: RUNNING}


# What is tolerated


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_tolerated_statuses(clock: Clock, wait: Wait, status: int) -> None:
    bad = response("<html>", status)
    clock.answer(bad, bad, RUN, bad, bad, END)
    assert wait(clock.host, retries=2, **QUICK) == FINISHED
    assert len(clock.times) == 6


FATAL = [201, 202, 204, 301, 302, 304, 400, 401, 403, 404, 405, 409, 410, 418, 501, 505, 507, 599]


@pytest.mark.parametrize("status", FATAL)
def test_fatal_statuses(clock: Clock, wait: Wait, status: int) -> None:
    bad = response("", status)
    for script in ([bad, END], [RUN, bad, END]):
        clock.answer(*script)
        clock.times.clear()
        with pytest.raises(HTTPStatusError) as caught:
            wait(clock.host, **QUICK)
        assert (caught.value.status_code, caught.value.id) == (status, ID)
        assert len(clock.times) == len(script) - 1


def half(wire: Wire) -> None:
    wire.send(END[:-4])


CUTS: dict[str, Act] = {
    "closed": lambda wire: None,
    "reset": Wire.reset,
    "half an answer": half,
    "half a head": lambda wire: wire.send(b"HTTP/1.1 200 O"),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_cut_connections_are_tolerated(clock: Clock, wait: Wait, cut: Act) -> None:
    clock.answer(cut, cut, RUN, cut, cut, END)
    assert wait(clock.host, retries=2, **QUICK) == FINISHED


@pytest.mark.parametrize("bad", [b"[true]", b"", b'{"finished": "true"}', b"<html>", b"{}"])
def test_bad_answers_are_fatal(clock: Clock, wait: Wait, bad: bytes) -> None:
    for script in ([response(bad), END], [RUN, response(bad), END]):
        clock.answer(*script)
        clock.times.clear()
        with pytest.raises(ResponseError):
            wait(clock.host, **QUICK)
        assert len(clock.times) == len(script) - 1


def test_refused_at_first_is_tolerated_up_to_retries(nobody: str, wait: Wait) -> None:
    with pytest.raises(TransportError, match="refused"):
        wait(f"http://{nobody}", retries=3, **QUICK)


def test_a_server_that_is_down_when_the_wait_begins(wait: Wait) -> None:
    with PracticeServer(LOGIN, PASSWORD) as server:
        id, host = server.add_bulk(0.0), server.host
        server.stop()
        comes_up = threading.Timer(0.5, server.start)
        comes_up.start()
        assert wait(host, id=id, interval=0.05, max_interval=0.1, retries=100) == FINISHED
        comes_up.join()


def test_a_name_that_does_not_resolve_is_fatal_at_first(wait: Wait) -> None:
    began = time.monotonic()
    with pytest.raises(TransportError):
        wait("https://monitor.invalid", interval=30)
    assert time.monotonic() - began < 20


def test_refused_later_is_tolerated_up_to_retries(wait: Wait) -> None:
    polls: list[float] = []
    with PracticeServer(LOGIN, PASSWORD, math.inf) as server:
        id = server.add_bulk()

        def stop(*_: object) -> None:
            server.stop()
            polls.append(time.monotonic())

        with pytest.raises(TransportError) as caught:
            wait(server.host, id, interval=0.1, max_interval=0.1, retries=4, on_poll=stop)
    assert not isinstance(caught.value, RequestTimeoutError)
    # Four are tolerated, the fifth is raised.
    assert 5 * 0.09 <= time.monotonic() - polls[0] < 5 * 0.11 + 2 * SLACK


def speaking_tls(certificates: Certificates, *names: str) -> Act:
    """A greeting: each connection shows the next certificate, the last for ever; `plain` shows none."""
    left = list(names)

    def greet(wire: Wire) -> None:
        name = left.pop(0) if len(left) > 1 else left[0]
        if name == "plain":
            wire.socket.recv(65536)
            wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate(name), certificates.key(name))
        with context.wrap_socket(wire.socket, server_side=True) as secure:
            received = b""
            while b"\r\n\r\n" not in received:
                data = secure.recv(65536)
                if not data:
                    return
                received += data
            secure.sendall(RUN if len(left) > 1 else END)

    return greet


def test_tls_failures(clock: Clock, wait: Wait, certificates: Certificates) -> None:
    more = {"verify": str(certificates.ca), "timeout": 10, **QUICK}
    host = f"https://localhost:{clock.port}"
    # A certificate that is not to be trusted: at once, and later as well.
    clock.greeting = speaking_tls(certificates, "unknown-ca")
    with pytest.raises(TransportError, match="certificate"):
        wait(host, **more)
    assert clock.connections == 1
    clock.greeting = speaking_tls(certificates, "good", "expired", "good")
    with pytest.raises(TransportError, match="certificate"):
        wait(host, **more)
    assert clock.connections == 3
    # No TLS at all: at first it is the wrong port, later perhaps a server that comes up.
    clock.greeting = speaking_tls(certificates, "plain", "good")
    with pytest.raises(TransportError):
        wait(host, **more)
    assert clock.connections == 4
    clock.greeting = speaking_tls(certificates, "good", "plain", "plain", "good")
    assert wait(host, **more) == FINISHED
    assert clock.connections == 8


# How often


def test_retries_are_used_up(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN, BUSY, response("{}", 502), response("{}", 504), END)
    with pytest.raises(HTTPStatusError) as caught:
        wait(clock.host, retries=2, **QUICK)
    assert caught.value.status_code == 504
    assert len(clock.times) == 4


@pytest.mark.slow
def test_ten_retries_if_nothing_is_said(clock: Clock, wait: Wait) -> None:
    clock.answer(*[BUSY] * 10, END)
    assert wait(clock.host, **QUICK) == FINISHED
    clock.answer(BUSY)
    clock.times.clear()
    with pytest.raises(HTTPStatusError):
        wait(clock.host, **QUICK)
    assert len(clock.times) == 11


def test_no_retries(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN, RUN, BUSY, END)
    with pytest.raises(HTTPStatusError):
        wait(clock.host, retries=0, **QUICK)
    assert len(clock.times) == 3
    clock.answer(Wire.reset)
    with pytest.raises(TransportError):
        wait(clock.host, retries=0, **QUICK)
    # On a kept connection it cannot be told from one that was closed before: sent once more.
    assert 4 <= len(clock.times) <= 5


def test_any_good_answer_resets_the_count(clock: Clock, wait: Wait) -> None:
    again: list[Answer] = [BUSY, Wire.reset, RUN]
    clock.answer(*again * 4, BUSY, BUSY, END)
    assert wait(clock.host, retries=2, **QUICK) == FINISHED
    assert len(clock.times) == 15


@pytest.mark.clock
def test_failures_are_polls_of_the_schedule(clock: Clock, wait: Wait) -> None:
    clock.answer(BUSY, BUSY, RUN, BUSY, END)
    wait(clock.host, interval=0.1)
    for pause, nominal in zip(clock.pauses, [0.1, 0.15, 0.1, 0.1]):
        assert 0.9 * nominal <= pause < 1.1 * nominal + TIGHT


@pytest.mark.slow
def test_each_operation_has_its_own_retries(clock: Clock, waits: Wait) -> None:
    ids = [f"op-{n}" for n in range(6)]
    clock.of = {id: [BUSY, BUSY, RUN, BUSY, BUSY, END] for id in ids}
    found = waits(clock.host, ids, retries=2, **QUICK)
    assert sorted(found) == [(id, FINISHED) for id in ids]


def test_retries_without_end(clock: Clock, wait: Wait) -> None:
    clock.answer(*[BUSY] * 30, END)
    assert wait(clock.host, retries=10**30, interval=0.01, max_interval=0.01) == FINISHED


# A server that is restarted


def restarting(server: PracticeServer, *ids: str) -> tuple[Callable[..., None], threading.Event]:
    """An on_poll: at the first poll the server goes down for a while; then all has finished."""
    again = threading.Event()

    def come_back() -> None:
        for id in ids:
            server.add_bulk(0, id=id)
        server.start()
        again.set()

    polled: set[str] = set()

    def on_poll(id: str, status: object, elapsed: float) -> None:
        polled.add(id)
        if polled == set(ids) and not again.is_set() and not timer.is_alive():
            server.stop()
            timer.start()

    timer = threading.Timer(0.4, come_back)
    timer.daemon = True
    return on_poll, again


def test_a_restart_is_survived(wait: Wait) -> None:
    with PracticeServer(LOGIN, PASSWORD, math.inf) as server:
        id = server.add_bulk()
        on_poll, again = restarting(server, id)
        assert wait(server.host, id, timeout=20, interval=0.05, max_interval=0.1, retries=100, on_poll=on_poll) == FINISHED
        assert again.is_set()


@pytest.mark.slow
def test_a_restart_is_survived_by_many(waits: Wait) -> None:
    with PracticeServer(LOGIN, PASSWORD, math.inf) as server:
        ids = [server.add_bulk() for _ in range(20)]
        on_poll, again = restarting(server, *ids)
        more: dict[str, Any] = {"timeout": 20, "interval": 0.05, "max_interval": 0.1, "retries": 100}
        found = waits(server.host, ids, on_poll=on_poll, concurrency=4, **more)
        assert sorted(found) == sorted((id, FINISHED) for id in ids)
        assert again.is_set()


def test_a_restart_that_forgets_is_not(wait: Wait) -> None:
    with PracticeServer(LOGIN, PASSWORD, math.inf) as server:
        id = server.add_bulk()
        with pytest.raises(NotFoundError):
            wait(server.host, id, timeout=20, on_poll=lambda *_: server.restart(forget=True), **QUICK)


# on_poll


def test_on_poll_after_every_good_answer(clock: Clock, wait: Wait) -> None:
    polls: list[tuple[Any, ...]] = []
    first = response('{"z": 1, "finished": false}')
    clock.answer(BUSY, first, Wire.reset, RUN, END)
    began = time.monotonic()
    result = wait(clock.host, on_poll=lambda *three: polls.append((*three, threading.get_ident())), **QUICK)
    took = time.monotonic() - began
    assert [poll[:2] for poll in polls] == [(ID, {"z": 1, "finished": False}), (ID, RUNNING), (ID, FINISHED)]
    assert result == polls[-1][1]
    elapsed = [poll[2] for poll in polls]
    assert all(type(seconds) is float for seconds in elapsed)
    assert 0 < elapsed[0] < elapsed[1] < elapsed[2] <= took
    assert {poll[3] for poll in polls} == {threading.get_ident()}


def test_on_poll_is_called_before_the_next_poll(clock: Clock, wait: Wait) -> None:
    seen: list[int] = []
    clock.answer(RUN, RUN, END)
    wait(clock.host, on_poll=lambda *_: seen.append(len(clock.times)), interval=0.2)
    assert seen == [1, 2, 3]


def test_on_poll_in_another_thread_is_called_there(clock: Clock, wait: Wait) -> None:
    threads: list[int] = []
    caller = threading.Thread(target=lambda: wait(clock.host, on_poll=lambda *_: threads.append(threading.get_ident())))
    caller.start()
    caller.join(60)
    assert threads == [caller.ident]


class Enough(Exception):
    pass


class Base(BaseException):
    pass


@pytest.mark.parametrize("kind", [Enough, NotFoundError, TimeoutError, KeyboardInterrupt, SystemExit, Base])
def test_what_on_poll_raises_comes_out(clock: Clock, wait: Wait, kind: type[BaseException]) -> None:
    clock.answer(RUN)
    error = kind("of on_poll")

    def on_poll(*_: object) -> None:
        raise error

    with pytest.raises(kind) as caught:
        wait(clock.host, on_poll=on_poll, **QUICK)
    assert caught.value is error
    assert clock.settled() == 1
    clock.answer(END)
    assert wait(clock.host, on_poll=None) == FINISHED


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, GeneratorExit])
def test_even_what_generators_take_for_their_own(clock: Clock, kind: type[BaseException]) -> None:
    clock.answer(RUN)

    def on_poll(*_: object) -> None:
        raise kind("of on_poll")

    with pytest.raises(kind, match="of on_poll"):
        wait_blocking(clock.host, on_poll=on_poll, **QUICK)


def test_an_error_of_the_last_on_poll_comes_out(clock: Clock, wait: Wait) -> None:
    def on_poll(*_: object) -> None:
        raise Enough

    with pytest.raises(Enough):
        wait(clock.host, on_poll=on_poll)


def test_an_error_of_on_poll_ends_the_wait_for_many(clock: Clock, waits: Wait) -> None:
    clock.answer(RUN)

    def on_poll(*_: object) -> None:
        raise Enough

    for return_exceptions in (False, True):
        with pytest.raises(Enough):
            waits(clock.host, ["a", "b"], on_poll=on_poll, return_exceptions=return_exceptions, **QUICK)
    clock.settled()


def test_on_poll_may_use_the_package(clock: Clock, other: Peer, wait: Wait) -> None:
    other.answer(RUN, END)
    inner: list[object] = []
    client = at(clock)
    clock.of = {"inner": [END]}
    clock.answer(RUN, END)

    def on_poll(*_: object) -> None:
        inner.append(client.get_bulk_status("inner"))
        inner.append(saymon_bulk.wait_for_bulk(other.host, ID, LOGIN, PASSWORD, interval=0.02))
        inner.extend(client.get_bulk_statuses(["inner"]).values())

    assert wait(clock.host, on_poll=on_poll, **QUICK) == FINISHED
    assert inner == [FINISHED] * 6


def test_on_poll_may_change_what_it_is_given(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN)
    statuses: list[dict[str, Any]] = []

    def on_poll(id: str, status: dict[str, Any], elapsed: float) -> None:
        statuses.append(status)
        status.clear()

    error = late(wait, clock.host, timeout=0.1, on_poll=on_poll, **QUICK)
    assert error.pending == {ID: RUNNING}
    assert len({id(status) for status in statuses}) == len(statuses)


# The error at the end


def test_what_the_error_says(clock: Clock, wait: Wait) -> None:
    clock.answer(response('{"finished": false, "more": [1]}'))
    error = late(wait, clock.host, timeout=0.1, **QUICK)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, SaymonError)
    assert not isinstance(error, ConnectionError)
    assert (error.host, error.id, error.args[0]) == (clock.host, ID, str(error))
    assert error.pending == {ID: {"finished": False, "more": [1]}}
    assert 0.1 <= error.elapsed < 0.1 + LATEST
    assert error.__cause__ is None
    assert ID in str(error)
    assert clock.host in str(error)
    assert PASSWORD not in str(error)


@pytest.mark.parametrize("bad", [BUSY, Wire.reset], ids=["503", "reset"])
def test_its_cause_is_what_was_tolerated_last(clock: Clock, wait: Wait, bad: Answer) -> None:
    clock.answer(response("{}", 500), RUN, response("{}", 502), bad)
    error = late(wait, clock.host, timeout=0.4, retries=100, **QUICK)
    assert error.pending == {ID: RUNNING}
    cause = error.__cause__
    assert isinstance(cause, TransportError) if callable(bad) else isinstance(cause, HTTPStatusError)
    assert isinstance(cause, SaymonError)
    assert (cause.id, cause.host) == (ID, clock.host)
    assert getattr(cause, "status_code", 503) == 503


def test_the_error_travels(clock: Clock) -> None:
    clock.of = {"a": [RUN], "b": [BUSY]}
    error = late(waits_blocking, clock.host, ["a", "b"], timeout=0.1, retries=100, **QUICK)
    twins = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in [*twins, copy.copy(error), copy.deepcopy(error)]:
        assert type(twin) is WaitTimeoutError
        assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)
        assert {**vars(twin), "failures": None} == {**vars(error), "failures": None}
        assert {id: str(one) for id, one in twin.failures.items()} == {"b": str(error.failures["b"])}
        assert twin.pending == {"a": RUNNING, "b": None}
        assert twin.elapsed == error.elapsed > 0.1


def test_what_could_not_be_asked_is_not_called_unfinished(clock: Clock, wait: Wait) -> None:
    clock.answer(RUN, BUSY)
    error = late(wait, clock.host, timeout=0.2, retries=100, **QUICK)
    assert (error.pending, list(error.failures)) == ({ID: RUNNING}, [ID])
    assert error.__cause__ is error.failures[ID]
    assert isinstance(error.failures[ID], HTTPStatusError)
    assert "not known to be finished after" in str(error)
    assert "the last poll failed: HTTP 503" in str(error)


def test_a_good_answer_ends_the_failures(clock: Clock, wait: Wait) -> None:
    clock.answer(BUSY, BUSY, RUN)
    error = late(wait, clock.host, timeout=0.2, retries=100, **QUICK)
    assert (error.pending, error.failures, error.__cause__) == ({ID: RUNNING}, {}, None)
    assert "not finished after" in str(error)


def test_of_how_many_the_last_poll_failed(clock: Clock, waits: Wait) -> None:
    clock.of = {"a": [RUN], "b": [BUSY], "c": [BUSY], "d": [END]}
    error = late(waits, clock.host, ["a", "b", "c", "d"], timeout=0.3, retries=100, **QUICK)
    assert set(error.failures) == {"b", "c"}
    assert "the last poll failed for 2 of them: HTTP 503" in str(error)


# Many


def test_each_comes_as_it_finishes(clock: Clock) -> None:
    clock.of = {"slow": [RUN], "quick": [RUN, END], "quickest": [END]}
    statuses = at(clock).wait_for_bulks(["slow", "quick", "quickest"], **QUICK)
    assert iter(statuses) is statuses
    assert next(statuses) == ("quickest", FINISHED)
    assert next(statuses) == ("quick", FINISHED)
    clock.of["slow"] = [END]
    assert next(statuses) == ("slow", FINISHED)
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(statuses)


def test_each_comes_as_it_finishes_awaited(clock: Clock) -> None:
    clock.of = {"slow": [RUN], "quick": [RUN, END], "quickest": [END]}
    client = at(clock)

    async def main() -> None:
        statuses = client.wait_for_bulks_async(["slow", "quick", "quickest"], **QUICK)
        assert statuses.__aiter__() is statuses
        assert await statuses.__anext__() == ("quickest", FINISHED)
        assert await statuses.__anext__() == ("quick", FINISHED)
        clock.of["slow"] = [END]
        assert await statuses.__anext__() == ("slow", FINISHED)
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await statuses.__anext__()

    asyncio.run(main())


@pytest.mark.slow
def test_a_mapping(clock: Clock, waits: Wait) -> None:
    ids = [f"op-{n}" for n in range(200)]
    clock.of = {id: [RUN, END] if n % 2 else [END] for n, id in enumerate(ids)}
    found = waits(clock.host, ids, **QUICK)
    assert len(found) == 200
    assert dict(found) == dict.fromkeys(ids, FINISHED)
    assert len(clock.requests) == 300


def test_on_poll_for_many(clock: Clock, waits: Wait) -> None:
    polls: list[tuple[str, Any]] = []
    threads: set[int] = set()

    def on_poll(id: str, status: Any, elapsed: float) -> None:
        polls.append((id, status["finished"]))
        threads.add(threading.get_ident())

    clock.of = {"a": [RUN, RUN, END], "b": [BUSY, END]}
    waits(clock.host, ["a", "b"], on_poll=on_poll, **QUICK)
    assert [told for id, told in polls if id == "a"] == [False, False, True]
    assert [told for id, told in polls if id == "b"] == [True]
    assert threads == {threading.get_ident()}


class Counting(Clock):
    """It holds each request for a moment and counts how many it has."""

    def __init__(self) -> None:
        self.in_hand = 0
        self.most = 0
        super().__init__()

    def _next_answer(self, request: bytes) -> Answer:
        with self._changed:
            self.in_hand += 1
            self.most = max(self.most, self.in_hand)
        self._stopping.wait(0.02)
        with self._changed:
            self.in_hand -= 1
        return super()._next_answer(request)


def test_the_bound_of_polls_under_way(waits: Wait) -> None:
    with Counting() as counting:
        ids = [f"op-{n}" for n in range(30)]
        counting.of = {id: [RUN, RUN, END] for id in ids}
        assert len(waits(counting.host, ids, concurrency=3, interval=0.01, max_interval=0.01)) == 30
        assert counting.most == 3


@pytest.mark.slow
def test_a_hung_one_does_not_hold_the_others(clock: Clock, waits: Wait) -> None:
    clock.of = {"first": [RUN, END], "hung": [Wire.hold], **{f"op-{n}": [RUN, END] for n in range(10)}}
    ids = list(clock.of)
    found = waits(clock.host, ids, timeout=0.5, concurrency=2, return_exceptions=True, **QUICK)
    assert [id for id, outcome in found if outcome == FINISHED] != []
    assert {id for id, outcome in found if outcome != FINISHED} == {"hung"}


def test_the_first_error_ends_it(clock: Clock, waits: Wait) -> None:
    clock.of = {"a": [RUN], "b": [RUN, RUN, NOT_FOUND], "c": [RUN]}
    with pytest.raises(NotFoundError) as caught:
        waits(clock.host, ["a", "b", "c"], **QUICK)
    assert (caught.value.id, caught.value.host) == ("b", clock.host)
    clock.settled()


@pytest.mark.slow
def test_the_deadline_of_many(clock: Clock) -> None:
    clock.of = {"a": [RUN], "b": [RUN, END], "c": [BUSY]}
    came: list[Any] = []
    with pytest.raises(WaitTimeoutError) as caught:
        came.extend(at(clock).wait_for_bulks(clock.of, timeout=2, retries=100, **QUICK))
    error = caught.value
    assert error.pending == {"a": RUNNING, "c": None}
    assert error.id in error.pending
    assert 2 <= error.elapsed < 2 + LATEST
    assert isinstance(error.__cause__, HTTPStatusError)
    assert error.__cause__.id == "c"
    clock.settled()


@pytest.mark.slow
def test_results_before_the_deadline_are_not_lost(clock: Clock) -> None:
    clock.of = {"a": [RUN], "b": [RUN, END]}
    statuses = at(clock).wait_for_bulks(["a", "b"], timeout=2, **QUICK)
    assert next(statuses) == ("b", FINISHED)
    with pytest.raises(WaitTimeoutError) as caught:
        next(statuses)
    assert caught.value.pending == {"a": RUNNING}
    with pytest.raises(RuntimeError, match="raised an error before"):
        next(statuses)


@pytest.mark.slow
def test_exceptions_as_results(clock: Clock, waits: Wait) -> None:
    clock.of = {"late": [RUN], "fine": [RUN, RUN, END], "unknown": [NOT_FOUND], "broken": [BROKEN], "bad": [response("[]")]}
    found = dict(waits(clock.host, clock.of, timeout=2, retries=3, return_exceptions=True, **QUICK))
    assert {id: type(outcome).__name__ for id, outcome in found.items()} == {
        "late": "WaitTimeoutError",
        "fine": "dict",
        "unknown": "NotFoundError",
        "broken": "HTTPStatusError",
        "bad": "ResponseError",
    }
    assert list(found)[-1] == "late"
    for id, outcome in found.items():
        if id != "fine":
            assert (outcome.id, outcome.host) == (id, clock.host)
    assert found["late"].pending == {"late": RUNNING}
    assert found["late"].elapsed >= 2


def test_a_deadline_for_each_that_is_left(clock: Clock, waits: Wait) -> None:
    clock.of = {"a": [RUN], "b": [BUSY]}
    found = dict(waits(clock.host, ["a", "b"], timeout=0.2, retries=100, return_exceptions=True, **QUICK))
    assert {id: error.pending for id, error in found.items()} == {"a": {"a": RUNNING}, "b": {"b": None}}
    assert found["a"].__cause__ is None
    assert isinstance(found["b"].__cause__, HTTPStatusError)


# Leaving early


def leave_by_break(statuses: Iterator[Any]) -> None:
    for _ in statuses:
        break


def leave_by_close(statuses: Any) -> None:
    next(statuses)
    statuses.close()


def leave_by_an_error(statuses: Iterator[Any]) -> None:
    try:
        for _ in statuses:
            raise Enough
    except Enough:
        pass


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_close, leave_by_an_error])
def test_leaving_early_stops_the_polling(clock: Clock, leave: Callable[[Any], None]) -> None:
    clock.of = {"first": [END], "held": [Wire.hold], **{f"op-{n}": [RUN] for n in range(5)}}
    leave(at(clock).wait_for_bulks(clock.of, **QUICK))
    # Not only no further polls: what was under way is dropped.
    clock.wait_until_left()
    count = clock.settled()
    assert at(clock).get_bulk_status("first") == FINISHED
    assert len(clock.requests) == count + 1


def test_an_iterator_that_nobody_asks_does_nothing(clock: Clock) -> None:
    client = at(clock)
    statuses = [client.wait_for_bulks([ID]) for _ in range(20)]
    awaited = [client.wait_for_bulks_async([ID]) for _ in range(20)]
    assert clock.settled() == 0
    del statuses, awaited
    assert client.get_bulk_status(ID) == FINISHED


def test_between_two_items_nothing_is_polled_for_long(clock: Clock) -> None:
    clock.of = {"a": [END], "b": [RUN]}
    statuses = at(clock).wait_for_bulks(["a", "b"], **QUICK)
    next(statuses)
    clock.settled()
    clock.of["b"] = [END]
    assert next(statuses) == ("b", FINISHED)


@pytest.mark.slow
def test_a_slow_loop_body_is_not_the_servers_fault(clock: Clock) -> None:
    """The server answers in 0.1 s; that the caller takes 0.6 s a turn is no request timeout of 0.4 s."""

    def soon(wire: Wire) -> None:
        wire.stopping.wait(0.1)
        wire.send(END)
        wire.hold()

    ids = ["a", "b"]
    clock.of = {"first": [END], **{id: [soon] for id in ids}}
    client = at(clock, request_timeout=0.4)
    found = {}
    for id, status in client.wait_for_bulks(["first", *ids], retries=0):
        found[id] = status
        time.sleep(0.6)
    assert found == dict.fromkeys(["first", *ids], FINISHED)
    assert len(clock.requests) == 3


# The plain functions


@pytest.mark.slow
def test_the_plain_functions_hand_everything_on(clock: Clock) -> None:
    polls: list[str] = []
    more: dict[str, Any] = {"timeout": 9, "interval": 0.1, "max_interval": 0.1, "retries": 1, "request_timeout": 0.3}
    plain: list[Callable[..., Any]] = [
        saymon_bulk.wait_for_bulk,
        lambda *four, **more: asyncio.run(saymon_bulk.wait_for_bulk_async(*four, **more)),
    ]
    for wait in plain:
        clock.answer(Wire.hold, RUN, RUN, END)
        clock.times.clear()
        began = time.monotonic()
        assert wait(clock.host, ID, LOGIN, PASSWORD, on_poll=lambda id, *_: polls.append(id), **more) == FINISHED
        assert clock.times[1] - began >= 0.3 + 0.09
        assert clock.pauses[2] < 0.11 + SLACK
        clock.answer(BUSY, BUSY, END)
        with pytest.raises(HTTPStatusError):
            wait(clock.host, ID, LOGIN, PASSWORD, **more)
        clock.answer(RUN)
        with pytest.raises(WaitTimeoutError):
            wait(clock.host, ID, LOGIN, PASSWORD, **{**more, "timeout": 0.1})
    assert polls == [ID] * 6


@pytest.mark.slow
@pytest.mark.parametrize("answer", [response("{}", 404), response("{}", 500), END], ids=["404", "500", "finished"])
def test_a_wait_for_thousands_ends(peer: Peer, answer: bytes) -> None:
    """A step that is done leaves no wake-up behind: the polls whose turn has not come would never begin."""
    peer.answer(answer)
    ids = [f"op-{number}" for number in range(3000)]
    ended = dict(at(peer).wait_for_bulks(ids, timeout=0, retries=0, return_exceptions=True))
    assert sorted(ended) == sorted(ids)
