"""The errors: their family, their attributes, and that they travel."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import ID, Peer, Wire, failure, response
from saymon_bulk import (
    AuthError,
    HTTPStatusError,
    InsecureConnectionWarning,
    InsecureFileWarning,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    TransportError,
)

FAMILY: dict[type[BaseException], tuple[type[BaseException], ...]] = {
    SaymonError: (Exception,),
    HTTPStatusError: (SaymonError,),
    AuthError: (HTTPStatusError, PermissionError),
    NotFoundError: (HTTPStatusError, LookupError),
    TransportError: (SaymonError, ConnectionError),
    RequestTimeoutError: (TransportError, TimeoutError),
    ResponseError: (SaymonError, ValueError),
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
