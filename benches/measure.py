"""One measurement: the contender's process, on one core with nginx or free, and what it says."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clients import MODULES, SYNC
from environment import HERE, environment
from server import AUTHORIZATION, LOGIN, PASSWORD, Server
from tasks import BARE, COMMAND, REQWEST, Task, client_of

ID = "079b3102-66d8-4a1c-9d5e-000000000000"
PATIENCE = 30
PROCESSES = 5


@dataclass(frozen=True)
class Bench:
    main: Path
    niquests: Path
    certificates: Path
    raw: Path | None
    raw_tls: bool
    bare: Path | None
    wrk: str | None
    seconds: float

    def python(self, client: str) -> Path:
        return self.niquests if client == "niquests" else self.main

    def access(self, server: Server, site: str, trust: str = "store") -> dict[str, str]:
        ca = str(self.certificates / f"{trust}.pem")
        return {"url": server.url(site), "login": LOGIN, "password": PASSWORD, "ca": ca}


def spoken(command: list[object], ca: object) -> subprocess.CompletedProcess[str]:
    """What the program prints; its failure in one line. A client that looks for a store of its own finds the same one.

    One that crashes after it has printed has not failed: its status tells.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment(SSL_CERT_FILE=ca),
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no end after {PATIENCE} s") from None
    if done.returncode and not done.stdout:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1][:300] if lines else f"exit status {done.returncode}")
    return done


def work(bench: Bench, kind: str, client: str, ca: object, **arguments: object) -> dict:
    done = spoken([bench.python(client), HERE / "work.py", kind, json.dumps(arguments)], ca)
    result = json.loads(done.stdout)
    return result | {"crash": done.returncode} if done.returncode else result


@contextlib.contextmanager
def cores(server: Server, *, pinned: bool) -> Iterator[None]:
    """Everything on one core, or each where the scheduler wants it."""
    free = os.sched_getaffinity(0)
    chosen = {max(free)} if pinned else free
    server.run_on(chosen)
    os.sched_setaffinity(0, chosen)  # what is started from here on inherits it
    try:
        yield
    finally:
        os.sched_setaffinity(0, free)


def measure(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    with cores(server, pinned=task.pinned):
        return KINDS[task.kind](bench, server, task, contender)


def calls(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    if contender == "raw C":
        return raw(bench, server, task.site, AUTHORIZATION, "store", bench.seconds)
    if contender == REQWEST:
        return bare(bench, server, task.site, AUTHORIZATION, "store", bench.seconds)
    access = bench.access(server, task.site, task.trust)
    return work(bench, "calls", contender, access["ca"], name=contender, access=access, seconds=bench.seconds)


def raw(bench: Bench, server: Server, site: str, authorization: str, trust: str, seconds: float) -> dict[str, float]:
    ca = "-" if site == "plain" else bench.certificates / f"{trust}.pem"
    path = f"/node/api/bulk/{ID}/status"
    return json.loads(spoken([bench.raw, server.ports[site], path, authorization, seconds, ca], ca).stdout)


def bare(bench: Bench, server: Server, site: str, authorization: str, trust: str, seconds: float) -> dict[str, float]:
    ca = "-" if site == "plain" else bench.certificates / f"{trust}.pem"
    url = f"{server.url(site)}/node/api/bulk/{ID}/status"
    return json.loads(spoken([bench.bare, url, authorization, seconds, ca], ca).stdout)


def many(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    if contender == "wrk":
        return wrk(bench, server, task)
    client = client_of(contender)
    how = contender.removesuffix(f" {client}")
    access = bench.access(server, task.site)
    return work(bench, "many", client, access["ca"], how=how, name=client, access=access, count=task.count)


def wrk(bench: Bench, server: Server, task: Task) -> dict[str, float]:
    url = f"{server.url(task.site)}/node/api/bulk/{ID}/status"
    load = ["-t1", "-c64", f"-d{max(1, round(bench.seconds * 2))}s"]
    before = os.times()
    text = spoken([bench.wrk, *load, "-H", f"Authorization: {AUTHORIZATION}", url], "").stdout
    after = os.times()
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    requests = int(re.search(r"(\d+) requests in", text)[1])
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return {"per_second": float(re.search(r"Requests/sec: +([\d.]+)", text)[1]), "cpu_us": used / requests * 1e6}


def timed(python: Path, words: list[str], ca: object, **more: str) -> dict[str, float]:
    """Wall and CPU time of a whole process: medians of several, since one is over within milliseconds."""
    runs = [process_time(python, words, ca, **more) for _ in range(PROCESSES)]
    return {key: median(run[key] for run in runs) for key in runs[0]}


def process_time(python: Path, words: list[str], ca: object, **more: str) -> dict[str, float]:
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    command = [str(python), *words]
    begin = time.perf_counter()
    pid = os.posix_spawn(python, command, environment(SSL_CERT_FILE=ca, **more), file_actions=quiet)
    _, status, use = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise RuntimeError(f"exit status {os.waitstatus_to_exitcode(status)}")
    return {"ms": seconds * 1e3, "cpu_ms": (use.ru_utime + use.ru_stime) * 1e3}


# A child's ru_maxrss begins with that of the process that started it: the script itself tells its peak, in another run.
PEAK = "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"


def peak_mib(python: Path, script: str, words: list[str], ca: object) -> float:
    return int(spoken([python, "-c", script + PEAK, *words], ca).stdout.split()[-1]) / 1024


def process(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    """A script of the adapter's own source and one call."""
    access = bench.access(server, task.site)
    script, words = "pass", []
    if contender != BARE:
        make = SYNC[contender]
        script = (
            f"{inspect.getsource(make)}\nimport sys\nassert {make.__name__}(*sys.argv[2:])(sys.argv[1])['finished'] is True"
        )
        words = [ID, *access.values()]
    python = bench.python(contender)
    result = timed(python, ["-c", script, *words], access["ca"])
    return result | {"peak_mib": peak_mib(python, script, words, access["ca"])}


def starting(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    """A process that only imports the package, or the command line's status of one id."""
    access = bench.access(server, task.site)
    words = ["-c", "pass" if contender == BARE else "import saymon_bulk"]
    if contender == COMMAND:
        words = ["-m", "saymon_bulk", "status", ID]
    known = {f"SAYMON_{name.upper()}": access[key] for name, key in (("host", "url"), ("login",) * 2, ("password",) * 2)}
    return timed(bench.main, words, access["ca"], **known)


def importing(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    module = MODULES.get(contender, contender)
    python, ca = bench.python(contender), bench.certificates / "store.pem"
    script = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
    seconds = float(spoken([python, "-c", script.format(module)], ca).stdout)
    return {"ms": seconds * 1e3, "mib": peak_mib(python, f"import {module}", [], ca) - peak_mib(python, "pass", [], ca)}


def waiting(bench: Bench, server: Server, task: Task, contender: str) -> dict[str, float]:
    access = bench.access(server, task.site)
    return work(bench, "waiting", contender, access["ca"], access=access, count=task.count, seconds=5.0)


KINDS = {"calls": calls, "process": process, "starting": starting, "import": importing, "many": many, "waiting": waiting}


def found_wrk() -> str | None:
    return shutil.which("wrk")
