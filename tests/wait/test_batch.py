"""get_bulk_statuses: many ids at once, bounded, in the order asked for."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from peer import FINISHED, ID, LOGIN, PASSWORD, Answer, Desk, Peer, Wire, at, id_of, no_hanging, proved, response
from saymon_bulk import AuthError, Client, HTTPStatusError, NotFoundError, SaymonError, TransportError
from servers import Certificates

NOT_FOUND = response('{"code": "NotFound", "message": "no"}', 404)
Ask = Callable[..., dict[str, Any]]

_no_hanging = no_hanging()


class HoldingDesk(Desk):
    """It holds each request until `before` lets it go on, and counts those it has in hand at the same time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.most = 0
        self.before: Callable[[str], bool] = lambda id: True
        super().__init__()

    @property
    def in_hand(self) -> int:
        return len(self.asked) - len(self.answered)

    def _next_answer(self, request: bytes) -> Answer:
        id = id_of(request)
        with self._changed:
            self.asked.append(id)
            self.most = max(self.most, self.in_hand)
            self._changed.notify_all()
            while not self.before(id) and not self._stopping.is_set():
                self._changed.wait(0.02)
            self.answered.append(id)
            self._changed.notify_all()
        return super()._next_answer(request)

    def _script_for(self, request: bytes) -> list[Answer]:
        id = id_of(request)
        return super()._script_for(request) if id in self.of else [response(f'{{"finished": true, "about": "{id}"}}')]


class SecureDesk(HoldingDesk):
    """The same by TLS. A handshake takes as long as `handshake`."""

    handshake = 0.0

    def __init__(self, certificates: Certificates) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))
        super().__init__()
        self.host = self.host.replace("http", "https")

    def _converse(self, wire: Wire) -> None:
        self._stopping.wait(self.handshake)
        secure = self._context.wrap_socket(wire.socket, server_side=True, do_handshake_on_connect=False)
        with secure as wire.socket:
            with self._changed:
                if self.is_stopped:  # and the socket that it has shut down was another one
                    return
                self._open.add(wire.socket)
            try:
                wire.socket.do_handshake()
                super()._converse(wire)
            finally:
                with self._changed:
                    self._open.discard(wire.socket)


@pytest.fixture
def desk() -> Iterator[HoldingDesk]:
    with HoldingDesk() as desk:
        yield desk


@pytest.fixture
def secure(certificates: Certificates) -> Iterator[SecureDesk]:
    with SecureDesk(certificates) as desk:
        yield desk


def ready(peer: Peer, request_timeout: float) -> Client:
    """A client whose requests all go out at once; where the peer knows others already, they have shown that."""
    make = at if peer.connections or peer.is_stopped else proved
    return make(peer, request_timeout=request_timeout)


