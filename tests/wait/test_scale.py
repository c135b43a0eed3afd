"""Many means many: what holds for one operation holds for 16, 17, 200 and 5,000, with failures among them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from crowd import RATE, Crowd
from peer import FINISHED, LOGIN, PASSWORD, RUNNING, Desk, collected, no_hanging, response
from processes import run_script
from saymon_bulk import Client, HTTPStatusError, NotFoundError, SaymonError, WaitTimeoutError
from servers import free_port

# What a busy machine may take longer for thousands of polls and objects; a hang takes for ever.
SLACK = 30.0

COUNTS = [1, 16, 17, 200, 5000]


Wait = Callable[..., dict[str, Any]]

_no_hanging = no_hanging()


def blocking(client: Client, ids: list[str], **more: Any) -> dict[str, Any]:
    return dict(client.wait_for_bulks(ids, **more))


def awaited(client: Client, ids: list[str], **more: Any) -> dict[str, Any]:
    return asyncio.run(collected(client, ids, **more))


both_ways = pytest.mark.parametrize("wait", [blocking, awaited])


def ids_of(count: int) -> list[str]:
    """One in ten is of an operation that the server does not know."""
    return [f"gone-{n}" if n % 10 == 3 else f"op-{n}" for n in range(count)]


def client_of(host: str) -> Client:
    return Client(host, LOGIN, PASSWORD, request_timeout=10)


def nobody() -> str:
    """The host of a server that is down."""
    return f"http://127.0.0.1:{free_port()}"


def assert_all_came(found: dict[str, Any], ids: list[str]) -> None:
    assert sorted(found) == sorted(ids)
    for id, outcome in found.items():
        if id.startswith("gone"):
            assert isinstance(outcome, NotFoundError)
        else:
            assert outcome == FINISHED, id


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize(
    ("count", "trouble"),
    [*((count, "none") for count in COUNTS), *((n, t) for n in (200, 5000) for t in ("one 503", "500", "cut"))],
)
def test_each_comes_out(wait: Wait, count: int, trouble: str) -> None:
    ids = ids_of(count)
    with Crowd(trouble) as crowd:
        found = wait(client_of(crowd.host), ids, interval=0.1, max_interval=0.5, retries=1000, return_exceptions=True)
    assert_all_came(found, ids)


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("concurrency", [4, 64])
def test_each_comes_out_of_a_loop_that_is_busy(wait: Wait, concurrency: int) -> None:
    ids = ids_of(5000)
    found: dict[str, Any] = {}

    def take(id: str, outcome: Any) -> None:
        if len(found) in (1, 400):
            time.sleep(2)
        found[id] = outcome

    async def take_all(client: Client, **more: Any) -> None:
        async for id, outcome in client.wait_for_bulks_async(ids, **more):
            take(id, outcome)

    more: dict[str, Any] = {"interval": 0.1, "retries": 1000, "concurrency": concurrency, "return_exceptions": True}
    with Crowd("500") as crowd:
        client = client_of(crowd.host)
        if wait is blocking:
            for id, outcome in client.wait_for_bulks(ids, timeout=None, **more):
                take(id, outcome)
        else:
            asyncio.run(take_all(client, timeout=None, **more))
    assert_all_came(found, ids)


def assert_ends(wait: Wait, host: str, count: int, timeout: float, **more: Any) -> WaitTimeoutError:
    ids = [f"op-{n}" for n in range(count)]
    began = time.monotonic()
    with pytest.raises(WaitTimeoutError) as caught:
        wait(client_of(host), ids, timeout=timeout, retries=1000, **more)
    assert time.monotonic() - began < timeout + SLACK
    assert sorted(caught.value.pending) == sorted(ids)
    return caught.value


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize(
    ("count", "trouble"),
    [*((count, "busy") for count in COUNTS), *((n, t) for n in (200, 5000) for t in ("running", "slow", "limited"))],
)
def test_it_ends_at_its_timeout(wait: Wait, count: int, trouble: str) -> None:
    with Crowd(trouble) as crowd:
        assert_ends(wait, crowd.host, count, 1.5, interval=0.3)


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("count", COUNTS)
def test_it_ends_at_its_timeout_where_nobody_answers(wait: Wait, count: int) -> None:
    error = assert_ends(wait, nobody(), count, 1.5)
    # Until somebody answers, one goes ahead alone: an operation may not have been asked for at all.
    assert set(error.pending.values()) == {None}
    assert len(error.failures) >= min(count, 16)


@pytest.mark.slow
@pytest.mark.clock
@both_ways
def test_on_poll_does_not_stretch_it(wait: Wait) -> None:
    calls: list[str] = []

    def on_poll(id: str, status: Any, elapsed: float) -> None:
        calls.append(id)
        time.sleep(0.02)

    with Crowd("running") as crowd:
        began = time.monotonic()
        error = assert_ends(wait, crowd.host, 400, 1.0, on_poll=on_poll)
        assert time.monotonic() - began < 4
    assert 30 < len(calls) < 200
    assert list(error.pending.values()) == [RUNNING] * 400


@pytest.mark.slow
@pytest.mark.clock
@both_ways
def test_a_limited_server_gets_no_more_at_the_deadline(wait: Wait) -> None:
    with Crowd("limited") as crowd:
        assert_ends(wait, crowd.host, 2000, 3.0)
        told = crowd.told()
    last = max(map(int, told["seconds"]))
    late = sum(times for second, times in told["seconds"].items() if int(second) >= min(3, last))
    assert late < 5 * RATE, told


@pytest.mark.slow
@pytest.mark.clock
@both_ways
def test_idle_iterators_hold_up_nobody(wait: Wait) -> None:
    """Waits whose loops are busy keep no place in the line of a limited server."""
    with Crowd("limited") as crowd:
        client = client_of(crowd.host)
        client.get_bulk_status("first")
        more: dict[str, Any] = {"interval": 0.1, "max_interval": 1, "retries": 1000}
        others = ["other-1", "other-2"]
        idle = [client.wait_for_bulks([f"done-{n}", *others], **more) for n in range(30)]
        with ThreadPoolExecutor(30) as pool:
            assert {outcome["finished"] for _, outcome in pool.map(next, idle)} == {True}
        began = time.monotonic()
        assert wait(client, ["done-newcomer"], **more) == {"done-newcomer": FINISHED}
        assert time.monotonic() - began < 4
        del idle


def batch(client: Client, ids: list[str], **more: Any) -> dict[str, Any]:
    return {**client.get_bulk_statuses(ids, **more)}


def batch_async(client: Client, ids: list[str], **more: Any) -> dict[str, Any]:
    return {**asyncio.run(client.get_bulk_statuses_async(ids, **more))}


@pytest.mark.slow
@pytest.mark.parametrize("ask", [batch, batch_async])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("concurrency", [16, 64])
def test_a_batch_has_each_outcome(ask: Wait, count: int, concurrency: int) -> None:
    ids = ids_of(count)
    with Crowd("500") as crowd:
        client = client_of(crowd.host)
        found = ask(client, ids, concurrency=concurrency, return_exceptions=True)
        assert list(found) == ids
        for id, outcome in found.items():
            assert outcome == RUNNING or (isinstance(outcome, HTTPStatusError) and outcome.id == id)
        if count == 5000:
            with pytest.raises(SaymonError):
                ask(client, ids, concurrency=concurrency)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("concurrency", [16, 64])
@pytest.mark.parametrize("ask", [batch, batch_async, blocking, awaited])
def test_a_wrong_password_is_one_failed_login(ask: Wait, count: int, concurrency: int) -> None:
    """Behind a gateway that answers first. A batch of one has that answer alone."""
    ids = ids_of(count)
    with Crowd("wrong password") as crowd:
        more: dict[str, Any] = {"interval": 0.1} if ask in (blocking, awaited) else {}
        found = ask(client_of(crowd.host), ids, concurrency=concurrency, return_exceptions=True, **more)
        assert crowd.told()["asked"] <= 2
    assert sorted(found) == sorted(ids)
    statuses = sorted(error.status_code for error in found.values())
    assert statuses.count(401) >= count - 1
    assert set(statuses) <= {401, 502}


LONG = """
import sys
import saymon_bulk

