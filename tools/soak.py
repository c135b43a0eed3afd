"""Mixed use for a long time against servers that fail: `make soak`, MINUTES=20 unless told otherwise.

One process asks: by threads, by asyncio, by forked children, one, many, waiting. A second one serves: a practice server
that is restarted again and again, a server that answers every id with itself (plain and by TLS), and before each a relay
that delays, cuts, resets, drops what it should pass on, or falls silent for good as a firewall does; a gateway limits
the rate; a server of thousands of operations fails, cuts, answers late, limits the rate and stops in turn. A third one
stops the first for seconds, again and again. As root, the asking process and its children are all number 1, each in a
PID namespace of its own.

It must hold: not one wrong answer, not one lost id, no error but those of a broken way; memory, descriptors and
threads flat. The exit status says whether it held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import logging
import os
import random
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import trustme
from crowd import Connection
from crowd import Server as Crowd
from saymon_bulk import Client, HTTPStatusError, SaymonError, TransportError, WaitTimeoutError
from saymon_bulk.testing import PracticeServer

LOGIN, PASSWORD = "operator@example.com", "correct-Horse-battery-9"
LIMIT = 1.5  # seconds an exchange may take
STALL = 2.5  # seconds that a relay holds back what it should pass on: longer than that
BATCH = 12
RATE = 20  # requests a second that the gateway lets pass
THOUSANDS, THEIR_TIMEOUT = 2000, 90.0  # operations of one wait, and the seconds that it may take
TROUBLES = ["none", "none", "500", "cut", "slow", "limited", "stopped"]
NEW_PID_NAMESPACE = 0x20000000  # CLONE_NEWPID of Linux
MIB = 1024 * 1024


# The serving process


class Relay:
    """Passes connections on; a third of them with a fault after so many bytes."""

    def __init__(self, target: int, chance: random.Random) -> None:
        self._target = target
        self._chance = chance
        self.faults: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0, backlog=256)
        self._server = server
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # it is being restarted
            writer.transport.abort()
            return
        fault = self._chance.choices(["none", "delay", "cut", "reset", "drop", "silence"], [63, 10, 9, 8, 6, 4])[0]
        budget = [self._chance.randrange(4000)]
        pumps = [
            asyncio.ensure_future(self._pump(reader, back, fault, budget)),
            asyncio.ensure_future(self._pump(there, writer, fault, budget)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in (writer, back):
                if fault == "reset":
                    each.transport.abort()
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str, budget: list[int]) -> None:
        while data := await reader.read(65536):
            if fault == "delay":
                await asyncio.sleep(self._chance.uniform(0, 0.05))
            elif fault != "none" and len(data) > budget[0]:
                self.faults[fault] += 1
                if fault == "silence":  # until the other side gives up
                    while await reader.read(65536):
                        pass
                    return
                if fault == "drop":
                    await asyncio.sleep(STALL)
                    return
                writer.write(data[: budget[0]])
                with contextlib.suppress(OSError):
                    await writer.drain()
                return
            budget[0] -= len(data)
            writer.write(data)
            await writer.drain()


def mirrored(id: str) -> dict[str, Any]:
    """What the mirror answers: no two ids have the same."""
    return {"finished": len(id) % 2 == 0, "id": id}


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            id = unquote(head.split(b" ")[1].split(b"/")[4].decode())
            body = json.dumps(mirrored(id)).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            await writer.drain()
    writer.close()


class Gateway:
    """Passes requests on, RATE a second; all others get a 503, as by nginx's limit_req."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._next = 0.0
        self.refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                now = time.monotonic()
                if self._next > now:
                    self.refused += 1
                    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                else:
                    self._next = max(now, self._next) + 1 / RATE
                    writer.write(await self._passed_on(head))
                await writer.drain()
        writer.close()

    async def _passed_on(self, head: bytes) -> bytes:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # it is being restarted
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        try:
            back.write(head)
            answer = await there.readuntil(b"\r\n\r\n")
            lengths = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            return answer + await there.readexactly(int(lengths[0].split(b":")[1]))
        finally:
            back.close()