@pytest.fixture(params=["blocking", "awaited"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """get_bulk_statuses, and its twin."""

    def blocking(peer: Peer, ids: Any, request_timeout: float = 30.0, **more: Any) -> dict[str, Any]:
        with ready(peer, request_timeout) as client:
            return {**client.get_bulk_statuses(ids, **more)}

    def awaited(peer: Peer, ids: Any, request_timeout: float = 30.0, **more: Any) -> dict[str, Any]:
        async def main() -> dict[str, Any]:
            async with ready(peer, request_timeout) as client:
                return {**await client.get_bulk_statuses_async(ids, **more)}

        return asyncio.run(main())

    return blocking if request.param == "blocking" else awaited


def names(count: int) -> list[str]:
    return [f"operation-{n}" for n in range(count)]


def test_a_plain_dict_of_plain_dicts(peer: Peer, ask: Ask) -> None:
    peer.answer(response('{"z": 1, "finished": false, "a": [null]}'))
    with at(peer) as client:
        found = client.get_bulk_statuses([ID])
    assert type(found) is dict
    assert type(found[ID]) is dict
    assert ask(peer, [ID]) == found == {ID: {"z": 1, "finished": False, "a": [None]}}
    assert list(found[ID]) == ["z", "finished", "a"]


def test_input_order_although_the_last_is_answered_first(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(8)
    desk.before = lambda id: set(ids[ids.index(id) + 1 :]) <= set(desk.answered)
    found = ask(desk, ids, concurrency=8)
    assert desk.answered == ids[::-1]
    assert list(found) == ids
    assert {id: status["about"] for id, status in found.items()} == {id: id for id in ids}


def test_input_order_with_errors_among_them(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(12)
    random.Random(5).shuffle(ids)
    desk.of = dict.fromkeys(ids[::3], NOT_FOUND)
    desk.before = lambda id: len(desk.asked) >= 4
    found = ask(desk, ids, concurrency=4, return_exceptions=True)
    assert list(found) == ids
    for id, outcome in found.items():
        if id in desk.of:
            assert isinstance(outcome, NotFoundError)
            assert outcome.id == id
        else:
            assert outcome == {"finished": True, "about": id}


# The larger ones are shared by several threads, where there are cores for them.
@pytest.mark.parametrize("limit", [1, 2, 5, 16, 33, 50])
def test_the_bound_is_reached_and_kept(desk: HoldingDesk, ask: Ask, limit: int) -> None:
    ids = names(4 * limit)
    full: list[float] = []

    def before(id: str) -> bool:
        # The first wave is held until all of it is there, and then for what must not come.
        if not full and desk.in_hand >= limit:
            full.append(time.monotonic())
        return bool(full) and time.monotonic() - full[0] > 0.15

    desk.before = before
    assert list(ask(desk, ids, concurrency=limit)) == ids
    assert desk.most == limit
    assert Counter(desk.asked) == Counter(ids)


@pytest.mark.slow
@pytest.mark.parametrize("handshake", [0.0, 0.1], ids=["near", "far"])
@pytest.mark.parametrize("concurrency", [8, 40])
def test_the_bound_is_reached_over_tls(
    secure: SecureDesk, certificates: Certificates, handshake: float, concurrency: int
) -> None:
    """Connections open one after the other, and do not wait for each other's answers."""
    secure.handshake = handshake
    secure.before = lambda id: id == "first" or secure.in_hand == concurrency or secure.most == concurrency
    client = Client(secure.host, LOGIN, PASSWORD, verify=certificates.ca)
    assert client.get_bulk_status("first") == {"finished": True, "about": "first"}
    assert list(client.get_bulk_statuses(names(2 * concurrency), concurrency=concurrency)) == names(2 * concurrency)
    assert secure.most == concurrency


def test_the_bound_is_16_if_nothing_is_said(desk: HoldingDesk, ask: Ask) -> None:
    desk.before = lambda id: len(desk.asked) >= 16
    ask(desk, names(48))
    assert desk.most == 16


@pytest.mark.parametrize("concurrency", [100, 10**30])
def test_a_bound_that_is_none(desk: HoldingDesk, ask: Ask, concurrency: int) -> None:
    desk.before = lambda id: len(desk.asked) == 20
    assert list(ask(desk, names(20), concurrency=concurrency)) == names(20)


def test_one_after_the_other(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(20)
    ask(desk, ids, concurrency=1)
    assert desk.asked == ids
    assert (desk.most, desk.connections) == (1, 1)


@pytest.mark.slow
def test_five_thousand(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(5000)
    random.Random(7).shuffle(ids)
    found = ask(desk, (id for id in ids))
    assert list(found) == ids
    assert all(status["about"] == id for id, status in found.items())
    assert Counter(desk.asked) == Counter(ids)
    assert desk.most <= 16
    # A connection may be opened while another one becomes free.
    assert desk.connections <= 2 * 16
    before = desk.connections
    ask(desk, ids[:100])
    assert desk.connections <= before + 16


def test_a_second_call_takes_the_kept_connections(desk: HoldingDesk, ask: Ask) -> None:
    desk.before = lambda id: len(desk.asked) >= 8
    ask(desk, names(8), concurrency=8)
    assert desk.connections == 8
    for _ in range(5):
        ask(desk, names(8), concurrency=8)
    assert desk.connections == 8


def test_the_first_error_says_whose_it_is(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(10)
    desk.of = {ids[3]: response("{}", 401), ids[5]: NOT_FOUND}
    with pytest.raises(AuthError) as caught:
        ask(desk, ids, concurrency=1)
    assert (caught.value.id, caught.value.host) == (ids[3], desk.host)
    assert ids[3] in str(caught.value)
    assert desk.asked == ids[:4]


def test_the_first_error_is_the_one_that_came_first(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(4)
    desk.of = {ids[0]: response("{}", 401), ids[2]: NOT_FOUND}
    desk.before = lambda id: id == ids[2]
    with pytest.raises(NotFoundError) as caught:
        ask(desk, ids, concurrency=4)
    assert caught.value.id == ids[2]


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 150])
def test_the_first_error_drops_what_is_under_way(desk: HoldingDesk, ask: Ask, count: int) -> None:
    ids = names(count)
    desk.of = dict.fromkeys(ids, Wire.hold)
    desk.of[ids[2]] = NOT_FOUND
    desk.before = lambda id: len(desk.asked) == count
    with pytest.raises(NotFoundError):
        ask(desk, ids, concurrency=count)
    # At most the answered connection is kept.
    desk.wait_for(lambda: desk.open <= 1)


def test_no_retry(desk: HoldingDesk, ask: Ask) -> None:
    desk.of = {ID: response("{}", 503, "Retry-After: 0")}
    with pytest.raises(HTTPStatusError) as caught:
        ask(desk, [ID])
    assert (caught.value.status_code, desk.asked) == (503, [ID])


def test_exceptions_as_results(desk: HoldingDesk, ask: Ask) -> None:
    ids = names(6)
    desk.of = {
        ids[1]: response("{}", 403),
        ids[2]: NOT_FOUND,
        ids[3]: response("[]"),
        ids[4]: Wire.reset,
        ids[5]: Wire.hold,
    }
    found = ask(desk, ids, request_timeout=0.5, return_exceptions=True)
    assert list(found) == ids
    assert found[ids[0]]["finished"] is True
    kinds = [type(found[id]).__name__ for id in ids[1:]]
    assert kinds == ["AuthError", "NotFoundError", "ResponseError", "TransportError", "RequestTimeoutError"]
    for id in ids[1:]:
        assert isinstance(found[id], SaymonError)
        assert (found[id].id, found[id].host) == (id, desk.host)


def test_nobody_there(desk: HoldingDesk, ask: Ask) -> None:
    desk.stop()
    ids = names(40)
    found = ask(desk, ids, return_exceptions=True)
    assert list(found) == ids
    assert {type(error) for error in found.values()} == {TransportError}
    with pytest.raises(TransportError) as caught:
        ask(desk, ids)
    assert caught.value.id in ids


@pytest.mark.slow
def test_each_request_has_its_own_time(desk: HoldingDesk, ask: Ask) -> None:
    """What waits for its turn uses up no request_timeout."""

    def slowly(wire: Wire) -> None:
        wire.stopping.wait(0.2)
        with contextlib.suppress(OSError):
            wire.send(response())

    ids = names(6)
    desk.of = dict.fromkeys(ids, slowly)
    assert ask(desk, ids, concurrency=1, request_timeout=0.9) == dict.fromkeys(ids, FINISHED)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["batch", "batch, awaited", "waits", "tasks"])
def test_a_server_that_is_slow_to_accept_gets_no_more_connections(certificates: Certificates, how: str) -> None:
    """Each request that finds no idle connection would begin one, take another that is free first, and leave it behind."""
    ids = [str(number) for number in range(400)]

    async def tasks(client: Client) -> None:
        await asyncio.gather(*(client.get_bulk_status_async(id) for id in ids))

    with SecureDesk(certificates) as desk:
        client = Client(desk.host, LOGIN, PASSWORD, verify=certificates.ca)
        client.get_bulk_status("first")
        desk.handshake = 1.0
        if how == "batch":
            client.get_bulk_statuses(ids)
        elif how == "batch, awaited":
            asyncio.run(client.get_bulk_statuses_async(ids))
        elif how == "waits":
            dict(client.wait_for_bulks(ids))
        else:
            asyncio.run(tasks(client))
        assert desk.connections <= 1 + 3 * 16


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 17, 61, 200])
@pytest.mark.parametrize("how", ["batch", "batch, awaited", "waits", "waits, awaited"])
def test_the_connections_of_a_batch_are_kept(certificates: Certificates, count: int, how: str) -> None:
    ids = [str(number) for number in range(count)]

    async def waited(client: Client) -> None:
        async for _ in client.wait_for_bulks_async(ids):
            pass

    ways: dict[str, Callable[[Client], object]] = {
        "batch": lambda client: client.get_bulk_statuses(ids),
        "batch, awaited": lambda client: asyncio.run(client.get_bulk_statuses_async(ids)),
        "waits": lambda client: dict(client.wait_for_bulks(ids)),
        "waits, awaited": lambda client: asyncio.run(waited(client)),
    }
    with SecureDesk(certificates) as desk:
        client = Client(desk.host, LOGIN, PASSWORD, verify=certificates.ca)
        for _ in range(8):
            ways[how](client)
        # As many as requests at the same time, and those that lost the race against a kept one.
        assert desk.connections <= 3 * 16


def test_a_server_that_accepts_nobody_holds_up_no_other(peer: Peer, certificates: Certificates) -> None:
    """All calls of asyncio have one HTTP client, and so have those of two clients with the same settings."""
    peer.answer(Wire.hold)  # no handshake ends there

    async def main(silent: list[Client], well: Client) -> float:
        # Of one client one alone would go ahead.
        stuck = [asyncio.ensure_future(one.get_bulk_status_async("x")) for one in silent]
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await asyncio.gather(*(well.get_bulk_status_async(str(number)) for number in range(5)))
        took = time.monotonic() - began
        for one in stuck:
            one.cancel()
        return took

    with SecureDesk(certificates) as desk:
        settings: dict[str, Any] = {"verify": certificates.ca, "request_timeout": 60}
        silent = [Client(peer.host.replace("http", "https"), LOGIN, PASSWORD, **settings) for _ in range(40)]
        assert asyncio.run(main(silent, Client(desk.host, LOGIN, PASSWORD, **settings))) < 30
