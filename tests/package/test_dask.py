"""Beyond one process: a Dask cluster, real worker processes, and one of them killed while others count."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import saymon_bulk
from peer import LOGIN, PASSWORD
from saymon_bulk.testing import PracticeServer
from servers import wait_until

distributed: Any = pytest.importorskip("distributed", reason="distributed is not installed (tests/requirements.txt has it)")
if TYPE_CHECKING:
    import dask_many_servers as example
else:
    example = pytest.importorskip("dask_many_servers")

WORKERS = 3
SCRIPT = Path(__file__).parents[2] / "examples" / "dask_many_servers.py"


@pytest.fixture
def servers() -> Iterator[list[PracticeServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(PracticeServer(LOGIN, PASSWORD)) for _ in range(3)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A cluster whose workers have the credentials in their environment, and one thread each."""
    monkeypatch.setenv("SAYMON_LOGIN", LOGIN)
    monkeypatch.setenv("SAYMON_PASSWORD", PASSWORD)
    loopback = "127.0.0.1:0"
    with (
        distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            dashboard_address=loopback,
            worker_dashboard_address=loopback,
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster) as one,
    ):
        yield one


def pairs_of(batches: list[example.Batch]) -> set[example.Pair]:
    return {(host, id) for host, ids in batches for id in ids}


def test_statuses_while_a_worker_dies(engine: Any, servers: list[PracticeServer]) -> None:
    finished = {(server.host, server.add_bulk(0)) for server in servers for _ in range(120)}
    running = {(server.host, server.add_bulk(math.inf)) for server in servers for _ in range(119)}
    unknown = {(server.host, "unknown") for server in servers}
    pairs = finished | running | unknown
    batches = example.batches(pairs, 40)
    assert len(batches) == 18
    first = example.begin(engine, example.statuses, batches[:6])
    batch_of = {future.key: batch for future, batch in first.items()}
    got = list(example.results(first))
    delivered = {pair for pair, _ in got}
    assert delivered == pairs_of(batches[:6])

    # A batch takes a second and a half now, so that there is time to find a worker in the middle of one.
    for server in servers:
        server.delay = 0.5
    futures = example.begin(engine, example.statuses, batches[6:])
    batch_of.update((future.key, batch) for future, batch in futures.items())
    halves: list[str] = []

    def half_asked() -> bool:
        asked = example.asked(servers)
        for worker, keys in engine.processing().items():
            for batch in (batch_of[key] for key in keys):
                if 0 < len(pairs_of([batch]) & set(asked)) < 40:
                    halves.append(worker)
        return bool(halves)

    wait_until(half_asked, "a batch that is half asked")
    example.kill(engine, halves[0])
    for server in servers:
        server.delay = 0.0
    got += example.results(futures)

    # Nothing is lost, nothing comes twice, and all is right.
    assert Counter(pair for pair, _ in got) == Counter(pairs)
    for pair, answer in got:
        if pair in unknown:
            assert isinstance(answer, saymon_bulk.NotFoundError)
            assert answer.id == "unknown"
        else:
            assert answer == {"finished": pair in finished}
    # Nothing was asked again, but for what the engine ran again; and of that, nothing that had been delivered.
    asked = example.asked(servers)
    again = {pair for pair, times in asked.items() if times > 1}
    lost = pairs_of([batch_of[key] for key in example.lost_with(engine, halves[0])])
    assert set(asked) == pairs
    assert again
    assert again <= lost
    assert not again & delivered
    assert max(asked.values()) == 2


def test_waits_while_a_worker_dies(engine: Any, servers: list[PracticeServer]) -> None:
    pairs = {(server.host, server.add_bulk(math.inf)) for server in servers for _ in range(100)}
    futures = example.begin(engine, example.waits, example.batches(pairs, 100))
    batch_of = {future.key: batch for future, batch in futures.items()}
    wait_until(lambda: set(example.asked(servers)) == pairs, "a first poll of every operation")

    worker = example.busiest(engine)
    example.kill(engine, worker)
    wait_until(lambda: bool(example.lost_with(engine, worker)), "the scheduler to see the death")
    (key,) = example.lost_with(engine, worker)
    lost = pairs_of([batch_of[key]])
    # The others are busy: only the worker that comes in its place, with the same environment, can take that batch.
    before = example.asked(servers)
    wait_until(lambda: lost <= set(example.asked(servers) - before), "a poll by the new worker", within=300)
    for server in servers:
        for id in (id for host, id in pairs if host == server.host):
            server.add_bulk(0, id=id)
    before = example.asked(servers)

    got = list(example.results(futures))
    assert Counter(pair for pair, _ in got) == Counter(pairs)
    assert all(answer == {"finished": True} for _, answer in got)
    # One poll finds it finished, and one may have been under way: nobody else was asking.
    assert max((example.asked(servers) - before).values()) <= 2


def test_the_plain_functions_travel(engine: Any, servers: list[PracticeServer]) -> None:
    pairs = [(server.host, server.add_bulk(0.2)) for server in servers for _ in range(5)]
    hosts, ids = zip(*pairs)
    # Nothing is left of the other way.
    engine.run(os.environ.pop, "SAYMON_PASSWORD")
    for function in (saymon_bulk.get_bulk_status, saymon_bulk.wait_for_bulk):
        task = functools.partial(function, login=LOGIN, password=PASSWORD)
        answers = engine.gather(engine.map(task, hosts, ids, pure=False))
        assert [set(answer) for answer in answers] == [{"finished"}] * len(pairs)
    assert answers == [{"finished": True}] * len(pairs)
    assert set(example.asked(servers)) == set(pairs)

    # Nor does a failure put the password into a log.
    failed = engine.submit(task, hosts[0], "unknown", pure=False)
    error = failed.exception(timeout=60)
    assert isinstance(error, saymon_bulk.NotFoundError)
    assert (error.host, error.id) == (hosts[0], "unknown")
    logs = f"{engine.get_worker_logs()} {engine.get_scheduler_logs()}"
    assert failed.key in logs
    assert PASSWORD not in logs


def test_asked_twice_is_two_requests(engine: Any, servers: list[PracticeServer]) -> None:
    batch = [(servers[0].host, [servers[0].add_bulk(math.inf, id="one")])]
    first = example.begin(engine, example.statuses, batch)
    assert engine.gather(list(first)) == [{"one": {"finished": False}}]
    servers[0].add_bulk(0, id="one")
    # The first future is still there, and with it Dask's answer of that time.
    (answer,) = example.results(example.begin(engine, example.statuses, batch))
    assert answer == ((servers[0].host, "one"), {"finished": True})
    assert len(first) == 1


def test_a_client_does_not_travel(engine: Any, servers: list[PracticeServer]) -> None:
    client = saymon_bulk.Client(servers[0].host, LOGIN, PASSWORD)
    with pytest.raises(TypeError) as caught:
        engine.submit(client.get_bulk_status, "one")
    assert PASSWORD not in str(caught.value)
    cause = caught.value.__cause__ or caught.value.__context__
    assert "holds a password" in str(cause)
    assert servers[0].requests == []


def test_the_example(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "statuses: 2000 pairs, 2000 answers to 2000 of them, " in done.stdout
    assert "waits: 2000 pairs, 2000 answers to 2000 of them, 2000 finished\n" in done.stdout
    assert "wait_for_bulk: 20 pairs, 20 finished\n" in done.stdout
    assert done.stderr.count("Restarting worker") == 2
    assert ", 0 of them without that reason\n" in done.stdout
    assert all(int(had) > 0 for had in re.findall(r"a killed worker had (\d+) pairs", done.stdout))
