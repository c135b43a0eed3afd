"""The recipes for services and for notebooks: a change that is sent again is started once, and a table can be filtered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from pages import UUID, asked, of
from saymon_bulk.testing import PracticeServer


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer("login", "password", finishes_after=0.3) as server:
        yield server


SERVICE = "import contextlib\n\nimport saymon_bulk\n\n" + "\n\n".join(
    one.text
    for one in of("guides/asyncio-and-services.md", "python")
    if any(name in one.text for name in ("lifespan", "def start_once", "BaseModel"))
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
    exec(compile(SERVICE, "service", "exec", dont_inherit=True), names)
    return names


def post(service: dict[str, Any], **changes: Any) -> tuple[int, Any]:
    status, body = asyncio.run(asked(service["app"], "/bulks", {**CHANGE, **changes}))
    return status, json.loads(body)


@pytest.mark.slow
def test_a_change_that_is_sent_again_is_started_once(server: PracticeServer, service: dict[str, Any]) -> None:
    first = post(service)
    assert first == (202, {"bulkId": server.starts[0].id})
    assert post(service) == first
    assert len(server.starts) == 1
    assert post(service, key="another")[1] != first[1]
    assert len(server.starts) == 2


@pytest.mark.slow
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
@pytest.mark.parametrize("kinds", ["finished", "running", "unknown", "finished running unknown"])
def test_the_table_can_be_filtered(server: PracticeServer, kinds: str) -> None:
    """Also if all rows are of one kind, when pandas would choose another type for a column."""
    pytest.importorskip("pandas", reason="tests/requirements.txt has it")
    (block,) = [one.text for one in of("guides/notebooks.md", "python") if "import pandas" in one.text]
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
