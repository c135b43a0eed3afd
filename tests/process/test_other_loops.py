"""trio, gevent and eventlet: blocking functions in their thread pools, as the page says; coroutines are for asyncio."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD, Peer, response, when
from processes import FINISHED, Start, asked
from saymon_bulk import Client

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "asyncio-and-services.md").read_text(encoding="utf-8")

# Each script asks for `id` in the background, goes on, lets the test answer, and prints the status and an error's class.
COMMON = f"""
import sys
import saymon_bulk

client, id, ticked = saymon_bulk.Client(sys.argv[1], {LOGIN!r}, {PASSWORD!r}), {ID!r}, False

def tick():
    print("ticks", flush=True)
"""

TRIO = f"""
import trio
{COMMON}
async def asks():
    print(await trio.to_thread.run_sync(client.get_bulk_status, id))
    try:
        await trio.to_thread.run_sync(client.get_bulk_status, id)
    except saymon_bulk.NotFoundError as error:
        print(type(error).__name__)

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asks)
        await trio.to_thread.run_sync(sys.stdin.readline)
        tick()

trio.run(main)
"""

GREEN = f"""
{COMMON}
def asks():
    print(in_the_pool(client.get_bulk_status, id))
    try:
        in_the_pool(client.get_bulk_status, id)
    except saymon_bulk.NotFoundError as error:
        print(type(error).__name__)

asking = spawn(asks)
in_the_pool(sys.stdin.readline)
tick()
join(asking)
"""

GEVENT = f"""
import gevent, gevent.monkey
gevent.monkey.patch_all()
gevent.get_hub().exception_stream = None  # the pool prints what its tasks raise
join = gevent.Greenlet.join
spawn, in_the_pool = gevent.spawn, lambda function, *words: gevent.get_hub().threadpool.apply(function, words)
{GREEN}
"""

EVENTLET = f"""
import warnings
warnings.simplefilter("ignore")
import eventlet, eventlet.tpool
eventlet.monkey_patch()
join = eventlet.greenthread.GreenThread.wait
spawn, in_the_pool = eventlet.spawn, eventlet.tpool.execute
{GREEN}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "call"),
    [
        ("trio", TRIO, "trio.to_thread.run_sync(client.get_bulk_status, bulk_id)"),
        ("gevent", GEVENT, "gevent.get_hub().threadpool.apply(client.get_bulk_status, (bulk_id,))"),
        ("eventlet", EVENTLET, "eventlet.tpool.execute(client.get_bulk_status, bulk_id)"),
    ],
    ids=["trio", "gevent", "eventlet"],
)
def test_its_thread_pool(start: Start, peer: Peer, name: str, code: str, call: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} from PyPI is not installed")
    assert f"`{call}`" in PAGE
    told = threading.Event()
    peer.answer(when(told, lambda wire: wire.send(response())), response("{}", 404))
    script = start(code, peer.host)
    asked(peer, 1)
    script.go_on()
    assert script.line() == "ticks"
    told.set()
    assert script.finish() == [FINISHED, "NotFoundError"]


# Coroutines outside asyncio


async def first_of(waits: Any) -> object:
    async for item in waits:
        return item
    return None


COROUTINES: dict[str, Callable[[Client], Coroutine[Any, Any, object]]] = {
    "status": lambda client: client.get_bulk_status_async(ID),
    "statuses": lambda client: client.get_bulk_statuses_async([ID]),
    "wait": lambda client: client.wait_for_bulk_async(ID),
    "waits": lambda client: first_of(client.wait_for_bulks_async([ID])),
    "start": lambda client: client.start_bulk_async({"name": "CPU"}, [{"properties.delete": "x"}]),
    "clone": lambda client: client.start_clone_async(ID),
    "function": lambda client: saymon_bulk.get_bulk_status_async(client.host, ID, LOGIN, PASSWORD),
    "waiting function": lambda client: saymon_bulk.wait_for_bulk_async(client.host, ID, LOGIN, PASSWORD),
}

ADVICE = r"no asyncio event loop .* blocking function .* trio\.to_thread\.run_sync"


@pytest.mark.parametrize("coroutine", COROUTINES.values(), ids=COROUTINES)
def test_a_coroutine_in_trio(peer: Peer, coroutine: Callable[[Client], Coroutine[Any, Any, object]]) -> None:
    trio = pytest.importorskip("trio")
    client = Client(peer.host, LOGIN, PASSWORD)

    async def awaits() -> None:
        await coroutine(client)

    with pytest.raises(RuntimeError, match=ADVICE):
        trio.run(awaits)
    assert peer.connections == 0


@pytest.mark.parametrize("coroutine", COROUTINES.values(), ids=COROUTINES)
def test_a_coroutine_that_nothing_drives(peer: Peer, coroutine: Callable[[Client], Coroutine[Any, Any, object]]) -> None:
    with pytest.raises(RuntimeError, match=ADVICE):
        coroutine(Client(peer.host, LOGIN, PASSWORD)).send(None)
    assert peer.connections == 0
