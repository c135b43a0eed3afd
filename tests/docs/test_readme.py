"""Every code block of the README runs, against the practice server; its links work on GitHub and on PyPI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from pages import can_run, run_python
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


async def ask(app: Any, path: str, body: Any = None) -> tuple[int, bytes]:
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


@pytest.mark.parametrize("kinds", ["finished", "running", "unknown", "finished running unknown"])
def test_the_table_can_be_filtered(server: PracticeServer, kinds: str) -> None:
    """Also if all rows are of one kind, when pandas would choose another type for a column."""
    pytest.importorskip("pandas", reason="tests/requirements.txt has it")
    (block,) = [text for text in blocks("python") if "pandas" in text]
    ids = kinds.split()
    server.add_bulk(0, id="finished")
    server.add_bulk(math.inf, id="running")
    client = saymon_bulk.Client(server.host, "login", "password")
    names: dict[str, Any] = {"client": client, "ids": ids}
    exec(block, names)
    table = names["table"]
    assert str(table.finished.dtype) == "boolean"
    assert table[~table.finished].id.tolist() == [id for id in ids if id == "running"]
    assert table[table.finished].id.tolist() == [id for id in ids if id == "finished"]
    assert table[table.error != ""].id.tolist() == [id for id in ids if id == "unknown"]


# Starts from a service

SERVICE = "import contextlib\n\nimport saymon_bulk\n\n" + "\n\n".join(
    text for text in blocks("python") if any(name in text for name in ("lifespan", "def start_once", "BaseModel"))
)
CHANGE: dict[str, Any] = {"key": "k", "search": {"name": "CPU"}, "bulk": [{"modify": {"weight": 2}}]}


@pytest.mark.slow
def test_the_blocks_of_a_service_are_typed(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="tests/requirements.txt has it")
    path = tmp_path / "service.py"
    path.write_text(SERVICE, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def service(server: PracticeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the blocks of a service define."""
    pytest.importorskip("fastapi", reason="tests/requirements.txt has it")
    for name, value in {"HOST": server.host, "LOGIN": "login", "PASSWORD": "password"}.items():
        monkeypatch.setenv(f"SAYMON_{name}", value)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(SERVICE, "README.md", "exec", dont_inherit=True), names)
    return names


def post(service: dict[str, Any], **changes: Any) -> tuple[int, Any]:
    status, body = asyncio.run(ask(service["app"], "/bulks", {**CHANGE, **changes}))
    return status, json.loads(body)


def test_a_change_that_is_sent_again_is_started_once(server: PracticeServer, service: dict[str, Any]) -> None:
    first = post(service)
    assert first == (202, {"bulkId": server.starts[0].id})
    assert post(service) == first
    assert len(server.starts) == 1
    assert post(service, key="another")[1] != first[1]
    assert len(server.starts) == 2


@pytest.mark.parametrize("is_done", [True, False])
def test_an_uncertain_start_is_not_repeated(server: PracticeServer, service: dict[str, Any], is_done: bool) -> None:
    server.lose_next() if is_done else server.fail_next(status=502)
    for _ in range(3):
        status, body = post(service)
        assert (status, body["detail"].startswith("look at the server first: ")) == (409, True)
    assert len(server.starts) == is_done
    with contextlib.closing(sqlite3.connect("starts.db")) as store:
        ((key, bulk_id, request_id),) = store.execute("SELECT * FROM starts")
    assert (key, bulk_id) == ("k", None)
    assert re.fullmatch(UUID, request_id)


@pytest.mark.parametrize(
    ("failure", "changes", "status"),
    [(429, {}, 503), (401, {}, 502), (403, {}, 502), (404, {}, 502), (None, {"bulk": []}, 422), (None, {"search": {}}, 422)],
)
def test_what_was_not_started_may_be_sent_again(
    server: PracticeServer, service: dict[str, Any], failure: int | None, changes: Any, status: int
) -> None:
    if failure is not None:
        server.fail_next(status=failure)
    assert post(service, **changes)[0] == status
    assert server.starts == []
    assert post(service)[0] == 202
    assert len(server.starts) == 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_a_job_that_is_delivered_again_after_its_worker_died(
    server: PracticeServer, service: dict[str, Any], end: type[BaseException]
) -> None:
    """Between the answer and the row, where nothing says any more what has happened."""
    client = saymon_bulk.Client.from_env()

    class Dying:
        def start_bulk(self, *change: Any) -> Any:
            client.start_bulk(*change)
            raise end

    arguments = (CHANGE["key"], CHANGE["search"], CHANGE["bulk"])
    with pytest.raises(end):
        service["start_once"](Dying(), *arguments)
    with pytest.raises(saymon_bulk.StartUncertainError):
        service["start_once"](client, *arguments)
    assert len(server.starts) == 1


def test_a_change_that_many_send_at_once_is_started_once(server: PracticeServer, service: dict[str, Any]) -> None:
    client = saymon_bulk.Client.from_env()
    server.delay = 0.1

    def start(_: int) -> str:
        try:
            return str(service["start_once"](client, CHANGE["key"], CHANGE["search"], CHANGE["bulk"]))
        except saymon_bulk.StartUncertainError:
            return "uncertain"

    with ThreadPoolExecutor(17) as threads:
        ids = set(threads.map(start, range(17)))
    assert ids - {"uncertain"} == {server.starts[0].id}
    assert len(server.starts) == 1


@pytest.mark.slow
def test_python_blocks(server: PracticeServer, scheduler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("fastapi", reason="tests/requirements.txt has it")
    monkeypatch.setenv("SAYMON_HOST", server.host)
    names: dict[str, Any] = {}

    async def run() -> None:
        for text in filter(can_run, blocks("python")):
            source = with_host(text, server).replace("dask.example.com:8786", scheduler)
            await run_python(source, names, "README.md")
        assert await ask(names["app"], f"/bulks/{IDS[0]}") == (200, b'{"finished":true}')
        assert (await ask(names["app"], "/bulks/unknown"))[0] == 404

    asyncio.run(run())
    ids = names["ids"]
    assert names["status"] == names["first_status"] == {"finished": True}
    assert names["table"][["id", "finished"]].to_dict("list") == {"id": ids, "finished": [True] * 2}
    assert names["table"]["error"].tolist() == ["", ""]
    assert (names["bar"].n, names["bar"].total) == (len(ids), len(ids))
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
