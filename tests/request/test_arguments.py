"""The call itself: four arguments and two options, each checked before the network."""

from __future__ import annotations

import inspect
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD, Peer, ask

call: Any = saymon_bulk.get_bulk_status


def refused(peer: Peer, name: str, value: Any, *kinds: type[Exception], host: str = "") -> None:
    with pytest.raises(kinds, match=rf"\b{name}\b") as caught:
        ask(host or peer.host, **{name: value})
    assert not isinstance(caught.value, (saymon_bulk.SaymonError, UnicodeError))
    assert PASSWORD not in str(caught.value)
    assert peer.connections == 0


def test_by_position_and_by_name(peer: Peer) -> None:
    assert call(peer.host, ID, LOGIN, PASSWORD) == {"finished": True}
    named = {"host": peer.host, "id": ID, "login": LOGIN, "password": PASSWORD}
    assert call(**named) == {"finished": True}
    assert call(**named, verify=True, request_timeout=30) == {"finished": True}


def test_the_signature_is_the_documented_one() -> None:
    parameters = inspect.signature(saymon_bulk.get_bulk_status).parameters
    assert list(parameters) == [
        *("host", "id", "login", "password"),
        *("request_timeout", "verify", "cert"),
    ]
    only_named = inspect.Parameter.KEYWORD_ONLY
    assert parameters["request_timeout"].kind is only_named
    assert parameters["request_timeout"].default == 30.0
    assert parameters["verify"].kind is only_named
    assert parameters["verify"].default is True


def test_what_comes_after_the_password_goes_by_name_only(peer: Peer) -> None:
    with pytest.raises(TypeError) as caught:
        call(peer.host, ID, LOGIN, PASSWORD, 5.0)
    assert PASSWORD not in str(caught.value)
    assert peer.connections == 0


def test_missing_and_unknown_arguments(peer: Peer) -> None:
    with pytest.raises(TypeError, match="password"):
        call(peer.host, ID, LOGIN)
    with pytest.raises(TypeError, match="timeout"):
        call(peer.host, ID, LOGIN, PASSWORD, timeout=5)
    with pytest.raises(TypeError):
        call(peer.host, ID, LOGIN, PASSWORD, password=PASSWORD)
    assert peer.connections == 0


@pytest.mark.parametrize("seconds", [1, 1.5, Fraction(3, 2), 1e9, 1e19, 1e300, 10**18, 1.7976931348623157e308])
def test_any_positive_real_number_of_seconds(peer: Peer, seconds: Any) -> None:
    assert ask(peer.host, request_timeout=seconds) == {"finished": True}


@pytest.mark.parametrize(
    "seconds",
    [0, 0.0, -0.0, -1, -1e-9, float("nan"), float("inf"), float("-inf"), 10**400],
    ids=lambda seconds: repr(seconds)[:8],
)
def test_no_other_number_of_seconds(peer: Peer, seconds: Any) -> None:
    refused(peer, "request_timeout", seconds, ValueError)


@pytest.mark.parametrize("value", [None, True, False, "30", b"30", [30], 1j])
def test_a_time_is_a_number(peer: Peer, value: Any) -> None:
    refused(peer, "request_timeout", value, TypeError)


@pytest.mark.parametrize("value", [None, 1, 0, 1.0, b"ca.pem", ["ca.pem"]])
def test_verify_is_a_bool_or_a_path(peer: Peer, value: Any) -> None:
    refused(peer, "verify", value, TypeError)


@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_ca_file_that_is_not_there(peer: Peer, tmp_path: Path, as_path: Any, scheme: str) -> None:
    missing = as_path(tmp_path / "no-such-file.pem")
    refused(peer, "verify", missing, ValueError, host=f"{scheme}://{peer.authority}")


EMPTY_BLOCK = b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
RUBBISH_BLOCK = EMPTY_BLOCK.replace(b"-\n-", b"-\n!!!!\n-", 1)
NO_DER_BLOCK = EMPTY_BLOCK.replace(b"-\n-", b"-\naGVsbG8gd29ybGQ=\n-", 1)
KEY_BLOCK = NO_DER_BLOCK.replace(b"CERTIFICATE", b"PRIVATE KEY")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not a certificate",
        b"\x30\x82\x01\x0a\x00\xff",
        EMPTY_BLOCK,
        RUBBISH_BLOCK,
        NO_DER_BLOCK,
        NO_DER_BLOCK[: len(NO_DER_BLOCK) // 2],
        KEY_BLOCK,
    ],
)
def test_a_ca_file_that_holds_no_certificate(peer: Peer, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    refused(peer, "verify", file, ValueError, host=f"https://{peer.authority}")
    refused(peer, "verify", str(file), ValueError)


@pytest.mark.parametrize("path", ["", "/", "a\0b", "\udcff", "ca\ud800.pem"])
def test_a_path_that_is_no_file(peer: Peer, path: str) -> None:
    refused(peer, "verify", path, ValueError, host=f"https://{peer.authority}")


def test_a_directory_is_no_ca_file(peer: Peer, tmp_path: Path) -> None:
    refused(peer, "verify", tmp_path, ValueError, host=f"https://{peer.authority}")


def test_a_path_like_is_asked_for_its_path(peer: Peer, tmp_path: Path) -> None:
    class Somewhere(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(tmp_path / "asked-for-this.pem")

    with pytest.raises(ValueError, match=r"asked-for-this\.pem"):
        ask(peer.host, verify=Somewhere())
