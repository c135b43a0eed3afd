"""--json: one shape for results and errors, also for those that end the command."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from commands import COMMAND, KEYS, environment, good, run
from peer import LOGIN, PASSWORD, Peer, response
from processes import needs_shell
from saymon_bulk.testing import PracticeServer
from servers import Nginx

pytestmark = pytest.mark.usefixtures("user")


@pytest.mark.parametrize(
    ("words", "more", "code", "error", "says"),
    [
        (["status", "--host", "a/b", "x"], {}, 2, "ValueError", "--host must not hold a path"),
        (["status", "x"], {"SAYMON_HOST": "a/b"}, 2, "ValueError", "SAYMON_HOST must not hold a path"),
        (["status", "x"], {"SAYMON_HOST": ""}, 2, "ValueError", "no host: give --host or set SAYMON_HOST"),
        (["status", "--login", "a:b", "x"], {}, 2, "ValueError", "--login must not hold a colon (RFC 7617)"),
        (["status", "x"], {"SAYMON_LOGIN": "a:b"}, 2, "ValueError", "SAYMON_LOGIN must not hold a colon (RFC 7617)"),
        (["status", "x"], {"SAYMON_PASSWORD": "a\rb"}, 2, "ValueError", "the password must not hold control characters"),
        (["status", "x"], {"SAYMON_PASSWORD": ""}, 2, "ValueError", "no password: "),
        (["status", "--cacert", "none", "x"], {}, 2, "ValueError", "--cacert names a CA file that cannot be read: "),
        (["status", "--cacert", "/dev/null", "--insecure", "x"], {}, 2, "ValueError", "--insecure and --cacert exclude"),
        (["wait", ".."], {}, 2, "ValueError", "ID 1 must not be '.' or '..'"),
        (["wait", "--ids", "none"], {}, 2, "ValueError", "--ids none: No such file or directory"),
        (["clone", "42", "--retries", "1"], {}, 2, "ValueError", "--retries goes with --wait"),
        (["clone", ""], {}, 2, "ValueError", "OBJECT_ID must not be empty"),
        (["start", "--bulk", "none", "--search", "none"], {}, 2, "ValueError", "--search none: No such file or directory"),
        (["status", "--insecure", "x"], {"PYTHONWARNINGS": "error"}, 2, "InsecureConnectionWarning", "https://h.invalid: "),
        (["clone", "42", "--host", "http://127.0.0.1:1"], {}, 1, "TransportError", "http://127.0.0.1:1: "),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_an_error_that_ends_the_command(
    words: list[str], more: dict[str, str], code: int, error: str, says: str, before: bool
) -> None:
    words = ["--json", *words] if before else [*words, "--json"]
    result = run(None, *words, **{"SAYMON_HOST": "h.invalid", **more})
    assert (result.returncode, result.stderr) == (code, "")
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert tuple(found) == KEYS
    assert (found["id"], found["finished"], found["error"], found["status_code"]) == (None, None, error, None)
    assert found["message"].startswith(says)
    assert isinstance(found["transient"], bool)


@pytest.mark.parametrize("command", ["status", "wait"])
def test_an_operation_that_is_not_known(server: PracticeServer, command: str) -> None:
    result = run(server, command, "--json", "unknown")
    assert (result.returncode, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    assert tuple(found) == KEYS
    assert [found[key] for key in KEYS if key != "message"] == ["unknown", None, "NotFoundError", 404, False]


def test_promised_names_are_ours(peer: Peer) -> None:
    theirs = {"error": "theirs", "transient": "theirs", "id": 7, "message": "theirs", "status_code": 1, "count": 3}
    peer.answer(response(json.dumps({**theirs, "finished": True})))
    result = run(peer, "status", "--json", "x")
    assert json.loads(result.stdout) == {**good("x", True), "count": 3}


def test_words_without_json(server: PracticeServer) -> None:
    result = run(server, "status", "--host", "a/b", "x")
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "saymon-bulk: --host must not hold a path\n")


@pytest.mark.parametrize(
    ("store", "says"),
    [({}, "--cacert /path/to/it.pem would trust it alone"), ({"SSL_CERT_FILE": "none"}, "or give --cacert /path/to/ca.pem")],
    ids=["self-signed", "no store"],
)
def test_advice_is_in_the_words_of_the_command_line(front: Nginx, store: dict[str, str], says: str) -> None:
    for words in ([], ["--json"]):
        result = run(None, "status", *words, "--host", front.url("self-signed", "localhost"), "x", **store)
        assert result.returncode == 1
        assert says in result.stdout + result.stderr
        assert "verify" not in result.stdout + result.stderr


def test_what_argparse_refuses_is_in_words(server: PracticeServer) -> None:
    result = run(server, "--json", "status", "--nonsense", "x")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: ")


def test_nobody_reads_it(server: PracticeServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for words in (["status", "--json", "--host", "a/b", "x"], ["completion", "bash"], []):
        done = subprocess.run(
            [*COMMAND, *words],
            env=environment(server),
            stdout=writer,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(writer)


@needs_shell
def test_an_error_on_a_full_disk(server: PracticeServer) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "status", "--json", "--host", "a/b", "x"],
            env=environment(server),
            stdout=full,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, b"saymon-bulk: --host must not hold a path\n")


@pytest.mark.parametrize(("status", "transient"), [(503, True), (429, True), (400, False), (401, False)])
def test_transient_is_that_of_the_error(peer: Peer, status: int, transient: bool) -> None:
    peer.answer(response(b"{}", status))
    done = run(None, "status", "--json", "x", SAYMON_HOST=peer.host, SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD)
    found = json.loads(done.stdout)
    assert (found["status_code"], found["transient"]) == (status, transient)
    assert list(found) == list(KEYS)


@pytest.mark.parametrize("words", [["status"], ["wait"], ["clone"], ["clone", "--wait"]], ids=" ".join)
def test_an_integer_longer_than_python_writes(peer: Peer, words: list[str]) -> None:
    digits = "1" * 4300
    peer.answer(response(f'{{"bulkId": "x", "finished": true, "n": {digits}}}'))
    result = run(peer, *words, "x", "--json", PYTHONINTMAXSTRDIGITS="640")
    assert result.returncode == 0, result.stderr
    assert f'"n": {digits}' in result.stdout
