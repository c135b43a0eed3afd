"""Docstrings: complete, the same in help() and in the stub, of 80 columns, with examples that run."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import math
import pydoc
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
import saymon_bulk_pytest
from saymon_bulk import _core, _iterators, _types
from saymon_bulk.testing import PracticeServer, Start

STUB = ast.parse((Path(saymon_bulk.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))


def documented(body: list[ast.stmt], owner: Any) -> list[tuple[str, str, Any]]:
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            found += documented(node.body, getattr(owner, node.name))
        elif isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            found.append((node.name, text, getattr(owner, node.name)))
    return found


def functions() -> list[Any]:
    plain = [getattr(saymon_bulk, name) for name in saymon_bulk.__all__ if name != "BulkStatus"]
    methods = [getattr(saymon_bulk.Client, name) for name in dir(saymon_bulk.Client) if not name.startswith("_")]
    server = [getattr(PracticeServer, name) for name in dir(PracticeServer) if not name.startswith("_")]
    return [one for one in plain + methods + server if callable(one) and not isinstance(one, type)]


def twins() -> list[tuple[Any, Any]]:
    found = []
    for owner in (saymon_bulk, saymon_bulk.Client):
        found += [(getattr(owner, name[:-6]), getattr(owner, name)) for name in dir(owner) if name.endswith("_async")]
    return found


@pytest.mark.parametrize(("name", "text", "runtime"), documented(STUB.body, _core))
def test_help_and_stub_agree(name: str, text: str, runtime: Any) -> None:
    """Some editors read the stub alone: it has the whole docstring of the function, and the first line of the others."""
    told = inspect.getdoc(runtime) or ""
    assert text == (told if runtime is _core.get_bulk_status else told.partition("\n")[0])


@pytest.mark.parametrize("function", functions(), ids=lambda function: function.__qualname__)
def test_every_argument_is_told_of(function: Any) -> None:
    text = inspect.getdoc(function)
    assert text
    if function.__name__.endswith("_async") or function.__qualname__.startswith("PracticeServer"):
        return  # those of a twin are its sync name's; the practice server tells in sentences
    for name in inspect.signature(function).parameters:
        assert name in ("self", "cls") or f"{name}:" in text, name


@pytest.mark.parametrize(("sync", "twin"), twins(), ids=lambda function: function.__qualname__)
def test_twins_take_the_same(sync: Any, twin: Any) -> None:
    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        return [(one.name, one.kind, one.default) for one in parameters]

    assert [(name, kind, default) for name, kind, default in shape(sync) if name != "self"] == [
        (name, kind, default) for name, kind, default in shape(twin) if name != "self"
    ]


# What help() shows of each public name

MODULES = {one.__name__: one for one in (saymon_bulk, saymon_bulk.errors, saymon_bulk.testing)}
NAMES = {name: getattr(saymon_bulk, name) for name in saymon_bulk.__all__ if name != "__version__"}
OTHERS = [PracticeServer, Start, _core.BulkIterator, _iterators.AsyncBulkIterator]
OTHERS += [_types.ClosableIterator, _types.ClosableAsyncIterator]
PUBLIC: dict[str, Any] = {**MODULES, **NAMES, **{one.__name__: one for one in OTHERS}}


def members(owner: Any) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of our own."""
    for base in inspect.getmro(owner) if isinstance(owner, type) else ():
        if base.__module__.startswith("saymon_bulk") and not base.__name__.startswith("Closable"):
            for name, value in vars(base).items():
                is_field = type(value).__name__ == "_tuplegetter"
                if not name.startswith("_") and not is_field and hasattr(value, "__get__"):
                    yield f"{base.__name__}.{name}", getattr(owner, name)


def documents() -> dict[str, str]:
    found = dict(PUBLIC)
    for one in PUBLIC.values():
        found.update(members(one))
    return {name: inspect.getdoc(one) or "" for name, one in found.items()}


DOCUMENTS = documents()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_docstring_begins_with_what_it_does_and_an_example(name: str) -> None:
    first, _, rest = DOCUMENTS[name].partition("\n\n")
    assert first.endswith(".")
    assert "\n" not in first
    assert rest.startswith(">>> ")


def lines_of_our_own() -> set[str]:
    """Those of all docstrings. Python adds signatures, constants and docstrings of builtins, as long as they are."""
    found = {f"{name} - {DOCUMENTS[name].splitlines()[0]}" for name in MODULES}
    found |= {line.strip() for text in DOCUMENTS.values() for line in text.splitlines()}
    folder = Path(saymon_bulk.__file__).parent
    for path in [*folder.glob("*.py"), *folder.glob("*.pyi")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found |= {line.strip() for line in (ast.get_docstring(node) or "").splitlines()}
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_help_fits_80_columns(name: str) -> None:
    own = lines_of_our_own()
    shown = pydoc.plain(pydoc.render_doc(PUBLIC[name])).splitlines()
    told = [line for line in shown if line.strip(" |") in own - {""}]
    assert told
    assert [line for line in told if len(line) > 80] == []


def test_the_fixture_fits_80_columns() -> None:
    text = inspect.getdoc(saymon_bulk_pytest.saymon_practice_server.__wrapped__) or ""  # type: ignore[attr-defined]
    assert "def test_my_job" in text
    assert max(map(len, text.splitlines())) <= 76  # `pytest --fixtures` indents by four


# The examples run, as in a shell that may await: `python -m asyncio`, or Jupyter


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the examples take as known."""
    for variable in ("SAYMON_HOST", "SAYMON_LOGIN", "SAYMON_PASSWORD"):
        monkeypatch.setenv(variable, "")  # an example sets it
    monkeypatch.setattr(sys, "displayhook", lambda value: None if value is None else print(repr(value)))
    with PracticeServer("login", "password", finishes_after=0) as server, warnings.catch_warnings():
        server.add_bulk(math.inf, id="running-id")
        ids = [server.add_bulk(id=id) for id in ("079b3102-c326-4dd7-bf48-a945232b32d6", "a", "b")]
        for id, room in (("a1", "5"), ("a2", "7")):
            property = {"name": "Room", "value": room}
            server.objects[id] = {"id": id, "name": "CPU", "weight": 1, "properties": [property]}
        client = saymon_bulk.Client(server.host, "login", "password")
        search, bulk = {"name": "CPU"}, [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
        monkeypatch.chdir(tmp_path)
        plan = client.plan_bulk(search, bulk)
        known = {"saymon_bulk": saymon_bulk, "PracticeServer": PracticeServer}
        job = {"search": search, "bulk": bulk, "plan": plan}
        yield {**known, "host": server.host, "client": client, "ids": ids, "bulk_id": ids[0], **job}


async def run(source: str, names: dict[str, Any]) -> str:
    """What a shell shows of an example."""
    shown = io.StringIO()
    code = compile(source, "<example>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(shown):
        try:
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result
        except Exception as error:
            print(
                "Traceback (most recent call last):\n", *traceback.format_exception_only(type(error), error), sep="", end=""
            )
    return shown.getvalue()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_the_examples_run(name: str, names: dict[str, Any]) -> None:
    text = DOCUMENTS[name].replace('"monitor.example.com"', repr(names["host"]))
    examples = doctest.DocTestParser().get_examples(text)
    assert examples
    assert "SKIP" not in text

    async def run_all() -> None:
        for example in examples:
            wanted = example.want if example.exc_msg is None else f"Traceback (most recent call last):\n{example.exc_msg}"
            shown = await run(example.source, names)
            assert doctest.OutputChecker().check_output(wanted, shown, 0), (example.source, wanted, shown)

    asyncio.run(run_all())
