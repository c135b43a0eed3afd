"""Many operations waited for by one call: memory, CPU, delay, and what the server sees. Prints one line for each run.

python benches/many_waits.py [--count 50000] [--concurrency 16] [--answer-ms 10] [--rate N]

The server is a process of its own that takes `--answer-ms` for each answer. With `--rate` it answers so many requests a
second, and the rest with 503. It knows from an id when the operation ends; lengths are log-uniform.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from random import Random

SEED = 18
LOGIN, PASSWORD = "bench", "opensesame"
TOKEN = base64.b64encode(f"{LOGIN}:{PASSWORD}".encode())


def answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


FINISHED, RUNNING = answer(b"200 OK", b'{"finished": true}'), answer(b"200 OK", b'{"finished": false}')
BUSY, UNAUTHORIZED = answer(b"503 Busy", b"{}"), answer(b"401 Unauthorized", b"{}")


class Seen:
    """What the server was asked. The clock is the same in all processes of a machine."""

    def __init__(self, seconds: float, rate: float) -> None:
        self.answer_seconds, self.rate = seconds, rate
        self.begun = self.free = 0.0
        self.under_way = self.most_under_way = self.refused = 0
        self.seconds: Counter[int] = Counter()

    def answer(self, request: bytes) -> bytes:
        now = time.monotonic()
        self.begun = self.begun or now
        self.seconds[int(now - self.begun)] += 1
        if b"Basic " + TOKEN not in request:
            return UNAUTHORIZED
        if self.rate:
            # A tenth of a second may be used at once.
            self.free = max(self.free, now - 0.1) + 1 / self.rate
            if self.free > now:
                self.free -= 1 / self.rate
                self.refused += 1
                return BUSY
        length = float(request.split(b"/", 5)[4].split(b"-")[1])
        return FINISHED if now >= self.begun + length else RUNNING


class Connection(asyncio.Protocol):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n"), "a request in pieces"
        seen = self.seen
        seen.under_way += 1
        seen.most_under_way = max(seen.most_under_way, seen.under_way)
        asyncio.get_running_loop().call_later(seen.answer_seconds, self.send, seen.answer(data))

    def send(self, data: bytes) -> None:
        self.seen.under_way -= 1
        self.transport.write(data)


async def serve(options: argparse.Namespace) -> None:
    """Says its port, serves until its standard input ends, says what it has seen."""
    seen, loop = Seen(options.answer_ms / 1000, options.rate), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    about = {name: getattr(seen, name) for name in ("begun", "most_under_way", "refused")}
    print(json.dumps(about | {"seconds": sorted(seen.seconds.items())}))


def kib(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


def cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def part(values: list[float], share: float) -> float:
    return sorted(values)[int((len(values) - 1) * share)]


def measure(options: argparse.Namespace) -> dict[str, float]:
    import saymon_bulk

    random = Random(SEED)
    ids = [f"op-{math.exp(random.uniform(0, math.log(options.longest))):.4f}-{n}" for n in range(options.count)]
    ends = [(0.0, "")] * len(ids)
    words = ["--serve", "--answer-ms", str(options.answer_ms), "--rate", str(options.rate)]
    server = subprocess.Popen([sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        client = saymon_bulk.Client(f"http://127.0.0.1:{int(server.stdout.readline())}", LOGIN, PASSWORD)
        before, begin_cpu, begin = kib("VmRSS"), cpu(), time.monotonic()
        waits = client.wait_for_bulks(ids, timeout=None, concurrency=options.concurrency)
        for number, (id, status) in enumerate(waits):
            assert status["finished"] is True
            ends[number] = (time.monotonic(), id)
        seconds, used, peak = time.monotonic() - begin, cpu() - begin_cpu, kib("VmHWM")
        seen = json.loads(server.communicate()[0])
    finally:
        server.kill()
        server.wait()
    assert sorted(id for _, id in ends) == sorted(ids)
    delays = [end - seen["begun"] - float(id.split("-")[1]) for end, id in ends]
    counts = [count for _, count in seen["seconds"]]
    return {
        "seconds": seconds,
        "KiB each": (peak - before) / len(ids),
        "CPU % of a core": used / seconds * 100,
        "CPU µs a poll": used / sum(counts) * 1e6,
        "delay s, median": part(delays, 0.5),
        "delay s, 95 %": part(delays, 0.95),
        "polls each": sum(counts) / len(ids),
        "refused each": seen["refused"] / len(ids),
        "peak a second": max(counts),
        "most under way": seen["most_under_way"],
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--answer-ms", type=float, default=10.0)
    parser.add_argument("--longest", type=float, default=120.0, help="seconds of the longest operation; the shortest has 1")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second that the server answers; 0: all")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options))
    else:
        print(", ".join(f"{name} {value:.4g}" for name, value in measure(options).items()))


if __name__ == "__main__":
    main()
