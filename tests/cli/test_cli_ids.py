"""The ids of `status` and `wait`: from arguments, files and stdin; the hint that names what is left."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, Terminal, environment, run, started, words_of
from peer import LOGIN, PASSWORD
from processes import needs_shell, needs_signals
from saymon_bulk.cli.output import quoted
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.usefixtures("user")

MANY = [f"op-{number}" for number in range(11)]


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD) as one:
        for id in ("a", "b", "c", "опе рация"):
            one.add_bulk(0, id=id)
        one.add_bulk(math.inf, id="never")
        yield one


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(*ids: str) -> str:
    return "".join(f"{id} finished\n" for id in ids)


# Where ids come from


@pytest.mark.parametrize("command", ["status", "wait"])
@pytest.mark.parametrize("words", [["-"], ["--ids", "-"]])
def test_ids_on_stdin(server: PracticeServer, command: str, words: list[str]) -> None:
    result = run(server, command, *words, stdin="c\na\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == finished("a", "c").splitlines()


@pytest.mark.parametrize(
    "content",
    [
        "a\nb",
        "a\r\nb\r\n",
        "\n\r\n  a\t\n\n\nb \n\n",
        "a\nb\na\n",
        "# two\na\n  #b and\n#\nb\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_a_file_of_ids_is_forgiven(server: PracticeServer, folder: Path, content: str, encoding: str) -> None:
    (folder / "ids.txt").write_bytes(content.encode(encoding))
    result = run(server, "status", "--ids", "ids.txt")
    assert (result.returncode, result.stdout, result.stderr) == (0, finished("a", "b"), "")


def test_a_blank_inside_an_id_stays(server: PracticeServer) -> None:
    assert run(server, "status", "-", stdin=" опе рация \n").stdout == finished("опе рация")


def test_all_sources_combine_in_order(server: PracticeServer, folder: Path) -> None:
    (folder / "one").write_text("b\n")
    (folder / "two").write_text("c\na\n")
    result = run(server, "status", "--concurrency=1", "--ids", "one", "a", "-", "--ids", "two", stdin="опе рация\n")
    assert (result.returncode, result.stdout) == (0, finished("a", "опе рация", "b", "c"))


@pytest.mark.slow
def test_more_ids_than_a_command_line_holds(server: PracticeServer) -> None:
    ids = [server.add_bulk(0) for _ in range(3000)]
    result = run(server, "status", "-", stdin="\n".join(ids))
    assert (result.returncode, sorted(result.stdout.splitlines())) == (0, sorted(finished(*ids).splitlines()))


@needs_shell
def test_the_id_of_another_command(server: PracticeServer) -> None:
    saymon = shlex.join(COMMAND)
    line = f"{saymon} clone 42 --json | {shlex.quote(COMMAND[0])} -c {shlex.quote(JQ)} | {saymon} wait -"
    done = subprocess.run(
        line, shell=True, env=environment(server), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == finished(server.starts[0].id)


JQ = 'import json, sys; print(json.load(sys.stdin)["bulkId"])'  # jq -r .bulkId


# What is refused


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        ([], "", "no ids: give each as an ID, or - to read stdin, or --ids FILE"),
        (["-"], "", "stdin: no ids in it"),
        (["a", "-"], "\r\n \n", "stdin: no ids in it"),
        (["-"], "a\n\na\tb\n", "stdin, line 3: the id must not hold control characters"),
        (["-"], b"a\n\xff\n", "stdin, line 2: not UTF-8"),
        (["-"], "\ufeffa\n\n..\r\n", "stdin, line 3: the id must not be '.' or '..'"),
        (["-"], '"a"\n', "stdin, line 1: the id is in quotes: give the id alone (jq prints it so with -r)"),
        (["-"], "a\nnull\n", "stdin, line 2: the id is null: what printed it had no id (jq -re ends with an error then)"),
        (["None"], "", "ID 1 is None: what printed it had no id"),
        (["--ids", "bad"], "", "--ids bad, line 2: the id must be at most 255 bytes of UTF-8"),
        (["--ids", "-"], "a\n..\n", "--ids stdin, line 2: the id must not be"),
        (["-"], "# one\n # two\n", "stdin: no ids in it"),
        (["--ids", "none"], "", "--ids none: No such file or directory"),
        (["--ids", "."], "", "--ids .: Is a directory"),
        (["a", "b", ""], "", "ID 3 must not be empty"),
        (["a", "https://h/node/api/bulk/a/status"], "", "ID 2 looks like a URL: give the id alone"),
        (["-"], "HTTP://h/a", "stdin, line 1: the id looks like a URL"),
        (["-", "-"], "a", "- and - exclude each other: stdin can be read once"),
        (["-", "--ids", "-"], "a", "- and --ids - exclude each other"),
        (["-", "--password-stdin"], "a", "- and --password-stdin exclude each other"),
        (["--ids", "-", "--password-stdin"], "a", "--ids - and --password-stdin exclude each other"),
    ],
)
def test_wrong_ids(server: PracticeServer, folder: Path, words: list[str], stdin: str | bytes, says: str) -> None:
    (folder / "bad").write_text(f"a\n{'x' * 256}\n")
    result = run(server, "wait", *words, stdin=stdin, SAYMON_PASSWORD="")  # it would be asked for later
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"saymon-bulk: {says}")
    assert result.stderr.count("\n") == 1
    assert server.requests == []


def test_an_object_that_looks_like_a_url(server: PracticeServer) -> None:
    result = run(server, "clone", "https://h/objects/42")
    assert (result.returncode, server.requests) == (2, [])
    assert result.stderr.startswith("saymon-bulk: OBJECT_ID looks like a URL")


# On a terminal


def test_ids_typed_on_a_terminal(server: PracticeServer) -> None:
    with Terminal(server, "wait", "-") as terminal:
        terminal.shows("reading ids from the terminal, one a line; Ctrl-D ends them")
        terminal.type("a\n\x04")
        assert terminal.end() == 0
        assert "a finished" in terminal.screen()


def test_the_password_is_asked_for_while_ids_come_on_stdin(server: PracticeServer) -> None:
    line = f"echo a | {shlex.join(COMMAND)} wait -"
    with Terminal(server, "-c", line, command=["sh"], SAYMON_PASSWORD="") as terminal:
        terminal.shows("^Password for ")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.end() == 0
        assert "a finished" in terminal.screen()


# How to go on


def hint(stderr: str) -> str:
    return stderr.splitlines()[-1].strip()


@pytest.mark.parametrize(
    ("words", "stdin", "end"),
    [
        (MANY[:10], "", ["--", *MANY[:10]]),
        (MANY, "", ["-"]),
        (["-"], "\n".join(MANY[:10]), ["--", *MANY[:10]]),
        (["-"], "\n".join(MANY), ["-"]),
        (["--ids", "-"], "\n".join(MANY), ["-"]),
        (["--ids", "my ids"], "", ["--ids", "my ids"]),
        (["--ids", "my ids", "--ids", "few"], "", ["--ids", "my ids", "--ids", "few"]),
        (["--ids", "few"], "", ["--", "op-1"]),
        (["--ids", "my ids", "other"], "", ["-"]),
        ([*MANY, "--password-stdin"], PASSWORD, ["--password-stdin", "--ids", "FILE"]),
    ],
)
def test_many_ids_are_not_spelt_out(
    server: PracticeServer, folder: Path, words: list[str], stdin: str, end: list[str]
) -> None:
    for id in [*MANY, "other"]:
        server.add_bulk(math.inf, id=id)
    (folder / "my ids").write_text("\n".join(MANY))
    (folder / "few").write_text("op-1")
    result = run(server, "wait", "--timeout", "0", *words, stdin=stdin)
    assert result.returncode == 8
    line = hint(result.stderr)
    assert line.startswith("… | ") == (end == ["-"])
    spelt = words_of(line.removeprefix("… | "))
    assert spelt[: len(COMMAND) + 1] == [*COMMAND, "wait"]
    assert spelt[-len(end) :] == end
    assert "--timeout" not in spelt


def test_the_hint_repeats_what_was_given(server: PracticeServer) -> None:
    given = ["--retries", "3", "--concurrency", "2"]
    # Not the limit that was too short, nor how the output looks.
    result = run(None, "--host", server.host, "wait", "--timeout", "0.2", "--json", "--verbose", *given, "never")
    words = words_of(hint(result.stderr))
    assert words == [*COMMAND, "wait", "--host", server.host, "--login", LOGIN, *given, "--", "never"]


@needs_shell
def test_the_hint_names_the_program_as_it_was_found(server: PracticeServer) -> None:
    folder = os.path.dirname(COMMAND[0])
    for program, path in [("saymon-bulk", folder), (f"{folder}/saymon-bulk", "/usr/bin")]:
        done = subprocess.run(
            [f"{folder}/saymon-bulk", "wait", "--timeout", "0", "never"],
            env=environment(server, PATH=path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert words_of(hint(done.stderr))[0] == program


@needs_signals
def test_ctrl_c_with_many_ids(server: PracticeServer) -> None:
    for id in MANY:
        server.add_bulk(math.inf, id=id)
    with started(server, "wait", "--timeout", "none", "a", *MANY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert re.search(r"^  … \| .* wait .*--timeout none -$", err, re.MULTILINE)


def test_the_hint_is_quoted_for_the_shell_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["saymon-bulk", "wait", "--", "it's", "a b", "$x"]
    assert words_of(quoted(words)) == words
    monkeypatch.setattr(os, "name", "nt")
    assert quoted(words) == """saymon-bulk wait -- it's "a b" $x"""


