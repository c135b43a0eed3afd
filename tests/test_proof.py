"""Credentials are proved before many requests go out: N ids with a wrong password are one failed login."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from peer import END, QUICK, RUN, Answer, Desk, Peer, Wire, at, collected, id_of, no_hanging, proved, response, saying
from saymon_bulk import AuthError, NotFoundError, SaymonError, TransportError

UNAUTHORIZED = response('{"code": "InvalidCredentials", "message": "No."}', 401)
IDS = [f"op-{number}" for number in range(200)]
Ask = Callable[..., dict[str, Any]]

_no_hanging = no_hanging(20)


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


@every_way
@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 408, 429, 500, 502, 503, 520, 522, 530])
@pytest.mark.parametrize("body", ["", "<html><title>a gateway</title></html>", '{"message": "no"}', '{"code": 7}'])
def test_what_a_gateway_answers_proves_nothing(peer: Peer, ask: Ask, status: int, body: str) -> None:
    peer.answer(response(body, status), UNAUTHORIZED)
    found = ask(at(peer), return_exceptions=True)
    assert len(peer.requests) == 2
    refused = [error for error in found.values() if type(error) is AuthError]
    assert len(refused) >= len(IDS) - 1


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
    desk.answer(END)
    seen: list[int] = []

    def first(wire: Wire) -> None:
        seen.append(len(desk.requests))
        wire.stopping.wait(0.3)
        seen.append(len(desk.requests))
        wire.send(END)

    desk.of = {IDS[0]: first}
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


@pytest.mark.parametrize("wait", [waits, waits_async])
def test_a_wait_that_runs(desk: Desk, wait: Ask) -> None:
    """A 401 later on ends those that run too."""
    desk.answer(RUN)
    desk.of = {IDS[3]: [RUN, RUN, UNAUTHORIZED]}
    assert_all_refused(wait(proved(desk), return_exceptions=True))


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
    peer.wait_for(lambda: peer.open <= 1)
