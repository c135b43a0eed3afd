"""The commands `start` and `clone`, in processes of their own and on terminals of their own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import (
    COMMAND,
    KEYS,
    SIGHUP,
    SIGNALS,
    UNUSED,
    Terminal,
    Word,
    environment,
    exit_code,
    good,
    loaded,
    run,
    started,
    words_of,
)
from peer import END, ID, LOGIN, PASSWORD, RUN, Answer, Peer, Wire, end, headers, no_hanging, response
from processes import POSIX, needs_signals
from saymon_bulk.testing import PracticeServer
from servers import wait_until

pytestmark = pytest.mark.usefixtures("user")
alarm = no_hanging()

SAYMON = shlex.join(COMMAND)
START = ["start", "--search", "search.json", "--bulk", "bulk.json"]
EVERY = ["start", "--every-object", "--bulk", "bulk.json"]
CLONE = ["clone", "42"]
both = pytest.mark.parametrize("command", [START, CLONE], ids=["start", "clone"])

SEARCH, BULK = '{"name": "ЦП"}', '[{"modify": {"owner": 1.5}}, {"modify": {"tags": [null, true]}}]'
BODY = '{"search":{"name":"ЦП"},"bulk":[{"modify":{"owner":1.5}},{"modify":{"tags":[null,true]}}]}'
BODY_OF_EVERY = BODY.replace('{"name":"ЦП"}', "{}")

# The server's answer to a start, with fields that it does not document.
BEGUN = f'{{"zeta": 1.5, "bulkId": "{ID}", "id": "theirs", "finished": false, "note": "да"}}'
STARTED = {**good(ID, False), "zeta": 1.5, "bulkId": ID, "note": "да"}
TOLD = f"saymon-bulk: started bulk operation {ID}"
QUESTION = 'This changes every object of {}. To start, type "yes":'


@pytest.fixture(autouse=True)
def folder(user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run, with a search and its changes."""
    (tmp_path / "search.json").write_text(SEARCH, encoding="utf-8")
    (tmp_path / "bulk.json").write_text(BULK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD, finishes_after=0) as one:
        yield one


@pytest.fixture
def peer(peer: Peer) -> Peer:
    """Starts an operation that runs for ever."""
    peer.answer(response(BEGUN), RUN)
    return peer


