"""Docstrings: complete, and the same in help() and in the stub."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from saymon_bulk import _core
from saymon_bulk.testing import PracticeServer

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
    assert inspect.getdoc(runtime) == text


@pytest.mark.parametrize("function", functions(), ids=lambda function: function.__qualname__)
def test_every_argument_is_told_of(function: Any) -> None:
    text = inspect.getdoc(function)
    assert text
    if function.__name__.endswith("_async") or function.__qualname__.startswith("PracticeServer"):
        return  # those of a twin are its sync name's; the practice server tells in sentences
    for name in inspect.signature(function).parameters:
        assert name in ("self", "cls") or f"{name}:" in text or function.__name__ == "get_bulk_status", name


@pytest.mark.parametrize(("sync", "twin"), twins(), ids=lambda function: function.__qualname__)
def test_twins_take_the_same(sync: Any, twin: Any) -> None:
    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        return [(one.name, one.kind, one.default) for one in parameters]

    assert [(name, kind, default) for name, kind, default in shape(sync) if name != "self"] == [
        (name, kind, default) for name, kind, default in shape(twin) if name != "self"
    ]


@pytest.mark.parametrize("name", [name for name in saymon_bulk.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(getattr(saymon_bulk, name))
