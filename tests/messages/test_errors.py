"""The errors: their family, their attributes, and that they travel."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD, QUICK, RUN, Peer, Wire, at, failure, response
from processes import run_script
from saymon_bulk import (
    AuthError,
    ClosedError,
    HTTPStatusError,
    InsecureConnectionWarning,
    InsecureFileWarning,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    StartUncertainError,
    TransportError,
    WaitTimeoutError,
    errors,
)

ROOT = Path(__file__).parents[2]

FAMILY: dict[type[BaseException], tuple[type[BaseException], ...]] = {
    SaymonError: (Exception,),
    HTTPStatusError: (SaymonError,),
    AuthError: (HTTPStatusError, PermissionError),
    NotFoundError: (HTTPStatusError, LookupError),
    TransportError: (SaymonError, ConnectionError),
    RequestTimeoutError: (TransportError, TimeoutError),
    ResponseError: (SaymonError, ValueError),
    ClosedError: (SaymonError, RuntimeError),
    InsecureConnectionWarning: (UserWarning,),
    InsecureFileWarning: (UserWarning,),
}

SAID = b'{"code": "Busy", "message": "\xd0\xb5\xd1\x89\xd1\x91"}'
TWICE = b'{"code": "Unauthorized", "message": "{\\"message\\": \\"No.\\"}"}'


def answered(*answer: Any) -> Callable[[Peer], SaymonError]:
    def act(peer: Peer) -> SaymonError:
        peer.answer(response(*answer))
        return failure(peer.host)

    return act


def timed_out(peer: Peer) -> SaymonError:
    peer.answer(Wire.hold)
    return failure(peer.host, request_timeout=0.2)


def refused(peer: Peer) -> SaymonError:
    peer.stop()
    return failure(peer.host)


def cut_off(peer: Peer) -> SaymonError:
    peer.answer(Wire.reset)
    return failure(peer.host)


RAISED: dict[str, tuple[type[SaymonError], Callable[[Peer], SaymonError]]] = {
    "503": (HTTPStatusError, answered(SAID, 503, "Retry-After: 7")),
    "302": (HTTPStatusError, answered(b"", 302, "Location: https://127.0.0.1/")),
    "401": (AuthError, answered(TWICE, 401)),
    "403": (AuthError, answered(b"<html>", 403)),
    "404": (NotFoundError, answered(SAID, 404)),
    "no status": (ResponseError, answered(b"[true]")),
    "timed out": (RequestTimeoutError, timed_out),
    "refused": (TransportError, refused),
    "cut off": (TransportError, cut_off),
}


def closed(peer: Peer) -> SaymonError:
    client = at(peer)
    client.close()
    with pytest.raises(ClosedError) as caught:
        client.get_bulk_status(ID)
    return caught.value


def uncertain(peer: Peer) -> SaymonError:
    peer.answer(response(SAID, 502))
    with pytest.raises(StartUncertainError) as caught:
        at(peer).start_clone("an object")
    return caught.value


def late(peer: Peer) -> SaymonError:
    peer.answer(RUN, response(SAID, 503))
    with pytest.raises(WaitTimeoutError) as caught:
        list(at(peer).wait_for_bulks([ID, "b"], timeout=0.2, retries=1000, **QUICK))
    return caught.value


ALL: dict[str, Callable[[Peer], SaymonError]] = {name: provoke for name, (_, provoke) in RAISED.items()}
ALL.update({"uncertain": uncertain, "late": late, "closed": closed})


def pickled(protocol: int) -> Callable[[Any], Any]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {protocol}": pickled(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}

OF_A_STATUS = ("status_code", "code", "message", "body", "retry_after")


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_the_family(kind: type[BaseException]) -> None:
    for base in FAMILY[kind]:
        assert issubclass(kind, base)
    assert getattr(saymon_bulk, kind.__name__) is kind
    assert kind.__doc__


def test_no_error_is_another_one_by_accident() -> None:
    for kind in (HTTPStatusError, ResponseError):
        assert not issubclass(kind, OSError)
    assert not issubclass(HTTPStatusError, ValueError)
    assert not issubclass(TransportError, ValueError)
    assert not issubclass(TransportError, TimeoutError)
    assert not issubclass(ResponseError, (HTTPStatusError, TransportError))


@pytest.mark.parametrize(("kind", "provoke"), RAISED.values(), ids=RAISED)
def test_what_is_raised(peer: Peer, kind: type[SaymonError], provoke: Any) -> None:
    error: Any = provoke(peer)
    assert type(error) is kind
    assert (error.host, error.id) == (peer.host, ID)
    assert str(error) == error.args[0]
    assert str(error)
    assert repr(error) == f"{kind.__name__}({str(error)!r})"
    for name in OF_A_STATUS:
        assert hasattr(error, name) is isinstance(error, HTTPStatusError)


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize(("kind", "provoke"), RAISED.values(), ids=RAISED)
def test_a_copy_is_the_same(peer: Peer, kind: type[SaymonError], provoke: Any, make: Any) -> None:
    error: Any = provoke(peer)
    twin: Any = make(error)
    assert twin is not error
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert repr(twin) == repr(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)
    assert (twin.host, twin.id) == (error.host, error.id)
    if isinstance(error, HTTPStatusError):
        for name in OF_A_STATUS:
            assert getattr(twin, name) == getattr(error, name)


def test_a_timeout_says_how_long_it_was(peer: Peer) -> None:
    assert "0.2" in str(timed_out(peer))


def test_the_usual_names_catch_them(peer: Peer) -> None:
    with pytest.raises(PermissionError):
        raise RAISED["401"][1](peer)
    with pytest.raises(LookupError):
        raise RAISED["404"][1](peer)
    with pytest.raises(ValueError, match="true"):
        raise RAISED["no status"][1](peer)
    with pytest.raises(TimeoutError):
        raise RAISED["timed out"][1](peer)
    with pytest.raises(ConnectionError):
        raise RAISED["refused"][1](peer)


# args, which JSON result back-ends keep


def alike(error: SaymonError) -> Any:
    """The attributes, with inner errors as theirs."""
    inner = {id: alike(one) for id, one in vars(error).get("failures", {}).items()}
    return type(error), str(error), {**vars(error), "failures": inner}


@pytest.mark.parametrize("provoke", ALL.values(), ids=ALL)
def test_an_error_comes_back_out_of_json(peer: Peer, provoke: Callable[[Peer], SaymonError]) -> None:
    error = provoke(peer)
    twin = type(error)(*json.loads(json.dumps(error.args)))
    assert alike(twin) == alike(error)
    assert (repr(twin), twin.args, twin.to_dict()) == (repr(error), error.args, error.to_dict())
    again = pickle.loads(pickle.dumps(copy.copy(twin)))
    assert alike(again) == alike(error)


def test_the_failures_of_a_wait_come_back(peer: Peer) -> None:
    error: Any = late(peer)
    twin: Any = WaitTimeoutError(*json.loads(json.dumps(error.args)))
    assert twin.pending == error.pending
    assert twin.failures
    assert {id: one.status_code for id, one in twin.failures.items()} == dict.fromkeys(error.failures, 503)


def test_what_another_version_wrote_is_passed_over() -> None:
    error = HTTPStatusError("text", {"status_code": 503, "transient": False, "args": [], "__class__": "x", "newer": 1})
    assert (error.status_code, error.transient, error.args[0]) == (503, True, "text")
    assert not hasattr(error, "newer")
    late = WaitTimeoutError("text", {"failures": {"a": ["NewerError", "inner", {"id": "a"}], "b": ["Client"]}})
    assert {id: (type(one), str(one), one.id) for id, one in late.failures.items()} == {
        "a": (SaymonError, "inner", "a"),
        "b": (SaymonError, "", None),
    }


def test_what_a_program_adds_to_an_error_stays_out_of_args() -> None:
    error: Any = NotFoundError("text", id="a")
    error.response = object()
    error.__notes__ = ["a note"]
    assert json.loads(json.dumps(error.args))[1]["id"] == "a"
    assert copy.copy(error).response is error.response


def test_the_text_can_be_changed() -> None:
    for kind in (SaymonError, AuthError, RequestTimeoutError):
        error = kind("text", id="a")
        error.args = (f"{error.args[0]}, and more", *error.args[1:])
        assert (str(error), error.id, error.args[1]["id"]) == ("text, and more", "a", "a")
        error.args = ()
        assert str(error) == ""


# kind and transient


def no_tls(peer: Peer) -> SaymonError:
    peer.answer(b"no TLS")
    return failure(peer.host.replace("http:", "https:"))


KINDS: dict[str, Callable[[Peer], SaymonError]] = {
    "dns": lambda peer: failure("no-such-name.invalid"),
    "connect": refused,
    "tls": no_tls,
    "cut": cut_off,
    "timeout": timed_out,
}


@pytest.mark.parametrize(("kind", "provoke"), KINDS.items(), ids=KINDS)
def test_a_transport_error_says_what_failed(peer: Peer, kind: str, provoke: Callable[[Peer], SaymonError]) -> None:
    error: Any = provoke(peer)
    assert isinstance(error, TransportError)
    assert error.kind == kind
    assert error.transient


TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}


def test_the_status_says_whether_it_is_transient(peer: Peer) -> None:
    for status in (204, 302, 400, 401, 403, 404, 408, 409, 410, 429, 500, 501, 502, 503, 504, 505):
        peer.answer(response(SAID if status != 204 else b"", status))
        assert failure(peer.host).transient is (status in TRANSIENT_STATUS), status


def test_a_wait_goes_on_after_a_transient_error_and_after_no_other(peer: Peer) -> None:
    for status in (400, 404, 408, 429, 500, 501, 502, 503):
        peer.answer(response(SAID, status), response(b'{"finished": true}'))
        outcome = dict(at(peer).wait_for_bulks([ID], return_exceptions=True, **QUICK))[ID]
        assert isinstance(outcome, SaymonError) is not HTTPStatusError("made by hand", status_code=status).transient, status


def test_transient_is_the_rule_of_a_wait_that_had_a_good_answer() -> None:
    """Each HTTP status, and each kind in its Rust name: `is_tolerable` decides of the wait, `errors.py` of the attribute."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "core").rglob("*.rs"))
    rule = source.partition("fn is_tolerable(")[2].partition("\n}")[0]
    assert set(map(int, re.findall(r"\b[1-5]\d\d\b", rule))) == errors._TRANSIENT_STATUSES
    names = dict(re.findall(r'^ +Self::(\w+) => "(\w+)",', source.partition("impl Cause {")[2].partition("\n}")[0], re.M))
    arms = {
        line.partition("=>")[2].strip(): line for line in re.findall(r"[^,]*Failure::Transport[^{]*{[^}]*}[^>]*=> \w+", rule)
    }
    assert {"true", "answered", "false"} == set(arms)
    for result, arm in arms.items():
        for name in re.findall(r"Cause::(\w+)", arm):
            assert (names.pop(name) in errors._TRANSIENT_KINDS) is (result != "false"), name
    assert names == {}
    assert "Failure::Timeout" in arms["true"]


