"""The help, the completion scripts and the man page; where options may stand, and how times are written."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import COMMAND, Terminal, environment, loaded, run
from peer import LOGIN, PASSWORD
from processes import POSIX
from saymon_bulk.cli import main
from saymon_bulk.cli.commands import COMMANDS
from saymon_bulk.cli.options import SHELLS
from saymon_bulk.cli.parser import parse
from saymon_bulk.testing import PracticeServer
from shell_files import MAN, ROOT, made

pytestmark = pytest.mark.usefixtures("user")

ALL = [[], ["-h"], ["--help"], *([name, option] for name in COMMANDS for option in ("-h", "--help"))]


# Help


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command line prints, in a terminal of so many columns. No process of its own: there are many of them."""

    def text(*words: str, columns: str = "") -> str:
        monkeypatch.setenv("COLUMNS", columns)
        with contextlib.suppress(SystemExit):
            main(words)
        said = capsys.readouterr()
        assert said.err == ""
        return said.out

    return text


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("columns", ["", "20", "40", "80", "200"])
def test_help_fits(printed: Callable[..., str], words: list[str], columns: str) -> None:
    text = printed(*words, columns=columns)
    # What cannot be broken may be longer than a very narrow terminal.
    assert max(map(len, text.splitlines())) <= min(80, max(int(columns or 80), 62))


def test_help_breaks_no_word(printed: Callable[..., str]) -> None:
    words = set(printed("wait", "--help", columns="200").split())
    for columns in ("40", "60", "80"):
        assert set(printed("wait", "--help", columns=columns).split()) <= words


