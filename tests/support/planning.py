"""Objects, plans and calls for the tests of plans: blocking and awaited, at the practice server and at a raw peer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any, Callable

import pytest
from peer import LOGIN, PASSWORD, QUICK, Peer, response
from saymon_bulk import BulkPlan, BulkReport, Client
from saymon_bulk.testing import PracticeServer

Call = Callable[..., Any]

ROOM = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
WEIGHT = [{"modify": {"weight": 7}}]

# What no text of ours may show.
SECRET = "the-secret-value-of-an-object"

# Of an apply whose pauses are not what is tested.
FAST: dict[str, Any] = {**QUICK, "settle": 0}

COUNTS = [1, 16, 17, 200, 5000]


def blocking(client: Client, name: str, *arguments: Any, **more: Any) -> Any:
    return getattr(client, name)(*arguments, **more)


def awaited(client: Client, name: str, *arguments: Any, **more: Any) -> Any:
    return asyncio.run(getattr(client, f"{name}_async")(*arguments, **more))


both_ways = pytest.mark.parametrize("call", [blocking, awaited])


def an_object(number: int, room: str | None = "5", weight: int = 5) -> dict[str, Any]:
    properties = [] if room is None else [{"id": "p", "name": "Room", "value": room, "type_id": 1, "owner_id": "o"}]
    return {"id": f"{number:024x}", "name": f"CPU {number}", "weight": weight, "properties": properties, "state_id": 1}


def park(count: int) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in map(an_object, range(count))}


def room_of(one: dict[str, Any]) -> Any:
    return next((item["value"] for item in one["properties"] if item["name"] == "Room"), None)


def listed(report: BulkReport) -> list[str]:
    """The ids of a report. No object stands in two lists."""
    found = [*report.as_asked, *(one.id for one in (*report.not_as_asked, *report.unknown))]
    assert len(found) == len(set(found))
    return found


def check_lists(report: BulkReport | None, plan: BulkPlan) -> BulkReport:
    """Each object of the plan stands in one list, and in no other."""
    assert report is not None
    assert sorted(listed(report)) == sorted(one.id for one in plan.changes)
    assert report.ok is (not report.not_as_asked and not report.unknown)
    return report


def reasons(objects: Iterable[Any]) -> dict[str, Any]:
    return {one.id: one.reason for one in objects}


def sent(server: PracticeServer) -> list[str]:
    """The ids of all starts, in order."""
    found = []
    for start in server.starts:
        assert start.body is not None
        assert set(start.body) == {"search", "bulk"}
        assert set(start.body["search"]) == {"id"}
        assert set(start.body["search"]["id"]) == {"$in"}
        assert start.body["search"]["id"]["$in"], "an empty $in was sent"
        found += start.body["search"]["id"]["$in"]
    return found


def a_plan(client: Client, bulk: Any = None) -> BulkPlan:
    return client.plan_bulk({"name": {"$regex": "^CPU"}}, bulk or ROOM)


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    """A practice server of the test alone, whose operations finish at once."""
    with PracticeServer(LOGIN, PASSWORD, finishes_after=0) as one:
        yield one


@pytest.fixture
def client(server: PracticeServer) -> Client:
    return Client(server.host, LOGIN, PASSWORD)


def objects(*found: dict[str, Any]) -> bytes:
    return response(json.dumps(found))


STARTED = response('{"bulkId":"b-1","finished":false}')


def path_of(request: bytes) -> str:
    return request.split(b" ", 2)[1].decode()


def kinds(peer: Peer) -> list[str]:
    """What the peer was asked for, in a word each."""
    names = {"/node/api/objects/search": "search", "/node/api/bulk/objects": "start"}
    return [names.get(path_of(request), "status") for request in peer.requests]


def body_of(request: bytes) -> Any:
    return json.loads(request.partition(b"\r\n\r\n")[2])
