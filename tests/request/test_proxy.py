"""A forward proxy, named by the environment as curl and requests take it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import (
    FINISHED,
    ID,
    LOGIN,
    NOT_LOOPBACK,
    PASSWORD,
    Act,
    Peer,
    Wire,
    ask,
    failure,
    headers,
    response,
    token,
)
from processes import POSIX, run_script
from saymon_bulk.testing import PracticeServer
from servers import (
    PROXY_LOGIN,
    PROXY_PASSWORD,
    Certificates,
    ForwardProxy,
    Nginx,
    wait_until,
)

WRONG_PASSWORD = "proxy-Mistake-7"

# Plain http to a host that is not loopback warns.
pytestmark = pytest.mark.filterwarnings("ignore::saymon_bulk.InsecureConnectionWarning")


def through(proxy: ForwardProxy, credentials: str = "") -> str:
    return proxy.url.replace("http://", f"http://{credentials}@") if credentials else proxy.url


def authority(host: str) -> str:
    return host.rpartition("/")[2]


_NUMBERS = itertools.count()


@contextlib.contextmanager
def going_through(proxy: ForwardProxy, host: str) -> Iterator[None]:
    """What is asked inside must reach the host by this proxy, whose log says so."""
    before = proxy.reached(authority(host))
    with pytest.MonkeyPatch.context() as monkeypatch:
        if "no_proxy" not in os.environ:
            # Connections under other variables are not shared: those of an earlier test would not be in the log.
            monkeypatch.setenv("no_proxy", f"test-{next(_NUMBERS)}.invalid")
        yield
    wait_until(lambda: proxy.reached(authority(host)) > before, "the proxy's log")


def assert_keeps_secrets(error: BaseException) -> None:
    seen: BaseException | None = error
    while seen is not None:
        for secret in (PROXY_PASSWORD, WRONG_PASSWORD, PASSWORD):
            assert secret not in f"{seen} {seen!r} {seen.args} {vars(seen)}"
        seen = seen.__cause__ or seen.__context__


@pytest.fixture(params=["plain", "good"], ids=["http", "https"])
def host(request: pytest.FixtureRequest, front: Nginx) -> str:
    """nginx, once by plain http and once by TLS, which the proxy must tunnel."""
    if not POSIX:
        pytest.skip(f"{NOT_LOOPBACK} leads nowhere on this system")
    return front.url(str(request.param), NOT_LOOPBACK)


@pytest.fixture
def variable(host: str) -> str:
    return host.partition(":")[0] + "_proxy"


# The variables


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_the_variable_of_the_scheme(
    host: str,
    variable: str,
    certificates: Certificates,
    forward_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    spelling: type[str],
) -> None:
    monkeypatch.setenv(spelling(variable), forward_proxy.url)
    with going_through(forward_proxy, host):
        assert ask(host, verify=certificates.ca) == FINISHED


@pytest.mark.parametrize("name", ["all_proxy", "ALL_PROXY"])
def test_the_variable_of_all_schemes(
    host: str,
    certificates: Certificates,
    forward_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, forward_proxy.url)
    with going_through(forward_proxy, host):
        assert ask(host, verify=certificates.ca) == FINISHED


def test_a_proxy_without_its_scheme(
    host: str,
    variable: str,
    certificates: Certificates,
    forward_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, authority(forward_proxy.url))
    with going_through(forward_proxy, host):
        assert ask(host, verify=certificates.ca) == FINISHED


def test_the_variable_of_the_other_scheme(
    host: str,
    variable: str,
    certificates: Certificates,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = "http_proxy" if variable == "https_proxy" else "https_proxy"
    monkeypatch.setenv(other, f"http://{nobody}")
    assert ask(host, verify=certificates.ca) == FINISHED


def test_an_empty_variable_is_none(
    host: str, variable: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    assert ask(host, verify=certificates.ca) == FINISHED


@pytest.mark.parametrize("exempt", [NOT_LOOPBACK, "*", f"example.com,{NOT_LOOPBACK}", "0.0.0.0/8"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_those_exempt(
    host: str,
    variable: str,
    certificates: Certificates,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
    exempt: str,
    name: str,
) -> None:
    monkeypatch.setenv(variable, f"http://{nobody}")
    monkeypatch.setenv(name, exempt)
    assert ask(host, verify=certificates.ca) == FINISHED


def test_those_not_exempt(
    host: str,
    variable: str,
    certificates: Certificates,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, f"http://{nobody}")
    monkeypatch.setenv("no_proxy", "localhost,.example.com,127.0.0.0/8,0.0.0.1")
    assert isinstance(failure(host, verify=certificates.ca), saymon_bulk.TransportError)


def test_a_variable_set_later_counts_from_the_next_call(
    host: str,
    variable: str,
    certificates: Certificates,
    forward_proxy: ForwardProxy,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with going_through(forward_proxy, host):
        for _ in range(2):
            assert ask(host, verify=certificates.ca) == FINISHED
            monkeypatch.setitem(os.environ, variable, f"http://{nobody}")
            assert nobody in str(failure(host, verify=certificates.ca))
            monkeypatch.setitem(os.environ, variable, forward_proxy.url)
            assert ask(host, verify=certificates.ca) == FINISHED
            del os.environ[variable]
            assert ask(host, verify=certificates.ca) == FINISHED


def test_the_settings_of_windows_and_macos_are_not_read() -> None:
    """hyper-util reads them with these crates, for reqwest's feature "system-proxy"."""
    locked = (Path(__file__).parents[2] / "Cargo.lock").read_text(encoding="utf-8")
    assert 'name = "hyper-util"' in locked
    assert not re.findall(r'name = "(windows-registry|system-configuration)"', locked)