class Thousands:
    """The server of thousands of operations; its trouble changes every few seconds."""

    def __init__(self, chance: random.Random) -> None:
        self.crowd = Crowd("none", rate=500)
        self._chance = chance
        self._open: set[Connection] = set()
        self.stops = 0

    def _connection(self) -> Connection:
        self._open = {one for one in self._open if not one.transport.is_closing()} if len(self._open) > 200 else self._open
        connection = Connection(self.crowd)
        self._open.add(connection)
        return connection

    async def run(self, port: int) -> tuple[int, Callable[[], Any]]:
        """Listens there, or anywhere for 0; returns the port and what makes the troubles."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(self._connection, "127.0.0.1", port, backlog=1024)
        port = listener.sockets[0].getsockname()[1]

        async def trouble() -> None:
            nonlocal listener
            while True:
                self.crowd.trouble = self._chance.choice(TROUBLES)
                if self.crowd.trouble == "stopped":
                    self.crowd.trouble = "none"
                    self.stops += 1
                    listener.close()
                    for connection in self._open:
                        connection.transport.abort()
                    self._open.clear()
                    await asyncio.sleep(self._chance.uniform(0.2, 2))
                    listener = await loop.create_server(self._connection, "127.0.0.1", port, backlog=1024)
                await asyncio.sleep(self._chance.uniform(1, 5))

        return port, trouble


async def serve(folder: Path) -> None:
    """Prints the ports; starts the operations that standard input names; ends with it."""
    chance = random.Random(11)
    practice = PracticeServer(LOGIN, PASSWORD)
    practice.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    plain = await asyncio.start_server(mirror, "127.0.0.1", 0, backlog=256)
    secure = await asyncio.start_server(mirror, "127.0.0.1", 0, backlog=256, ssl=context)
    ports = {
        "practice": int(practice.host.rpartition(":")[2]),
        "plain": plain.sockets[0].getsockname()[1],
        "secure": secure.sockets[0].getsockname()[1],
    }
    gateway = Gateway(ports["practice"])
    limited = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, backlog=256)
    relays = {name: Relay(port, chance) for name, port in ports.items()}
    for name, relay in relays.items():
        ports[f"bad {name}"] = await relay.start()
    ports["limited practice"] = limited.sockets[0].getsockname()[1]
    thousands = Thousands(chance)
    ports["thousands"], change = await thousands.run(0)
    changing = asyncio.ensure_future(change())
    print(json.dumps(ports), flush=True)

    restarts = 0

    async def trouble() -> None:
        nonlocal restarts
        while True:
            await asyncio.sleep(chance.uniform(4, 10))
            await asyncio.to_thread(practice.stop)
            await asyncio.sleep(chance.uniform(0, 0.7))
            await asyncio.to_thread(practice.start)
            practice.fail_next(
                chance.randrange(4), chance.choice([429, 500, 502, 503]), retry_after=chance.choice([None, 1, "x"])
            )
            restarts += 1

    troubling = asyncio.ensure_future(trouble())
    while line := await asyncio.to_thread(sys.stdin.readline):
        for id, seconds in json.loads(line).items():
            practice.add_bulk(seconds, id=id)
        print(flush=True)
    troubling.cancel()
    changing.cancel()
    faults = sum((relay.faults for relay in relays.values()), Counter[str]())
    print(
        json.dumps({"restarts": restarts, "over the rate": gateway.refused, "stops": thousands.stops, **faults}), flush=True
    )
    os._exit(0)  # connections that stand are no reason to stay


class Servers:
    """The serving process, as the asking one sees it."""

    def __init__(self, folder: Path) -> None:
        ca = trustme.CA()
        self.ca = folder / "ca.pem"
        ca.cert_pem.write_to_path(self.ca)
        leaf = ca.issue_cert("127.0.0.1")
        leaf.private_key_pem.write_to_path(folder / "server.key")
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(folder / "server.pem", append=True)
        command = [sys.executable, __file__, "--serve", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()
        self._ports: dict[str, int] = json.loads(self._exchange(None))

    def _exchange(self, line: str | None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            if line is not None:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            return self._process.stdout.readline()

    def client(self, name: str) -> Client:
        scheme = "https" if name.endswith("secure") else "http"
        return Client(
            f"{scheme}://127.0.0.1:{self._ports[name]}", LOGIN, PASSWORD, request_timeout=LIMIT, verify=str(self.ca)
        )

    def start(self, plan: dict[str, float]) -> tuple[float, float]:
        """Start operations that take so many seconds; between these two moments they began."""
        before = time.monotonic()
        assert self._exchange(json.dumps(plan)) == "\n", "the serving process has ended"
        return before, time.monotonic()

    def stop(self) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        last = self._process.stdout.readline()
        self._process.wait(10)
        told: dict[str, int] = json.loads(last)
        return told


# The asking process


class Record:
    """What happened, counted; and what must not have."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []

    def good(self, what: str, times: int = 1) -> None:
        with self.lock:
            self.counts[what] += times

    def failed(self, what: str, error: BaseException) -> None:
        """Errors of a broken way and of a server that says so; any other is a wrong answer."""
        allowed = isinstance(error, TransportError) or (
            isinstance(error, HTTPStatusError) and error.status_code in (429, 500, 502, 503)
        )
        if not allowed:
            self.bad(f"{what}: {error!r}")
        with self.lock:
            self.counts[what] += 1
            kind = type(error).__name__
            self.errors[f"{kind} {error.status_code}" if isinstance(error, HTTPStatusError) else kind] += 1

    def bad(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)


