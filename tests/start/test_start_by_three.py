"""curl, requests and this package start the same: the server sees the same body and answers alike."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest
import saymon_bulk
from peer import LOGIN, PASSWORD, shape
from saymon_bulk.testing import PracticeServer

OBJECTS, CLONE = "/node/api/bulk/objects", "/node/api/objects/discovery%20id%3A%D1%8F/clone-bulk"
DISCOVERED = "discovery id:я"
REQUEST_ID = "0d4bb3a8-1c31-4a43-8ec3-0e2b5a2b8c7e"

SEARCH: dict[str, Any] = {
    "name": {"$regex": r'^ЦП\s"\d+"(\.|/)$', "$options": "i"},
    "class_id": {"$in": [[1, [2.0, ["три", []]]], None, True]},
    "created": {"$gte": 1_600_000_000_000, "$lt": 1.5e300},
    "properties": {"$elemMatch": {"имя": "этаж\t7\u2028", "value": "🏢"}},
}
BULK: list[dict[str, Any]] = [
    {"properties.createOrModify": {"name": "Комната", "value": "№ 7", "type_id": 1}},
    {"modify": {"tags": [["тег", {}], []]}, "stateTriggers": {}},
]


class Told(NamedTuple):
    """What a client tells of an answer."""

    status: int
    body: dict[str, Any]


# A client gets the server, the path, and the order or None; it tells of the answer, or returns None if there is none.
Client = Callable[[PracticeServer, str, "dict[str, Any] | None"], "Told | None"]


def curl(server: PracticeServer, path: str, order: dict[str, Any] | None) -> Told | None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    words = ["curl", "-q", "-sS", "-X", "POST", server.host + path, "-u", f"{LOGIN}:{PASSWORD}", "-w", "\n%{http_code}"]
    words += ["-H", f"X-Request-Id: {REQUEST_ID}"]
    text = None
    if order is not None:
        words += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        # With blanks and line ends, as in the vendor's example.
        text = json.dumps(order, ensure_ascii=False, indent=2).encode()
    done = subprocess.run(words, input=text, capture_output=True, timeout=120)
    if done.returncode == 52:  # "Empty reply from server"
        return None
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition(b"\n")
    return Told(int(status), json.loads(body))


def requests(server: PracticeServer, path: str, order: dict[str, Any] | None) -> Told | None:
    library = pytest.importorskip("requests", reason="tests/requirements.txt has it")
    headers = {"X-Request-Id": REQUEST_ID}
    try:
        answer = library.post(server.host + path, json=order, auth=(LOGIN, PASSWORD), headers=headers, timeout=120)
    except library.ConnectionError:
        return None
    return Told(answer.status_code, answer.json())


def ours(server: PracticeServer, path: str, order: dict[str, Any] | None) -> Told | None:
    client = saymon_bulk.Client(server.host, LOGIN, PASSWORD)
    try:
        started = client.start_clone(DISCOVERED) if order is None else client.start_bulk(order["search"], order["bulk"])
    except saymon_bulk.StartUncertainError:
        return None
    except saymon_bulk.HTTPStatusError as error:
        return Told(error.status_code or 0, json.loads(error.body))
    return Told(200, {**started})


by_three = pytest.mark.parametrize("client", [curl, requests, ours])


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD, math.inf) as practice:
        yield practice


def check(server: PracticeServer, told: Told | None) -> None:
    """One operation was started, runs, and was answered as documented."""
    (start,) = server.starts
    assert told == Told(200, {"bulkId": start.id, "finished": False})
    assert list(told.body) == ["bulkId", "finished"]
    assert saymon_bulk.get_bulk_status(server.host, start.id, LOGIN, PASSWORD) == {"finished": False}


@by_three
def test_the_same_operation(server: PracticeServer, client: Client) -> None:
    told = client(server, OBJECTS, {"search": SEARCH, "bulk": BULK})
    check(server, told)
    (start,) = server.starts
    assert start.path == OBJECTS
    assert shape(start.body) == shape({"search": SEARCH, "bulk": BULK})
    assert start.request_id is not None
    assert (start.request_id == REQUEST_ID) is (client is not ours)
    assert str(uuid.UUID(start.request_id)) == start.request_id


@pytest.mark.slow
@by_three
def test_a_search_for_a_hundred_thousand_ids(server: PracticeServer, client: Client) -> None:
    # curl waits for "100 Continue" before it sends so much.
    order = {"search": {"id": {"$in": [str(uuid.uuid4()) for _ in range(100_000)]}}, "bulk": BULK}
    check(server, client(server, OBJECTS, order))
    assert server.starts[0].body == order


@by_three
def test_the_same_clone(server: PracticeServer, client: Client) -> None:
    check(server, client(server, CLONE, None))
    assert (server.starts[0].path, server.starts[0].body) == (CLONE, None)


@by_three
@pytest.mark.parametrize(
    ("bulk", "message"),
    [
        ([{"modify": {}}, {"op": 1}], "bulk[1] must have one of the keys modify, "),
        ([{"modify": ["тег"]}], 'bulk[0]["modify"] must be an object, not an array'),
    ],
)
def test_the_same_refusal(server: PracticeServer, client: Client, bulk: Any, message: str) -> None:
    told = client(server, OBJECTS, {"search": SEARCH, "bulk": bulk})
    assert told is not None
    assert (told.status, told.body["code"]) == (400, "InvalidContent")
    assert told.body["message"].startswith(message)
    assert server.starts == []


@by_three
@pytest.mark.parametrize(("path", "order"), [(OBJECTS, {"search": SEARCH, "bulk": BULK}), (CLONE, None)])
def test_the_same_silence(server: PracticeServer, client: Client, path: str, order: Any) -> None:
    server.lose_next()
    assert client(server, path, order) is None
    assert server.requests == [("POST", path)]
    assert [(start.path, start.body) for start in server.starts] == [(path, order)]
