"""A server of thousands of operations, in a process of its own so that it is quick: each finishes at its second answer,
those whose ids begin with "done" at the first, and those with "gone" are not known.

Its troubles: "none"; "late", each answer takes 20 ms; "one 503", the first request; "500", one request in five; "cut",
one connection in fifty ends without an answer; "slow", one answer in twenty takes up to a second; "running", no
operation ever finishes; "busy", running and with "500"; "limited", 20 answers a second and 429 for all others; "wrong
password", 401 after a 502.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from typing import Any

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"
BROKEN = b"HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\n{}"
OFTEN = b"HTTP/1.1 429 Too Often\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b'HTTP/1.1 401 No\r\nContent-Length: 30\r\n\r\n{"code": "InvalidCredentials"}'
GATEWAY = b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\n{}"
GONE = b'HTTP/1.1 404 Gone\r\nContent-Length: 20\r\n\r\n{"code": "NotFound"}'
RUNS = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"finished":false}'
ENDS = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"finished":true}'
RATE = 20


class Server:
    def __init__(self, trouble: str, rate: float = RATE) -> None:
        self.trouble, self.rate = trouble, rate
        self.chance = random.Random(5)
        self.asked: Counter[bytes] = Counter()
        self.seconds: Counter[int] = Counter()
        self.connections = 0
        self.free = 0.0
        self.began = time.monotonic()

    def answer(self, id: bytes) -> bytes | None:
        """None ends the connection."""
        now = time.monotonic()
        self.seconds[int(now - self.began)] += 1
        is_first = not self.asked
        if self.trouble == "limited":
            if now < self.free:
                return OFTEN
            self.free = now + 1 / self.rate
        if self.trouble == "one 503" and is_first:
            self.asked[b""] += 1
            return BUSY
        if self.trouble == "wrong password":
            self.asked[id] += 1
            return GATEWAY if is_first else REFUSED
        if self.trouble in ("500", "busy") and self.chance.random() < 0.2:
            return BROKEN
        if self.trouble == "cut" and self.chance.random() < 0.02:
            return None
        self.asked[id] += 1
        if id.startswith(b"gone"):
            return GONE
        if id.startswith(b"done"):
            return ENDS
        return RUNS if self.asked[id] < 2 or self.trouble in ("running", "busy", "limited", "slow", "late") else ENDS

    @property
    def told(self) -> dict[str, Any]:
        return {"asked": sum(self.seconds.values()), "seconds": self.seconds, "connections": self.connections}


class Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server, self.buffer = server, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            answer = self.server.answer(head.split(b"/")[4])
            if answer is None:
                self.transport.abort()
            elif self.server.trouble == "slow" and self.server.chance.random() < 0.05:
                pause = self.server.chance.uniform(0.1, 1)
                asyncio.get_running_loop().call_later(pause, self.transport.write, answer)
            elif self.server.trouble == "late":
                asyncio.get_running_loop().call_later(0.02, self.transport.write, answer)
            else:
                self.transport.write(answer)


async def serve(trouble: str) -> None:
    server = Server(trouble)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(server.told), flush=True)


class Crowd:
    """The server, as a test sees it."""

    def __init__(self, trouble: str = "none") -> None:
        command = [sys.executable, __file__, trouble]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.host = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def told(self) -> dict[str, Any]:
        """How often it was asked, in each second and in all, and its connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
