"""Every code block of the README runs, in order, against the practice server."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from saymon_bulk.testing import PracticeServer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
IDS = sorted(set(re.findall(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", README)))


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer("login", "password", finishes_after=0.3) as server:
        for id in IDS:
            server.start_bulk(id=id)
        yield server


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a Dask cluster whose worker is a process of its own, with the credentials in its environment."""
    distributed: Any = pytest.importorskip("distributed", reason="tests/requirements.txt has it")
    monkeypatch.setenv("SAYMON_LOGIN", "login")
    monkeypatch.setenv("SAYMON_PASSWORD", "password")
    loopback = "127.0.0.1:0"
    with distributed.LocalCluster(
        n_workers=1, dashboard_address=loopback, worker_dashboard_address=loopback, local_directory=str(tmp_path)
    ) as cluster:
        yield cluster.scheduler_address


def test_python_blocks(server: PracticeServer, scheduler: str) -> None:
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert len(blocks) >= 5
    names: dict[str, Any] = {}

    async def run() -> None:
        for text in blocks:
            source = text.replace('"monitor.example.com"', repr(server.host)).replace(
                '"dask.example.com:8786"', repr(scheduler)
            )
            code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            assert isinstance(code, CodeType)
            if code.co_flags & inspect.CO_COROUTINE:
                await eval(code, names)
            else:
                exec(code, names)

    asyncio.run(run())
    assert names["status"] == {"finished": True}
    assert names["found"] == [{id: {"finished": True} for id in names["ids"]}]
    assert names["waited"] == [{"finished": True}] * len(names["ids"])


def test_console_blocks(server: PracticeServer, tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text('{"name": "CPU"}')
    (tmp_path / "bulk.json").write_text('[{"modify": {"owner": "1"}}]')
    lines = [line for language, text in BLOCKS if language == "console" for line in text.splitlines()]
    commands = [line[2:].split() for line in lines if line.startswith("$ ")]
    assert {command[1] for command in commands} == {"start", "clone", "status", "wait"}
    environment = {"SAYMON_HOST": server.host, "SAYMON_LOGIN": "login", "SAYMON_PASSWORD": "password"}
    for program, *words in commands:
        assert program == "saymon-bulk"
        done = subprocess.run(
            [Path(sys.executable).with_name(program), *words],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        shape = r"\S+\n" if words[0] == "start" else r"\S+ (finished|running)\n"
        assert re.fullmatch(shape, done.stdout), done.stderr


def test_the_commands_it_names_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_one_version() -> None:
    import saymon_bulk

    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)
    assert match
    assert saymon_bulk.__version__ == match[1]
    assert f"\n## {match[1]}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
