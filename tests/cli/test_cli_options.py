"""A plain command line is read without argparse, and to the same result."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from peer import LOGIN, PASSWORD
from processes import run_script
from saymon_bulk.cli.options import plain
from saymon_bulk.cli.parser import parse
from saymon_bulk.testing import PracticeServer

NAMES = ["--host", "--login", "--cacert", "--cert", "--key"]
OTHERS = [
    "-",
    "--",
    "--ids",
    "--hos",
    "--host=h",
    "--timeout",
    "5m",
    "-qv",
    "-v",
    "-p",
    "--password-stdin",
    "--json=1",
    "-h",
]
WORDS = st.sampled_from(["a", "b", "", "a b", "status", "wait", "--json", "-q", "--quiet", "--insecure", *NAMES, *OTHERS])


@given(command=st.sampled_from(["status", "wait", "start", "clone", "--json", ""]), words=st.lists(WORDS, max_size=7))
@example("status", ["a", "--json", "b"])
@example("wait", [])
@example("status", ["--host"])
@example("status", ["--host", "-"])
@example("status", ["--host", ""])
def test_a_plain_command_line_means_the_same(command: str, words: list[str]) -> None:
    found = plain([command, *words])
    if found is not None:
        assert vars(found) == vars(parse([command, *words]))


@pytest.mark.parametrize(
    "words",
    [
        ["status", "a"],
        ["wait", "a", "b", "--json", "-q"],
        ["status", "--host", "h", "--login", "l", "--cacert", "c", "--cert", "c", "--key", "k", "--insecure", "a"],
    ],
)
def test_what_a_loop_has_is_plain(words: list[str]) -> None:
    assert plain(words) is not None


def test_a_plain_status_imports_no_argparse(practice: PracticeServer) -> None:
    code = f"""import sys
sys.path += {sys.path!r}
from saymon_bulk.cli import main
print(main(["status", {practice.start_bulk(0)!r}]))
print(*sys.modules)
"""
    known = {"SAYMON_HOST": practice.host, "SAYMON_LOGIN": LOGIN, "SAYMON_PASSWORD": PASSWORD}
    done = run_script(code, flags=["-S"], **known)
    _, exit_code, modules = done.stdout.splitlines()
    assert (exit_code, done.stderr) == ("0", "")
    assert not {"argparse", "gettext", "re", "enum", "signal"} & set(modules.split())
