"""Operations on many servers, asked about by many processes, one of which is killed: python examples/dask_many_servers.py

The engine is Dask's distributed (the extra `dask`). Cluster and servers are made for the occasion here; with a cluster that
you have, all that changes is Engine("tls://scheduler.example.com:8786", security=...).

A saymon_bulk.Client holds a password and does not pickle, so it is never part of a task. Two things may be: functions that
make a Client on the worker, with credentials from the worker's own environment (`statuses` and `waits` below), and the plain
functions with login and password as arguments (the end of `main`), whose password goes to the scheduler and to the workers:
use TLS between them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import saymon_bulk
from distributed import Client as Engine
from distributed import LocalCluster, as_completed
from saymon_bulk.testing import PracticeServer

Pair = tuple[str, str]  # host and id
Batch = tuple[str, list[str]]  # host and ids


def client(host: str) -> saymon_bulk.Client:
    # Anew in every task: connections are the process's, so a Client costs nothing, and a new worker needs no preparation.
    # With one server only, Client.from_env() knows the host too.
    return saymon_bulk.Client(host, os.environ["SAYMON_LOGIN"], os.environ["SAYMON_PASSWORD"])


def statuses(host: str, ids: list[str]) -> dict[str, Any]:
    """A task. An id that fails must not cost the others their answers, hence errors in the place of statuses."""
    return {**client(host).get_bulk_statuses(ids, return_exceptions=True)}


def waits(host: str, ids: list[str]) -> dict[str, Any]:
    """A task that keeps a thread of its worker until the last id has finished: few, large batches, all begun at once."""
    return dict(client(host).wait_for_bulks(ids, timeout=600, return_exceptions=True))


def batches(pairs: Iterable[Pair], size: int) -> list[Batch]:
    """At most `size` ids of one server each; the servers take turns, so that no server gets all workers at once."""
    ids_of = defaultdict(list)
    for host, id in pairs:
        ids_of[host].append(id)
    starts = range(0, max(map(len, ids_of.values()), default=0), size)
    return [(host, ids[start : start + size]) for start in starts for host, ids in ids_of.items() if start < len(ids)]


def begin(engine: Engine, task: Any, todo: list[Batch]) -> dict[Any, Batch]:
    """The futures of the tasks, each with its batch."""
    # pure=False: Dask asks again, and does not answer with what it still holds for the same arguments.
    return dict(zip(engine.map(task, *zip(*todo), pure=False), todo))


def results(running: dict[Any, Batch]) -> Iterator[tuple[Pair, Any]]:
    """Each pair with its status or error, batch by batch as they are done."""
    for future in as_completed(running):
        answers = future.result()
        # Let go of what has arrived: a result that somebody still holds a future of is computed again when its worker dies.
        host, _ = running.pop(future)
        del future
        for bulk_id, answer in answers.items():
            yield (host, bulk_id), answer


# The rest is the rehearsal.


def busiest(engine: Engine) -> str:
    """The address of a worker; none has more tasks."""
    tasks_of: dict[str, Any] = engine.processing()
    return max(tasks_of, key=lambda address: len(tasks_of[address]))


def kill(engine: Engine, worker: str) -> None:
    """With SIGKILL, as the kernel does when memory is short. The worker's nanny starts another."""
    os.kill(engine.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)


def lost_with(engine: Engine, worker: str) -> set[str]:
    """The keys of the tasks that the scheduler ran again after a worker's death: under way there, or done and held there."""
    gone = [event for _, event in engine.get_events(worker) if event["action"] == "remove-worker"]
    return {key for event in gone for key in event["processing-tasks"] | event["lost-computed-tasks"]}


def asked(servers: Iterable[PracticeServer]) -> Counter[Pair]:
    """How often each pair was asked about, by the servers' own account."""
    return Counter((server.host, path.split("/")[4]) for server in servers for _, path in server.requests)


def rehearse(engine: Engine, servers: list[PracticeServer], task: Any, todo: list[Batch]) -> None:
    """Map the task over the batches and kill a worker after a quarter of the answers."""
    before = asked(servers)
    running = begin(engine, task, todo)
    batch_of = {future.key: batch for future, batch in running.items()}
    pairs = [(host, bulk_id) for host, ids in todo for bulk_id in ids]
    answers: list[Pair] = []
    finished = 0
    killed = ""
    for pair, answer in results(running):
        answers.append(pair)
        finished += isinstance(answer, dict) and answer["finished"]
        if not killed and 4 * len(answers) >= len(pairs):
            killed = busiest(engine)
            kill(engine, killed)
    lost = {(host, bulk_id) for key in lost_with(engine, killed) for host, ids in [batch_of[key]] for bulk_id in ids}
    requests = asked(servers) - before
    print(f"{task.__name__}: {len(pairs)} pairs, {len(answers)} answers to {len(set(answers))} of them, {finished} finished")
    print(f"  {sum(requests.values())} requests; a killed worker had {len(lost)} pairs")
    if task is statuses:  # a wait asks more than once anyway
        again = {pair for pair, times in requests.items() if times > 1}
        print(f"  {len(again)} pairs were asked about again, {len(again - lost)} of them without that reason")


def main() -> None:
    # In earnest the work of a service file or a secret store. Workers inherit it, and those that take their places.
    os.environ.update(SAYMON_LOGIN="login", SAYMON_PASSWORD="password")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(PracticeServer("login", "password", 1.5 * n)) for n in range(1, 5)]
        for server in servers:
            server.delay = 0.02  # as over a network
        pairs = [(server.host, server.add_bulk()) for server in servers for _ in range(500)]
        loopback = "127.0.0.1:0"
        cluster = LocalCluster(
            n_workers=3, threads_per_worker=2, dashboard_address=loopback, worker_dashboard_address=loopback
        )
        engine = stack.enter_context(Engine(stack.enter_context(cluster)))

        rehearse(engine, servers, statuses, batches(pairs, 50))
        rehearse(engine, servers, waits, batches(pairs, 1000))

        # The other way, here with a task for each operation. A partial keeps the password out of the workers' logs, into
        # which distributed, up to 2024.8 at least, writes the arguments of a task that fails.
        wait = functools.partial(saymon_bulk.wait_for_bulk, login="login", password="password")
        futures = engine.map(wait, *zip(*pairs[::100]), pure=False)
        finished = [status["finished"] for status in engine.gather(futures)]
        print(f"wait_for_bulk: {len(finished)} pairs, {sum(finished)} finished")


# Each worker is a new process that imports this file; only the first may go on from here.
if __name__ == "__main__":
    main()
