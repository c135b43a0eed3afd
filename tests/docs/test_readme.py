"""Every code block of the README runs, against the practice server; its links work on GitHub and on PyPI."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from readme import IDS, README, ROOT, UUID, blocks, fill, shell, with_host
from saymon_bulk.testing import PracticeServer

pytest_plugins = ["pytester"]

LINKS: list[str] = re.findall(r"\]\(([^)]*)\)", README)
HEADINGS: list[str] = re.findall(r"^##+ (.*)$", README, re.MULTILINE)


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer("login", "password", finishes_after=0.3) as server:
        for bulk_id in IDS:
            server.add_bulk(id=bulk_id)
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


def can_run(source: str) -> bool:
    """Celery is not among the tests' requirements; `asyncio.timeout` and `TaskGroup` are of Python 3.11."""
    has_celery = importlib.util.find_spec("celery") is not None
    return ("celery" not in source or has_celery) and ("asyncio.timeout" not in source or sys.version_info >= (3, 11))


async def get(app: Any, path: str) -> tuple[int, bytes]:
    """Status and body of an ASGI application's answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.slow
def test_python_blocks(server: PracticeServer, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="tests/requirements.txt has it")
    monkeypatch.setenv("SAYMON_HOST", server.host)
    names: dict[str, Any] = {}

    async def run() -> None:
        for text in filter(can_run, blocks("python")):
            source = with_host(text, server).replace("dask.example.com:8786", scheduler)
            code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            assert isinstance(code, CodeType)
            if code.co_flags & inspect.CO_COROUTINE:
                await eval(code, names)
            else:
                exec(code, names)
        assert await get(names["app"], f"/bulks/{IDS[0]}") == (200, b'{"finished":true}')
        assert (await get(names["app"], "/bulks/unknown"))[0] == 404

    asyncio.run(run())
    ids = names["ids"]
    assert names["status"] == names["first_status"] == {"finished": True}
    assert names["table"][["id", "finished"]].to_dict("list") == {"id": ids, "finished": [True] * 2}
    assert names["table"]["error"].isna().all()
    assert sorted(names["ended"]) == sorted(ids)
    assert names["ask"](ids[0]) == names["ask_again"](ids[0]) == {"finished": True}
    assert names["found"] == [{bulk_id: {"finished": True} for bulk_id in ids}]


@pytest.mark.slow
def test_the_test_of_the_reader(pytester: pytest.Pytester) -> None:
    (test,) = [text for text in blocks("python") if "saymon_practice_server" in text]
    pytester.makepyfile("import saymon_bulk\n" + test)
    assert pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes() == {"passed": 1}


# The shell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


@pytest.mark.parametrize("text", blocks("console"), ids=lambda text: text.split()[1])
def test_console_blocks(text: str, server: PracticeServer, folder: Path) -> None:
    for tool in ("curl", "jq"):
        if re.search(rf"\b{tool}\b", text) and shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    exports = ""
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, shown = re.findall(r"\A(.*\n(?:> .*\n)*)([\s\S]*)\Z", with_host(step, server))[0]
        command = command.replace("\n> ", "\n")
        if command.startswith("export "):
            exports += command
            continue
        done = shell(exports + command, folder, server)
        assert (done.returncode in (0, 8), done.stderr) == (True, done.stderr), command
        # An operation may have finished, or not, when it is asked for; a new one has an id of its own.
        lines = [re.sub(r"(finished|running)$", "STATE", line) for line in re.sub(UUID, "ID", done.stdout).splitlines()]
        wanted = [re.sub(r"(finished|running)$", "STATE", line) for line in re.sub(UUID, "ID", shown).splitlines()]
        assert lines == wanted or (not wanted and set(lines) <= {"ID", "ID STATE"}), command
        assert lines, command


def test_the_recipe_with_curl_fails_where_curl_fails(server: PracticeServer, folder: Path) -> None:
    if shutil.which("curl") is None or shutil.which("jq") is None:
        pytest.skip("there is no curl, or no jq")
    (command,) = re.findall(r"^\$ (set -o pipefail; curl .*\n>.*)$", README, re.MULTILINE)
    command = with_host(command.replace("\n> ", "\n"), server)
    (folder / ".netrc").write_text("machine 127.0.0.1 login login password wrong")
    refused = shell(command, folder, server)
    assert refused.returncode != 0
    assert "401" in refused.stderr
    assert "stdin, line 1: the id is null" in refused.stderr
    server.stop()
    gone = shell(command, folder, server)
    assert gone.returncode != 0
    assert "curl: (7)" in gone.stderr
    assert [method for method, _ in server.requests] == ["POST"]


# Links and names


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_need_no_repository() -> None:
    anchors = {f"#{slug(heading)}" for heading in HEADINGS}
    assert [link for link in LINKS if link not in anchors and not link.startswith("https://")] == []
    assert "<img" not in README
    assert "![" not in README


def test_the_contents_name_every_section() -> None:
    sections = re.findall(r"^## (.*)$", README, re.MULTILINE)
    contents = README.partition("**Contents:**")[2].partition("\n\n")[0]
    assert re.findall(r"\[([^]]*)\]", contents) == sections


def test_links_work_as_pypi_renders_them() -> None:
    markdown = pytest.importorskip("readme_renderer.markdown", reason="tests/requirements.txt has it")
    page = markdown.render(README)
    assert page is not None, "readme_renderer without [md]"
    targets = set(re.findall(r'href="#([^"]*)"', page))
    assert len(targets) > 10
    assert targets <= set(re.findall(r'id="([^"]*)"', page))


def test_the_files_it_names_exist() -> None:
    named = set(re.findall(r"`((?:benches|examples)/[\w./]+|[A-Z]+\.md)`", README))
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).is_file(), name


def test_the_commands_it_names_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([\w-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_one_version() -> None:
    import saymon_bulk

    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)
    assert match
    # Cargo writes a development version in another way than Python (PEP 440).
    assert saymon_bulk.__version__ == match[1].replace("-dev.", ".dev")
    assert f"\n## {match[1].partition('-')[0]} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
