"""The README and the pages of `docs/`: their code blocks, and a shell that runs those of a page one after the other.

A block with a title is a file: `title="search.json"`. A block `sh` is run, and a block `text` right after it is its output.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest
from saymon_bulk.testing import PracticeServer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
UUID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"

PRACTICE = "127.0.0.1:8765"
"""Where the pages let a practice server listen."""

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    title: str
    text: str
    shown: str | None
    """What the next block shows as its output."""


def blocks(page: str) -> list[Block]:
    found = list(_BLOCK.finditer(PAGES[page]))
    made = []
    for one, after in zip(found, [*found[1:], None]):
        is_output = (
            after is not None and after[1] == "text" and not after[2] and not PAGES[page][one.end() : after.start()].strip()
        )
        made.append(Block(one[1], one[2] or "", one[3], after[3] if after is not None and is_output else None))
    return made


def of(page: str, language: str) -> list[Block]:
    return [one for one in blocks(page) if one.language == language]


def can_run(source: str) -> bool:
    """Celery is not among the tests' requirements; `asyncio.timeout` and `TaskGroup` are of Python 3.11."""
    has_celery = importlib.util.find_spec("celery") is not None
    return ("celery" not in source or has_celery) and ("asyncio.timeout" not in source or sys.version_info >= (3, 11))


async def run_python(source: str, names: dict[str, Any], where: str) -> str:
    """Runs a block, which may await as in a notebook, and returns what it prints."""
    code = compile(source, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    assert isinstance(code, CodeType)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)
        else:
            exec(code, names)
    return printed.getvalue()


async def asked(app: Any, path: str, body: Any = None) -> tuple[int, bytes]:
    """Status and body of an ASGI application's answer to a GET, or to a POST with a body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    method, headers = ("GET", []) if body is None else ("POST", [(b"content-type", b"application/json")])
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def session(page: str) -> str:
    """The shell blocks of a page as one script, with a line that parts what they print."""
    lines = [f"exec 2>&1; {_MARK}0"]
    for one in scripts(page):
        text = one.text
        if text.startswith("python -m saymon_bulk.testing"):  # of a terminal of its own
            text = f"env -u SAYMON_PASSWORD {text.rstrip()} > /dev/null & trap 'kill $!' EXIT\n{_LISTENS}"
        lines.append(f"{text.rstrip()}\n{_MARK}$?\n")
    return "\n".join(lines)


_MARK = "echo ==== "
_LISTENS = f"for _ in {{1..300}}; do (: < /dev/tcp/{PRACTICE.replace(':', '/')}) 2> /dev/null && break; sleep 0.1; done"


def printed(output: str) -> list[tuple[int, str]]:
    """The exit status and the output of each block."""
    parts = re.split(r"^==== (\d+)\n", output, flags=re.MULTILINE)[2:]
    return [(int(status), text) for text, status in zip(parts[::2], parts[1::2])]


def scripts(page: str) -> list[Block]:
    return [one for one in of(page, "sh") if not one.title]


def masked(text: str) -> str:
    """What differs from run to run: ids, times, the port."""
    text = re.sub(UUID, "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+Z]+", "TIME", text)
    return re.sub(r"http://127\.0\.0\.1:\d+|https?://monitor\.example\.com", "HOST", text)


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


# The shell


def with_host(text: str, server: PracticeServer) -> str:
    return re.sub(r"(https://)?monitor\.example\.com", server.host, text)


def shell(script: str, folder: Path, server: PracticeServer, password: str = "password") -> subprocess.CompletedProcess[str]:
    if os.name != "posix" or shutil.which("bash") is None:
        pytest.skip("there is no POSIX system with bash")
    own = {"SAYMON_HOST": server.host, "SAYMON_LOGIN": "login", "SAYMON_PASSWORD": password, "HOME": str(folder)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-uo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **own, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fill(folder: Path) -> Path:
    """The files that the pages take as known, and the password for curl."""
    for one in blocks("guides/command-line.md"):
        if one.title:
            (folder / one.title).write_text(one.text)
    (folder / ".netrc").write_text("machine 127.0.0.1 login login password password")
    (folder / ".netrc").chmod(0o600)
    return folder
