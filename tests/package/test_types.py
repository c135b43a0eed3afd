"""Type checkers find a wrong use and accept a right one: mypy, and basedpyright or pyright where it is installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Each line that is wrong says so.
USE = """
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Dict, List, Union

import saymon_bulk
from saymon_bulk import BulkChange, BulkStatus, Client, HTTPStatusError, SaymonError
from typing_extensions import assert_type

Outcome = Union[BulkStatus, SaymonError]


def batch(client: Client, ids: List[str], flag: bool) -> None:
    assert_type(client.get_bulk_statuses(ids), Dict[str, BulkStatus])
    assert_type(client.get_bulk_statuses(ids, return_exceptions=False), Dict[str, BulkStatus])
    assert_type(client.get_bulk_statuses(ids, concurrency=2, return_exceptions=True), Dict[str, Outcome])
    assert_type(client.get_bulk_statuses(ids, return_exceptions=flag), Dict[str, Outcome])
    print(client.get_bulk_statuses(ids)["a"]["finished"])
    print(client.get_bulk_statuses(ids, return_exceptions=True)["a"]["finished"])  # wrong: may be an error
    client.get_bulk_statuses(ids, return_exceptions=1)  # wrong: no bool


def waits(client: Client, ids: List[str]) -> None:
    for _, status in client.wait_for_bulks(ids):
        assert_type(status, BulkStatus)
    for _, outcome in client.wait_for_bulks(ids, timeout=None, return_exceptions=True):
        assert_type(outcome, Outcome)
        print(outcome["finished"])  # wrong: may be an error
        if isinstance(outcome, SaymonError):
            assert_type(outcome.transient, bool)
        else:
            print(outcome["finished"])
    right: Iterator["tuple[str, BulkStatus]"] = client.wait_for_bulks(ids)
    wrong: Iterator["tuple[str, BulkStatus]"] = client.wait_for_bulks(ids, return_exceptions=True)  # wrong
    with contextlib.closing(client.wait_for_bulks(ids)) as statuses:
        print(dict(statuses), right, wrong)
    mapping: Dict[str, BulkStatus] = dict(client.wait_for_bulks(ids))
    print(mapping)


async def awaited(client: Client, ids: List[str], flag: bool) -> None:
    async def on_poll(id: str, status: BulkStatus, elapsed: float) -> None: ...

    assert_type(await client.get_bulk_statuses_async(ids), Dict[str, BulkStatus])
    assert_type(await client.get_bulk_statuses_async(ids, return_exceptions=flag), Dict[str, Outcome])
    (await client.get_bulk_statuses_async(ids, return_exceptions=True))["a"]["finished"]  # wrong: may be an error
    async for _, status in client.wait_for_bulks_async(ids, on_poll=on_poll):
        assert_type(status, BulkStatus)
    async for _, outcome in client.wait_for_bulks_async(ids, return_exceptions=True):
        assert_type(outcome, Outcome)
    right: AsyncIterator["tuple[str, BulkStatus]"] = client.wait_for_bulks_async(ids)
    await client.wait_for_bulks_async(ids).aclose()
    assert_type(await client.wait_for_bulk_async("a", on_poll=on_poll), BulkStatus)
    await client.wait_for_bulk_async("a", on_poll=5)  # wrong: no function
    print(right)


def changes(client: Client, some: Dict[str, object]) -> None:
    right: BulkChange = {"properties.createOrModify": {"name": "Room", "value": "7"}}
    wrong: BulkChange = {"properties.createOrModfy": {"name": "Room", "value": "7"}}  # wrong: misspelt
    more: List[BulkChange] = [right, {"modify": {"weight": 2}, "stateConditions": {}}]
    client.start_bulk({"name": "CPU"}, more)
    client.start_bulk(some, [{"modify": {"weight": 2}}, right, some], every_object=False)
    client.start_bulk(some, [some, wrong])
    client.start_bulk(some, ["modify"])  # wrong: no mapping


class Monitor(Client):
    def __init__(self, settings: Dict[str, str], team: str) -> None:
        super().__init__(settings["host"], settings["login"], password=settings["password"], request_timeout=5)
        self.team = team


def own_client(settings: Dict[str, str]) -> str:
    with Monitor(settings, "x") as monitor:
        assert_type(monitor, Monitor)
        Monitor("host", "login", "password")  # wrong: its own arguments
        return monitor.host + monitor.team


def errors(error: HTTPStatusError) -> None:
    assert_type(error.status_code, int)
    assert_type(error.transient, bool)
    print(saymon_bulk.TransportError("text", kind="dns").kind)
    saymon_bulk.TransportError("text", kind="dsn")  # wrong: no such kind
    print(saymon_bulk.RequestTimeoutError("text").kind == "timeout", error.to_dict()["transient"])


def rehearse() -> str:
    with saymon_bulk.testing.PracticeServer("login", "password") as server:
        return server.host
"""
WRONG = {number for number, line in enumerate(USE.splitlines(), 1) if "# wrong" in line}

CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--config-file=", "--no-error-summary"],
    "basedpyright": ["-m", "basedpyright", "--level", "error"],
    "pyright": ["-m", "pyright", "--level", "error"],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_wrong_use_is_found_and_a_right_one_is_not(checker: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} from PyPI is not installed")
    path = tmp_path / "use.py"
    path.write_text(USE, encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}', encoding="utf-8")
    command = [sys.executable, *CHECKERS[checker], "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False)
    found = {int(line) for line in re.findall(r"use\.py:(\d+)(?::\d+)?(?: -|:) error", done.stdout)}
    assert found == WRONG, done.stdout + done.stderr
