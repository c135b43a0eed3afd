"""tokio panics without threads and without descriptors: here that is an Exception, and the next call works."""

from __future__ import annotations

import os
import sys

import pytest
from peer import ID, LOGIN, PASSWORD
from processes import run_script
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and descriptors as Linux has them")

BEGINNING = f"""
import asyncio, json, os, resource, sys, threading, uuid  # another user may not be able to import them later
import saymon_bulk

host = sys.argv[1]
IDS = [{ID!r}] * 1 + [f"no-{{number}}" for number in range(199)]

def client(where=host):
    return saymon_bulk.Client(where, {LOGIN!r}, {PASSWORD!r}, request_timeout=5)

def outcome(batch):
    failures = [one for one in batch.values() if type(one) is saymon_bulk.TransportError]
    return failures[0] if failures else True

WAYS = {{
    "call": lambda one: one.get_bulk_status({ID!r})["finished"],
    "batch": lambda one: outcome(one.get_bulk_statuses(IDS, concurrency=32, return_exceptions=True)),
    "wait": lambda one: one.wait_for_bulk({ID!r}, retries=0)["finished"],
    "start": lambda one: bool(one.start_clone("object")["bulkId"]),
    "awaited": lambda one: asyncio.run(asyncio.wait_for(one.get_bulk_status_async({ID!r}), 10))["finished"],
    "awaited wait": lambda one: asyncio.run(asyncio.wait_for(one.wait_for_bulk_async({ID!r}, retries=0), 10))["finished"],
}}

def attempt(way, where=host):
    try:
        found = WAYS[way](client(where))
    except Exception as error:
        found = error
    except BaseException as error:
        found = f"NO Exception: {{error!r}}"
    print(way, "|", found if found is True or isinstance(found, str) else type(found).__name__, "|", found, flush=True)
"""

CLOSED = """
for way in WAYS:
    attempt(way)
os.closerange(3, 4096)
for way in WAYS:
    attempt(way)
    attempt(way)
"""

# Others have the numbers: what wakes the background thread goes into a pipe.
TAKEN = """
attempt("awaited")
os.closerange(3, 4096)
pipes = [os.pipe() for _ in range(64)]
for way in ["awaited", "awaited", "awaited wait"]:
    attempt(way)
"""

NO_THREAD = """
before = resource.getrlimit(resource.RLIMIT_NPROC)
if os.getuid() == 0:  # whom the limit does not bind
    os.setgid(65534)
    os.setuid(65534)
attempt("awaited")  # its thread is there
resource.setrlimit(resource.RLIMIT_NPROC, (0, before[1]))
try:
    threading.Thread(target=int).start()
except RuntimeError:
    for way in WAYS:
        attempt(way, host.replace("127.0.0.1", "localhost"))
        attempt(way)
    resource.setrlimit(resource.RLIMIT_NPROC, before)
    for way in WAYS:
        attempt(way, host.replace("127.0.0.1", "localhost"))
"""


# At a fork of a daemon, for example.
CLOSED_IN_A_WAIT = """
for ids in (["running-0"], [f"running-{number}" for number in range(40)]):
    close = lambda *_: os.closerange(3, 4096)
    WAYS["closing"] = lambda one: dict(one.wait_for_bulks(ids, interval=0.05, retries=0, on_poll=close))
    attempt("closing")
    attempt("call")
"""


# The peer never answers, and the handler comes while the batch waits.
CLOSED_IN_A_BATCH = """
import signal, socket
signal.signal(signal.SIGALRM, lambda *_: {handler})
for ids in (["a", "b"], [str(number) for number in range(200)]):
    silent = socket.create_server(("127.0.0.1", 0), backlog=300)
    WAYS["closing"] = lambda _: client(f"http://127.0.0.1:{silent.getsockname()[1]}").get_bulk_statuses(ids, concurrency=200)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    attempt("closing")
    attempt("call")
    attempt("call")
    silent.detach()
"""


def lines(code: str) -> list[list[str]]:
    with PracticeServer(LOGIN, PASSWORD) as server:
        server.add_bulk(0.0, id=ID)
        for number in range(40):
            server.add_bulk(60.0, id=f"running-{number}")
        done = run_script(BEGINNING + code, server.host)
    if "IO Safety violation" in done.stderr:
        pytest.skip("a debug build ends where a descriptor is found closed")
    assert done.returncode == 0, done.stderr
    return [line.split(" | ") for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_after_all_descriptors_were_closed_the_next_call_works() -> None:
    found = lines(CLOSED)
    assert all(kind != "NO Exception" and not kind.startswith("NO") for _, kind, _ in found), found
    assert [kind for _, kind, _ in found[:6]] == ["True"] * 6
    second = found[7::2]
    assert [(way, kind) for way, kind, _ in second] == [(way, "True") for way, _, _ in found[:6]]


@pytest.mark.slow
def test_after_the_numbers_of_all_descriptors_were_taken_one_awaited_call_fails() -> None:
    assert [kind for _, kind, _ in lines(TAKEN)] == ["True", "OSError", "True", "True"]


def test_after_a_callback_has_closed_all_descriptors_the_next_call_works() -> None:
    found = lines(CLOSED_IN_A_WAIT)
    assert [way for way, _, _ in found] == ["closing", "call"] * 2
    assert {kind for _, kind, _ in found[::2]} <= {"OSError", "TransportError"}
    assert {kind for _, kind, _ in found[1::2]} == {"True"}


@pytest.mark.slow
@pytest.mark.parametrize("handler", ["os.closerange(3, 4096)", "(os.closerange(3, 4096), 1 / 0)"])
def test_after_a_handler_has_closed_all_descriptors_of_a_batch_one_call_may_fail(handler: str) -> None:
    found = lines(CLOSED_IN_A_BATCH.replace("{handler}", handler))
    assert [way for way, _, _ in found] == ["closing", "call", "call"] * 2
    assert {kind for _, kind, _ in found[::3]} <= {"OSError", "TransportError", "ZeroDivisionError"}
    # The threads of the batch may still end while the first of the two begins.
    assert {kind for _, kind, _ in found[1::3]} <= {"OSError", "True"}
    assert {kind for _, kind, _ in found[2::3]} == {"True"}


@pytest.mark.slow
def test_where_no_thread_can_be_started() -> None:
    if os.geteuid() != 0 and sys.platform != "linux":
        pytest.skip("the limit needs a user whom it binds")
    found = lines(NO_THREAD)
    if len(found) == 1:
        pytest.skip("threads start nevertheless")
    named, plain = found[1:13:2], found[2:13:2]
    for way, kind, text in named + plain:
        # A blocking wait has a thread of its own.
        if way in ("wait", "waits"):
            assert (kind, "no thread can be started" in text) == ("OSError", True), way
    assert {kind for way, kind, _ in named if way not in ("wait", "waits")} == {"TransportError"}
    assert {kind for way, kind, _ in plain if way not in ("wait", "waits")} == {"True"}
    assert {kind for _, kind, _ in found[13:]} == {"True"}
