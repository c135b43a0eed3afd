"""A password that stands in the arguments by mistake is not repeated: an option is refused by its name alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saymon_bulk.cli.parser import parse
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.usefixtures("user")

# Upper case, digits and a sign, as a password has them.
SECRET = "Winter2024+secret"
BOTH = f"login:{SECRET}"
ADVICE = "others can read a command line; use --password-stdin"


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line that the parser says, which is checked for the secret with all others."""
    with pytest.raises(SystemExit) as ended:
        parse(words)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("usage: saymon-bulk ")
    for part in (SECRET, "Winter", "inter2024", "login:", "an-id"):
        assert part not in said.err
    return said.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["-u", BOTH], "-u"),
        ([f"-u{BOTH}"], "-u"),
        ([f"-u {BOTH}"], "-u"),
        ([f"-u={BOTH}"], "-u"),
        (["--user", BOTH], "--user"),
        ([f"--user={BOTH}"], "--user"),
        ([f"--user {BOTH}"], "--user"),
        ([f"--user:{BOTH}"], "--user"),
        ([f"--{SECRET}"], "--"),
        (["--token", SECRET], "--token"),
        ([f"--token={SECRET}"], "--token"),
        ([f"--api-key={SECRET}"], "--api-key"),
        ([f"--token{SECRET}"], "--"),
        (["-w", SECRET], "-w"),
        ([f"-w{SECRET}"], "-w"),
        ([f"-W{SECRET}"], "-W"),
        (["-P", SECRET], "-P"),
        (["--pasword", SECRET], "--pasword"),
        ([f"--Password={SECRET}"], "--Password"),
        (["--pa", SECRET], "--pa"),
        (["--pwd", f"-{SECRET}"], "--pwd"),
        (["--pwd", f"--{SECRET}"], "--pwd"),
        (["--log", BOTH], "--log"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_an_unknown_option_is_told_by_its_name(words: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [["status", "an-id", *words], ["wait", *words, "an-id"], ["wait", "--json", *words, "--", "an-id"]]
    # Before the command the value would be one.
    lines += [[*words, "status", "an-id"], ["--json", *words, "clone", "an-id"], words]
    lines += [["clone", "an-id", *words], ["start", *words, "--bulk", "an-id"], ["completion", "bash", *words]]
    for line in lines:
        said = refusal(line, capsys).partition(": error: unrecognized arguments: ")[2]
        assert re.fullmatch(rf"{name}(; did you mean --[a-z-]+\?)?", said)


@pytest.mark.parametrize(
    "words",
    [
        ["-p", SECRET],
        [f"-p{SECRET}"],
        [f"-p={SECRET}"],
        [f"-qp{SECRET}"],
        ["-qp", SECRET],
        ["--password", SECRET],
        [f"--password={SECRET}"],
        [f"--password:{SECRET}"],
        [f"--password{SECRET}"],
        [f"--passwordwinter{SECRET}"],
        ["--passwd", SECRET],
        [f"--pass={SECRET}"],
        ["--passw", SECRET],
        ["--passphrase", SECRET],
        [f"--password-file={SECRET}"],
        ["--password-stdn", SECRET],
        ["-password", SECRET],
        [f"-password={SECRET}"],
        ["--password"],
        ["-p"],
        ["--password", f"--{SECRET}"],
        ["-p", f"-{SECRET}"],
    ],
    ids=" ".join,
)
def test_what_means_a_password_gets_the_advice(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["status", "an-id", *words], [*words, "status", "an-id"], ["clone", *words, "an-id"], words):
        assert ADVICE in refusal(line, capsys)


@pytest.mark.parametrize(
    "name", ["--password-stdin", "--insecure", "--json", "--quiet", "--verbose", "-q", "-v", "-h", "--help"]
)
def test_a_value_of_what_takes_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (f"={SECRET}", f"={BOTH}", "=", *([] if name.startswith("--") else [SECRET])):
        for line in (["status", "an-id", name + value], [name + value, "status", "an-id"], ["clone", name + value, "an-id"]):
            assert re.search(rf"argument \S*{name}\b.*: takes no value$", refusal(line, capsys))


def test_a_value_of_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal([f"--version={SECRET}"], capsys).endswith("argument --version: takes no value")


@pytest.mark.parametrize("before", [["--password-stdin"], ["--insecure"], ["-q"], ["--login", "x"]], ids=" ".join)
def test_a_word_where_the_command_stands(before: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It may be meant as the value of the option before it."""
    for value in (SECRET, BOTH, "winter"):
        line = refusal([*before, value, "status", "an-id"], capsys)
        assert line.endswith(", start, clone, status, wait or completion")
        assert "winter" not in line


def test_a_command_that_is_misspelt_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(["stauts", "x"], capsys).endswith("completion, not 'stauts'; did you mean status?")
    assert refusal(["winter", "x"], capsys).endswith("completion, not 'winter'")
    assert refusal([BOTH, "x"], capsys).endswith("or completion")
    assert refusal([f"https://{BOTH}@host", "x"], capsys).endswith("or completion")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["clone", "an-id", "--password-stdin", SECRET], "clone takes one OBJECT_ID"),
        (["clone", "an-id", SECRET], "clone takes one OBJECT_ID"),
        (["clone", "an-id", "--json", SECRET, "--", "x"], "clone takes one OBJECT_ID"),
        (["start", "--bulk", "x", "--insecure", SECRET], "start takes no ID"),
        (["start", "--bulk", "x", "--", f"-{SECRET}"], "start takes no ID"),
        (["completion", "bash", SECRET], "completion takes one SHELL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_word_too_many(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(words, capsys).endswith(f": error: unrecognized arguments: {says}")


@pytest.mark.parametrize("words", [["--timeout=soon"], ["--request-timeout", "soon"], ["--retries=soon"]], ids=" ".join)
def test_what_holds_no_secret_is_shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "'soon'" in refusal(["wait", "x", *words], capsys)


@pytest.mark.parametrize("dash", "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")
@pytest.mark.parametrize("name", ["{}password", "{0}{0}user", "{}p"])
def test_a_dash_that_is_no_hyphen(server: PracticeServer, dash: str, name: str) -> None:
    """As a word processor writes it. The words would be ids, and go to the server."""
    for words in (["status", "an-id"], ["wait", "an-id"], ["clone"]):
        result = run(server, *words, name.format(dash), SECRET)
        assert (result.returncode, result.stdout) == (2, "")
        assert SECRET not in result.stderr
    assert server.requests == []


@pytest.mark.parametrize("words", [["--login", BOTH], [f"--login={BOTH}"]], ids=" ".join)
def test_a_login_with_its_password(server: PracticeServer, words: list[str]) -> None:
    for more in ([], ["--json"]):
        result = run(server, "status", *more, *words, "an-id")
        assert result.returncode == 2
        assert "--login must not hold a colon" in result.stdout + result.stderr
        assert SECRET not in result.stdout + result.stderr
    assert server.requests == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_certificate_with_its_password(server: PracticeServer, tmp_path: Path, exists: bool) -> None:
    """As curl takes it."""
    path = tmp_path / "client.pem"
    if exists:
        path.write_text("")
    for words in (["--cert", f"{path}:{SECRET}"], [f"--cert={path}:{SECRET}:x", "--key", str(path)]):
        for more in ([], ["--json"]):
            result = run(server, "status", *more, *words, "an-id")
            assert result.returncode == 2
            assert "--cert " in result.stdout + result.stderr
            assert SECRET not in result.stdout + result.stderr
    assert server.requests == []


def test_a_certificate_whose_name_has_a_colon(server: PracticeServer, tmp_path: Path) -> None:
    path = tmp_path / "client:1.pem"
    path.write_text("")
    result = run(server, "status", "--cert", str(path), "an-id")
    assert result.returncode == 2
    assert str(path) in result.stderr


UNKNOWN = st.sampled_from(["-u", "--user", "--token", "-w", "--pasword", "-P", "--api-key"])
GOOD = st.sampled_from(["--json", "-q", "-v", "--insecure", "--host=h", "--login=l", "-5", "-", "x", "--timeout=5"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=3).map(lambda text: f"{text}S3CRET")


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.sampled_from(["status", "wait", "clone", "start"]),
    before=st.lists(GOOD, max_size=3),
    option=UNKNOWN,
    value=VALUES,
    form=st.sampled_from(["{0} {1}", "{0}={1}", "{0}\0{1}"]),
    after=st.lists(GOOD | VALUES, max_size=3),
    is_first=st.booleans(),
)
def test_no_value_of_an_unknown_option(
    command: str,
    before: list[str],
    option: str,
    value: str,
    form: str,
    after: list[str],
    is_first: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*form.format(option, value).split("\0"), *after]
    words = [*words, command, *before] if is_first else [command, *before, *words]
    with pytest.raises(SystemExit):
        parse(words)
    assert "S3CRET" not in capsys.readouterr().err
