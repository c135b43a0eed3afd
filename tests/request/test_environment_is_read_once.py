"""The environment is read once, when a call or a Client is made; its requests go where that reading says, in any order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest
import saymon_bulk
from peer import ID, LOGIN, NOT_LOOPBACK, PASSWORD, Peer, ask
from processes import POSIX
from saymon_bulk import Client
from servers import Certificates, Nginx

pytestmark = [
    pytest.mark.skipif(not POSIX, reason=f"{NOT_LOOPBACK} leads nowhere on this system"),
    # Plain http to a host that is not loopback warns.
    pytest.mark.filterwarnings("ignore::saymon_bulk.InsecureConnectionWarning"),
]

VARIABLES = ("HTTP_PROXY", "http_proxy")
PLACES = ("directly", "by A", "by B")


def in_this_thread(client: Client) -> None:
    client.get_bulk_status(ID)


def in_another_thread(client: Client) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(client.get_bulk_status, ID).result(60)


def by_asyncio(client: Client) -> None:
    asyncio.run(client.get_bulk_status_async(ID))


def as_a_batch(client: Client) -> None:
    client.get_bulk_statuses([ID])


def by_a_wait(client: Client) -> None:
    client.wait_for_bulk(ID)


def by_an_awaited_wait(client: Client) -> None:
    asyncio.run(client.wait_for_bulk_async(ID))


WAYS = (in_this_thread, in_another_thread, by_asyncio, as_a_batch, by_a_wait, by_an_awaited_wait)


class Site:
    """A server and two proxies; the environment says which of the three gets the requests."""

    def __init__(self, variable: str, peers: dict[str, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
        self.peers, self._variable, self._monkeypatch = peers, variable, monkeypatch

    @property
    def host(self) -> str:
        return f"http://{NOT_LOOPBACK}:{self.peers['directly'].port}"

    def choose(self, place: str) -> None:
        if place == "directly":
            self._monkeypatch.delenv(self._variable, raising=False)
        else:
            self._monkeypatch.setenv(self._variable, self.peers[place].host)

    def client(self, place: str) -> Client:
        self.choose(place)
        return Client(self.host, LOGIN, PASSWORD, request_timeout=10)

    def goes(self, action: Callable[[], object]) -> list[str]:
        """Where the requests of an action arrive."""
        before = {place: len(peer.requests) for place, peer in self.peers.items()}
        action()
        return [place for place, peer in self.peers.items() if len(peer.requests) > before[place]]


@pytest.fixture(params=VARIABLES)
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        peers = {place: stack.enter_context(Peer()) for place in PLACES}
        yield Site(str(request.param), peers, monkeypatch)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("made", "asked"), list(itertools.product(PLACES, repeat=2)))
def test_a_client_goes_where_it_was_made_to_go(site: Site, made: str, asked: str, way: Callable[[Client], None]) -> None:
    client = site.client(made)
    site.choose(asked)
    assert site.goes(lambda: way(client)) == [made]
    assert site.goes(lambda: ask(site.host)) == [asked]
    again = site.client(made)
    assert site.goes(lambda: way(again)) == [made]
    other = site.client(asked)
    site.choose(made)
    assert site.goes(lambda: way(other)) == [asked]
    assert site.goes(lambda: way(client)) == [made]
    assert site.goes(lambda: ask(site.host)) == [made]


@pytest.mark.slow
@pytest.mark.parametrize("order", list(itertools.permutations(WAYS, 3)))
def test_each_way_of_asking_makes_its_connections_from_that_reading(
    site: Site, order: tuple[Callable[[Client], None], ...]
) -> None:
    client = site.client("by A")
    for way, place in zip(order, ("by B", "directly", "by A")):
        site.choose(place)
        assert site.goes(lambda way=way: way(client)) == ["by A"]  # type: ignore[misc]


@pytest.mark.parametrize("way", WAYS)
def test_no_proxy_is_part_of_the_reading(site: Site, monkeypatch: pytest.MonkeyPatch, way: Callable[[Client], None]) -> None:
    proxied = site.client("by A")
    monkeypatch.setenv("NO_PROXY", NOT_LOOPBACK)
    exempt = site.client("by A")
    assert site.goes(lambda: way(proxied)) == ["by A"]
    monkeypatch.delenv("NO_PROXY")
    assert site.goes(lambda: way(exempt)) == ["directly"]
    assert site.goes(lambda: way(proxied)) == ["by A"]


@pytest.mark.parametrize("schemes", [("http", "https", "http"), ("https", "http", "https")])
def test_each_scheme_has_its_own_proxy(schemes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        peers = {name: stack.enter_context(Peer()) for name in ("http", "https", "all")}
        for name, peer in peers.items():
            monkeypatch.setenv(f"{name}_proxy", peer.host)
        site = Site("", peers, monkeypatch)

        def through(scheme: str) -> list[str]:
            def action() -> None:
                with contextlib.suppress(saymon_bulk.TransportError):  # no TLS within the tunnel
                    ask(f"{scheme}://monitor.invalid")

            return site.goes(action)

        assert [through(scheme) for scheme in schemes] == [[scheme] for scheme in schemes]
        monkeypatch.delenv("http_proxy")
        assert [through(scheme) for scheme in ("http", "https", "http")] == [["all"], ["https"], ["all"]]
        monkeypatch.delenv("https_proxy")
        assert [through(scheme) for scheme in schemes] == [["all"]] * 3


# The trust store


def refuses(client: Client, way: Callable[[Client], None]) -> bool:
    try:
        way(client)
    except saymon_bulk.TransportError as error:
        return "unknown issuer" in str(error)
    return False


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_store_of_the_moment_stays(
    front: Nginx,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    way: Callable[[Client], None],
) -> None:
    (tmp_path / "ca.pem").write_bytes(certificates.ca.read_bytes())
    store = str(tmp_path / "ca.pem" if variable == "SSL_CERT_FILE" else tmp_path)
    # A proxy that nobody uses, so that no other test has made these connections.
    monkeypatch.setenv("https_proxy", f"http://{way.__name__}.{variable}.invalid")
    monkeypatch.setenv("no_proxy", NOT_LOOPBACK)
    host = front.url("good", NOT_LOOPBACK)
    without = Client(host, LOGIN, PASSWORD)
    monkeypatch.setenv(variable, store)
    having = Client(host, LOGIN, PASSWORD)
    assert refuses(without, way)
    monkeypatch.delenv(variable)
    assert not refuses(having, way)
    assert refuses(Client(host, LOGIN, PASSWORD), way)