@pytest.mark.skipif(os.name == "nt", reason="both are one variable on Windows")
def test_lower_case_goes_before_upper_case(peer: Peer, other: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", other.host)
    monkeypatch.setenv("http_proxy", peer.host)
    assert ask("http://monitor.invalid") == FINISHED
    assert (len(peer.requests), len(other.requests)) == (1, 0)
    monkeypatch.setenv("http_proxy", "")
    assert ask("http://monitor.invalid") == FINISHED
    assert (len(peer.requests), len(other.requests)) == (1, 1)


def test_under_cgi_a_visitor_chooses_no_proxy(peer: Peer, other: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", other.host)
    if POSIX:
        assert ask(f"http://{NOT_LOOPBACK}:{peer.port}") == FINISHED
    if os.name != "nt":  # where both are one variable
        monkeypatch.setenv("http_proxy", peer.host)
        assert ask("http://monitor.invalid") == FINISHED
    assert len(other.requests) == 0


# A loopback host, which no proxy can reach and whose login is not for the network

LOOPBACK = ["127.0.0.1", "localhost", "LocalHost", "[::ffff:127.0.0.1]"]
VARIABLES = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
PLACES: dict[str, Callable[[Peer, str], str]] = {
    "on this machine": lambda proxy, _: proxy.host,
    "elsewhere": lambda *_: "http://proxy.invalid:3128",
    "dead": lambda _, nobody: f"http://{nobody}",
    "unusable": lambda *_: f"ftp://{PROXY_LOGIN}:{PROXY_PASSWORD}@proxy.invalid",
    "SOCKS": lambda proxy, _: f"socks5h://{proxy.authority}",
}
WAYS: dict[str, Callable[[saymon_bulk.Client], Any]] = {
    "a status": lambda client: client.get_bulk_status(ID),
    "an awaited status": lambda client: asyncio.run(client.get_bulk_status_async(ID)),
    "a batch": lambda client: client.get_bulk_statuses([ID])[ID],
    "a wait": lambda client: client.wait_for_bulk(ID),
    "an awaited wait": lambda client: asyncio.run(client.wait_for_bulk_async(ID)),
}


def set_all(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, proxy)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", LOOPBACK)
def test_a_loopback_host_uses_no_proxy(
    peer: Peer, other: Peer, nobody: str, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    set_all(monkeypatch, PLACES[place](other, nobody))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(f"http://{name}:{peer.port}") == FINISHED
    assert other.connections == 0


@pytest.mark.parametrize("place", PLACES)
def test_nor_does_a_loopback_host_over_tls(
    front: Nginx, certificates: Certificates, other: Peer, nobody: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    set_all(monkeypatch, PLACES[place](other, nobody))
    for name in ("127.0.0.1", "localhost"):
        assert ask(front.url("good", name), verify=certificates.ca) == FINISHED
    assert other.connections == 0


def test_nor_does_the_loopback_address_of_ipv6(peer6: Peer, other: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, other.host)
    assert ask(peer6.host) == FINISHED
    assert other.connections == 0


@pytest.mark.parametrize("name", ["localhost.", "saymon.localhost", "saymon.LOCALHOST.", "127.255.255.254", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nor_do_the_other_names_of_loopback(
    other: Peer, nobody: str, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    # Not every system knows them, and nobody listens there.
    set_all(monkeypatch, other.host)
    error = failure(f"{scheme}://{name}:{nobody.rpartition(':')[2]}")
    assert type(error) is saymon_bulk.TransportError
    assert "proxy" not in str(error)
    assert other.connections == 0


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_way_to_a_loopback_host_uses_a_proxy(
    peer: Peer, other: Peer, monkeypatch: pytest.MonkeyPatch, way: Callable[[saymon_bulk.Client], Any]
) -> None:
    set_all(monkeypatch, other.host)
    assert way(saymon_bulk.Client(peer.host, LOGIN, PASSWORD)) == FINISHED
    assert other.connections == 0


@pytest.mark.parametrize("name", ["127.0.0.1.invalid", "localhost.invalid", "notlocalhost", "localhost-1", "192.0.2.1"])
def test_what_only_looks_like_loopback_uses_one(peer: Peer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    set_all(monkeypatch, peer.host)
    assert ask(f"http://{name}") == FINISHED
    assert len(peer.requests) == 1


def test_a_client_for_each_has_its_own_way(peer: Peer, other: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients share connections; a proxy of one is none of the other's."""
    set_all(monkeypatch, other.host)
    near = saymon_bulk.Client(peer.host, LOGIN, PASSWORD)
    far = saymon_bulk.Client("http://monitor.invalid", LOGIN, PASSWORD)
    for _ in range(2):
        assert near.get_bulk_status(ID) == far.get_bulk_status(ID) == FINISHED
    assert (len(peer.requests), len(other.requests)) == (2, 2)


@pytest.mark.slow
def test_the_practice_server_is_reached(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, peer.host)
    with PracticeServer(LOGIN, PASSWORD) as server:
        client = saymon_bulk.Client(server.host, LOGIN, PASSWORD)
        assert client.wait_for_bulk(client.start_clone("an object")["bulkId"]) == FINISHED
    assert peer.connections == 0


def test_the_login_of_a_loopback_host_stays_here(peer: Peer, other: Peer) -> None:
    code = "import sys, saymon_bulk; print(saymon_bulk.get_bulk_status(*sys.argv[1:]))"
    done = run_script(code, peer.host, ID, LOGIN, PASSWORD, http_proxy=other.host, flags=["-W", "error"])
    assert done.stdout.strip() == str(FINISHED), done.stderr
    assert token(LOGIN, PASSWORD).encode() in peer.requests[0]
    assert other.connections == 0


# Credentials for the proxy


def test_credentials_in_the_url_of_the_proxy(
    host: str,
    variable: str,
    certificates: Certificates,
    guarded_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = through(guarded_proxy, f"{PROXY_LOGIN}:{PROXY_PASSWORD}")
    monkeypatch.setenv(variable, url)
    with going_through(guarded_proxy, host):
        assert ask(host, verify=certificates.ca) == FINISHED


@pytest.mark.parametrize("credentials", ["", f"{PROXY_LOGIN}:{WRONG_PASSWORD}"])
def test_wrong_credentials_for_the_proxy(
    host: str,
    variable: str,
    certificates: Certificates,
    guarded_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    credentials: str,
) -> None:
    before = guarded_proxy.reached(authority(host))
    monkeypatch.setenv(variable, through(guarded_proxy, credentials))
    error = failure(host, verify=certificates.ca)
    assert_keeps_secrets(error)
    assert "proxy" in str(error).lower()
    if variable == "http_proxy":
        assert isinstance(error, saymon_bulk.HTTPStatusError)
        assert error.status_code == 407
    else:
        assert isinstance(error, saymon_bulk.TransportError)
    # Not the server's 401: the credentials of SAYMON may be right.
    assert not isinstance(error, saymon_bulk.AuthError)
    assert guarded_proxy.reached(authority(host)) == before


def test_the_server_s_password_is_not_the_proxy_s(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = "https://monitor.invalid:8443"
    monkeypatch.setenv("https_proxy", f"http://{PROXY_LOGIN}:{PROXY_PASSWORD}@{peer.authority}")
    peer.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert_keeps_secrets(failure(tunnel))
    # The second one asks for the reason.
    assert len(peer.requests) == 2
    for request in peer.requests:
        assert request.startswith(f"CONNECT {authority(tunnel)} HTTP/1.1\r\n".encode())
        fields = dict(headers(request))
        assert fields["host"] == authority(tunnel)
        assert "proxy-authorization" in fields
        assert "authorization" not in fields
        assert ID.encode() not in request
    peer.wait_for(lambda: peer.open == 0)


# Proxies that fail


@pytest.fixture(params=["", f"{PROXY_LOGIN}:{PROXY_PASSWORD}@"], ids=["open", "guarded"])
def user(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_dead_proxy_is_named(
    host: str,
    variable: str,
    user: str,
    certificates: Certificates,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, f"http://{user}{nobody}")
    error = failure(host, verify=certificates.ca)
    assert type(error) is saymon_bulk.TransportError
    assert "proxy" in str(error).lower()
    assert nobody in str(error)
    assert "refused" in str(error)
    assert_keeps_secrets(error)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"],
    ids=["hangs up", "502", "not HTTP"],
)
def test_a_proxy_that_opens_no_tunnel(peer: Peer, user: str, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("https_proxy", f"http://{user}{peer.authority}")
    peer.answer(lambda wire: wire.send(answer))
    error = failure("https://monitor.invalid")
    assert type(error) is saymon_bulk.TransportError
    assert "proxy" in str(error).lower()
    assert peer.authority in str(error)
    assert_keeps_secrets(error)
    assert len(peer.requests) == (2 if answer else 1)


def echo(status: int, *names: str) -> Act:
    """A page that shows what the proxy was sent, in these header fields or in the body."""

    def act(wire: Wire) -> None:
        token = dict(headers(wire.request))["proxy-authorization"].split()[1]
        told = f"{base64.b64decode(token).decode()} {token}"
        # A challenge with a colon is none.
        value = told.replace(":", "_").encode().decode("latin-1")
        fields = [f"{name}: {value}" for name in names]
        wire.send(response(f"<title>Denied to {told}</title>", status, *fields, content_type="text/html"))

    return act


@pytest.mark.parametrize(
    ("user", "secrets"),
    [
        (f"{PROXY_LOGIN}:{PROXY_PASSWORD}", [PROXY_PASSWORD]),
        ("domain%3Asvc:Winter%23Summer%25", ["Winter#Summer%", "Winter%23Summer%25"]),
        ("key-of-the-proxy:", ["key-of-the-proxy"]),
        ("key-of-the-proxy", ["key-of-the-proxy"]),
        (
            "\u0441\u043b\u0443\u0436\u0431\u0430:\u0437\u0438\u043c\u0430\u043b\u0435\u0442\u043e",
            ["\u0437\u0438\u043c\u0430"],
        ),
    ],
    ids=["plain", "escaped", "key and colon", "key", "Cyrillic"],
)
@pytest.mark.parametrize("target", ["http://monitor.invalid", "https://monitor.invalid"])
@pytest.mark.parametrize("act", [echo(403), echo(502), echo(407, "Proxy-Authenticate"), echo(302, "Location"), echo(200)])
def test_a_page_of_the_proxy_shows_no_password(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, target: str, act: Act, user: str, secrets: list[str]
) -> None:
    monkeypatch.setenv("all_proxy", f"http://{user}@{peer.authority}")
    peer.answer(act)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", saymon_bulk.InsecureConnectionWarning)
        error = failure(target)
    assert_keeps_secrets(error)
    token = dict(headers(peer.requests[0]))["proxy-authorization"].split()[1]
    for secret in (token, token.rstrip("="), *secrets):
        assert secret not in f"{error} {error!r} {vars(error)}"


def test_a_proxy_that_never_answers(peer: Peer, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{user}{peer.authority}")
    peer.answer(lambda wire: wire.hold())
    error = failure("https://monitor.invalid", request_timeout=0.3)
    assert type(error) is saymon_bulk.RequestTimeoutError
    assert_keeps_secrets(error)
    peer.wait_for(lambda: peer.open == 0)


def test_the_proxy_resolves_the_name_of_the_server(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", peer.host)
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        assert ask("http://monitor.invalid:8080") == FINISHED
    path = f"/node/api/bulk/{ID}/status"
    line = f"GET http://monitor.invalid:8080{path} HTTP/1.1\r\n".encode()
    assert peer.requests[0].startswith(line)
    assert dict(headers(peer.requests[0]))["host"] == "monitor.invalid:8080"


@pytest.mark.parametrize("mark", ["#", "/", "?", "@", "#1@", "\\", "%ff"])
@pytest.mark.parametrize("name", ["{scheme}_proxy", "{SCHEME}_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_password_that_others_would_split_is_shown_in_no_part(
    mark: str, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG")
    for host in ("http://monitor.invalid", "https://monitor.invalid"):
        scheme = host.partition(":")[0]
        variable = name.format(scheme=scheme, SCHEME=scheme.upper())
        with monkeypatch.context() as patched:
            patched.setenv(variable, f"http://svcname:Winter{mark}Summer@proxy.invalid:3128")
            error = failure(host)
        assert type(error) is saymon_bulk.TransportError
        assert (variable.lower() if os.name == "nt" else variable) in str(error)
        for part in ("svcname", "Winter", "Summer", "proxy.invalid"):
            assert part not in f"{error} {error!r} {vars(error)} {error.__cause__} {caplog.text}"


KINDS = "(http, https, socks4, socks4a, socks5, socks5h)"


@pytest.mark.parametrize(
    "value", ["ftp://proxy.invalid", "socks6://u:Winter@proxy.invalid:1", "socks7://h:1", "http://u:a@b@c"]
)
def test_a_proxy_of_no_known_kind(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("all_proxy", value)
    for host in ("http://monitor.invalid", "https://[2001:db8::1]"):
        error = failure(host)
        assert type(error) is saymon_bulk.TransportError
        assert f"the environment variable all_proxy names no proxy that can be used {KINDS}" in str(error)
        assert "Winter" not in str(error)


@pytest.mark.parametrize("scheme", ["socks", "SOCKS", "socks5h"])
def test_the_socks_of_desktops(peer: Peer, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    asked: list[bytes] = []

    def act(wire: Wire) -> None:
        wire.socket.recv(64)
        wire.send(b"\x05\x00")
        asked.append(wire.socket.recv(64))
        wire.send(b"\x05\x00\x00\x01" + bytes(6))
        wire.socket.recv(65536)
        wire.send(response())

    peer.greeting = act
    monkeypatch.setenv("all_proxy", f"{scheme}://{peer.authority}/")
    for host, address in (
        ("http://monitor.invalid", b"\x03\x0fmonitor.invalid"),
        ("http://[2001:db8::1]", b"\x04" + bytes.fromhex("20010db8" + "0" * 23 + "1")),
    ):
        assert ask(host) == FINISHED
        assert asked.pop() == b"\x05\x01\x00" + address + b"\x00\x50"


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        *[("https://[2001:db8::1]:8443", scheme) for scheme in ("http", "https", "socks4", "socks4a", "socks5", "socks5h")],
        *[("http://[2001:db8::1]", scheme) for scheme in ("socks4", "socks4a", "socks5")],
    ],
)
def test_an_ipv6_address_that_the_library_cannot_send_to_a_proxy(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, host: str, scheme: str
) -> None:
    monkeypatch.setenv("all_proxy", f"{scheme}://u:Winter@{peer.authority}")
    words = (
        r"^host must not be an IPv6 address behind this proxy \(all_proxy\); give the name of the server, or put the address"
    )
    for act in (saymon_bulk.Client, lambda *given: saymon_bulk.get_bulk_status(given[0], ID, *given[1:])):
        with pytest.raises(ValueError, match=words) as caught:
            act(host, LOGIN, PASSWORD)
        assert caught.value.argument == "host"  # type: ignore[attr-defined]
        assert "Winter" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "2001:db8::/32")
    saymon_bulk.Client(host, LOGIN, PASSWORD)
    assert peer.connections == 0


@pytest.mark.parametrize("scheme", ["ftp", "socks5"])
def test_an_unusable_proxy_is_not_passed_by(
    host: str,
    variable: str,
    certificates: Certificates,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.setenv(variable, f"{scheme}://{PROXY_LOGIN}:{PROXY_PASSWORD}@{nobody}")
    error = failure(host, verify=certificates.ca)
    assert "proxy" in str(error).lower()
    assert_keeps_secrets(error)
