"""Credentials are proved before many requests go out: N ids with a wrong password are one failed login."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from peer import (
    END,
    LOGIN,
    PASSWORD,
    QUICK,
    RUN,
    Answer,
    Desk,
    Peer,
    Wire,
    at,
    closing,
    collected,
    id_of,
    no_hanging,
    proved,
    response,
    saying,
    when,
)
from saymon_bulk import (
    AuthError,
    Client,
    HTTPStatusError,
    NotFoundError,
    RequestTimeoutError,
    SaymonError,
    StartUncertainError,
    TransportError,
)

UNAUTHORIZED = response('{"code": "InvalidCredentials", "message": "No."}', 401)
IDS = [f"op-{number}" for number in range(200)]
Ask = Callable[..., dict[str, Any]]

_no_hanging = no_hanging()


def batch(client: Any, **more: Any) -> dict[str, Any]:
    return {**client.get_bulk_statuses(IDS, **more)}


def batch_async(client: Any, **more: Any) -> dict[str, Any]:
    return {**asyncio.run(client.get_bulk_statuses_async(IDS, **more))}


def waits(client: Any, **more: Any) -> dict[str, Any]:
    return dict(client.wait_for_bulks(IDS, **QUICK, **more))


def waits_async(client: Any, **more: Any) -> dict[str, Any]:
    return asyncio.run(collected(client, IDS, **QUICK, **more))


every_way = pytest.mark.parametrize("ask", [batch, batch_async, waits, waits_async])


def assert_all_refused(found: dict[str, Any]) -> None:
    assert sorted(found) == sorted(IDS)
    for id, error in found.items():
        assert type(error) is AuthError
        assert (error.id, error.status_code, error.code) == (id, 401, "InvalidCredentials")
        assert f"operation {id}: HTTP 401" in str(error)


@every_way
@pytest.mark.parametrize("concurrency", [1, 16, 200])
def test_one_failed_login(peer: Peer, ask: Ask, concurrency: int) -> None:
    peer.answer(UNAUTHORIZED)
    assert_all_refused(ask(at(peer), return_exceptions=True, concurrency=concurrency))
    assert len(peer.requests) == 1
    with pytest.raises(AuthError) as caught:
        ask(at(peer), concurrency=concurrency)
    assert caught.value.id == id_of(peer.requests[1])
    assert len(peer.requests) == 2


@every_way
def test_a_slow_refusal(peer: Peer, ask: Ask) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.3)
        wire.send(UNAUTHORIZED)

    peer.answer(late)
    assert_all_refused(ask(at(peer), return_exceptions=True))
    assert len(peer.requests) == 1


@every_way
@pytest.mark.parametrize("first", [Wire.reset, saying(RUN[:20]), saying(b"SSH-2.0\r\n")])
def test_what_is_no_answer_proves_nothing(peer: Peer, ask: Ask, first: Answer) -> None:
    peer.answer(first, first, UNAUTHORIZED)
    found = ask(at(peer), return_exceptions=True)
    assert len(peer.requests) == 3
    refused = [error for error in found.values() if type(error) is AuthError]
    assert len(refused) >= len(IDS) - 2
    assert all(type(error) in (AuthError, TransportError) for error in found.values())


@pytest.mark.slow
@every_way
@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 408, 429, 500, 502, 503, 520, 522, 530])
@pytest.mark.parametrize("body", ["", "<html><title>a gateway</title></html>", '{"message": "no"}', '{"code": 7}'])
def test_what_a_gateway_answers_proves_nothing(peer: Peer, ask: Ask, status: int, body: str) -> None:
    peer.answer(response(body, status), UNAUTHORIZED)
    found = ask(at(peer), return_exceptions=True)
    assert len(peer.requests) == 2
    refused = [error for error in found.values() if type(error) is AuthError]
    assert len(refused) >= len(IDS) - 1


@pytest.mark.slow
@pytest.mark.parametrize("ask", [batch, batch_async])
def test_what_was_answered_before_a_refusal_counts(desk: Desk, ask: Ask) -> None:
    """Also what another thread of the batch was told."""
    desk.answer(END)
    desk.of = {IDS[150]: UNAUTHORIZED}
    found = ask(proved(desk), return_exceptions=True)
    errors = [id for id, outcome in found.items() if isinstance(outcome, AuthError)]
    assert IDS[150] in errors
    assert len(found) - len(errors) >= 120  # all but those under way with the refusal


@every_way
@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_of_one_operation_is_not_of_all(desk: Desk, ask: Ask, status: int) -> None:
    desk.answer(END)
    refusal = response('{"code": "No"}', status)
    desk.of = {IDS[0]: refusal, IDS[77]: refusal}
    found = ask(at(desk), return_exceptions=True)
    errors = {id: error for id, error in found.items() if isinstance(error, SaymonError)}
    assert errors.keys() == {IDS[0], IDS[77]}
    assert {type(error) for error in errors.values()} == {AuthError if status == 403 else NotFoundError}
    assert len(desk.requests) == len(IDS)


@every_way
def test_one_goes_ahead_and_then_many_at_once(desk: Desk, ask: Ask) -> None:
    seen: list[int] = []

    def first(wire: Wire) -> None:
        seen.append(len(desk.requests))
        wire.stopping.wait(0.3)
        seen.append(len(desk.requests))
        wire.send(END)

    desk.answer(first, END)  # of two threads, either may be ahead
    assert len(ask(at(desk))) == len(IDS)
    assert seen == [1, 1]
    assert desk.connections > 2


@every_way
def test_a_password_that_becomes_wrong_ends_all(desk: Desk, ask: Ask) -> None:
    desk.answer(END)
    desk.of = {IDS[50]: UNAUTHORIZED}
    found = ask(proved(desk), return_exceptions=True, concurrency=4)
    assert sorted(found) == sorted(IDS)
    refused = {id: error for id, error in found.items() if isinstance(error, AuthError)}
    assert all((error.id, error.status_code) == (id, 401) for id, error in refused.items())
    assert len(refused) > 100
    assert len(desk.requests) < 100


# Many calls of one client


PARTS = [IDS[start : start + 20] for start in range(0, len(IDS), 20)]


async def in_tasks(client: Any, of: Callable[[Any, Any], Any], each: Sequence[Any] = IDS) -> dict[str, Any]:
    return by_id(each, await asyncio.gather(*(of(client, one) for one in each), return_exceptions=True))


def in_threads(client: Any, of: Callable[[Any, Any], Any], each: Sequence[Any] = IDS) -> dict[str, Any]:
    def call(one: Any) -> Any:
        try:
            return of(client, one)
        except SaymonError as error:
            return error

    # All at once: one that comes after the refusal may be right, if somebody has mended the account.
    with ThreadPoolExecutor(len(each)) as pool:
        return by_id(each, pool.map(call, each))


def by_id(each: Sequence[Any], outcomes: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one, outcome in zip(each, outcomes):
        if isinstance(one, str):
            found[one] = outcome
        else:
            found.update(dict.fromkeys(one, outcome) if isinstance(outcome, Exception) else outcome)
    return found


CALLS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "tasks, statuses": lambda client: asyncio.run(in_tasks(client, lambda one, id: one.get_bulk_status_async(id))),
    "tasks, waits": lambda client: asyncio.run(in_tasks(client, lambda one, id: one.wait_for_bulk_async(id))),
    "tasks, batches": lambda client: asyncio.run(in_tasks(client, lambda one, ids: one.get_bulk_statuses_async(ids), PARTS)),
    "tasks, starts": lambda client: asyncio.run(in_tasks(client, lambda one, id: one.start_clone_async(id))),
    "threads, statuses": lambda client: in_threads(client, lambda one, id: one.get_bulk_status(id)),
    "threads, waits": lambda client: in_threads(client, lambda one, id: one.wait_for_bulk(id)),
    "threads, batches": lambda client: in_threads(client, lambda one, ids: one.get_bulk_statuses(ids), PARTS),
    "threads, starts": lambda client: in_threads(client, lambda one, id: one.start_clone(id)),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_tasks_and_threads_share_one_failed_login(peer: Peer, call: Callable[[Any], dict[str, Any]]) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(2)  # until all wait behind the first
        wire.send(UNAUTHORIZED)

    peer.answer(late)
    found = call(at(peer))
    assert found.keys() == set(IDS)
    assert {(type(error), error.status_code) for error in found.values()} == {(AuthError, 401)}
    # A thread may have started after the refusal.
    assert len(peer.requests) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_tasks_and_threads_go_on_after_the_first(desk: Desk, call: Callable[[Any], dict[str, Any]]) -> None:
    desk.answer(response('{"bulkId": "x", "finished": true}'))
    found = call(at(desk))
    assert found.keys() == set(IDS)
    assert all(outcome["finished"] is True for outcome in found.values())
    assert len(desk.requests) == len(IDS)


AHEAD: dict[str, Callable[[Any], object]] = {
    "status": lambda client: client.get_bulk_status("ahead"),
    "batch": lambda client: client.get_bulk_statuses(["ahead", "more"]),
    "wait": lambda client: client.wait_for_bulk("ahead"),
    "start": lambda client: client.start_clone("ahead"),
}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5000])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["blocking", "awaited"])
@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD)
def test_a_batch_behind_a_call_that_is_refused(
    peer: Peer, ahead: Callable[[Any], object], is_awaited: bool, count: int
) -> None:
    """The batch sends nothing itself: what ends it is the failure of another call."""
    answer = threading.Event()

    def late(wire: Wire) -> None:
        answer.wait(60)
        wire.send(UNAUTHORIZED)

    peer.answer(late, UNAUTHORIZED)
    client, ids = at(peer), [f"op-{number}" for number in range(count)]

    def behind() -> Any:
        return asyncio.run(client.get_bulk_statuses_async(ids)) if is_awaited else client.get_bulk_statuses(ids)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ahead, client)
        peer.wait_for(lambda: len(peer.requests) == 1)
        second = pool.submit(behind)
        time.sleep(0.2)  # until it waits behind the first
        answer.set()
        assert isinstance(first.exception(), AuthError)
        error = second.exception()
    assert isinstance(error, AuthError)
    assert error.id in ids
    assert len(peer.requests) <= 2


def test_a_start_that_waits_for_a_refused_password_is_not_sent(peer: Peer) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.5)
        wire.send(UNAUTHORIZED)

    peer.answer(late)
    client = at(peer)
    with ThreadPoolExecutor(2) as pool:
        status = pool.submit(client.get_bulk_status, "x")
        peer.wait_for(lambda: len(peer.requests) == 1)
        start = pool.submit(client.start_clone, "y")
        assert isinstance(status.exception(), AuthError)
        error = start.exception()
    assert isinstance(error, AuthError)
    assert "not started" in str(error)
    assert len(peer.requests) == 1


@pytest.mark.clock
def test_a_call_that_waits_for_another_ends_in_its_own_time(peer: Peer) -> None:
    peer.answer(Wire.hold)
    client = at(peer, request_timeout=0.6)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.get_bulk_status, f"op-{n}") for n in range(8)]
        errors = [call.exception() for call in calls]
    assert time.monotonic() - began < 0.6 * 8
    assert {type(error) for error in errors} == {RequestTimeoutError}
    unsent = "0.6 s: nothing was sent, since another request of the client had no answer yet"
    ends = {str(error).rpartition("within ")[2] for error in errors}
    assert "0.6 s" in ends  # of the one ahead
    assert ends <= {"0.6 s", unsent}


@pytest.mark.parametrize("is_awaited", [False, True], ids=["blocking", "awaited"])
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5000])
@pytest.mark.parametrize("concurrency", [16, 64])
def test_silence_after_a_refusal_frees_nobody(desk: Desk, count: int, is_awaited: bool, concurrency: int) -> None:
    """What is under way with the refusal ends in a time-out after it."""
    desk.answer(END)
    client, ids = proved(desk, request_timeout=0.5), [f"op-{n}" for n in range(count)]
    desk.answer(Wire.hold)
    desk.of = {ids[-1 if count < 16 else 3]: UNAUTHORIZED}
    desk.requests.clear()
    if is_awaited:
        found = asyncio.run(client.get_bulk_statuses_async(ids, concurrency=concurrency, return_exceptions=True))
    else:
        found = client.get_bulk_statuses(ids, concurrency=concurrency, return_exceptions=True)
    assert sorted(found) == sorted(ids)
    assert {type(error) for error in found.values()} <= {AuthError, RequestTimeoutError}
    assert sum(isinstance(error, AuthError) for error in found.values()) >= count - concurrency
    assert len(desk.requests) <= concurrency


@pytest.mark.slow
@pytest.mark.parametrize("late", [END, response("", 504)], ids=["200", "504"])
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_an_old_answer_frees_nobody(desk: Desk, count: int, late: bytes) -> None:
    """A request that was sent before the refusal is answered after it."""
    # Long enough for the first poll of all, also on a busy machine.
    told, pause = threading.Event(), 3.0 if count < 5_000 else 20.0
    desk.answer(RUN)
    client = proved(desk)
    desk.of = {"slow": when(told, saying(late)), "probe": UNAUTHORIZED}

    async def run() -> list[Any]:
        schedule: dict[str, Any] = {"interval": pause, "max_interval": pause, "timeout": 60}
        waits = [asyncio.ensure_future(client.wait_for_bulk_async(f"op-{n}", **schedule)) for n in range(count)]
        await asyncio.to_thread(desk.wait_for, lambda: len(desk.requests) == count)
        slow = asyncio.ensure_future(client.get_bulk_status_async("slow"))
        await asyncio.to_thread(desk.wait_for, lambda: len(desk.requests) == 1 + count)
        desk.answer(UNAUTHORIZED)
        with pytest.raises(AuthError):
            await client.get_bulk_status_async("probe")
        told.set()
        await asyncio.wait([slow])
        return await asyncio.gather(*waits, return_exceptions=True)

    assert {type(error) for error in asyncio.run(run())} == {AuthError}
    assert len(desk.requests) == 2 + count


@pytest.mark.clock
@pytest.mark.parametrize("verb", ["start_clone", "start_clone_async"])
def test_a_start_behind_another_call_has_its_whole_time(desk: Desk, verb: str) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.7)
        wire.send(response('{"bulkId": "x", "finished": true}'))

    desk.answer(late)
    client = at(desk, request_timeout=1)
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(client.get_bulk_status, "ahead")
        desk.wait_for(lambda: len(desk.requests) == 1)
        started = getattr(client, verb)("y")
        assert (asyncio.run(started) if verb.endswith("_async") else started)["bulkId"] == "x"
        assert ahead.result()["finished"] is True


@pytest.mark.clock
@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["blocking", "awaited"])
def test_who_asks_once_waits_at_the_gate_as_long_as_for_an_answer(desk: Desk, is_awaited: bool, count: int) -> None:
    def late(wire: Wire) -> None:
        wire.stopping.wait(0.45)
        wire.send(response("", 502))

    desk.answer(late)
    client, ids = at(desk, request_timeout=0.5), [f"op-{n}" for n in range(count)]
    more: dict[str, Any] = {"timeout": 0, "return_exceptions": True}
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(client.get_bulk_statuses, [f"ahead-{n}" for n in range(8)], return_exceptions=True)
        desk.wait_for(lambda: len(desk.requests) == 1)
        found = asyncio.run(collected(client, ids, **more)) if is_awaited else dict(client.wait_for_bulks(ids, **more))
        ahead.result()
    assert sorted(found) == sorted(ids)
    assert {type(error) for error in found.values()} <= {RequestTimeoutError, HTTPStatusError}
    late_ones = [str(error) for error in found.values() if isinstance(error, RequestTimeoutError)]
    assert late_ones
    assert all("nothing was sent" in text for text in late_ones)


WAITS: dict[str, Callable[..., dict[str, Any]]] = {
    "tasks": lambda client, **more: asyncio.run(in_tasks(client, lambda one, id: one.wait_for_bulk_async(id, **more))),
    "threads": lambda client, **more: in_threads(client, lambda one, id: one.wait_for_bulk(id, **more)),
}


def refused_meanwhile(desk: Desk, asked: int, pause: float, wait: Callable[[], dict[str, Any]]) -> None:
    """Waits whose server refuses the password after so many requests and a pause; the desk keeps those after that."""

    def refuse_soon() -> None:
        desk.wait_for(lambda: len(desk.requests) >= asked, 15)
        time.sleep(pause)
        desk.answer(UNAUTHORIZED)
        desk.requests.clear()

    changing = threading.Thread(target=refuse_soon)
    changing.start()
    found = wait()
    changing.join()
    assert {type(error) for error in found.values()} == {AuthError}


@pytest.mark.slow
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_waits_in_a_pause_share_it_too(desk: Desk, wait: Callable[..., dict[str, Any]]) -> None:
    """A server that comes back refuses the password of all waits at their next poll, and they send it no more."""
    desk.answer(response("", 502))
    client = at(desk)
    more: dict[str, Any] = {"interval": 0.3, "max_interval": 0.3, "retries": 1000, "timeout": 20}
    refused_meanwhile(desk, len(IDS) + 1, 0, lambda: wait(client, **more))
    assert len(desk.requests) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_waits_whose_password_becomes_wrong_meanwhile(desk: Desk, wait: Callable[..., dict[str, Any]]) -> None:
    desk.answer(RUN)
    client = proved(desk)
    # At the end of the pause all are in theirs.
    refused_meanwhile(desk, len(IDS), 0.2, lambda: wait(client, interval=0.5, max_interval=0.5, timeout=20))
    # Those that were under way at that moment: some of 200, and never all.
    assert len(desk.requests) <= len(IDS) // 2


@pytest.mark.slow
def test_nothing_is_sent_once_the_client_is_closed(peer: Peer) -> None:
    ahead = threading.Event()

    def late(wire: Wire) -> None:
        ahead.wait(60)
        wire.send(response('{"bulkId": "x", "finished": true}', 502))

    peer.answer(late)
    client = at(peer)
    with ThreadPoolExecutor(30) as pool:
        starts = [pool.submit(client.start_clone, str(number)) for number in range(30)]
        peer.wait_for(lambda: len(peer.requests) == 1)
        time.sleep(0.3)  # the others wait at the gate
        client.close()
        ahead.set()
        errors = {type(start.exception()) for start in starts}
    assert len(peer.requests) == 1
    assert errors <= {StartUncertainError, RuntimeError}


@pytest.mark.slow
@every_way
@pytest.mark.parametrize("status", [401, 407])
def test_a_refusal_whose_body_does_not_come(peer: Peer, ask: Ask, status: int) -> None:
    peer.answer(saying(b"HTTP/1.1 %d No\r\nContent-Length: 100\r\n\r\nno" % status, Wire.hold))
    found = ask(at(peer, request_timeout=2), return_exceptions=True)
    assert {error.status_code for error in found.values()} == {status}
    assert len(peer.requests) == 1


def test_a_route_that_the_server_does_not_know_proves_nothing(peer: Peer) -> None:
    unknown = response('{"code": "ResourceNotFound", "message": "no route"}', 404)
    peer.answer(unknown, response('{"code": "MethodNotAllowed"}', 405), UNAUTHORIZED)
    client = at(peer)
    for _ in range(2):
        with pytest.raises(HTTPStatusError):
            client.start_clone("x")
    assert_all_refused(batch(client, return_exceptions=True))
    assert len(peer.requests) == 3


# Nobody answers


@pytest.mark.clock
@every_way
@pytest.mark.parametrize("slow", ["silent", "504"])
def test_silence_holds_nobody_up(peer: Peer, ask: Ask, slow: str) -> None:
    def late(wire: Wire) -> None:
        if slow == "silent":
            wire.hold()
        wire.stopping.wait(0.1)
        wire.send(response("", 504))

    peer.answer(late)
    client = at(peer, request_timeout=0.2)
    more: dict[str, Any] = {"timeout": 3, "retries": 0} if ask in (waits, waits_async) else {}
    began = time.monotonic()
    found = ask(client, return_exceptions=True, concurrency=50, **more)
    # One after the other they would take 20 seconds and more.
    assert time.monotonic() - began < 15
    assert all(isinstance(error, SaymonError) for error in found.values())
    # A machine that is busy may read some of them too late.
    assert len(peer.requests) >= len(IDS) * 0.7


# A proxy


def tunnel(status: int) -> Callable[[Peer, Any], str]:
    def prepare(peer: Peer, monkeypatch: Any) -> str:
        monkeypatch.setenv("https_proxy", f"http://user:wrong@{peer.authority}")
        peer.answer(closing(response("", status, "Proxy-Authenticate: Basic realm=x")))
        return "https://monitor.invalid"

    return prepare


def plain(peer: Peer, monkeypatch: Any) -> str:
    monkeypatch.setenv("http_proxy", f"http://user:wrong@{peer.authority}")
    peer.answer(closing(response("", 407, "Proxy-Authenticate: Basic realm=x")))
    return "http://monitor.invalid"


def socks(peer: Peer, monkeypatch: Any) -> str:
    """SOCKS 5 takes a name and a password, and refuses them (RFC 1929)."""

    def greet(wire: Wire) -> None:
        wire.socket.recv(64)
        wire.send(b"\x05\x02")
        login = wire.socket.recv(64)
        with peer._changed:
            peer.requests.append(login)
        wire.send(b"\x01\x01")

    peer.greeting = greet
    monkeypatch.setenv("https_proxy", f"socks5h://user:wrong@{peer.authority}")
    return "https://monitor.invalid"


PROXIES = {"tunnel": tunnel(407), "not for this server": tunnel(403), "plain http": plain, "socks": socks}


@every_way
@pytest.mark.parametrize("prepare", PROXIES.values(), ids=PROXIES)
def test_a_proxy_is_asked_once(peer: Peer, ask: Ask, prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host = prepare(peer, monkeypatch)
    found = ask(Client(host, LOGIN, PASSWORD), return_exceptions=True)
    assert sorted(found) == sorted(IDS)
    for error in found.values():
        assert not error.transient
        if prepare is plain:
            assert error.status_code == 407
        else:
            assert (type(error), error.kind) == (TransportError, "proxy")
    # Of a 403 the proxy is asked for the reason.
    assert len(peer.requests) <= (2 if prepare is PROXIES["not for this server"] else 1)


@pytest.mark.slow
@pytest.mark.parametrize("wait", [waits, waits_async])
def test_a_wait_that_runs(desk: Desk, wait: Ask) -> None:
    """A 401 later on ends those that run too."""
    desk.answer(RUN)
    desk.of = {IDS[3]: [RUN, RUN, UNAUTHORIZED]}
    assert_all_refused(wait(proved(desk), return_exceptions=True))


@pytest.mark.slow
def test_the_client_remembers_that_they_are_proved(desk: Desk) -> None:
    desk.answer(END)
    client = at(desk)
    client.get_bulk_status("x")
    assert len(batch(client)) == len(IDS)
    desk.answer(Wire.hold)
    desk.requests.clear()
    with pytest.raises(SaymonError):
        list(client.wait_for_bulks(IDS, timeout=0.3, concurrency=8))
    assert len(desk.requests) >= 8


@pytest.fixture(autouse=True)
def _nothing_stays_open(peer: Peer) -> Iterator[None]:
    yield
    peer.wait_for(lambda: peer.open <= 4)  # one for each thread of a batch