class Soak:
    def __init__(self, servers: Servers, record: Record) -> None:
        self.servers = servers
        self.record = record
        self.stopping = threading.Event()

    def mirror_ids(self, chance: random.Random) -> list[str]:
        ids = [f"{uuid.UUID(int=chance.getrandbits(128))}{'/?é %2e'[: chance.randrange(8)]}" for _ in range(BATCH)]
        return list(dict.fromkeys(ids))

    def mirror_name(self, chance: random.Random) -> str:
        return chance.choice(["plain", "secure", "bad plain", "bad plain", "bad secure", "bad secure"])

    def check_mirrored(self, what: str, id: str, got: Any) -> None:
        if isinstance(got, BaseException):
            self.record.failed(what, got)
            if isinstance(got, SaymonError) and got.id != id:
                self.record.bad(f"{what}: an error of {got.id} for {id}")
        else:
            self.record.good(what)
            if got != mirrored(id):
                self.record.bad(f"{what}: {got} for {id}")

    # by threads

    def one_by_one(self, chance: random.Random) -> None:
        name = self.mirror_name(chance)
        client = self.servers.client(name)
        for id in self.mirror_ids(chance):
            got: Any
            try:
                got = client.get_bulk_status(id)
            except SaymonError as error:
                got = error
            self.check_mirrored("one by one", id, got)

    def together(self, chance: random.Random) -> None:
        ids = self.mirror_ids(chance)
        client = self.servers.client(self.mirror_name(chance))
        got = client.get_bulk_statuses(ids, concurrency=chance.choice([1, 4, 16]), return_exceptions=True)
        if list(got) != ids:
            self.record.bad(f"together: {list(got)} for {ids}")
        for id, status in got.items():
            self.check_mirrored("together", id, status)

    def status_of_a_known_one(self, chance: random.Random) -> None:
        """One answer may not come before its time, another not after it."""
        id, seconds = str(uuid.UUID(int=chance.getrandbits(128))), chance.uniform(0, 1)
        began, had_begun = self.servers.start({id: seconds})
        client = self.servers.client(chance.choice(["practice", "bad practice"]))
        for _ in range(8):
            asked = time.monotonic()
            try:
                finished = client.get_bulk_status(id)["finished"]
            except SaymonError as error:
                self.record.failed("practice", error)
            else:
                self.record.good("practice")
                if time.monotonic() < began + seconds and finished:
                    self.record.bad("practice: finished too early")
                if asked > had_begun + seconds and not finished:
                    self.record.bad("practice: still running after its end")
            self.stopping.wait(chance.uniform(0, 0.25))

    def plan(self, chance: random.Random) -> tuple[dict[str, float], float]:
        plan = {str(uuid.UUID(int=chance.getrandbits(128))): chance.uniform(0, 4) for _ in range(BATCH)}
        return plan, self.servers.start(plan)[0]

    def came(self, what: str, plan: dict[str, float], began: float, id: str, status: Any) -> None:
        self.record.good(what)
        if id not in plan:
            self.record.bad(f"{what}: {id} was not asked for, or came twice")
        elif status != {"finished": True} or time.monotonic() < began + plan.pop(id):
            self.record.bad(f"{what}: {id} came as {status} before its end")

    def wait(self, chance: random.Random) -> None:
        plan, began = self.plan(chance)
        client = self.servers.client(chance.choice(["bad practice", "limited practice"]))
        left = dict(plan)
        try:
            for id, status in client.wait_for_bulks(plan, interval=0.2, max_interval=1.0, retries=1000, timeout=120):
                self.came("wait", left, began, id, status)
        except SaymonError as error:
            self.record.bad(f"wait: {error!r}")
        if left:
            self.record.bad(f"wait: lost {list(left)}")

    # thousands at a time

    def ids_of_thousands(self, chance: random.Random) -> list[str]:
        name = uuid.UUID(int=chance.getrandbits(128))
        return [f"{'gone' if n % 50 == 0 else 'op'}-{name}-{n}" for n in range(THOUSANDS)]

    def end_of_thousands(self, what: str, ids: list[str], found: list[tuple[str, Any]], began: float) -> None:
        """Each came once, as it ended or as late; and none was never heard of again."""
        took = time.monotonic() - began
        if took > THEIR_TIMEOUT + STALL + 10:  # the process may be stopped meanwhile
            self.record.bad(f"{what}: ended after {took:.1f} s")
        if sorted(id for id, _ in found) != sorted(ids):
            self.record.bad(f"{what}: {len(ids) - len({id for id, _ in found})} of {len(ids)} lost, {len(found)} came")
        for id, outcome in found:
            is_gone = isinstance(outcome, HTTPStatusError) and outcome.status_code == 404 and id.startswith("gone")
            if isinstance(outcome, WaitTimeoutError):
                self.record.good(f"{what}, late")
            elif is_gone or (outcome == {"finished": True} and id.startswith("op")):
                self.record.good(what)
            else:
                self.record.bad(f"{what}: {id} came as {outcome!r}")

    def plan_of_thousands(self, chance: random.Random) -> dict[str, Any]:
        concurrency = chance.choice([4, 16, 64])
        return {
            "interval": 0.2,
            "max_interval": 1.0,
            "retries": 1000,
            "timeout": THEIR_TIMEOUT,
            "concurrency": concurrency,
            "return_exceptions": True,
        }

    def thousands(self, chance: random.Random) -> None:
        ids, client, found = self.ids_of_thousands(chance), self.servers.client("thousands"), []
        began = time.monotonic()
        for item in client.wait_for_bulks(ids, **self.plan_of_thousands(chance)):
            found.append(item)
            if chance.random() < 0.001:
                time.sleep(0.5)  # a loop body that is busy
        self.end_of_thousands("thousands", ids, found, began)

    async def thousands_async(self, chance: random.Random) -> None:
        ids, client = self.ids_of_thousands(chance), self.servers.client("thousands")
        began = time.monotonic()
        found = [item async for item in client.wait_for_bulks_async(ids, **self.plan_of_thousands(chance))]
        await asyncio.to_thread(self.end_of_thousands, "thousands, async", ids, found, began)

    # by children

    def forked(self, chance: random.Random) -> None:
        """In a thread of its own: a thread can put one child alone into a namespace."""
        thread = threading.Thread(target=self.in_a_fork, args=(chance,))
        thread.start()
        thread.join()

    def in_a_fork(self, chance: random.Random) -> None:
        """A child that uses its parent's client, with its parent's number where that can be."""
        client = self.servers.client(chance.choice(["plain", "secure"]))
        ids = self.mirror_ids(chance)
        client.get_bulk_status(ids[0])
        unshare()
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            got = client.get_bulk_statuses(ids, concurrency=4, return_exceptions=True)
            right = [got[id] == mirrored(id) or isinstance(got[id], TransportError) for id in ids]
            os.write(writing, b"%d of %d" % (sum(right), len(right)))
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read().decode()
        os.waitpid(child, 0)
        self.record.good("forked")
        if told != f"{len(ids)} of {len(ids)}":
            self.record.bad(f"forked: {told or 'no answer'}")

    # by asyncio

    async def wait_async(self, chance: random.Random) -> None:
        plan, began = await asyncio.to_thread(self.plan, chance)
        client = self.servers.client(chance.choice(["bad practice", "limited practice"]))
        left = dict(plan)
        waits = client.wait_for_bulks_async(plan, interval=0.2, max_interval=1.0, retries=1000, timeout=120)
        try:
            async for id, status in waits:
                self.came("wait async", left, began, id, status)
        except SaymonError as error:
            self.record.bad(f"wait async: {error!r}")
        if left:
            self.record.bad(f"wait async: lost {list(left)}")

    async def gather(self, chance: random.Random) -> None:
        ids = self.mirror_ids(chance)
        client = self.servers.client(self.mirror_name(chance))
        tasks = {id: asyncio.ensure_future(client.get_bulk_status_async(id)) for id in ids}
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.01))
            for id in chance.sample(ids, 3):
                tasks[id].cancel()
        await asyncio.wait(tasks.values())
        for id, task in tasks.items():
            if task.cancelled():
                self.record.good("async, cancelled")
            else:
                self.check_mirrored("async", id, task.exception() or task.result())

    # round and round

    def in_a_thread(self, work: Callable[[random.Random], None], seed: int, pause: float) -> None:
        chance = random.Random(seed)
        while not self.stopping.is_set():
            try:
                work(chance)
            except Exception as error:
                self.record.bad(f"{work.__name__}: {error!r}")
            self.stopping.wait(chance.uniform(0, pause))

    async def in_asyncio(self) -> None:
        async def repeat(work: Any, seed: int, pause: float) -> None:
            chance = random.Random(seed)
            while not self.stopping.is_set():
                try:
                    await work(chance)
                except Exception as error:
                    self.record.bad(f"{work.__name__}: {error!r}")
                await asyncio.sleep(chance.uniform(0, pause))

        works = [(self.gather, 0.4), (self.gather, 0.4), (self.wait_async, 1.0), (self.thousands_async, 3.0)]
        await asyncio.gather(*(repeat(work, 100 + n, pause) for n, (work, pause) in enumerate(works)))

    def threads(self) -> Iterator[threading.Thread]:
        works: list[tuple[Callable[[random.Random], None], float]] = [
            *[(self.one_by_one, 0.4)] * 3,
            *[(self.together, 0.4)] * 2,
            *[(self.status_of_a_known_one, 0.2)] * 2,
            *[(self.wait, 1.0)] * 2,
            (self.thousands, 3.0),
            (self.forked, 2.0),
        ]
        for seed, (work, pause) in enumerate(works):
            yield threading.Thread(target=self.in_a_thread, args=(work, seed, pause), daemon=True)
        yield threading.Thread(target=lambda: asyncio.run(self.in_asyncio()), daemon=True)