def shell(server: PracticeServer | Peer, line: str) -> subprocess.CompletedProcess[str]:
    if not POSIX:
        pytest.skip("no POSIX shell on this system")
    return subprocess.run(
        ["sh", "-c", line],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def unread(server: Peer, *words: str) -> tuple[int, list[str]]:
    """The exit code, and the lines on stderr, of a command whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *words],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    os.close(writer)
    return done.returncode, done.stderr.splitlines()


def body(peer: Peer) -> str:
    """What the one start that arrived holds."""
    assert len(peer.requests) == 1
    return peer.requests[0].partition(b"\r\n\r\n")[2].decode()


def request_id(peer: Peer) -> str:
    return dict(headers(peer.requests[0]))["x-request-id"]


# Results and exit codes


@both
def test_the_id_alone_is_printed(server: PracticeServer, command: list[str]) -> None:
    result = run(server, *command)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"[0-9a-f-]{36}\n", result.stdout)
    assert len(server.requests) == 1
    assert run(server, "status", result.stdout.strip()).returncode == 0


@both
def test_a_shell_takes_the_id(server: PracticeServer, command: list[str]) -> None:
    result = shell(server, f'set -e; id=$({SAYMON} {shlex.join(command)}); {SAYMON} wait -- "$id"; echo "it was $id"')
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"(\S+) finished\nit was \1\n", result.stdout)


def test_what_a_start_sends(peer: Peer) -> None:
    assert run(peer, *START).returncode == 0
    assert peer.requests[0].startswith(b"POST /node/api/bulk/objects HTTP/1.1\r\n")
    assert body(peer) == BODY


def test_what_a_clone_sends(peer: Peer) -> None:
    assert run(peer, "clone", "discovery id:Ж/э").returncode == 0
    path = b"/node/api/objects/discovery%20id%3A%D0%96%2F%D1%8D/clone-bulk"
    assert peer.requests[0].startswith(b"POST " + path + b" HTTP/1.1\r\n")
    assert body(peer) == ""


def test_an_id_that_looks_like_an_option(peer: Peer) -> None:
    assert run(peer, "clone", "--", "-x").returncode == 0
    assert peer.requests[0].startswith(b"POST /node/api/objects/-x/clone-bulk ")


@both
def test_json(peer: Peer, command: list[str]) -> None:
    result = run(peer, *command, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert list(json.loads(result.stdout).items()) == list(STARTED.items())


@both
@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (401, 4, "AuthError"),
        (403, 4, "AuthError"),
        (404, 1, "NotFoundError"),
        (400, 1, "HTTPStatusError"),
        (301, 1, "HTTPStatusError"),
    ],
)
def test_not_started(peer: Peer, command: list[str], status: int, code: int, name: str) -> None:
    peer.answer(response("{}", status))
    result = run(peer, *command, "--wait")
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.count("\n") == 1
    assert f"not started: HTTP {status}" in result.stderr
    in_json = run(peer, *command, "--json")
    assert (in_json.returncode, in_json.stderr) == (code, "")
    found = json.loads(in_json.stdout)
    assert tuple(found) == KEYS
    assert (found["id"], found["finished"], found["error"], found["status_code"]) == (None, None, name, status)
    assert len(peer.requests) == 2


@both
def test_nobody_answers(command: list[str]) -> None:
    result = run(None, *command, "--host", "http://127.0.0.1:1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "not started" in result.stderr
    found = json.loads(run(None, *command, "--json", "--host", "http://127.0.0.1:1").stdout)
    assert (found["error"], found["status_code"]) == ("TransportError", None)


@both
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (response("{}", 503), 503),
        (response("{}", 202), 202),
        (response('{"finished": false}'), None),
        (end, None),
        (lambda wire: wire.hold(), None),
    ],
    ids=["503", "202", "no bulkId", "cut off", "silent"],
)
def test_uncertain(peer: Peer, command: list[str], answer: Answer, status: int | None) -> None:
    peer.answer(answer)
    words = [*command, "--request-timeout", "1", "--wait"]
    result = run(peer, *words)
    assert (result.returncode, result.stdout) == (9, "")
    hint = "saymon-bulk: to see what is left to change: saymon-bulk plan --search search.json --bulk bulk.json\n"
    assert result.stderr.count("\n") == 1 + result.stderr.endswith(hint)
    assert result.stderr.endswith(hint) is ("start" in command)
    assert f"(X-Request-Id {request_id(peer)})" in result.stderr
    assert result.stderr.startswith("saymon-bulk: Perhaps started. Look at the server before you start again. http://")
    assert len(peer.requests) == 1
    peer.requests.clear()
    in_json = run(peer, *words, "--json")
    assert (in_json.returncode, in_json.stderr) == (9, "")
    found = json.loads(in_json.stdout)
    assert tuple(found) == (*KEYS, "request_id")
    assert (found["id"], found["error"], found["status_code"]) == (None, "StartUncertainError", status)
    assert found["request_id"] == request_id(peer)
    assert found["message"].startswith("Perhaps started. Look at the server before you start again. http://")
    assert len(peer.requests) == 1


@pytest.mark.parametrize("given", ["stdin", "JSON", "JSON in a list", "a pipe"])
def test_the_hint_after_an_uncertain_start_can_be_followed(peer: Peer, given: str) -> None:
    """It names no file that cannot be read again, and no value that may be a secret."""
    peer.answer(end)
    secret = '{"properties.createOrModify": {"name": "SNMP community", "value": "s3cret"}}'
    words = {
        "stdin": ["--search", "-", "--bulk", "bulk.json"],
        "JSON": ["--search", SEARCH, "--bulk", "bulk.json"],
        "JSON in a list": ["--search", "search.json", "--bulk", f"[{secret}]"],
        "a pipe": ["--search", "/dev/stdin", "--bulk", "bulk.json"],
    }[given]
    if given == "a pipe" and not POSIX:
        pytest.skip("no /dev/stdin on this system")
    result = run(peer, "start", *words, stdin=SEARCH)
    assert result.returncode == 9
    assert result.stderr.endswith("to see what is left to change: make a plan with the same --search and --bulk\n")
    assert "s3cret" not in result.stderr
    assert len(peer.requests) == 1


# The id is the server's, and a script hands it on as a word


# What `wait` would take for an option, for stdin or for another id.
UNSAFE = [
    *["--ids=/etc/passwd", "--ids", "--host=h", "-h", "-", "--", "-x", "--password-stdin", "\u2014ids=x"],
    *[" x", "x ", "x\u3000", "\u00a0x", "\ufeffx", " \ufeffx", "\ufeff", " ", "# x"],
    *['"q"', "'q'", "http://x", "HTTPS://x/y"],
]


@both
@pytest.mark.parametrize("more", [[], ["--wait"], ["-q"], ["--wait", "-q"], ["-v"]], ids=" ".join)
def test_an_id_that_is_no_word_is_not_printed(peer: Peer, command: list[str], more: list[str]) -> None:
    peer.answer(response(json.dumps({"bulkId": "--ids=\u202e/etc/passwd", "finished": False})), END)
    result = run(peer, *command, *more)
    assert (result.returncode, result.stdout) == (9, "")
    *_, line = result.stderr.splitlines()
    assert line.startswith(r"saymon-bulk: started a bulk operation with the id '--ids=\u202e/etc/passwd', ")
    assert "not safe in a shell" in line
    assert len(peer.requests) == 1


@pytest.mark.parametrize("id", UNSAFE, ids=ascii)
def test_which_ids_are_no_words(peer: Peer, id: str) -> None:
    peer.answer(response(json.dumps({"bulkId": id, "finished": False})))
    result = run(peer, *CLONE)
    assert (result.returncode, result.stdout) == (9, "")
    assert result.stderr.startswith(f"saymon-bulk: started a bulk operation with the id {id!r}, ")
    in_json = run(peer, *CLONE, "--json")
    assert (in_json.returncode, in_json.stderr) == (9, "")
    found = json.loads(in_json.stdout)
    assert tuple(found) == KEYS
    assert (found["id"], found["finished"], found["error"], found["status_code"]) == (None, None, "ResponseError", None)
    assert repr(id) in found["message"]


@pytest.mark.parametrize(
    "id", [ID, "a b", "a-", "Ж", "it's", "$HOME", "*", "~", "a\\nb", "a=b", "é\u202eb", "q'"], ids=ascii
)
def test_a_printed_id_is_the_same_id_to_wait(peer: Peer, id: str) -> None:
    peer.answer(response(json.dumps({"bulkId": id, "finished": False})), END)
    result = shell(peer, f'id=$({SAYMON} clone 42) && {SAYMON} wait -- "$id"')
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{id} finished\n", "")


def test_no_line_of_a_file_goes_to_the_server(peer: Peer, folder: Path) -> None:
    (folder / "private").write_text("first\nsecond\n")
    peer.answer(response(json.dumps({"bulkId": "--ids=private", "finished": False})), END)
    for form in ('"$id"', "$id", '-- "$id"'):
        shell(peer, f"id=$({SAYMON} clone 42) && {SAYMON} wait {form}")
        shell(peer, f"{SAYMON} wait --timeout 1 $({SAYMON} clone 42 --json | grep -o 'bulkId[^,]*')")
    assert not [request for request in peer.requests if b"first" in request or b"second" in request]


@both
def test_such_an_id_on_a_full_disk(peer: Peer, command: list[str]) -> None:
    peer.answer(response(json.dumps({"bulkId": "--ids=\u202ex", "finished": False})))
    result = shell(peer, f"{SAYMON} {shlex.join(command)} --json > /dev/full")
    assert result.returncode == 9
    assert r"'--ids=\u202ex'" in result.stderr
    assert "\u202e" not in result.stderr


def test_an_id_is_told_without_marks(peer: Peer) -> None:
    peer.answer(response(json.dumps({"bulkId": "a\u202eb", "finished": False})), END)
    result = run(peer, *CLONE, "--wait")
    assert (result.returncode, result.stdout) == (0, "a\u202eb finished\n")
    assert result.stderr == "saymon-bulk: started bulk operation 'a\\u202eb'\n"


# With --wait


@both
@pytest.mark.parametrize(
    ("answers", "code", "out", "says"),
    [
        ([RUN, END], 0, f"{ID} finished\n", []),
        ([RUN], 8, f"{ID} running\n", ["1 still running on the server", f"-- {ID}"]),
        ([response("{}", 401)], 4, "", ["HTTP 401"]),
        ([response("{}", 404)], 1, "", ["HTTP 404"]),
    ],
)
def test_it_goes_on_as_wait_does(
    peer: Peer, command: list[str], answers: list[bytes], code: int, out: str, says: list[str]
) -> None:
    options = ["--timeout", "0.5", "--interval", "0.1"]
    peer.answer(response(BEGUN), *answers)
    result = run(peer, *command, "--wait", *options)
    assert (result.returncode, result.stdout) == (code, out)
    told, *rest = result.stderr.splitlines()
    assert told == TOLD
    assert len(rest) == len(says)
    assert all(part in line for part, line in zip(says, rest))
    peer.answer(*answers)
    waited = run(peer, "wait", *options, ID)
    assert (waited.returncode, waited.stdout, waited.stderr.splitlines()) == (code, out, rest)


@both
def test_wait_in_json(peer: Peer, command: list[str]) -> None:
    peer.answer(response(BEGUN), END)
    result = run(peer, *command, "--wait", "--json")
    assert (result.returncode, result.stderr) == (0, f"{TOLD}\n")
    start, status = map(json.loads, result.stdout.splitlines())
    assert list(start.items()) == list(STARTED.items())
    assert status == good(ID, True)


def test_wait_quietly(peer: Peer) -> None:
    result = run(peer, *START, "--wait", "-q", "--timeout", "0")
    assert (result.returncode, result.stdout) == (8, f"{ID} running\n")
    assert re.fullmatch(rf"saymon-bulk: 1 of 1 still running after 0:0\d: {ID}\n", result.stderr)


# Usage


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["start"], "--bulk"),
        (["start", "--search", "search.json"], "--bulk"),
        (["start", "--bulk", "bulk.json"], "--search"),
        ([*START, "extra"], "start takes no ID"),
        ([*START, "--yes"], "--every-object"),
        ([*START, "--every-object", "--yes"], "--search search.json: --every-object goes with an empty search"),
        (["start", "--search", "-", "--bulk", "-"], "--search - and --bulk - exclude each other: stdin"),
        (["start", "--search", "-", "--bulk", "bulk.json", "--password-stdin"], "--search - and --password-stdin exclude"),
        (["start", "--search", "search.json", "--bulk", "-", "--password-stdin"], "--bulk - and --password-stdin exclude"),
        ([*START, "--timeout", "5"], "--timeout goes with --wait"),
        ([*START, "--timeout", "none"], "--timeout goes with --wait"),
        ([*START, "--timeout", "1h"], "--timeout goes with --wait"),
        ([*CLONE, "--interval", "5"], "--interval goes with --wait"),
        ([*CLONE, "--max-interval", "5"], "--max-interval goes with --wait"),
        ([*START, "--wait", "--interval", "0"], "--interval: must be above 0"),
        ([*CLONE, "--wait", "--max-interval", "0"], "--max-interval: must be above 0"),
        ([*CLONE, "--retries", "3"], "--retries goes with --wait"),
        ([*CLONE, "--wait", "--concurrency", "3"], "unrecognized arguments: --concurrency"),
        ([*START, "--concurrency", "3"], "unrecognized arguments: --concurrency"),
        ([*START, "--host", "http://a/path"], "--host must not hold a path"),
        (["clone"], "OBJECT_ID"),
        ([*CLONE, "43"], "clone takes one OBJECT_ID"),
        (["clone", ""], "OBJECT_ID must not be empty"),
        (["clone", ".."], "OBJECT_ID must not be '.'"),
        (["clone", b"\xff"], "OBJECT_ID must not"),
        ([*CLONE, "--every-object"], "--every-object"),
    ],
)
def test_wrong_usage(server: PracticeServer, words: list[Word], says: str) -> None:
    if not POSIX and not all(isinstance(word, str) for word in words):
        pytest.skip("arguments are text on this system")
    result = run(server, *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr.splitlines()[-1]
    assert server.requests == []


def test_an_object_is_checked_before_a_password_is_asked_for(server: PracticeServer) -> None:
    result = run(server, "clone", "..", SAYMON_PASSWORD="")
    assert result.returncode == 2
    assert re.match("saymon-bulk: OBJECT_ID ", result.stderr)


# Files


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ", line 1, column 1: not JSON"),
        (b'{"a":\r\n\r\n}', ", line 3, column 1: not JSON"),
        (b'{"a": 1}\n{"b": 2}\n', ", line 2, column 1: not JSON"),
        (b'{"a": 1,\n "b": "\xe9"}', ", line 2: not UTF-8"),
        ('{"a": 1}'.encode("utf-16")[:-1], ": not UTF-16"),
        (b"[1]", ": must hold a JSON object, not a list"),
        (b"NaN", ": must hold a JSON object"),
        (b'{"a": NaN}', "'a'"),
        (b'{"a": {"b": [1, -Infinity]}}', "['a']['b'][1]"),
        (b'{"a": 1e999}', "'a'"),
        (b'{"a": {"b": 1, "c": 2, "b": 1}}', "'b' stands twice"),
        (b'{"name": 1, "\\u006eame": 2}', "'name' stands twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        pytest.param(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply", id="nested"),
        pytest.param(b'{"a": 1' + b"0" * 5000 + b"}", "digits", id="digits"),
        (b"{}", "--every-object"),
        (f'{{"search": {SEARCH}, "bulk": {BULK}}}'.encode(), "'search' and 'bulk'"),
    ],
)
def test_a_search_that_cannot_be_used(server: PracticeServer, folder: Path, content: bytes, says: str) -> None:
    (folder / "search.json").write_bytes(content)
    # Without a password: it would be asked for later.
    result = run(server, *START, SAYMON_PASSWORD="")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.match("saymon-bulk: --search search.json[:,] ", result.stderr)
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert server.requests == []
    on_stdin = run(server, "start", "--search", "-", "--bulk", "bulk.json", stdin=content, SAYMON_PASSWORD="")
    assert (on_stdin.returncode, on_stdin.stderr) == (2, result.stderr.replace("search.json", "stdin", 1))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"a": 1},\n{"b": tru}]', ", line 2, column 7: not JSON"),
        (b'[\n\n{"a": "\xff"}]', ", line 3: not UTF-8"),
        (f'{{"search": {SEARCH}, "bulk": {BULK}}}'.encode(), ": must hold a JSON list: the value of 'bulk' alone"),
        (b'{"modify": {}}', ": must hold a JSON list: put [ ] around the object"),
        (b"1", ": must hold a JSON list\n"),
        (b"[]", "must not be empty"),
        (b'[{"a": 1}, {}]', "bulk[1]"),
        (b'[{"a": 1}, "b"]', "bulk[1] must be a JSON object"),
        (b"[null]", "bulk[0] must be a JSON object"),
        (b"[[{}]]", "bulk[0] must be a JSON object"),
        (b'[{"a": 1}, {"b": Infinity}]', "bulk[1]['b']"),
        (b'[{"a": 1}, {"b": 1, "b": 2}]', "'b' stands twice"),
    ],
)
def test_changes_that_cannot_be_used(server: PracticeServer, folder: Path, content: bytes, says: str) -> None:
    (folder / "bulk.json").write_bytes(content)
    result = run(server, *START, SAYMON_PASSWORD="")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.match("saymon-bulk: --bulk bulk.json[:,] ", result.stderr)
    assert says in result.stderr
    assert server.requests == []


SHOWN = {"": "''", b"\xff": r"\xff"}


@pytest.mark.parametrize(
    ("path", "says"), [("none.json", "No such file"), (".", "directory"), ("", "No such file"), (b"\xff", "No such file")]
)
def test_a_file_that_cannot_be_read(server: PracticeServer, path: Word, says: str) -> None:
    if not POSIX and isinstance(path, bytes):
        pytest.skip("arguments are text on this system")
    for words in (["--search", path, "--bulk", "bulk.json"], ["--search", "search.json", "--bulk", path]):
        result = run(server, "start", *words, SAYMON_PASSWORD="")
        assert (result.returncode, result.stdout) == (2, "")
        option = str(words[words.index(path) - 1])
        assert result.stderr.startswith(f"saymon-bulk: {option} {SHOWN.get(path, path)!s}: ")
        assert says in result.stderr
    assert server.requests == []


# JSON in place of a file


@pytest.mark.parametrize("before", ["", " ", "\n\t"])
def test_json_in_place_of_a_file(peer: Peer, before: str) -> None:
    assert run(peer, "start", "--search", before + SEARCH, "--bulk", before + BULK).returncode == 0
    assert body(peer) == BODY


@pytest.mark.parametrize(
    ("search", "bulk", "says"),
    [
        ("{name:CPU}", "bulk.json", "--search, line 1, column 2: not JSON: "),
        ("[1]", "bulk.json", "--search: must hold a JSON object, not a list"),
        ("{}", "bulk.json", "--search: "),
        ("search.json", '{"modify": {}}', "--bulk: must hold a JSON list: put [ ] around the object"),
        ("search.json", "[]", "--bulk: bulk must not be empty"),
        ('{"a": "\udcff"}', "bulk.json", "--search: "),
        ("name", "bulk.json", "--search name: No such file or directory"),
    ],
)
def test_json_that_cannot_be_used(server: PracticeServer, search: str, bulk: str, says: str) -> None:
    result = run(server, "start", "--search", search, "--bulk", bulk, SAYMON_PASSWORD="")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"saymon-bulk: {says}")
    assert server.requests == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["search", "bulk"])
def test_a_file_of_windows_on_stdin(peer: Peer, folder: Path, name: str, encoding: str) -> None:
    path = folder / f"{name}.json"
    lines = path.read_text(encoding="utf-8").replace(" ", "\r\n")
    path.write_bytes(lines.encode(encoding))
    words = [word.replace(path.name, "-") for word in START]
    result = shell(peer, f"{SAYMON} {shlex.join(words)} < {path.name}")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{ID}\n", "")
    assert body(peer) == BODY


def test_nothing_on_stdin(peer: Peer) -> None:
    result = shell(peer, f"{SAYMON} start --search search.json --bulk - <&-")
    assert result.returncode == 2
    assert result.stderr.startswith("saymon-bulk: --bulk stdin, line 1")


def test_the_password_on_stdin_beside_files(peer: Peer) -> None:
    assert run(peer, *START, "--password-stdin", stdin=PASSWORD, SAYMON_PASSWORD="wrong").returncode == 0
    assert body(peer) == BODY


# Every object


@pytest.mark.parametrize("more", [[], ["--search", "none.json"]], ids=["no search", "an empty search"])
def test_every_object_with_yes(peer: Peer, folder: Path, more: list[str]) -> None:
    (folder / "none.json").write_text("{}")
    result = run(peer, *EVERY, *more, "--yes")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{ID}\n", "")
    assert body(peer) == BODY_OF_EVERY


def test_every_object_off_a_terminal(server: PracticeServer) -> None:
    result = run(server, *EVERY, SAYMON_PASSWORD="")
    assert (result.returncode, result.stdout) == (2, "")
    assert "add --yes" in result.stderr
    assert server.requests == []


def test_the_question_is_answered_yes(peer: Peer) -> None:
    with Terminal(peer, *EVERY) as terminal:
        terminal.shows(re.escape(QUESTION.format(peer.host)) + "$")
        assert peer.connections == 0
        terminal.type("yes\n")
        assert terminal.end() == 0
        assert terminal.screen()[-2:] == [ID, ""]
    assert body(peer) == BODY_OF_EVERY


@pytest.mark.parametrize("answer", ["\n", "no\n", "y\n", "yes please\n", "\x04"])
def test_the_question_is_answered_otherwise(peer: Peer, answer: str) -> None:
    with Terminal(peer, *EVERY) as terminal:
        terminal.shows(re.escape(QUESTION.format(peer.host)) + "$")
        terminal.type(answer)
        assert terminal.end() == 1
        assert terminal.screen()[-2:] == ["saymon-bulk: not started", ""]
    assert peer.connections == 0


def test_the_question_is_interrupted(peer: Peer) -> None:
    with Terminal(peer, *EVERY) as terminal:
        terminal.shows(re.escape(QUESTION.format(peer.host)) + "$")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert terminal.screen()[-2:] == ["saymon-bulk: interrupted", ""]
    assert peer.connections == 0


def test_the_terminal_of_the_question_hangs_up(peer: Peer) -> None:
    with Terminal(peer, *EVERY) as terminal:
        terminal.shows(re.escape(QUESTION.format(peer.host)) + "$")
        assert terminal.hang_up() == 129
    assert peer.connections == 0


def test_the_question_reads_the_terminal_and_not_stdin(peer: Peer) -> None:
    line = f'id=$({SAYMON} start --every-object --bulk - < bulk.json); echo "code $?, id $id"'
    with Terminal(peer, "-c", line, command=["sh"]) as terminal:
        terminal.shows(re.escape(QUESTION.format(peer.host)) + "$")
        terminal.type("yes\n")
        terminal.shows(f"^code 0, id {ID}$")
        assert terminal.end() == 0
    assert body(peer) == BODY_OF_EVERY


def test_a_question_that_nobody_would_see(server: PracticeServer, folder: Path) -> None:
    with Terminal(server, "-c", f'{SAYMON} {shlex.join(EVERY)} 2> errors; echo "code $?"', command=["sh"]) as terminal:
        assert terminal.end() == 0
        assert terminal.screen() == ["code 2", ""]
    assert "add --yes" in (folder / "errors").read_text()
    assert server.requests == []


def test_no_question_with_yes(peer: Peer) -> None:
    with Terminal(peer, *EVERY, "--yes") as terminal:
        assert terminal.end() == 0
        assert terminal.screen() == [ID, ""]


def test_the_password_is_asked_for_first(peer: Peer) -> None:
    with Terminal(peer, *EVERY, SAYMON_PASSWORD="") as terminal:
        terminal.shows("^Password for ")
        wait_until(lambda: not terminal.echoes(), "the echo to be off")
        terminal.type(f"{PASSWORD}\n")
        terminal.shows(re.escape(QUESTION.format(peer.host)) + "$")
        terminal.type("yes\n")
        assert terminal.end() == 0
    assert body(peer) == BODY_OF_EVERY


def test_the_question_shows_no_password(peer: Peer) -> None:
    host = peer.host.replace("//", f"//{LOGIN}:{PASSWORD}@")
    with Terminal(peer, *EVERY, "--host", host) as terminal:
        assert terminal.end() == 2  # which looks for the password on the screen


# Interruption


@needs_signals
@both
@SIGNALS
def test_interrupted_start_is_uncertain(peer: Peer, command: list[str], number: int, code: int, word: str) -> None:
    peer.answer(lambda wire: wire.hold())
    with started(peer, *command, "--wait", "--json") as process:
        peer.wait_for(lambda: bool(peer.requests))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (code, "")
    first, second = err.splitlines()
    assert first == f"saymon-bulk: {word}"
    assert f"(X-Request-Id {request_id(peer)})" in second
    assert second.startswith("saymon-bulk: Perhaps started. Look at the server before you start again. http://")


@needs_signals
@both
def test_hung_up_more_than_once(peer: Peer, command: list[str]) -> None:
    """By the terminal that goes away, and by the shell in it."""
    peer.answer(lambda wire: wire.hold())
    with started(peer, *command) as process:
        peer.wait_for(lambda: bool(peer.requests))
        while process.poll() is None:
            process.send_signal(SIGHUP)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (129, "")
    first, second = err.splitlines()
    assert (first, request_id(peer) in second) == ("saymon-bulk: hung up", True)


@needs_signals
@both
def test_hung_up_and_terminated_at_the_same_moment(peer: Peer, command: list[str]) -> None:
    """As systemd does with SendSIGHUP=yes."""
    peer.answer(lambda wire: wire.hold())
    with started(peer, *command) as process:
        peer.wait_for(lambda: bool(peer.requests))
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        process.send_signal(SIGHUP)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) in ((129, ""), (143, ""))
    first, second = err.splitlines()
    assert (first in ("saymon-bulk: hung up", "saymon-bulk: terminated"), request_id(peer) in second) == (True, True)


@needs_signals
@both
@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (SIGHUP, signal.SIGINT), (signal.SIGTERM, SIGHUP)])
def test_two_signals_one_after_the_other(peer: Peer, command: list[str], numbers: tuple[int, int]) -> None:
    peer.answer(lambda wire: wire.hold())
    for _ in range(4):
        before = len(peer.requests)
        with started(peer, *command) as process:
            peer.wait_for(lambda before=before: len(peer.requests) > before)  # type: ignore[misc]
            for number in numbers:
                process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert exit_code(process) in {128 + number for number in numbers}
        assert "Traceback" not in err


@needs_signals
@both
@SIGNALS
def test_a_signal_that_comes_with_the_answer(peer: Peer, command: list[str], number: int, code: int, word: str) -> None:
    pid: queue.Queue[int] = queue.Queue()

    def both_at_once(wire: Wire) -> None:
        os.kill(pid.get(timeout=60), number)
        wire.send(response(BEGUN))
        wire.hold()

    peer.answer(both_at_once)
    with started(peer, *command) as process:
        pid.put(process.pid)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (code, "")
    first, second = err.splitlines()
    # Seldom the process looks for signals between the two.
    if first == TOLD:
        assert second == f"saymon-bulk: {word}"
    else:
        assert (first, request_id(peer) in second) == (f"saymon-bulk: {word}", True)


@needs_signals
@SIGNALS
def test_interrupted_before_anything_is_sent(peer: Peer, folder: Path, number: int, code: int, word: str) -> None:
    os.mkfifo(folder / "changes")
    with started(peer, "start", "--every-object", "--yes", "--bulk", "changes") as process:
        with open(folder / "changes", "wb"):  # which waits for the reader
            process.send_signal(number)
            process.wait(timeout=60)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out, err) == (code, "", f"saymon-bulk: {word}\n")
    assert peer.connections == 0


@needs_signals
@pytest.mark.parametrize("command", [[*EVERY, "--yes"], CLONE], ids=["start", "clone"])
@SIGNALS
def test_interrupted_wait_tells_how_to_go_on(peer: Peer, command: list[str], number: int, code: int, word: str) -> None:
    options = ["--request-timeout", "20", "--timeout", "5400", "--interval", "0.1"]
    with started(peer, *command, "--wait", *options) as process:
        peer.wait_for(lambda: len(peer.requests) >= 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (code, "")
    told, first, second, line = err.splitlines()
    assert (told, first) == (TOLD, f"saymon-bulk: {word}")
    assert second.startswith("saymon-bulk: 1 still running on the server")
    assert words_of(line) == [*COMMAND, "wait", "--host", peer.host, "--login", LOGIN, *options, "--", ID]
    peer.answer(END)
    resumed = shell(peer, line)
    assert (resumed.returncode, resumed.stdout, resumed.stderr) == (0, f"{ID} finished\n", "")


@needs_signals
@pytest.mark.parametrize("command", [[*EVERY, "--yes"], CLONE], ids=["start", "clone"])
@SIGNALS
def test_an_interrupted_quiet_wait_tells_the_id(peer: Peer, command: list[str], number: int, code: int, word: str) -> None:
    with started(peer, *command, "--wait", "--quiet", "--interval", "0.1") as process:
        peer.wait_for(lambda: len(peer.requests) >= 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (code, "")
    assert err.splitlines() == [TOLD, f"saymon-bulk: {word}"]


def test_ctrl_c_on_a_terminal(peer: Peer) -> None:
    with Terminal(peer, *START, "--wait") as terminal:
        terminal.shows("^0 of 1 done")
        wait_until(lambda: len(peer.requests) > 2, "a poll after the first answer")
        terminal.type("\x03")
        assert terminal.end() == 130
        told, bar, word, hint, *command = terminal.screen()
        assert told == TOLD
        assert re.match(r"0 of 1 done.*\^C$", bar)
        assert word == "saymon-bulk: interrupted"
        assert "1 still running on the server" in hint
        assert " ".join(command).split()[-2:] == ["--", ID]


# stdout and stderr


@both
@pytest.mark.parametrize("more", [[], ["--json"], ["--json", "--wait", "-q"]], ids=" ".join)
def test_the_id_goes_to_stderr_when_nobody_reads_it(peer: Peer, command: list[str], more: list[str]) -> None:
    assert unread(peer, *command, *more) == (141, [TOLD])


@needs_signals
@both
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_and_when_a_full_pipe_does_not_block(peer: Peer, command: list[str], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    variables = environment(peer, PYTHONUNBUFFERED=unbuffered)
    done = subprocess.run(
        [*COMMAND, *command], env=variables, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, timeout=30
    )
    os.close(writer)
    os.close(reader)
    assert (done.returncode, done.stderr.decode().splitlines()[0]) == (9, TOLD)


def test_and_when_the_end_of_the_wait_is_what_nobody_reads(peer: Peer) -> None:
    peer.answer(response(BEGUN), END)
    assert unread(peer, *START, "--wait", "-q") == (141, [TOLD])


def test_an_uncertain_outcome_goes_to_stderr_when_nobody_reads_it(peer: Peer) -> None:
    peer.answer(end)
    code, lines = unread(peer, *START, "--json")
    assert code == 141
    assert [request_id(peer) in line for line in lines] == [True]


@both
@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [(BEGUN, 9, TOLD), ("{}", 9, "X-Request-Id"), (None, 4, "HTTP 401")],
    ids=["started", "uncertain", "refused"],
)
def test_a_full_disk(peer: Peer, command: list[str], answer: str | None, code: int, says: str) -> None:
    peer.answer(response("{}", 401) if answer is None else response(answer))
    result = shell(peer, f"{SAYMON} {shlex.join(command)} --json > /dev/full")
    assert result.returncode == code
    outcome, disk = result.stderr.splitlines()
    assert says in outcome
    assert "No space left" in disk


@both
@pytest.mark.parametrize(
    ("redirection", "out", "err"),
    [
        (">&-", "", f"{TOLD}\n"),
        ("-q >&-", "", f"{TOLD}\n"),
        ("2>&-", f"{ID}\n", ""),
        ("2> /dev/full", f"{ID}\n", ""),
        ("<&- >&- 2>&-", "", ""),
    ],
)
def test_closed_and_full_streams(peer: Peer, command: list[str], redirection: str, out: str, err: str) -> None:
    result = shell(peer, f"{SAYMON} {shlex.join(command)} {redirection}")
    assert (result.returncode, result.stdout, result.stderr) == (0, out, err)
    assert len(peer.requests) == 1


def test_nobody_reads_the_errors(peer: Peer) -> None:
    peer.answer(response(BEGUN), END)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *START, "--wait", "-v"],
        env=environment(peer),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stdout.split()) == (0, [ID.encode(), b"finished"])


@both
def test_verbose_logs_the_start_without_the_secret(peer: Peer, command: list[str]) -> None:
    result = run(peer, *command, "-v")  # which looks for the password in what it prints
    assert (result.returncode, result.stdout) == (0, f"{ID}\n")
    logged = [line for line in result.stderr.splitlines() if re.match(r"saymon-bulk: \d{4}-", line)]
    assert any(request_id(peer) in line for line in logged)
    assert any(line.endswith(f"started bulk operation {ID}") for line in logged)


# What is imported


def test_nothing_is_imported_that_is_not_used(server: PracticeServer) -> None:
    testing = {"saymon_bulk.testing", "saymon_bulk._types"}
    assert loaded(server, *START) & {*UNUSED, *testing} == {"json"}
    clone = loaded(server, *CLONE, "--wait")
    assert clone & {*UNUSED, *testing} == set()
    assert "saymon_bulk._start_body" in clone
    assert loaded(server, *EVERY, "--yes") & {*UNUSED, *testing} == {"json"}
    assert "saymon_bulk._start_body" not in loaded(server, "wait", server.add_bulk())