def used():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

client = saymon_bulk.Client(sys.argv[1], "login", "password")
before, most = used(), 0
def on_poll(id, status, elapsed):
    global most
    assert len(status) == 2
    most = max(most, used())
try:
    list(client.wait_for_bulks([f"op-{n}" for n in range(200)], timeout=4.0, interval=1.0, on_poll=on_poll))
except saymon_bulk.WaitTimeoutError as error:
    statuses = list(error.pending.values())
    assert len(statuses) == 200
    # A build for tests reads slowly, above all on a busy machine, and may not come to all in time.
    assert all(status in ({"finished": False}, None) for status in statuses), error.pending
    assert statuses.count(None) < 200
print(most - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory is read from /proc")
def test_long_answers_take_little_memory(desk: Desk) -> None:
    """A tree of values of 64 KiB takes some 4 MiB; as bytes, 200 of them take 13 MB."""
    desk.answer(response('{"finished": false, "x": [' + ", ".join(['{"a": 0}'] * 6400) + "]}"))
    done = run_script(LONG, desk.host)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 120 * 1024


@pytest.mark.slow
def test_many_waits_in_many_threads() -> None:
    with Crowd("one 503") as crowd:
        client = client_of(crowd.host)
        outcomes: dict[str, Any] = {}

        def wait(id: str) -> None:
            outcomes[id] = client.wait_for_bulk(id, interval=0.1, retries=1000)

        threads = [threading.Thread(target=wait, args=(f"op-{n}",)) for n in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == {f"op-{n}": FINISHED for n in range(200)}


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 5000])
@pytest.mark.parametrize("trouble", ["down", "one 503", "busy"])
def test_the_command_line_ends_at_its_timeout(tmp_path: Path, count: int, trouble: str) -> None:
    file = tmp_path / "ids"
    file.write_text("\n".join(f"op-{n}" for n in range(count)))
    with Crowd(trouble if trouble != "down" else "none") as crowd:
        host = nobody() if trouble == "down" else crowd.host
        environment = {**os.environ, "SAYMON_HOST": host, "SAYMON_LOGIN": LOGIN, "SAYMON_PASSWORD": PASSWORD}
        words = [sys.executable, "-m", "saymon_bulk", "wait", "--timeout", "3", "--ids", str(file)]
        began = time.monotonic()
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=50)
    assert time.monotonic() - began < 3 + SLACK + 2
    assert len(done.stdout.splitlines()) == count
    assert "Traceback" not in done.stderr
    assert done.returncode in {"down": (1,), "one 503": (0, 1, 8), "busy": (1, 8)}[trouble]
