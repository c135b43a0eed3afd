"""The help, the completion scripts and the man page; where options may stand, and how times are written."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, Terminal, loaded, run
from peer import LOGIN, PASSWORD
from saymon_bulk.cli.options import SHELLS, build, parse
from saymon_bulk.testing import PracticeServer
from shell_files import MAN, ROOT, commands, made

pytestmark = pytest.mark.usefixtures("user")

ALL = [[], ["--help"], *([name, "--help"] for name in commands(build()))]


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD) as one:
        one.add_bulk(0, id="done")
        one.add_bulk(math.inf, id="never")
        yield one


# Help


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("columns", ["", "20", "40", "80", "200"])
def test_help_fits(words: list[str], columns: str) -> None:
    result = run(None, *words, COLUMNS=columns)
    assert (result.returncode, result.stderr) == (0, "")
    # What cannot be broken may be longer than a very narrow terminal.
    assert max(map(len, result.stdout.splitlines())) <= min(80, max(int(columns or 80), 62))


def test_help_breaks_no_word() -> None:
    words = {word for text in (run(None, "wait", "--help", COLUMNS="200").stdout,) for word in text.split()}
    for columns in ("40", "60", "80"):
        assert set(run(None, "wait", "--help", COLUMNS=columns).stdout.split()) <= words


def test_no_arguments_print_the_help() -> None:
    assert run(None).stdout == run(None, "--help").stdout


@pytest.mark.parametrize("command", ["status", "wait", "start", "clone"])
def test_help_tells_all(command: str) -> None:
    text = run(None, command, "--help").stdout
    documented = "--host --login --password-stdin --cacert --insecure --request-timeout --json -q -v --concurrency"
    named = [*documented.split(), "SAYMON_HOST", "SAYMON_LOGIN", "SAYMON_PASSWORD_FILE", "netrc"]
    named += ["--timeout", "--interval", "--max-interval", "--retries", "1h"] if command != "status" else []
    named += ["--ids"] if command in ("status", "wait") else ["--wait"]
    named += ["--search", "--bulk", "--every-object", "--yes"] if command == "start" else []
    for word in named:
        assert re.search(rf"(?<![\w-]){word}\b", text), word
    for code in (0, 1, 2, 4, 8, 9, 130, 143, 129, 141):
        assert re.search(rf"\b{code} ", text)
    for key in ("id", "finished", "error", "message", "status_code", "transient"):
        assert re.search(rf"^  {key} ", text, re.MULTILINE)
    assert re.search(r"--password\b(?!-stdin)", text) is None


# Where options stand


def test_common_options_stand_before_or_after_the_command(server: PracticeServer) -> None:
    common = ["--host", server.host, "--login", LOGIN, "--json", "-q", "-v", "--password-stdin", "--request-timeout", "5"]
    for words in ([*common, "status", "done"], ["status", *common, "done"], ["status", "done", *common]):
        result = run(None, *words, stdin=PASSWORD, SAYMON_LOGIN="", SAYMON_PASSWORD="")
        assert result.returncode == 0
        assert result.stdout.startswith('{"id": "done", "finished": true')
        assert re.match(r"saymon-bulk: \d{4}-", result.stderr)


def test_the_later_of_two_counts() -> None:
    assert parse(["--host", "one", "wait", "--host", "two", "x"]).host == "two"
    assert parse(["--insecure", "wait", "x"]).insecure


def test_options_stand_between_ids() -> None:
    assert parse(["wait", "a", "--json", "b", "--timeout", "5", "-", "c"]).ids == ["a", "b", "-", "c"]
    assert parse(["wait", "--json", "--", "-a", "b"]).ids == ["-a", "b"]


@pytest.mark.parametrize(
    "words", [["wait", "a", "--json", "b", "-x"], ["clone", "42", "--json", "43"], ["wait", "a", "--no"]]
)
def test_what_is_neither_an_option_nor_an_id(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(words)
    assert "unrecognized arguments: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--password", PASSWORD], [f"-p{PASSWORD}"]])
def test_a_password_before_the_command_is_not_shown(words: list[str]) -> None:
    assert run(None, *words, "wait", "x").returncode == 2  # which looks for the password in what it prints


def test_quiet_and_verbose_together(server: PracticeServer) -> None:
    result = run(server, "wait", "-q", "-v", "--timeout", "0", "never")
    assert (result.returncode, result.stdout) == (8, "never running\n")
    assert all(re.match(r"saymon-bulk: \d{4}-", line) for line in result.stderr.splitlines())
    assert result.stderr


# Times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("1e3", 1000),
        ("90s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1d2h3m4s5ms", 93784.005),
        (".5m", 30),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse(["wait", "--timeout", text, "x"]).timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "h", "1h30", "1 h", "1h 30m", "-1h", "1h-30m", "1x", "ms", "1hh", "inf", "1e999s", "1H"]
)
def test_no_times(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["wait", f"--timeout={text}", "x"])
    assert f"{text!r} is no time: 90, 90s, 500ms, 5m, 1.5h and 1h30m are" in capsys.readouterr().err


# What is made from the parser


@pytest.mark.parametrize(("path", "text"), made().items(), ids=lambda one: getattr(one, "name", ""))
def test_made_files_are_current(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `python tools/shell_files.py`"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_script(shell: str) -> None:
    result = run(None, "completion", shell)
    script = ROOT / "python" / "saymon_bulk" / "cli" / "completion" / f"saymon-bulk.{shell}"
    assert (result.returncode, result.stderr, result.stdout) == (0, "", script.read_text(encoding="utf-8"))


def test_completion_costs_nothing_at_the_start(server: PracticeServer) -> None:
    assert not {name for name in loaded(server, "status", "done") if "completion" in name or name in ("shtab", "shutil")}


COMPLETED = {
    "bash": 'COMP_WORDS=(saymon-bulk wait --conc); COMP_CWORD=2; _shtab_saymon_bulk; echo "${COMPREPLY[@]}"',
    "fish": 'complete -C "saymon-bulk wait --conc"',
}


@pytest.mark.parametrize("shell", COMPLETED)
def test_a_shell_completes(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on PATH")
    load = {"bash": "source /dev/stdin", "fish": "source"}[shell]
    script = f"{shlex.join([*COMMAND, 'completion', shell])} > script; {load} < script; {COMPLETED[shell]}"
    done = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "--concurrency" in done.stdout, done.stderr


def test_zsh_takes_the_script() -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not on PATH")
    script = f'autoload -U compinit; compinit -u -D; eval "$({shlex.join([*COMMAND, "completion", "zsh"])})"'
    script += "; echo $_comps[saymon-bulk]"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("_shtab_saymon_bulk\n", "")


def test_man_renders_the_page() -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not on PATH")
    done = subprocess.run(["man", "--warnings", "-l", MAN], capture_output=True, text=True, timeout=120, check=False)
    if "minimized" in done.stdout:
        pytest.skip("man is a stub here")
    assert (done.returncode, done.stderr) == (0, "")
    for name in commands(build()):
        assert re.search(rf"^ +saymon.bulk {name} ", done.stdout, re.MULTILINE)


# The prompt


def test_what_makes_a_password_useless_comes_before_the_prompt(server: PracticeServer) -> None:
    with Terminal(server, "wait", "--cacert", "none", "x", SAYMON_PASSWORD="") as terminal:
        assert terminal.end() == 2
        assert terminal.screen()[0].startswith("saymon-bulk: --cacert names a CA file that cannot be read")


def test_the_prompt_shows_no_password_of_the_host(server: PracticeServer) -> None:
    host = server.host.replace("//", f"//{LOGIN}:{PASSWORD}@")
    with Terminal(server, "wait", "--host", host, "x", SAYMON_PASSWORD="") as terminal:
        assert terminal.end() == 2  # which looks for the password on the screen


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_password(server: PracticeServer, encoding: str) -> None:
    typed = f"{PASSWORD}\r\n".encode(encoding)
    assert run(server, "status", "--password-stdin", "done", stdin=typed, SAYMON_PASSWORD="wrong").returncode == 0
