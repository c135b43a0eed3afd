"""help() and the README tell what there is: arguments of classes, attributes of errors, builtin kinship, exit codes."""

from __future__ import annotations

import builtins
import importlib.metadata
import inspect
import pydoc
import re
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from pages import PAGES
from saymon_bulk import _core, cli
from saymon_bulk.cli.parser import EXIT_STATUS
from saymon_bulk.testing import PracticeServer

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
STUB = (Path(saymon_bulk.__file__).parent / "_core.pyi").read_text(encoding="utf-8")

PUBLIC = {name: getattr(saymon_bulk, name) for name in saymon_bulk.__all__}
ERRORS = {name: one for name, one in PUBLIC.items() if isinstance(one, type) and issubclass(one, saymon_bulk.SaymonError)}


def methods(owner: type) -> list[Any]:
    return [one for name, one in inspect.getmembers(owner, callable) if not name.startswith("_")]


def arguments(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("function", [saymon_bulk.Client, PracticeServer, *methods(PracticeServer)])
def test_arguments_of_classes_and_of_the_practice_server(function: Any) -> None:
    text = inspect.getdoc(function)
    assert text
    for name in arguments(function):
        assert re.search(rf"^ *{name}: ", text, re.MULTILINE), name


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_attributes_of_errors(error: type[saymon_bulk.SaymonError]) -> None:
    told = "\n".join(inspect.getdoc(one) or "" for one in error.__mro__ if one.__module__ == error.__module__)
    for name in vars(error("a text")):
        assert re.search(rf"^ *{name}: ", told, re.MULTILINE), name


def test_twins_name_each_other() -> None:
    twins = [saymon_bulk.get_bulk_status_async, saymon_bulk.wait_for_bulk_async]
    twins += [one for one in methods(saymon_bulk.Client) if one.__name__.endswith("_async")]
    assert len(twins) == 12
    for twin in twins:
        assert f"`{twin.__name__[:-6]}`" in (twin.__doc__ or "")


def test_the_stub_has_every_docstring_of_the_core() -> None:
    functions = [_core.get_bulk_status, *methods(_core.Client)]
    assert {one.__name__ for one in functions} == {"get_bulk_status", "close"}
    for function in functions:
        first_line = (inspect.getdoc(function) or "").partition("\n")[0]
        assert first_line
        assert f'"""{first_line}' in STUB


@pytest.mark.slow
def test_help_shows_every_public_name() -> None:
    text = pydoc.plain(pydoc.render_doc(saymon_bulk))
    for name in [*PUBLIC, *(one.__name__ for one in methods(saymon_bulk.Client))]:
        assert re.search(rf"\b{name}\b", text) or name == "__version__", name
    assert saymon_bulk.__version__ in text


def test_the_table_of_errors() -> None:
    text = PAGES["reference/errors.md"]
    rows = re.findall(r"^\| `([A-Z]\w+)` \|(.*?)\|.*\|$", text, re.MULTILINE)
    assert {name for name, _ in rows} == set(ERRORS) - {"SaymonError"}
    for name, kin in rows:
        told = re.findall(r"`(\w+)`", kin)
        for relative in told:
            assert issubclass(ERRORS[name], getattr(builtins, relative, ERRORS.get(relative, type(None)))), (name, relative)
        bases = [one for one in ERRORS[name].__bases__ if one.__module__ == "builtins"]
        assert {one.__name__ for one in bases} <= set(told)


@pytest.mark.parametrize("text", [README, PAGES["reference/exit-status.md"]], ids=["README", "page"])
def test_exit_codes_are_those_of_help(text: str) -> None:
    table = text.partition("| Exit status |")[2].partition("\n\n")[0]
    told = set(re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE))
    codes = {code for cell in told for code in cell.split(", ")}
    assert codes == set(EXIT_STATUS)


def test_the_page_of_the_command_line_names_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("start", "clone", "status", "wait"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
    section = PAGES["guides/command-line.md"].replace("curl --fail-with-body", "")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", section))
    assert named
    assert named <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


def test_the_installed_version() -> None:
    assert importlib.metadata.version("saymon-bulk") == saymon_bulk.__version__


@pytest.mark.parametrize(("page", "least"), [("SECURITY.md", 41), ("ARCHITECTURE.md", 16)])
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    named = re.findall(r"`(\w+\.py)::(\w+)`", text)
    assert len(named) >= least
    files = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py")}
    for file, test in named:
        assert f"def {test}(" in files[file], f"{file}::{test}"
