"""InsecureConnectionWarning: when, where it points, and what happens under -W error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import warnings

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD, Peer, ask
from processes import run_script
from saymon_bulk import InsecureConnectionWarning, SaymonError

# Asks each host of argv[1]; prints, for each, the categories of its warnings.
WARNED = """
import json, sys, warnings, saymon_bulk
told = []
for host in json.loads(sys.argv[1]):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            saymon_bulk.get_bulk_status(host, "op", "login", "pass-word-x")
        except saymon_bulk.SaymonError as error:
            pass
    told.append([warning.category.__name__ for warning in caught])
print(json.dumps(told))
"""

RAISED = """
import sys, saymon_bulk
try:
    saymon_bulk.get_bulk_status(
        sys.argv[1], "op", "login", "pass-word-x", verify=len(sys.argv) < 3
    )
except Exception as error:
    print(type(error).__name__)
"""

LOOPBACK = [
    "http://127.0.0.1",
    "http://127.0.0.1:8080/",
    "http://127.8.9.10",
    "http://localhost",
    "http://LocalHost:8080",
    "http://[::1]",
    "http://[::1]:8080",
    "http://::1",
]

FOREIGN = [
    "http://monitor.example.com",
    "http://monitor.example.com:8080/",
    "http://192.0.2.1",
    "http://10.0.0.1:8080",
    "http://128.0.0.1",
    "http://[2001:db8::1]:8080",
    "http://[fe80::1]",
    "http://0.0.0.0",
    # look like loopback, and are not
    "http://127.0.0.1.example",
    "http://127.example.com",
    "http://localhost.example.com",
    "http://localhost-1",
    "http://notlocalhost",
]

SECURE = ["monitor.example.com", "https://monitor.example.com:8443", "192.0.2.1"]


def test_who_is_warned(peer: Peer) -> None:
    hosts = LOOPBACK + FOREIGN + SECURE
    proxy = {"HTTP_PROXY": peer.host, "HTTPS_PROXY": peer.host}
    done = run_script(WARNED, json.dumps(hosts), **proxy)
    told = dict(zip(hosts, json.loads(done.stdout)))
    assert told == {
        **{host: [] for host in LOOPBACK},
        **{host: ["InsecureConnectionWarning"] for host in FOREIGN},
        **{host: [] for host in SECURE},
    }


def test_plain_http_to_this_machine_is_quiet(peer: Peer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(peer.host) == {"finished": True}
        assert ask(f"http://localhost:{peer.port}") == {"finished": True}


def test_plain_http_over_ipv6_to_this_machine_is_quiet(peer6: Peer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(peer6.host) == {"finished": True}


def test_the_warning_points_at_the_caller(peer: Peer) -> None:
    peer.answer(lambda wire: None)
    host = f"https://{peer.authority}"

    def caller() -> None:
        saymon_bulk.get_bulk_status(host, ID, LOGIN, PASSWORD, verify=False)

    line = caller.__code__.co_firstlineno + 1
    with pytest.warns(InsecureConnectionWarning) as caught, pytest.raises(SaymonError):
        caller()
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]


def test_the_warning_is_given_once(peer: Peer) -> None:
    peer.answer(lambda wire: None)
    with pytest.warns(InsecureConnectionWarning) as caught, pytest.raises(SaymonError):
        ask(f"https://{peer.authority}", verify=False)
    assert len(caught) == 1


def test_unverified_is_not_unsent(peer: Peer) -> None:
    peer.answer(lambda wire: None)
    with pytest.warns(InsecureConnectionWarning), pytest.raises(SaymonError):
        ask(f"https://{peer.authority}", verify=False)
    assert peer.connections == 1


def test_as_an_error_it_comes_before_the_network(peer: Peer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InsecureConnectionWarning):
            ask(f"https://{peer.authority}", verify=False)
    assert peer.connections == 0


@pytest.mark.parametrize(
    "arguments",
    [["http://monitor.example.com"], ["http://192.0.2.1:8080"], ["127.0.0.1", "off"]],
)
def test_under_w_error(peer: Peer, arguments: list[str]) -> None:
    proxy = {"HTTP_PROXY": peer.host, "HTTPS_PROXY": peer.host}
    done = run_script(RAISED, *arguments, flags=["-W", "error"], **proxy)
    assert done.stdout.split() == ["InsecureConnectionWarning"]
    assert peer.connections == 0


def test_a_bad_argument_comes_before_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"\bid\b"):
            ask("http://monitor.example.com", id="..")


@pytest.mark.parametrize("call", ["wait_for_bulk", "wait_for_bulk_async", "get_bulk_status_async", "Client"])
def test_every_way_in_points_at_its_caller(peer: Peer, call: str) -> None:
    async def run() -> None:
        name = getattr(saymon_bulk, call)
        arguments = [f"https://{peer.authority}"] + ([] if call == "Client" else ["x"]) + ["login", "password"]
        with contextlib.suppress(SaymonError):
            made = name(*arguments, verify=False)
            if call.endswith("_async"):
                await made

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(run())
    assert [warning.filename for warning in caught] == [__file__]
