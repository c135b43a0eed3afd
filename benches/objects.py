"""An answer of many objects, beside other ways to read it; and a plan for all of them: python benches/objects.py

Each contender runs in a process of its own, in turn, several rounds. Prints the medians: CPU and wall clock in seconds,
and the most memory beyond what the returned objects need, in MiB. `msgspec, in memory` only decodes, without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

COUNT = 50_000
LOGIN, PASSWORD = "bench", "opensesame"


def park(count: int) -> list[dict[str, object]]:
    """Objects of some 1.9 KB, as a server may have them."""
    return [
        {
            "id": f"{n:024x}",
            "name": f"CPU {n}",
            "parent_id": ["1"],
            "class_id": 3,
            "state_id": 1,
            "last_state_update": 1690000000000 + n,
            "child_ids": [],
            "tags": ["a", "b"],
            "weight": n,
            "owner_id": "7",
            "properties": [
                {
                    "id": f"{n * 10 + k:024x}",
                    "name": f"Property {k}",
                    "value": "the value of a property " * 2,
                    "type_id": 1,
                    "owner_id": f"{n:024x}",
                    "owner_type": 1,
                }
                for k in range(10)
            ],
            "updated": 1700000000000,
            "_version": 3,
        }
        for n in range(count)
    ]


def serve(path: str) -> None:
    """Answers every POST with the file."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    data = Path(path).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def peak() -> float:
    # Not of getrusage: its maximum is that of the parent too.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def work(contender: str, port: str, path: str) -> None:
    """One round of one contender: prints CPU, wall, memory beyond the result."""
    url = f"http://127.0.0.1:{port}/node/api/objects/search"
    body = {"search": {"class_id": 3}}
    extra: list[float] = []
    if contender.startswith("saymon-bulk"):
        import saymon_bulk

        client = saymon_bulk.Client(f"http://127.0.0.1:{port}", LOGIN, PASSWORD, request_timeout=600)
        bulk = [{"properties.createOrModify": {"name": "Property 3", "value": "new"}}]
        fields = ["name"] if contender.endswith("fields") else None
        if contender.endswith("plan"):
            saymon_bulk.BulkPlan  # noqa: B018 - imports what a plan needs
            measured = lambda: client.plan_bulk(body["search"], bulk)  # noqa: E731
        else:
            measured = lambda: client.search_objects(body["search"], fields=fields)  # noqa: E731
    elif contender.startswith("msgspec"):
        import msgspec

        class Two(msgspec.Struct):
            id: str
            name: str

        data, decode = Path(path).read_bytes(), msgspec.json.Decoder(list[Two]).decode
        measured = lambda: decode(data)  # noqa: E731
    else:
        import requests

        if contender.endswith("msgspec"):
            import msgspec

            class Pair(msgspec.Struct):
                id: str
                name: str

            decode = msgspec.json.Decoder(list[Pair]).decode
            measured = lambda: decode(requests.post(url, json=body, auth=(LOGIN, PASSWORD)).content)  # noqa: E731
        else:
            measured = lambda: requests.post(url, json=body, auth=(LOGIN, PASSWORD)).json()  # noqa: E731
    cpu, wall = time.process_time(), time.perf_counter()
    result = measured()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    extra = [peak() - resident()]
    if contender.endswith("plan"):
        begin = time.perf_counter()
        result.save(f"{path}.plan")
        saved = time.perf_counter()
        saymon_bulk.BulkPlan.load(f"{path}.plan")
        extra = [peak(), saved - begin, time.perf_counter() - saved]
    print(json.dumps([cpu, wall, *extra]))


CONTENDERS = (
    "saymon-bulk, fields",
    "requests and msgspec",
    "msgspec, in memory",
    "saymon-bulk, whole",
    "requests and json",
    "saymon-bulk, plan",
)


def main() -> None:
    from environment import BENCH, environment, our_wheel, venv

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="objects; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    python, missing = venv("objects", ["requests==2.34.2", "msgspec"])
    assert not missing, missing
    our_wheel(python)
    path = BENCH / "objects.json"
    path.write_text(json.dumps(park(options.count)))
    print(f"{options.count:,} objects, {path.stat().st_size / 1e6:.0f} MB; medians of {options.rounds} rounds")
    server = subprocess.Popen(
        [str(python), __file__, "serve", str(path)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        found: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
        for _ in range(options.rounds):
            for name in CONTENDERS:
                command = [str(python), __file__, "work", name, port, str(path)]
                found[name].append(
                    json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment()).stdout)
                )
    finally:
        server.kill()
    for name, rounds in found.items():
        cpu, wall, *extra = (statistics.median(column) for column in zip(*rounds))
        line = f"{name:22} CPU {cpu:.3f} s, wall {wall:.3f} s"
        if len(extra) == 3:
            print(f"{line}, peak {extra[0]:.0f} MiB in all, saved in {extra[1]:.2f} s, loaded in {extra[2]:.2f} s")
        else:
            print(f"{line}, {extra[0]:.0f} MiB beyond the result")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    elif sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        main()