# --retries and --concurrency


def test_retries(server: PracticeServer) -> None:
    server.fail_next(1000, 503)
    quick = ["--interval", "0.01", "--max-interval", "0.01"]
    for retries in (0, 2):
        before = len(server.requests)
        result = run(server, "wait", "--retries", str(retries), *quick, "--json", "never")
        assert (result.returncode, len(server.requests) - before) == (1, retries + 1)
        assert json.loads(result.stdout)["status_code"] == 503


@pytest.mark.clock
@pytest.mark.parametrize("command", ["status", "wait"])
def test_concurrency(server: PracticeServer, command: str) -> None:
    ids = [server.add_bulk(0) for _ in range(4)]
    server.delay = 0.3
    took = {}
    for concurrency in ("1", "4"):
        begin = time.monotonic()
        assert run(server, command, "--concurrency", concurrency, *ids).returncode == 0
        took[concurrency] = time.monotonic() - begin
    assert took["1"] >= 4 * 0.3
    assert took["4"] < took["1"] - 0.3  # one goes ahead alone, then three together


@pytest.mark.parametrize("mark", ["\ufeff", " \ufeff", "\ufeff\ufeff"])
def test_the_byte_order_marks_of_several_files(server: PracticeServer, mark: str) -> None:
    for id in ("a", "b"):
        server.add_bulk(0, id=id)
    result = run(server, "status", "-", stdin=f"{mark}a\r\n{mark}b\r\n")
    assert (result.returncode, result.stdout) == (0, "a finished\nb finished\n")


@needs_shell
@pytest.mark.parametrize("is_file", [False, True])
def test_the_hint_names_no_file_that_is_gone(server: PracticeServer, tmp_path: Path, is_file: bool) -> None:
    ids = [f"op-{number}" for number in range(13)]
    for id in ids:
        server.add_bulk(1000, id=id)
    (tmp_path / "ids").write_text("\n".join(ids))
    feed = f"< {tmp_path / 'ids'}" if is_file else ""
    command = f"{shlex.join(COMMAND)} wait --timeout 0 --ids /dev/stdin {feed}"
    done = subprocess.run(
        command, shell=True, env=environment(server), input="\n".join(ids), capture_output=True, text=True, timeout=30
    )
    assert done.stderr.splitlines()[-1].startswith("  … | ")