def test_no_start_that_may_have_happened_is_transient(peer: Peer) -> None:
    error: Any = uncertain(peer)
    assert error.status_code == 502
    assert not error.transient
    assert error.__cause__.transient


def test_what_is_not_worth_trying_again() -> None:
    made = [
        SaymonError("text"),
        ResponseError("text"),
        WaitTimeoutError("text"),
        TransportError("text"),
        HTTPStatusError("text"),
    ]
    made += [TransportError("text", kind="certificate"), HTTPStatusError("text", status_code=-1)]
    made += [HTTPStatusError("text", status_code=70_000 + 503), StartUncertainError("text", status_code=503)]
    assert not [error for error in made if error.transient]
    assert RequestTimeoutError("made by hand").transient
    assert RequestTimeoutError("made by hand").kind == "timeout"


def test_transient_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        SaymonError("text").transient = True  # type: ignore[misc]


# to_dict


@pytest.mark.parametrize("provoke", ALL.values(), ids=ALL)
def test_an_error_as_an_object(peer: Peer, provoke: Callable[[Peer], SaymonError]) -> None:
    error: Any = provoke(peer)
    assert list(error.to_dict().items()) == [
        ("id", error.id),
        ("finished", None),
        ("error", type(error).__name__),
        ("message", str(error)),
        ("status_code", getattr(error, "status_code", None)),
        ("transient", error.transient),
    ]
    assert json.loads(json.dumps(error.to_dict())) == error.to_dict()


