"""The command line, in processes of its own and on terminals of its own."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import saymon_bulk
from commands import (
    COMMAND,
    KEYS,
    SIGHUP,
    SIGNALS,
    UNUSED,
    Terminal,
    Word,
    default_signals,
    environment,
    exit_code,
    good,
    loaded,
    run,
    started,
    words_of,
)
from peer import END, LOGIN, PASSWORD, RUN, Desk, Peer, closing, credentials, response
from processes import POSIX, needs_shell, needs_signals
from saymon_bulk.cli.output import BY_SIGNAL
from saymon_bulk.testing import PracticeServer
from servers import wait_until

DONE, NEVER, UNKNOWN = "done", "never", "unknown"

pytestmark = pytest.mark.usefixtures("user")


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD) as one:
        one.add_bulk(0, id=DONE)
        one.add_bulk(math.inf, id=NEVER)
        yield one


# Results and exit codes


@pytest.mark.parametrize(
    ("ids", "code", "lines"),
    [
        ([DONE], 0, ["done finished"]),
        ([NEVER], 8, ["never running"]),
        ([UNKNOWN], 1, []),
        ([NEVER, DONE], 8, ["never running", "done finished"]),
        ([UNKNOWN, NEVER, DONE], 1, ["never running", "done finished"]),
        ([DONE, NEVER, DONE, NEVER], 8, ["done finished", "never running"]),
    ],
)
def test_status(server: PracticeServer, ids: list[str], code: int, lines: list[str]) -> None:
    result = run(server, "status", *ids)
    assert (result.returncode, sorted(result.stdout.splitlines())) == (code, sorted(lines))
    assert result.stderr.count("\n") == ids.count(UNKNOWN)
    assert len(server.requests) == len(set(ids))


@pytest.mark.parametrize(
    ("ids", "code", "lines"),
    [
        ([DONE], 0, ["done finished"]),
        ([NEVER], 8, ["never running"]),
        ([UNKNOWN], 1, []),
        ([UNKNOWN, NEVER, DONE, DONE], 1, ["done finished", "never running"]),
    ],
)
def test_wait(server: PracticeServer, ids: list[str], code: int, lines: list[str]) -> None:
    result = run(server, "wait", "--timeout", "0.3s", *ids)
    assert (result.returncode, result.stdout.splitlines()) == (code, lines)
    assert ("HTTP 404" in result.stderr) == (UNKNOWN in ids)


@pytest.mark.parametrize("command", ["status", "wait"])
@pytest.mark.parametrize("status", [401, 403])
def test_not_authorised_goes_before_all(server: PracticeServer, command: str, status: int) -> None:
    server.fail_next(1, status)
    result = run(server, command, "--timeout=0" if command == "wait" else "-q", NEVER, UNKNOWN, "unknown-too")
    assert result.returncode == 4
    assert f"HTTP {status}" in result.stderr


@pytest.mark.parametrize("command", ["status", "wait"])
def test_wrong_password(server: PracticeServer, command: str) -> None:
    result = run(server, command, DONE, SAYMON_PASSWORD="wrong-one")
    assert (result.returncode, result.stdout) == (4, "")
    assert "HTTP 401" in result.stderr
    assert "wrong-one" not in result.stderr


@pytest.mark.slow
def test_waits_in_order_of_completion(server: PracticeServer) -> None:
    for id, seconds in (("third", 4.0), ("first", 0.0), ("second", 2.0)):
        server.add_bulk(seconds, id=id)
    result = run(server, "wait", "--interval", "0.1", "--max-interval", "0.2", "third", "first", "second")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["first finished", "second finished", "third finished"]


def test_a_line_comes_when_its_operation_ends(server: PracticeServer) -> None:
    with started(server, "wait", NEVER, DONE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done finished\n"
        assert process.poll() is None


@pytest.mark.parametrize("command", ["status", "wait"])
def test_nobody_answers(command: str) -> None:
    quick = ["--interval", "0.01", "--max-interval", "0.01"] if command == "wait" else []
    result = run(None, command, *quick, DONE, "other", "--host", "http://127.0.0.1:1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.endswith(" (all 2 operations)\n")
    assert result.stderr.count("refused") == 1


def test_a_wait_that_gets_no_answer_says_unknown(server: PracticeServer) -> None:
    server.fail_next(1000, 503)
    result = run(server, "wait", "--timeout", "0.3", "--interval", "0.1", "--quiet", NEVER)
    assert (result.returncode, result.stdout) == (1, f"{NEVER} unknown\n")
    assert re.search("the last poll failed: (HTTP 503|no complete answer)", result.stderr)


def test_the_hint_says_what_is_known(server: PracticeServer) -> None:
    server.fail_next(1000, 503)
    result = run(server, "wait", "--timeout", "0.3", "--interval", "0.1", NEVER)
    assert "1 not known to have finished. To go on waiting:" in result.stderr
    assert "running" not in result.stderr


# JSON


@pytest.mark.parametrize("command", ["status", "wait"])
def test_json_lines(server: PracticeServer, command: str) -> None:
    timeout = ["--timeout", "0.2"] if command == "wait" else []
    result = run(server, command, "--json", *timeout, DONE, UNKNOWN, NEVER)
    assert result.returncode == 1
    found = {line["id"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert {tuple(line) for line in found.values()} == {KEYS}
    assert found[DONE] == good(DONE, True)
    assert (found[UNKNOWN]["error"], found[UNKNOWN]["status_code"]) == ("NotFoundError", 404)
    assert "HTTP 404" in found[UNKNOWN]["message"]
    if command == "status":
        assert found[NEVER] == good(NEVER, False)
        assert result.stderr == ""
    else:
        assert found[NEVER]["error"] == "WaitTimeoutError"
        assert found[NEVER]["finished"] is False


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_json_tells_running_from_unknown(desk: Desk, count: int) -> None:
    """As the words do: an operation whose last poll failed is not known to run."""
    ids = [f"op-{number}" for number in range(count)]
    desk.answer(RUN)
    desk.of = {id: response("{}", 500) for id in ids[::3]}
    words = ["wait", "--timeout", "1", "--interval", "0.2", "--concurrency", "64", "-"]
    result = run(desk, *words, "--json", stdin="\n".join(ids))
    found = {line["id"]: line["finished"] for line in map(json.loads, result.stdout.splitlines())}
    assert found == {id: None if id in desk.of else False for id in ids}
    assert result.returncode == 1


def test_json_has_the_servers_fields_and_our_id(peer: Peer) -> None:
    body = b'{"zeta": 1.5, "id": "theirs", "finished": true, "note": "\xd0\xb4\xd0\xb0", "list": [null]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    peer.answer(closing(head + body))
    result = run(peer, "status", "--json", "опе рация")
    assert result.returncode == 0
    more = {"zeta": 1.5, "note": "да", "list": [None]}
    assert list(json.loads(result.stdout).items()) == list({**good("опе рация", True), **more}.items())


# Usage


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--json"], "COMMAND"),
        (["stop", DONE], "'stop'"),
        (["wait"], "ID"),
        (["status", "--no-such", DONE], "--no-such"),
        (["status", "--timeout", "5", DONE], "--timeout"),
        (["wait", "--timeout", "5x", DONE], "'5x'"),
        (["wait", "--timeout", "-5", DONE], "'-5'"),
        (["wait", "--timeout", "5m1", DONE], "'5m1'"),
        (["wait", "--retries", "-1", DONE], "'-1'"),
        (["wait", "--concurrency", "0", DONE], "above 0"),
        (["wait", "--timeout", "nan", DONE], "'nan'"),
        (["wait", "--timeout", "", DONE], "''"),
        (["wait", "--interval", "none", DONE], "'none'"),
        (["wait", "--interval", "0", DONE], "--interval: must be above 0"),
        (["status", "--request-timeout", "0", DONE], "--request-timeout: must be above 0"),
        (["status", "--request", "5", DONE], "--request"),
        (["status", "--host", "", DONE], "no host"),
        (["status", "--host", "http://a/path", DONE], "--host must not hold a path"),
        (["status", "--host", b"\xff", DONE], "--host must"),
        (["status", "--login", "", DONE], "no login"),
        (["status", "--login", "a:b", DONE], "--login must not hold a colon"),
        (["status", "--login", b"\xff", DONE], "--login must"),
        (["status", DONE, ""], "ID 2 must not be empty"),
        (["status", DONE, ".."], "ID 2 must not be '.' or '..'"),
        (["wait", "a\tb"], "ID 1 must not hold control characters"),
        (["wait", b"\xff"], "ID 1 must not hold lone surrogates"),
        (["status", "--cacert", "/no/such/file", DONE], "--cacert names a CA file that cannot be read: "),
        (["status", "--cacert", "", DONE], "--cacert must not be an empty path"),
        (["status", "--cacert", "a.pem", "--insecure", DONE], "--insecure"),
    ],
)
def test_wrong_usage(server: PracticeServer, words: list[Word], says: str) -> None:
    if not POSIX and not all(isinstance(word, str) for word in words):
        pytest.skip("arguments are text on this system")
    result = run(server, *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(("usage: saymon-bulk ", "saymon-bulk: "))
    assert says in result.stderr.splitlines()[-1]
    assert server.requests == []


@pytest.mark.parametrize(
    "words", [["--password", PASSWORD], [f"--password={PASSWORD}"], ["-p", PASSWORD], [f"-p{PASSWORD}"]]
)
def test_a_password_in_the_arguments_is_neither_used_nor_shown(server: PracticeServer, words: list[str]) -> None:
    result = run(server, "status", *words, DONE)  # which looks for the password in what it prints
    assert (result.returncode, result.stdout) == (2, "")
    assert "--password-stdin" in result.stderr
    assert server.requests == []


def test_a_host_with_a_password_in_it_is_not_shown(server: PracticeServer) -> None:
    host = server.host.replace("//", f"//{LOGIN}:{PASSWORD}@")
    assert run(server, "status", "--host", host, DONE).returncode == 2


def test_version_and_entry_point() -> None:
    result = run(None, "--version")
    assert (result.returncode, result.stdout) == (0, f"saymon-bulk {saymon_bulk.__version__}\n")
    scripts = importlib.metadata.distribution("saymon-bulk").entry_points
    assert [script.value for script in scripts if script.name == "saymon-bulk"] == ["saymon_bulk.cli:run"]


# Credentials


@pytest.mark.parametrize("typed", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\nanother line\n"])
def test_password_on_stdin_goes_before_the_environment(server: PracticeServer, typed: str) -> None:
    assert run(server, "status", "--password-stdin", DONE, stdin=typed, SAYMON_PASSWORD="wrong").returncode == 0


def test_password_on_stdin_is_utf8() -> None:
    with PracticeServer("оператор", "тайный пароль") as server:
        server.add_bulk(0, id=DONE)
        words = ["status", "--login", "оператор", "--password-stdin", DONE]
        assert run(server, *words, stdin="тайный пароль\n").returncode == 0


@pytest.mark.parametrize("typed", [b"", b"\n", b"caf\xe9\n"])
def test_no_password_on_stdin(server: PracticeServer, typed: bytes) -> None:
    result = run(server, "status", "--password-stdin", DONE, stdin=typed)
    assert result.returncode == 2
    assert "stdin" in result.stderr
    assert "caf" not in result.stderr


def netrc(folder: Path, password: str, login: str = LOGIN) -> None:
    (folder / ".netrc").write_text(f"machine 127.0.0.1 login {login} password {password}\n")
    (folder / ".netrc").chmod(0o600)


def test_password_in_the_environment_goes_before_netrc(server: PracticeServer, tmp_path: Path) -> None:
    netrc(tmp_path, "wrong")
    assert run(server, "status", DONE).returncode == 0


@pytest.mark.parametrize("login", ["", LOGIN])
def test_password_in_netrc(server: PracticeServer, tmp_path: Path, login: str) -> None:
    netrc(tmp_path, PASSWORD)
    assert run(server, "status", DONE, SAYMON_PASSWORD="", SAYMON_LOGIN=login).returncode == 0


def test_netrc_has_another_login(server: PracticeServer, tmp_path: Path) -> None:
    netrc(tmp_path, PASSWORD, login="another")
    result = run(server, "status", DONE, SAYMON_PASSWORD="")
    assert result.returncode == 2
    assert "no password" in result.stderr


def test_netrc_cannot_be_read(server: PracticeServer, tmp_path: Path) -> None:
    netrc(tmp_path, f"{PASSWORD} rubbish")
    result = run(server, "status", DONE, SAYMON_PASSWORD="")
    assert result.returncode == 2
    assert ".netrc" in result.stderr


# Interruption


@pytest.mark.slow
@needs_signals
@SIGNALS
def test_interrupted_wait_tells_how_to_go_on(server: PracticeServer, number: int, code: int, word: str) -> None:
    quoted = ["it's one; $HOME", "-x"]
    for id in quoted:
        server.add_bulk(math.inf, id=id)
    # Shorter ways to write an hour and a half, and so on.
    times = ["--timeout", "1.5h", "--interval", "100e-3", "--max-interval", "0.05m", "--request-timeout", "1d"]
    with started(server, "wait", *times, "--json", "--", DONE, UNKNOWN, *quoted) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        # By then it has also noted that the two need no more waiting.
        polled = len(server.requests)
        wait_until(lambda: len(server.requests) >= polled + 4, "two more polls of both")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (code, "")
    first, second, command = err.splitlines()
    assert first == f"saymon-bulk: {word}"
    assert second.startswith("saymon-bulk: 2 still running on the server")
    assert words_of(command) == [
        *COMMAND,
        *["wait", "--host", server.host, "--login", LOGIN],
        *["--request-timeout", "86400", "--timeout", "5400", "--interval", "0.1", "--max-interval", "3"],
        *["--", *quoted],
    ]
    for id in quoted:
        server.add_bulk(0, id=id)
    resumed = subprocess.run(
        command,
        shell=True,
        env={**os.environ, "SAYMON_PASSWORD": PASSWORD},
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert {line.removesuffix(" finished") for line in resumed.stdout.decode().splitlines()} == set(quoted)


def test_timed_out_wait_tells_how_to_go_on(server: PracticeServer) -> None:
    result = run(server, "wait", "--timeout", "0", "--password-stdin", "--insecure", NEVER, DONE, stdin=PASSWORD)
    assert result.returncode == 8
    line, command = result.stderr.splitlines()
    assert "1 still running on the server" in line
    words = ["--password-stdin", "--insecure", "--", NEVER]
    assert words_of(command)[-len(words) :] == words


@needs_signals
@SIGNALS
def test_interrupted_status(peer: Peer, number: int, code: int, word: str) -> None:
    peer.answer(lambda wire: wire.hold())
    with started(peer, "status", DONE) as process:
        peer.wait_for(lambda: bool(peer.requests))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (exit_code(process), out) == (code, "")
    assert err == f"saymon-bulk: {word}\n"


@needs_signals
@SIGNALS
@pytest.mark.parametrize("command", ["status", "wait"])
def test_a_signal_is_what_the_process_dies_of(peer: Peer, command: str, number: int, code: int, word: str) -> None:
    peer.answer(lambda wire: wire.hold())
    with started(peer, command, DONE) as process:
        peer.wait_for(lambda: bool(peer.requests))
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == -number == BY_SIGNAL - code


@needs_signals
@pytest.mark.parametrize("name", ["SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGALRM"])
def test_other_signals_are_left_alone(peer: Peer, name: str) -> None:
    number = getattr(signal, name)
    peer.answer(lambda wire: wire.hold())
    with started(peer, "wait", DONE) as process:
        peer.wait_for(lambda: bool(peer.requests))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (-number, "", "")


@needs_signals
@pytest.mark.parametrize("number", [SIGHUP, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_ignored(server: PracticeServer, number: int) -> None:
    """As SIGHUP is under nohup, also when another signal ends the command."""
    name = {SIGHUP: "HUP", signal.SIGTERM: "TERM"}[number]
    other = signal.SIGTERM if number == SIGHUP else SIGHUP
    command = ["sh", "-c", f'trap "" {name}; exec "$@"', "sh", *COMMAND, "wait", "--interval=0.1", NEVER]
    with subprocess.Popen(
        command,
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
    ) as process:
        wait_until(lambda: bool(server.requests), "a poll")
        process.send_signal(number)
        polled = len(server.requests)
        wait_until(lambda: len(server.requests) > polled + 2, "polls after that")
        process.send_signal(other)
        _, err = process.communicate(timeout=60)
    assert process.returncode == -other
    assert err.startswith(f"saymon-bulk: {'terminated' if other == signal.SIGTERM else 'hung up'}\n")


@needs_signals
@pytest.mark.parametrize("words", [["status"], ["wait"], ["wait", "-q"]], ids=" ".join)
def test_a_terminal_that_hangs_up_ends_the_command(peer: Peer, words: list[str]) -> None:
    peer.answer(lambda wire: wire.hold())
    with Terminal(peer, *words, DONE) as terminal:
        peer.wait_for(lambda: bool(peer.requests))
        assert terminal.hang_up() == 129


@needs_signals
def test_a_terminal_that_hangs_up_at_the_prompt(server: PracticeServer) -> None:
    with Terminal(server, "status", DONE, SAYMON_PASSWORD="") as terminal:
        terminal.shows("^Password for ")
        wait_until(lambda: not terminal.echoes(), "the echo to be off")
        assert terminal.hang_up() == 129
    assert server.requests == []


@needs_signals
def test_after_the_prompt_it_is_caught_again(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    peer.answer(lambda wire: wire.hold())
    line = f"exec {shlex.join(COMMAND)} status {DONE} 2> errors"
    with Terminal(peer, "-c", line, command=["sh"], SAYMON_PASSWORD="") as terminal:
        terminal.shows("^Password for ")
        wait_until(lambda: not terminal.echoes(), "the echo to be off")
        terminal.type(f"{PASSWORD}\n")
        peer.wait_for(lambda: bool(peer.requests))
        assert terminal.hang_up() == 129
    assert Path("errors").read_text() == "saymon-bulk: hung up\n"


@needs_shell
def test_ctrl_c_ends_a_loop_of_the_shell(server: PracticeServer) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    loop = f"for turn in 1 2; do echo turn $turn; {shlex.join(COMMAND)} wait {NEVER}; done"
    with Terminal(server, command=[bash, "-c", loop]) as terminal:
        terminal.shows("^0 of 1 done")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert [line for line in terminal.screen() if line.startswith("turn")] == ["turn 1"]


@needs_shell
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("words", ["", "--help", "--version", "status --help"])
def test_the_help_on_a_full_disk(words: str) -> None:
    command = f"{shlex.join(COMMAND)} {words} > /dev/full"
    done = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("saymon-bulk: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_two_hyphens_behind_an_id_and_an_option(server: PracticeServer) -> None:
    server.add_bulk(0, id="-x")
    result = run(server, "status", DONE, "--json", "--", "-x", NEVER)
    assert {json.loads(line)["id"] for line in result.stdout.splitlines()} == {DONE, "-x", NEVER}
    assert run(server, "wait", "--timeout", "0", DONE, "--json", "--").returncode == 0
    assert run(server, "status", DONE, "-q", "-x").returncode == 2


@pytest.mark.slow
@needs_signals
def test_a_terminal_that_goes_away_ends_no_wait(server: PracticeServer) -> None:
    pty = pytest.importorskip("pty")
    server.add_bulk(math.inf, id="op")
    master, slave = pty.openpty()
    # As with nohup or disown.
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "wait", "--interval=0.1", "--max-interval=0.1", "op"]
    with subprocess.Popen(
        command, env=environment(server), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, text=True
    ) as process:
        os.close(slave)
        wait_until(lambda: b"of 1 done" in os.read(master, 4096), "the progress")
        os.close(master)
        polled = len(server.requests)
        wait_until(lambda: len(server.requests) > polled + 10, "polls after that")
        server.add_bulk(0, id="op")
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "op finished\n")


def test_quiet_gives_no_hint(server: PracticeServer) -> None:
    result = run(server, "wait", "-q", "--timeout", "0", NEVER)
    assert (result.returncode, result.stdout) == (8, "never running\n")
    assert re.fullmatch(r"saymon-bulk: 1 of 1 still running after 0:0\d: never\n", result.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_quiet_tells_of_giving_up_in_one_line(server: PracticeServer, count: int) -> None:
    """For cron, which mails stderr alone. What is unknown has its error there."""
    ids = [server.add_bulk(math.inf if number % 3 else 0, id=f"op-{number}") for number in range(count)]
    running = len([number for number in range(count) if number % 3])
    for more in ([], [UNKNOWN], ["--json"]):
        result = run(server, "wait", "-q", "--timeout", "0.1", "--interval", "5", "-", *more, stdin="\n".join(ids))
        assert result.returncode == (1 if more == [UNKNOWN] else 8 if running else 0)
        lines = [line for line in result.stderr.splitlines() if "HTTP 404" not in line]
        total = count + (more == [UNKNOWN])
        assert len(lines) == (1 if running else 0)
        assert not running or re.match(rf"saymon-bulk: {running} of {total} still running after 0:0\d: op-1", lines[0])


# stdout, stderr and stdin


@pytest.mark.parametrize("command", ["status", "wait"])
def test_nobody_reads_the_output(server: PracticeServer, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, command, DONE],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_nobody_reads_the_errors(server: PracticeServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "wait", "-v", "--timeout", "0.1", UNKNOWN, DONE],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stdout.split()) == (1, [b"done", b"finished"])


@needs_shell
@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("<&- 2>&- --nonsense", 2), ("> /dev/full", 1), ("2> /dev/full", 0)],
)
def test_closed_and_full_streams(server: PracticeServer, redirection: str, code: int) -> None:
    done = subprocess.run(
        f"{shlex.join(COMMAND)} status {DONE} {redirection}",
        shell=True,
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout in (b"", b"done finished\n")
    assert done.stderr.count(b"\n") == (1 if redirection == "> /dev/full" else 0)


@pytest.mark.slow
def test_an_id_that_the_terminal_cannot_show(server: PracticeServer) -> None:
    server.add_bulk(0, id="операция")
    assert run(server, "status", "операция").stdout == "операция finished\n"
    result = run(server, "status", "операция", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stdout) == (0, ascii("операция")[1:-1] + " finished\n")


def test_the_null_device_is_no_terminal(server: PracticeServer) -> None:
    """Windows says that it is one."""
    done = subprocess.run(
        [*COMMAND, "status", DONE],
        env={**environment(server), "SAYMON_PASSWORD": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("encoding", ["cp1251", "cp866"])
def test_the_encodings_of_russian_consoles(peer: Peer, encoding: str) -> None:
    peer.answer(END, RUN)
    names = ["--host", peer.host, "--login", "оператор", "операция-1", "операция-2"]
    command = [*COMMAND, "wait", "--timeout", "0", *names]
    variables = environment(SAYMON_PASSWORD="пароль", PYTHONIOENCODING=encoding)
    done = subprocess.run(command, env=variables, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.decode(encoding).split()) == (
        8,
        ["операция-1", "finished", "операция-2", "running"],
    )
    told = done.stderr.decode(encoding)
    assert re.search("--login '?оператор", told)
    assert re.search("-- '?операция-2", told)
    assert credentials(peer.requests[0]) == "оператор:пароль"


# Warnings and the log


def test_a_warning_is_one_plain_line(peer: Peer) -> None:
    result = run(None, "status", "--insecure", "--host", peer.authority, DONE)  # which speaks no TLS
    assert result.returncode == 1
    warning, _ = result.stderr.splitlines()
    danger = "the certificate is not checked, whoever answers there gets the password"
    assert warning == f"saymon-bulk: warning: https://{peer.authority}: {danger}"


def test_plain_http_has_no_certificate_to_warn_of(server: PracticeServer) -> None:
    result = run(server, "status", "--insecure", DONE)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{DONE} finished\n", "")


@pytest.mark.parametrize(("filters", "code"), [("ignore", 1), ("error", 2)])
def test_pythonwarnings_is_obeyed(peer: Peer, filters: str, code: int) -> None:
    result = run(None, "status", "--insecure", "--host", peer.authority, DONE, PYTHONWARNINGS=filters)
    assert (result.returncode, result.stderr.count("\n")) == (code, 1)
    assert peer.connections == code % 2


def test_verbose_logs_requests_without_the_secret(server: PracticeServer) -> None:
    result = run(server, "status", "-v", DONE, UNKNOWN)  # which looks for the password in what it prints
    assert (result.returncode, result.stdout) == (1, "done finished\n")
    logged = [line for line in result.stderr.splitlines() if re.match(r"saymon-bulk: \d{4}-", line)]
    assert len(logged) == 2
    assert all(server.host in line for line in logged)
    assert "authorization" not in result.stderr.lower()
    assert "basic" not in result.stderr.lower()


# What is imported


def test_status_imports_nothing_that_it_does_not_use(server: PracticeServer) -> None:
    modules = loaded(server, "status", DONE)
    assert "saymon_bulk.cli" in modules
    assert modules & {*UNUSED, "saymon_bulk.testing", "saymon_bulk._types"} == set()


@pytest.mark.slow
def test_options_import_what_they_use_and_no_more(server: PracticeServer, tmp_path: Path) -> None:
    netrc(tmp_path, PASSWORD)
    assert loaded(server, "wait", DONE) & UNUSED == set()
    assert loaded(server, "status", "--json", DONE) & UNUSED == {"json"}
    assert loaded(server, "status", "--password-stdin", DONE) & UNUSED == set()
    assert loaded(server, "status", DONE, SAYMON_PASSWORD="") & UNUSED == set()
    assert "logging" in loaded(server, "status", "-v", DONE)


# On a terminal


PROMPT = f"Password for {LOGIN} at {{}}:"


@pytest.mark.slow
def test_prompt(server: PracticeServer) -> None:
    with Terminal(server, "status", DONE, SAYMON_PASSWORD="") as terminal:
        terminal.shows(f"^{PROMPT.format(server.host)}$")
        wait_until(lambda: not terminal.echoes(), "the echo to be off")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.end() == 0
        assert terminal.screen() == [PROMPT.format(server.host), "done finished", ""]


def test_password_stdin_on_a_terminal_prompts(server: PracticeServer) -> None:
    with Terminal(server, "status", "--password-stdin", DONE, SAYMON_PASSWORD="wrong") as terminal:
        terminal.shows("^Password for ")
        wait_until(lambda: not terminal.echoes(), "the echo to be off")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("key", "code", "says"), [("\x03", 130, "interrupted"), ("\x04", 2, "no password"), ("\n", 2, "no password")]
)
def test_prompt_is_left(server: PracticeServer, key: str, code: int, says: str) -> None:
    with Terminal(server, "wait", DONE, SAYMON_PASSWORD="") as terminal:
        terminal.shows("^Password for ")
        wait_until(lambda: not terminal.echoes(), "the echo to be off")
        terminal.type(key)
        terminal.shows(f"^saymon-bulk: .*{says}")
        assert terminal.echoes()
        assert terminal.end() == code
        assert "Traceback" not in "".join(terminal.screen())
    assert server.requests == []


def test_a_prompt_that_gets_no_utf_8(server: PracticeServer) -> None:
    with Terminal(server, "status", DONE, SAYMON_PASSWORD="", PYTHONUTF8="1") as terminal:
        terminal.shows("^Password for ")
        terminal.type("pass\udcff\n")
        terminal.shows("^saymon-bulk: the password is not UTF-8$")
        assert terminal.end() == 2
    assert server.requests == []


def test_no_prompt_without_a_terminal(server: PracticeServer) -> None:
    result = run(server, "status", DONE, SAYMON_PASSWORD="")
    assert result.returncode == 2
    assert "no password" in result.stderr


@pytest.mark.slow
def test_progress(server: PracticeServer) -> None:
    with Terminal(server, "wait", "--interval=0.1", "--max-interval=0.2", DONE, UNKNOWN, NEVER) as terminal:
        terminal.shows(r"^2 of 3 done \[#+-+\] 0:0\d$")
        assert "done finished" in terminal.screen()
        terminal.shows("HTTP 404")
        server.add_bulk(0, id=NEVER)
        assert terminal.end() == 1
        # Only results and errors stay, and the error's second line: the terminal has 80 columns.
        assert terminal.screen()[-2:] == ["never finished", ""]
        assert not any(re.search(r"\d of \d", line) for line in terminal.screen())


def test_ctrl_c_on_a_terminal(server: PracticeServer) -> None:
    with Terminal(server, "wait", "--interval=0.1", NEVER) as terminal:
        wait_until(lambda: len(server.requests) > 1, "a poll after the first answer")
        terminal.shows("^0 of 1 done")
        terminal.type("\x03")
        assert terminal.end() == 130
        bar_line, word, hint, *command = terminal.screen()
        assert re.match(r"0 of 1 done.*\^C$", bar_line)
        assert word == "saymon-bulk: interrupted"
        assert "1 still running on the server" in hint
        assert " ".join(command).split()[-3:] == ["0.1", "--", NEVER]


@pytest.mark.parametrize("option", ["-q", "-v"])
def test_no_progress_when_not_wanted(server: PracticeServer, option: str) -> None:
    server.add_bulk(0.5, id="soon")
    with Terminal(server, "wait", "--interval=0.1", option, "soon") as terminal:
        assert terminal.end() == 0
        assert "soon finished" in terminal.screen()
        assert not any(re.search(r"\d of \d", line) for line in terminal.screen())


def test_no_progress_without_a_terminal(server: PracticeServer) -> None:
    server.add_bulk(0.5, id="soon")
    result = run(server, "wait", "--interval=0.1", "soon")
    assert (result.returncode, result.stdout, result.stderr) == (0, "soon finished\n", "")
