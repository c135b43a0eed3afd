"""What is the same on every machine: system calls a status (strace) and instructions a call (callgrind), as the difference
of a long and a short run."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from clients import FUNCTION
from environment import HERE, environment, say
from measure import Bench
from server import Server
from tasks import client_of

SYSTEM_CALLS = (
    "one by one saymon_bulk",
    "asyncio saymon_bulk",
    "16 threads saymon_bulk",
    "one call saymon_bulk",
    "one by one wreq",
    "asyncio wreq",
    "16 threads wreq",
    "one by one pycurl",
)
STATUSES = (320, 3520)
INSTRUCTIONS = ("one by one saymon_bulk", f"one by one {FUNCTION}")
CALLS = (300, 1300)
PATIENCE = 300


def way(contender: str) -> tuple[str, str]:
    """How, and with which client."""
    for how in ("one by one", "asyncio", "16 threads", "one call"):
        if contender.startswith(how):
            return how, contender.removeprefix(f"{how} ")
    raise ValueError(contender)


def command(bench: Bench, server: Server, contender: str, site: str, count: int) -> list[str]:
    how, client = way(contender)
    arguments = {"how": how, "name": client, "access": bench.access(server, site), "count": count}
    return [str(bench.python(client_of(client))), str(HERE / "work.py"), "some", json.dumps(arguments)]


def run(words: list[str], ca: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environment(SSL_CERT_FILE=ca))
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300])
    return done


def system_calls(words: list[str], ca: object) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "calls"
        run(["strace", "-f", "-c", "-o", str(output), *words], ca)
        rows = [line.split() for line in output.read_text().splitlines()]
    # % time, seconds, µs a call, calls, errors where there are any, name.
    return Counter({row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"})


def instructions(words: list[str], ca: object) -> int:
    done = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *words], ca)
    (line,) = [line for line in done.stderr.splitlines() if "Collected" in line]
    return int(line.split()[-1])


def count(bench: Bench, server: Server) -> dict[str, object]:
    """Over plain http and TLS; empty where the tool is not on PATH."""
    counts: dict[str, object] = {}
    for site in ("plain", "tls"):
        ca = bench.access(server, site)["ca"]
        if shutil.which("strace"):
            for contender in SYSTEM_CALLS:
                try:
                    few, many = (system_calls(command(bench, server, contender, site, n), ca) for n in STATUSES)
                except RuntimeError as error:
                    say(f"left out: system calls, {contender}: {error}")
                    continue
                each = {name: (many[name] - few[name]) / (STATUSES[1] - STATUSES[0]) for name in many | few}
                counts[f"system calls, {site}, {contender}"] = each
        if shutil.which("valgrind"):
            for contender in INSTRUCTIONS:
                few, many = (instructions(command(bench, server, contender, site, n), ca) for n in CALLS)
                counts[f"instructions, {site}, {contender}"] = (many - few) / (CALLS[1] - CALLS[0])
    return counts