# What it costs


def usage() -> tuple[float, float, float]:
    """Resident MiB, descriptors, threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def slope(times: list[float], values: list[float]) -> float:
    """Growth a minute, by least squares."""
    middle = statistics.fmean(times)
    spread = sum((time - middle) ** 2 for time in times)
    return 60 * sum((time - middle) * value for time, value in zip(times, values)) / spread


def flatness(samples: list[tuple[float, tuple[float, float, float]]], allowed: tuple[float, float, float]) -> bool:
    """Print each slope; whether the second half stands about where the first does."""
    settled = [sample for sample in samples if sample[0] >= samples[-1][0] * 0.2]
    times = [at for at, _ in settled]
    flat = True
    for column, (name, unit) in enumerate((("memory", "MiB"), ("descriptors", ""), ("threads", ""))):
        values = [used[column] for _, used in settled]
        half = len(values) // 2
        growth = statistics.median(values[half:]) - statistics.median(values[:half])
        flat &= growth <= allowed[column]
        print(
            f"{name}: {values[0]:.1f} at first, {values[-1]:.1f} at last, {max(values):.1f} at most; "
            f"slope {slope(times, values):+.3f} {unit} a minute; second half against first {growth:+.2f}"
        )
    return flat


def soak(minutes: float) -> int:
    record = Record()
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        work = Soak(servers, record)
        threads = list(work.threads())
        for thread in threads:
            thread.start()
        started = time.monotonic()
        samples = []
        # With a pause of the works before each sample nothing but what is kept would be left; that is for test_leaks.
        while (elapsed := time.monotonic() - started) < minutes * 60 and not record.wrong:
            samples.append((elapsed, usage()))
            time.sleep(min(2.0, minutes * 3))
        work.stopping.set()
        for thread in threads:
            thread.join(150)
            if thread.is_alive():
                record.bad("a thread does not end")
        faults = servers.stop()
    took = time.monotonic() - started
    total = sum(record.counts.values())
    print(f"{total} answers in {took:.0f} s: {dict(sorted(record.counts.items()))}")
    print(f"errors, all of a broken way: {dict(sorted(record.errors.items()))}")
    print(f"faults made: {faults}")
    print(f"wrong answers and lost ids: {len(record.wrong)}")
    for text in record.wrong[:20]:
        print(f"  {text}")
    if record.wrong:
        return 1
    # Connections are kept for each runtime, and waits for thousands come and go.
    is_flat = flatness(samples, (5.0, 30.0, 3.0))
    print("flat" if is_flat else "NOT FLAT")
    works = {"forked", "one by one", "together", "practice", "wait", "wait async", "async", "async, cancelled"}
    works |= {"thousands", "thousands, async"}
    return 0 if is_flat and works <= set(record.counts) else 1


def unshare() -> bool:
    """Put the next child into a PID namespace of its own, if that may be."""
    return bool(ctypes.CDLL(None).unshare(NEW_PID_NAMESPACE) == 0)


def stopped_now_and_then(work: Callable[[], int]) -> int:
    """Do the work in a child that is stopped for seconds again and again; its exit status."""
    print("PID namespaces:", "yes" if unshare() else "no, they need root", flush=True)
    if (child := os.fork()) == 0:
        status = work()
        sys.stdout.flush()
        os._exit(status)
    chance, stops = random.Random(12), 0
    next_stop = time.monotonic() + 10
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        time.sleep(0.2)
        if time.monotonic() > next_stop:
            os.kill(child, signal.SIGSTOP)
            time.sleep(chance.uniform(0.5, 4))
            os.kill(child, signal.SIGCONT)
            stops += 1
            next_stop = time.monotonic() + chance.uniform(5, 20)
    print(f"stopped and continued {stops} times")
    return os.waitstatus_to_exitcode(ended[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    logging.getLogger("saymon_bulk").addHandler(logging.NullHandler())  # thousands of tolerated failures
    if arguments.serve:
        asyncio.run(serve(Path(arguments.serve)))
        return 0
    return stopped_now_and_then(lambda: soak(arguments.minutes))


if __name__ == "__main__":
    sys.exit(main())