@pytest.mark.parametrize(
    ("pending", "failures", "finished"),
    [
        ({"a": {"finished": False}}, {}, False),
        ({"a": None}, {}, None),
        ({"a": {"finished": False}}, {"a": SaymonError("down")}, None),
        ({"b": {"finished": False}}, {}, None),
    ],
)
def test_a_late_wait_tells_what_still_runs(pending: Any, failures: Any, finished: bool | None) -> None:
    error = saymon_bulk.WaitTimeoutError("late", id="a", pending=pending, failures=failures)
    assert error.to_dict()["finished"] is finished


# A second import, as of two runs of pytest in one process


ANEW = f"""
import asyncio, os, sys

def imported():
    for name in [name for name in sys.modules if name.partition(".")[0] == "saymon_bulk"]:
        del sys.modules[name]
    import saymon_bulk
    return saymon_bulk

def use(saymon_bulk):
    host, nobody = sys.argv[1:]
    client = saymon_bulk.Client(host, {LOGIN!r}, {PASSWORD!r})
    for kind, act in {{
        "NotFoundError": lambda: client.get_bulk_status("a"),
        "HTTPStatusError": lambda: asyncio.run(client.get_bulk_status_async("a")),
        "SaymonError": lambda: list(client.wait_for_bulks(["a"])),
        "TransportError": lambda: saymon_bulk.get_bulk_status(nobody, "a", "login", "password"),
        "WaitTimeoutError": lambda: saymon_bulk.wait_for_bulk(nobody, "a", "login", "password", timeout=0),
        "LookupError": lambda: client.start_clone("a"),
        "ClosedError": lambda: [client.close(), client.start_clone("a")],
    }}.items():
        try:
            act()
        except getattr(saymon_bulk, kind, LookupError):
            continue
        raise AssertionError(kind)

first = imported()
use(first)
before = dict(sys.modules)
second = imported()
assert second.SaymonError is not first.SaymonError
use(second)
sys.modules.update(before)  # as pytester does at the end of its run
use(first)

class AtExit:
    def __del__(self, get_bulk_status=first.get_bulk_status, base=first.SaymonError, nobody=sys.argv[2], write=os.write):
        try:
            get_bulk_status(nobody, "a", "login", "password")
        except base:
            write(1, b"caught at the exit")

sys.modules["at the exit"] = AtExit()
"""


@pytest.mark.slow
def test_a_second_import_raises_its_own_classes(peer: Peer) -> None:
    peer.answer(response(SAID, 404))
    done = run_script(ANEW, peer.host, "http://127.0.0.1:9")
    assert (done.stdout, done.stderr) == ("caught at the exit", "")