@pytest.mark.slow
def test_no_arguments_print_the_help() -> None:
    assert run(None).stdout == run(None, "-h").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_short_help_has_what_the_command_alone_has(printed: Callable[..., str], command: str) -> None:
    short, complete = (printed(command, option) for option in ("-h", "--help"))
    assert len(short.splitlines()) <= 48
    for words in (f"usage: saymon-bulk {command} ", "\nexamples:\n", *(line for _, line in COMMANDS[command].examples)):
        assert words.splitlines()[0] in short
        assert words.splitlines()[0] in complete
    if command != "completion":
        assert "\n  --host " not in short
        assert short.endswith(f"What they do, and the exit status: saymon-bulk {command} --help\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_stands_once(printed: Callable[..., str], command: str) -> None:
    for option in ("-h", "--help"):
        text = printed(command, option)
        names = re.findall(r"^  (-[\w-]+)", text, re.MULTILINE)
        assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_three_examples(command: str) -> None:
    examples = COMMANDS[command].examples
    assert len(examples) == 3
    for _, line in examples:
        for words in re.findall(r"saymon-bulk ([^|&)]*)", line.replace("\\\n", "").replace("\n", "")):
            assert parse(shlex.split(words)).command in COMMANDS


@pytest.mark.slow
def test_the_examples_run(server: PracticeServer, tmp_path: Path) -> None:
    if not POSIX or shutil.which("bash") is None:
        pytest.skip("no POSIX shell on this system")
    server.finishes_after = 0
    server.objects["a1"] = {"id": "a1", "name": "CPU", "owner": 0}
    server.add_bulk(0, id="079b3102-c326-4dd7-bf48-a945232b32d6")
    (tmp_path / "search.json").write_text('{"name": "CPU"}')
    (tmp_path / "bulk.json").write_text('[{"modify": {"owner": 1}}]')
    (tmp_path / "ids.txt").write_text("done\n")
    lines = [line for command in COMMANDS.values() for _, line in command.examples]
    lines = [line for line in lines if ("jq" not in line or shutil.which("jq")) and "zsh" not in line and "fish" not in line]
    own = f'saymon-bulk() {{ {shlex.join(COMMAND)} "$@"; }}; set -euo pipefail; '
    for line in lines:
        (tmp_path / "plan.json.log").unlink(missing_ok=True)  # else the plan would be applied already
        done = subprocess.run(
            ["bash", "-c", own + line],
            env=environment(server),
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == (3 if "--exit-code" in line else 0), (line, done.stderr)


# Wrong words


@pytest.mark.parametrize(
    ("words", "usage", "says"),
    [
        (["start", "--dry-run"], "start", "unrecognized arguments: --dry-run"),
        (["status", "--jsn", "x"], "status", "unrecognized arguments: --jsn; did you mean --json?"),
        (["wait", "x", "--timout", "5"], "wait", "unrecognized arguments: --timout; did you mean --timeout?"),
        (["wait", "--version"], "wait", "unrecognized arguments: --version"),
        (["clone", "a", "b"], "clone", "unrecognized arguments: clone takes one OBJECT_ID"),
        (["start"], "start", "the following arguments are required: --bulk"),
        (["wait", "--retries", "x"], "wait", "argument --retries: 'x' is no number"),
        (["--tiemout", "wait"], "COMMAND", "unrecognized arguments: --tiemout"),
        (["-V"], "COMMAND", "unrecognized arguments: -V; did you mean --version?"),
        (["stauts"], "COMMAND", "not 'stauts'; did you mean status?"),
        (["WAIT"], "COMMAND", "not 'WAIT'; did you mean wait?"),
        (["help"], "COMMAND", "not 'help'; did you mean --help?"),
        (["version"], "COMMAND", "not 'version'; did you mean --version?"),
        (["nonsense"], "COMMAND", "not 'nonsense'"),
    ],
)
def test_wrong_words(words: list[str], usage: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"usage: saymon-bulk {usage} ")
    assert lines[-1].endswith(says)


@pytest.mark.parametrize("command", ["status", "wait", "start", "clone"])
def test_help_tells_all(printed: Callable[..., str], command: str) -> None:
    text = printed(command, "--help")
    documented = "--host --login --password-stdin --cacert --insecure --request-timeout --json -q -v"
    named = [*documented.split(), "SAYMON_HOST", "SAYMON_LOGIN", "SAYMON_PASSWORD_FILE", "netrc"]
    named += ["--timeout", "--interval", "--max-interval", "--retries", "1h"] if command != "status" else []
    named += ["--concurrency"] if command in ("status", "wait") else []
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


@pytest.mark.slow
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
    *log, last = result.stderr.splitlines()
    assert all(re.match(r"saymon-bulk: \d{4}-", line) for line in log)
    assert log
    assert last.endswith(": never")


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
    assert f"{text!r} is not a time; write 90 (seconds), 90s, 500ms, 5m, 1.5h or 1h30m" in capsys.readouterr().err


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


@pytest.mark.parametrize("word", ["show", "apply", "verify", "plan --out"])
def test_bash_completes_the_file_of_a_plan(tmp_path: Path, word: str) -> None:
    (tmp_path / "rooms.json").touch()
    words = f"COMP_WORDS=(saymon-bulk {word} roo); COMP_CWORD=$(({len(word.split()) + 1}))"
    load = f"{shlex.join([*COMMAND, 'completion', 'bash'])} > script; . ./script"
    script = f'{load}; {words}; _shtab_saymon_bulk; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["rooms.json"]


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
    for name in COMMANDS:
        assert re.search(rf"^ +saymon.bulk {name} ", done.stdout, re.MULTILINE)


def test_the_man_page_has_its_sections() -> None:
    page = MAN.read_text(encoding="utf-8")
    sections = re.findall(r"^\.SH (.*)$", page, re.MULTILINE)
    assert {"EXAMPLES", "ENVIRONMENT", "FILES", "EXIT STATUS", "SEE ALSO"} <= set(sections)
    for name in ("SAYMON_PASSWORD_FILE", "SAYMON_CERT", "NETRC", "no_proxy", "~/.netrc", "143"):
        assert f"\\fB{name}\\fR" in page


# The prompt


def test_what_makes_a_password_useless_comes_before_the_prompt(server: PracticeServer) -> None:
    with Terminal(server, "wait", "--cacert", "none", "x", SAYMON_PASSWORD="") as terminal:
        assert terminal.end() == 2
        assert terminal.screen()[0].startswith("saymon-bulk: --cacert names a CA file that cannot be read")


@pytest.mark.slow
def test_the_prompt_shows_no_password_of_the_host(server: PracticeServer) -> None:
    host = server.host.replace("//", f"//{LOGIN}:{PASSWORD}@")
    with Terminal(server, "wait", "--host", host, "x", SAYMON_PASSWORD="") as terminal:
        assert terminal.end() == 2  # which looks for the password on the screen


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_password(server: PracticeServer, encoding: str) -> None:
    typed = f"{PASSWORD}\r\n".encode(encoding)
    assert run(server, "status", "--password-stdin", "done", stdin=typed, SAYMON_PASSWORD="wrong").returncode == 0
