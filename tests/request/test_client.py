"""Client: what it shows and hides, when it is over, where from_env looks, and which ids and arguments it takes."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import FINISHED, ID, LOGIN, PASSWORD, Peer, Wire, at, authorization, collected, credentials, id_of, response, token
from processes import HOME
from saymon_bulk import Client, RequestTimeoutError

# Every way to use a client: those for one id, those for many.
ONE: dict[str, Callable[..., Any]] = {
    "get_bulk_status": lambda client, id, **more: client.get_bulk_status(id, **more),
    "get_bulk_status_async": lambda client, id, **more: asyncio.run(client.get_bulk_status_async(id, **more)),
    "wait_for_bulk": lambda client, id, **more: client.wait_for_bulk(id, **more),
    "wait_for_bulk_async": lambda client, id, **more: asyncio.run(client.wait_for_bulk_async(id, **more)),
}
MANY: dict[str, Callable[..., Any]] = {
    "get_bulk_statuses": lambda client, ids, **more: client.get_bulk_statuses(ids, **more),
    "get_bulk_statuses_async": lambda client, ids, **more: asyncio.run(client.get_bulk_statuses_async(ids, **more)),
    "wait_for_bulks": lambda client, ids, **more: dict(client.wait_for_bulks(ids, **more)),
    "wait_for_bulks_async": lambda client, ids, **more: asyncio.run(collected(client, ids, **more)),
}
ALL: dict[str, Callable[..., Any]] = {**ONE, **MANY}
WAITS = {name: use for name, use in ALL.items() if name.startswith("wait")}

one = pytest.mark.parametrize("use", ONE.values(), ids=ONE)
many = pytest.mark.parametrize("use", MANY.values(), ids=MANY)


def argument(use: Callable[..., Any]) -> Any:
    """A good id, or good ids."""
    return ID if use in ONE.values() else [ID]


def asked_for(peer: Peer) -> list[str]:
    return [id_of(request) for request in peer.requests]


# What it shows


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("monitor.example.com", "https://monitor.example.com"),
        ("HTTPS://Monitor.Example.com:8443/", "https://monitor.example.com:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("::1", "https://[::1]"),
    ],
)
def test_host_is_the_origin(host: str, origin: str) -> None:
    client = Client(host, LOGIN, PASSWORD)
    assert (client.host, client.login) == (origin, LOGIN)


def test_host_and_login_cannot_be_changed(peer: Peer) -> None:
    client: Any = at(peer)
    for name in ("host", "login"):
        with pytest.raises(AttributeError):
            setattr(client, name, "elsewhere")
    assert (client.host, client.login) == (peer.host, LOGIN)


def test_it_says_host_and_login_and_no_password(peer: Peer) -> None:
    client = at(peer)
    for text in (repr(client), str(client), f"{client}"):
        assert peer.host in text
        assert LOGIN in text
    seen = [repr(client), str(vars(client))]
    seen += [f"{getattr(client, name)!r}" for name in dir(client) if name != "__doc__"]
    for text in seen:
        assert PASSWORD not in text
        assert token() not in text


def test_a_hostile_login_does_not_break_its_repr() -> None:
    text = repr(Client("h", "a'\"\\\u202eb> as 'root", PASSWORD))
    assert text.isprintable()
    assert PASSWORD not in text


def test_the_signature_is_the_documented_one() -> None:
    parameters = inspect.signature(Client).parameters
    assert list(parameters) == ["host", "login", "password", "request_timeout", "verify", "cert"]
    for name, default in {"request_timeout": 30.0, "verify": True}.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == default


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_does_not_pickle(peer: Peer, protocol: int) -> None:
    with pytest.raises(TypeError) as caught:
        pickle.dumps(at(peer), protocol)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_it_does_not_copy(peer: Peer, duplicate: Callable[[Client], Client]) -> None:
    with pytest.raises(TypeError) as caught:
        duplicate(at(peer))
    assert PASSWORD not in str(caught.value)


def test_a_subclass_does_not_pickle_either(peer: Peer) -> None:
    class Mine(Client):
        note = "mine"

    mine = Mine(peer.host, LOGIN, PASSWORD)
    assert mine.get_bulk_status(ID) == FINISHED
    with pytest.raises(TypeError):
        pickle.dumps(mine)


# A subclass


class Monitor(Client):
    """Takes the settings of a program."""

    def __init__(self, settings: dict[str, str], *more: object, team: str = "none") -> None:
        self.before = repr(self)
        super().__init__(settings["host"], LOGIN, settings["password"], request_timeout=5)
        self.team = team


class Late(Client):
    def __init__(self) -> None:
        """Calls no __init__ of the client."""


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
def test_a_subclass_with_its_own_init(peer: Peer, use: Callable[..., Any]) -> None:
    with Monitor({"host": peer.host, "password": PASSWORD}, 1, 2, team="x") as client:
        assert use(client, argument(use)) in (FINISHED, {ID: FINISHED})
    assert (client.team, client.before) == ("x", "<saymon_bulk.Client>")
    assert repr(client).endswith(", closed>")
    assert credentials(peer.requests[0]) == f"{LOGIN}:{PASSWORD}"


def test_a_subclass_of_several_classes(peer: Peer) -> None:
    class Named:
        def __init__(self, *arguments: Any, name: str, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.name = name

    class Both(Named, Client):
        pass

    client = Both(peer.host, LOGIN, PASSWORD, name="a", request_timeout=3)
    assert (client.name, client.get_bulk_status(ID)) == ("a", FINISHED)


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
def test_a_subclass_that_forgets_the_init_of_the_client(use: Callable[..., Any]) -> None:
    client = Late()
    with pytest.raises(RuntimeError, match=r"super\(\).__init__"):
        use(client, argument(use))
    for act in (lambda: client.host, lambda: client.login, client.__enter__, lambda: client.start_clone("x")):
        with pytest.raises(RuntimeError, match=r"super\(\).__init__"):
            act()
    client.close()
    assert repr(client) == "<saymon_bulk.Client>"


def test_a_client_is_initialised_once(peer: Peer) -> None:
    client = at(peer)
    with pytest.raises(RuntimeError, match="once"):
        client.__init__("elsewhere", LOGIN, PASSWORD)  # type: ignore[misc]
    assert client.host == peer.host


def test_a_refused_argument_leaves_no_client() -> None:
    made: list[Client] = []

    class Kept(Client):
        def __init__(self, host: str) -> None:
            made.append(self)
            super().__init__(host, LOGIN, PASSWORD)

    with pytest.raises(ValueError, match="host"):
        Kept("http://a/b")
    with pytest.raises(RuntimeError, match="first"):
        made[0].get_bulk_status(ID)


# When it is over


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
def test_no_use_after_close(peer: Peer, use: Callable[..., Any]) -> None:
    client = at(peer)
    for _ in range(3):
        client.close()
    with pytest.raises(saymon_bulk.ClosedError, match="closed"):
        use(client, argument(use))
    assert peer.connections == 0
    assert client.host == peer.host


def test_the_blocking_iterator_is_refused_before_its_first_item(peer: Peer) -> None:
    client = at(peer)
    client.close()
    with pytest.raises(saymon_bulk.ClosedError, match="closed"):
        client.wait_for_bulks([ID])


def test_with(peer: Peer) -> None:
    with at(peer) as client:
        assert isinstance(client, Client)
        assert client.get_bulk_status(ID) == FINISHED
    with pytest.raises(saymon_bulk.ClosedError, match="closed"):
        client.get_bulk_status(ID)
    with pytest.raises(saymon_bulk.ClosedError, match="closed"), client:
        pytest.fail("a closed client was entered")


def test_async_with(peer: Peer) -> None:
    async def main() -> Client:
        async with at(peer) as client:
            assert await client.get_bulk_status_async(ID) == FINISHED
        with pytest.raises(saymon_bulk.ClosedError, match="closed"):
            await client.get_bulk_status_async(ID)
        with pytest.raises(saymon_bulk.ClosedError, match="closed"):
            async with client:
                pytest.fail("a closed client was entered")
        return client

    with pytest.raises(saymon_bulk.ClosedError, match="closed"):
        asyncio.run(main()).get_bulk_status(ID)


@pytest.mark.parametrize("kind", [ValueError, saymon_bulk.SaymonError, KeyboardInterrupt, GeneratorExit, BaseException])
def test_with_never_swallows(peer: Peer, kind: type[BaseException]) -> None:
    error = kind("of the user's")
    with pytest.raises(kind) as caught, at(peer) as client:
        raise error
    assert caught.value is error
    with pytest.raises(saymon_bulk.ClosedError, match="closed"):
        client.get_bulk_status(ID)


@pytest.mark.parametrize("kind", [ValueError, saymon_bulk.SaymonError, asyncio.CancelledError])
def test_async_with_never_swallows(peer: Peer, kind: type[BaseException]) -> None:
    error = kind("of the user's")
    client = at(peer)

    async def main() -> None:
        with pytest.raises(kind) as caught:
            async with client:
                raise error
        assert caught.value is error

    asyncio.run(main())
    with pytest.raises(saymon_bulk.ClosedError, match="closed"):
        client.get_bulk_status(ID)


def test_closing_one_leaves_the_others_their_connection(peer: Peer) -> None:
    first, second = at(peer), at(peer)
    first.get_bulk_status(ID)
    first.close()
    assert second.get_bulk_status(ID) == FINISHED
    assert peer.connections == 1


# Shared by all


@pytest.mark.slow
def test_a_thousand_clients_share_one_connection(peer: Peer) -> None:
    clients = [Client(peer.host, f"login-{n}", PASSWORD, request_timeout=n + 1) for n in range(1000)]
    for client in clients:
        assert client.get_bulk_status(ID) == FINISHED
    assert saymon_bulk.get_bulk_status(peer.host, ID, LOGIN, PASSWORD) == FINISHED
    assert saymon_bulk.wait_for_bulk(peer.host, ID, LOGIN, PASSWORD) == FINISHED
    assert (peer.connections, len(peer.requests)) == (1, 1002)
    tokens = [authorization(request) for request in peer.requests]
    assert len(set(tokens)) == 1001


@pytest.mark.slow
def test_many_threads_share_one_client(peer: Peer) -> None:
    client = at(peer)
    answers: list[object] = []

    def ask() -> None:
        answers.extend(client.get_bulk_status(ID) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [FINISHED] * 400
    assert peer.connections <= 8


# The ids


@one
@pytest.mark.parametrize("id", [None, 5, ID.encode(), [ID], "", "..", "a\0b", "\udc80", "x" * 256], ids=ascii)
def test_an_id_that_is_none(peer: Peer, use: Callable[..., Any], id: Any) -> None:
    kind = ValueError if isinstance(id, str) else TypeError
    with pytest.raises(kind, match=r"\bid\b"):
        use(at(peer), id)
    assert peer.connections == 0


class Text(str):
    __slots__ = ()


@many
@pytest.mark.parametrize("ids", [ID, "", Text(ID), ID.encode(), b"", bytearray(b"ab"), None, 5, [ID, 5], [ID, b"b"], [None]])
def test_ids_of_a_wrong_type(peer: Peer, use: Callable[..., Any], ids: Any) -> None:
    with pytest.raises(TypeError, match=r"\bids\b"):
        use(at(peer), ids)
    assert peer.connections == 0


@many
@pytest.mark.parametrize("bad", ["", ".", "..", "a\nb", "\ud800", "x" * 256], ids=ascii)
def test_one_bad_id_among_many(peer: Peer, use: Callable[..., Any], bad: str) -> None:
    with pytest.raises(ValueError, match=r"\bids\b") as caught:
        use(at(peer), iter([ID, bad, ID]))
    assert not isinstance(caught.value, UnicodeError)
    assert "1" in str(caught.value)
    assert peer.connections == 0


@many
@pytest.mark.parametrize(
    "make",
    [list, tuple, iter, dict.fromkeys, lambda ids: (id for id in ids), lambda ids: dict.fromkeys(ids).keys(), set],
    ids=["list", "tuple", "iterator", "dict", "generator", "keys", "set"],
)
def test_any_iterable_of_ids(peer: Peer, use: Callable[..., Any], make: Callable[[list[str]], Any]) -> None:
    ids = ["a", "b/c", "\u0436"]
    assert use(at(peer), make(ids)) == dict.fromkeys(ids, FINISHED)
    assert sorted(asked_for(peer)) == ["%D0%B6", "a", "b%2Fc"]


@many
def test_a_repeated_id_is_asked_once(peer: Peer, use: Callable[..., Any]) -> None:
    ids = ["b", "a", "b", "a", "c", Text("b")] * 20
    found = use(at(peer), (id for id in ids), concurrency=1)
    assert found == dict.fromkeys("bac", FINISHED)
    assert list(found) == ["b", "a", "c"]
    assert asked_for(peer) == ["b", "a", "c"]


@many
@pytest.mark.parametrize("ids", [[], (), iter([]), {}])
def test_no_ids(peer: Peer, use: Callable[..., Any], ids: Any) -> None:
    assert use(at(peer), ids) == {}
    assert peer.connections == 0


@many
def test_an_error_of_the_users_generator(peer: Peer, use: Callable[..., Any]) -> None:
    error = LookupError("no more ids")

    def ids() -> Iterator[str]:
        yield ID
        raise error

    with pytest.raises(LookupError) as caught:
        use(at(peer), ids())
    assert caught.value is error
    assert peer.connections == 0


# The other arguments

Refusal = tuple[str, Any, type[Exception]]  # argument, value, error


def refusals(name: str, values: Iterable[Any], types: Iterable[Any]) -> list[Refusal]:
    return [*((name, value, ValueError) for value in values), *((name, value, TypeError) for value in types)]


NOT_SECONDS = (-1, -0.001, float("nan"), float("inf"), 10**400)
NO_NUMBERS = ("5", b"5", [5], 1j, True)
NO_INTS = (None, True, 1.0, "3", float("nan"))
BAD: list[Refusal] = [
    *refusals("timeout", NOT_SECONDS, NO_NUMBERS),
    *refusals("interval", [*NOT_SECONDS, 0], [*NO_NUMBERS, None]),
    *refusals("max_interval", [*NOT_SECONDS, 0.0], [*NO_NUMBERS, None]),
    *refusals("retries", [-1, -(10**30)], NO_INTS),
]


@pytest.mark.parametrize("use", WAITS.values(), ids=WAITS)
def test_bad_arguments_of_a_wait(peer: Peer, use: Callable[..., Any]) -> None:
    for name, value, kind in BAD:
        with pytest.raises(kind, match=rf"\b{name}\b"):
            use(at(peer), argument(use), **{name: value})
        assert peer.connections == 0, (name, value)


@pytest.mark.parametrize("use", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("on_poll", [5, "print", [print]])
def test_what_cannot_be_called_at_a_poll(peer: Peer, use: Callable[..., Any], on_poll: Any) -> None:
    with pytest.raises(TypeError, match=r"\bon_poll\b"):
        use(at(peer), argument(use), on_poll=on_poll)
    assert peer.connections == 0


@many
def test_bad_concurrency(peer: Peer, use: Callable[..., Any]) -> None:
    for name, value, kind in refusals("concurrency", [0, -1, -(10**30)], NO_INTS):
        with pytest.raises(kind, match=rf"\b{name}\b"):
            use(at(peer), [ID], concurrency=value)
    assert peer.connections == 0


def test_iterators_refuse_when_they_are_made(peer: Peer) -> None:
    client = at(peer)
    for method in (client.wait_for_bulks, client.wait_for_bulks_async):
        with pytest.raises(TypeError, match=r"\bids\b"):
            method(ID)
        with pytest.raises(ValueError, match=r"\binterval\b"):
            method([ID], interval=0)
        with pytest.raises(ValueError, match=r"\bconcurrency\b"):
            method([ID], concurrency=0)


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
def test_options_go_by_name_only_and_unknown_ones_are_refused(peer: Peer, use: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="wrong_name"):
        use(at(peer), argument(use), wrong_name=1)
    assert peer.connections == 0


def test_the_plain_waits_refuse_as_well(peer: Peer) -> None:
    plain: list[Callable[..., Any]] = [
        saymon_bulk.wait_for_bulk,
        lambda *four, **more: asyncio.run(saymon_bulk.wait_for_bulk_async(*four, **more)),
    ]
    for wait in plain:
        more: list[Refusal] = [("id", "..", ValueError), ("host", "h/x", ValueError), ("verify", 1, TypeError)]
        for name, value, kind in BAD + more:
            arguments = {"host": peer.host, "id": ID, "login": LOGIN, "password": PASSWORD, name: value}
            with pytest.raises(kind, match=rf"\b{name}\b") as caught:
                wait(**arguments)
            assert PASSWORD not in str(caught.value)
    assert peer.connections == 0


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("host", "", ValueError),
        ("host", None, TypeError),
        ("login", "a:b", ValueError),
        ("login", b"a", TypeError),
        ("password", "a\nb", ValueError),
        ("password", None, TypeError),
        ("request_timeout", 0, ValueError),
        ("request_timeout", None, TypeError),
        ("verify", "no-such-file.pem", ValueError),
        ("verify", None, TypeError),
    ],
)
def test_bad_arguments_of_a_client(name: str, value: Any, kind: type[Exception]) -> None:
    arguments: dict[str, Any] = {"host": "127.0.0.1", "login": LOGIN, "password": PASSWORD, name: value}
    with pytest.raises(kind, match=rf"\b{name}\b") as caught:
        Client(**arguments)
    assert PASSWORD not in str(caught.value)


# From the environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, peer: Peer) -> Callable[..., None]:
    """Sets variables; the netrc files of whoever runs the tests are out of reach."""
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("SAYMON_HOST", peer.host)

    def setting(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return setting


@pytest.fixture
def netrc(tmp_path: Path) -> Callable[..., str]:
    def write(text: str, name: str = ".netrc") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return str(path)

    return write


Environment = Callable[..., None]
Netrc = Callable[..., str]


def sent(peer: Peer) -> str:
    """login:password as they were sent last."""
    return credentials(peer.requests[-1])


def test_three_variables(peer: Peer, environment: Environment, netrc: Netrc) -> None:
    netrc("machine 127.0.0.1 login other password other")
    environment(SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD)
    client = Client.from_env()
    assert (client.host, client.login) == (peer.host, LOGIN)
    assert client.get_bulk_status(ID) == FINISHED
    assert sent(peer) == f"{LOGIN}:{PASSWORD}"


def test_the_options_of_from_env(peer: Peer, environment: Environment) -> None:
    environment(SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD)
    with pytest.raises(ValueError, match=r"\bverify\b"):
        Client.from_env(verify="no-such-file.pem")
    peer.answer(Wire.hold)
    with pytest.raises(RequestTimeoutError):
        Client.from_env(request_timeout=0.1).get_bulk_status(ID)
    with pytest.raises(TypeError):
        Client.from_env(5.0)  # type: ignore[call-arg]


def test_from_env_of_a_subclass(environment: Environment) -> None:
    class Mine(Client):
        pass

    environment(SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD)
    assert type(Mine.from_env()) is Mine


NETRCS = {
    "by name": "machine 127.0.0.1 login netrc-login password netrc-password",
    "on lines": "machine other login a password b\nmachine 127.0.0.1\n login netrc-login\n password netrc-password\n",
    "the default": "machine other login a password b\ndefault login netrc-login password netrc-password\n",
    "the name before the default": (
        "machine 127.0.0.1 login netrc-login password netrc-password\ndefault login a password b\n"
    ),
}


@pytest.mark.parametrize("text", NETRCS.values(), ids=NETRCS)
@pytest.mark.parametrize("by", ["HOME", "NETRC"])
def test_netrc(peer: Peer, environment: Environment, netrc: Netrc, text: str, by: str) -> None:
    if by == "NETRC":
        netrc("machine 127.0.0.1 login home password home")
        environment(NETRC=netrc(text, "elsewhere"))
    else:
        netrc(text)
    assert Client.from_env().get_bulk_status(ID) == FINISHED
    assert sent(peer) == "netrc-login:netrc-password"


@pytest.mark.parametrize("host", ["http://LocalHost:{}/", "HTTP://localhost:{}"])
def test_netrc_goes_by_the_bare_name(peer: Peer, environment: Environment, netrc: Netrc, host: str) -> None:
    netrc("machine localhost login netrc-login password netrc-password")
    environment(SAYMON_HOST=host.format(peer.port))
    assert Client.from_env().get_bulk_status(ID) == FINISHED
    assert sent(peer) == "netrc-login:netrc-password"


@pytest.mark.parametrize("host", ["[::1]:8443", "::1", "https://[::1]/"])
def test_netrc_knows_ipv6_addresses(environment: Environment, netrc: Netrc, host: str) -> None:
    netrc("machine ::1 login netrc-login password netrc-password")
    environment(SAYMON_HOST=host)
    assert Client.from_env().login == "netrc-login"


def test_login_and_netrc_must_agree(peer: Peer, environment: Environment, netrc: Netrc) -> None:
    netrc("machine 127.0.0.1 login netrc-login password netrc-password")
    environment(SAYMON_LOGIN="netrc-login")
    assert Client.from_env().get_bulk_status(ID) == FINISHED
    assert sent(peer) == "netrc-login:netrc-password"
    environment(SAYMON_LOGIN="another")
    with pytest.raises(ValueError, match="SAYMON_PASSWORD"):
        Client.from_env()


@pytest.mark.parametrize("variable", ["SAYMON_PASSWORD", "SAYMON_PASSWORD_FILE"])
def test_a_password_alone_goes_with_no_login(
    peer: Peer, environment: Environment, netrc: Netrc, tmp_path: Path, variable: str
) -> None:
    netrc("machine 127.0.0.1 login netrc-login password netrc-password")
    (tmp_path / "password").write_text(PASSWORD)
    environment(**{variable: PASSWORD if variable == "SAYMON_PASSWORD" else str(tmp_path / "password")})
    assert Client.from_env().get_bulk_status(ID) == FINISHED
    assert sent(peer) == "netrc-login:netrc-password"


def test_the_environment_is_read_at_each_call(peer: Peer, environment: Environment) -> None:
    for login in ("first", "second"):
        environment(SAYMON_LOGIN=login, SAYMON_PASSWORD=f"{login}-password")
        Client.from_env().get_bulk_status(ID)
        assert sent(peer) == f"{login}:{login}-password"


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("missing", ["SAYMON_HOST", "SAYMON_LOGIN", "SAYMON_PASSWORD"])
@pytest.mark.parametrize("other_netrc", [None, "machine elsewhere login a password b\n"])
def test_what_is_missing_is_named(
    environment: Environment, netrc: Netrc, missing: str, empty: str | None, other_netrc: str | None
) -> None:
    environment(SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD)
    environment(**{missing: empty})
    if other_netrc:
        netrc(other_netrc)
    with pytest.raises(ValueError, match=rf"\b{missing}\b") as caught:
        Client.from_env()
    assert_no_secret(caught.value, PASSWORD)


def test_a_bad_host_of_the_environment(environment: Environment) -> None:
    environment(SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD, SAYMON_HOST="http://u:hunter2@h/x")
    with pytest.raises(ValueError, match=r"\b(SAYMON_HOST|host)\b") as caught:
        Client.from_env()
    assert "hunter2" not in str(caught.value)
    assert_no_secret(caught.value, PASSWORD)


def test_a_netrc_that_is_not_there(environment: Environment, tmp_path: Path) -> None:
    environment(NETRC=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="SAYMON_LOGIN"):
        Client.from_env()


BROKEN = [
    "machine 127.0.0.1 login netrc-login password\nnetrc-password extra tokens\n",
    "machine 127.0.0.1 login netrc-login secret netrc-password\n",
    "netrc-password\n",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_netrc_that_is_broken(environment: Environment, netrc: Netrc, text: str) -> None:
    path = netrc(text)
    with pytest.raises(ValueError, match="netrc") as caught:
        Client.from_env()
    assert path in str(caught.value)
    assert_no_secret(caught.value, "netrc-password")


def test_a_netrc_that_is_no_text(environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / ".netrc"
    path.write_bytes(b"machine 127.0.0.1 login l password \xff\xfe\n")
    with pytest.raises(ValueError, match="netrc") as caught:
        Client.from_env()
    assert not isinstance(caught.value, UnicodeError)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="netrc"):
        Client.from_env()


def assert_no_secret(error: BaseException, secret: str) -> None:
    """Not in its text, not in what is printed of it, not in the package's frames below it."""
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert secret not in str(error)
    assert secret not in shown
    package = str(Path(saymon_bulk.__file__).parent)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(package):
            assert secret not in repr(frame.f_locals), f"a local of {frame.f_code.co_name}, line {line}"


def test_what_the_server_says_reaches_every_use(peer: Peer) -> None:
    peer.answer(response('{"finished": true, "n": {"deep": [1, null]}}'))
    status = {"finished": True, "n": {"deep": [1, None]}}
    for use in ONE.values():
        assert use(at(peer), ID) == status
    for use in MANY.values():
        assert use(at(peer), [ID]) == {ID: status}
