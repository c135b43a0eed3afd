"""The results as Markdown: medians with min–max, ratios, and the project's targets beside what was measured."""

# ruff: noqa: RUF001, RUF002

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

from clients import FUNCTION, FUNCTIONS
from tasks import BARE, COMMAND, LIMITS, MEASURES, PROCESS, REQWEST, STARTING, TASKS, Task, client_of

# System calls a status over plain http, at most.
LEAST_CALLS = {
    "one by one saymon_bulk": 4,
    "asyncio saymon_bulk": 6,
    "16 threads saymon_bulk": 8,
    "one call saymon_bulk": 3,
}

Rounds = dict[str, list[dict[str, float]]]


def middle(rounds: list[dict[str, float]], key: str) -> float | None:
    values = [one[key] for one in rounds if key in one]
    return median(values) if values else None


def figure(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def cell(rounds: list[dict[str, float]], key: str, digits: int, *, spread: bool) -> str:
    value = middle(rounds, key)
    if value is None:
        return "–"
    values = [one[key] for one in rounds]
    text = figure(value, digits)
    return f"{text} [{figure(min(values), digits)}–{figure(max(values), digits)}]" if spread else text


def is_ours(contender: str) -> bool:
    return client_of(contender).startswith("saymon_bulk")


def best_peer(task: Task, results: Rounds, how: str = "") -> str | None:
    """The best of those that are neither ours nor a limit; with `how`, of those that work in this way."""
    key, _, _, more = MEASURES[task.kind][0]
    peers = [c for c in results if not is_ours(c) and c not in LIMITS and c.startswith(how)]
    return (max if more else min)(peers, key=lambda c: middle(results[c], key), default=None)


def requests_row(results: Rounds) -> str | None:
    return next((c for c in results if client_of(c) == "requests"), None)


def table(task: Task, results: Rounds) -> str:
    measures = MEASURES[task.kind]
    key, _, _, more = measures[0]
    limit = next((c for c in results if c in LIMITS), None)
    peer, usual = best_peer(task, results), requests_row(results)
    against = [(f"× {c}", c) for c in (limit, peer) if c]
    if usual and usual != peer:
        against.append((f"{usual}{' ×' if more else ' ÷'}", usual))
    heads = ["client", *(measure[1] for measure in measures), *(head for head, _ in against)]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for contender in sorted(results, key=lambda c: middle(results[c], key), reverse=more):
        cells = [f"**{contender}**" if is_ours(contender) else contender]
        for number, (name, _, digits, _) in enumerate(measures):
            cells.append(cell(results[contender], name, digits, spread=number == 0))
        own = middle(results[contender], key)
        for head, other in against:
            theirs = middle(results[other], key)
            cells.append(f"{theirs / own if head.endswith('÷') else own / theirs:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Figures:
    """Medians by task and contender; None where something was not measured."""

    def __init__(self, results: dict[str, Rounds]) -> None:
        self._results = results

    def value(self, title: str, contender: str, key: str) -> float | None:
        return middle(self._results.get(title, {}).get(contender, []), key)

    def ratio(self, title: str, ours: str, other: str | None, key: str) -> float | None:
        mine, theirs = self.value(title, ours, key), self.value(title, other or "", key)
        return None if mine is None or not theirs else mine / theirs

    def against_best(self, title: str, ours: str, how: str = "") -> float | None:
        task = next(task for task in TASKS if task.title == title)
        key = MEASURES[task.kind][0][0]
        return self.ratio(title, ours, best_peer(task, self._results.get(title, {}), how), key)


def targets(everything: dict) -> list[tuple[str, float | None, str, float]]:
    """What, measured, at most or at least, how much."""
    get = Figures(everything["results"])
    rows: list[tuple[str, float | None, str, float]] = []

    def most(what: str, value: float | None, limit: float) -> None:
        rows.append((what, value, "≤", limit))

    def least(what: str, value: float | None, limit: float) -> None:
        rows.append((what, value, "≥", limit))

    for kind in ("plain http", "TLS"):
        title = f"Warm call, {kind}, connection kept, pinned"
        if bare := get.value(title, REQWEST, "us"):
            most(f"2. warm {kind}, pinned, µs: 1.05 × {REQWEST} + 1", get.value(title, "saymon_bulk", "us"), 1.05 * bare + 1)
        for where in ("pinned", "unpinned"):
            title = f"Warm call, {kind}, connection kept, {where}"
            most(f"2. warm {kind}, {where}: × the best peer", get.against_best(title, "saymon_bulk"), 1)
        title = f"Warm call, {kind}, connection kept, pinned"
        for function in FUNCTIONS:
            name = function.removeprefix("saymon_bulk ")
            most(f"2. the {name}, {kind}, pinned: × the method", get.ratio(title, function, "saymon_bulk", "us"), 1.15)
    for task in TASKS:
        if task.group == "new":
            name = task.title.split("kept, ")[1]
            most(f"4. new connection, {name}: × the best peer", get.against_best(task.title, "saymon_bulk"), 1)
    most(f"5. process that imports: × {BARE}", get.ratio(STARTING, "saymon_bulk", BARE, "ms"), 1.08)
    # argparse, what it imports and the making of the parsers are about one and a half bare starts of Python.
    most(f"5. the command's status, CPU: × {BARE}", get.ratio(STARTING, COMMAND, BARE, "cpu_ms"), 4)
    title = f"{PROCESS}, pinned"
    most(f"5. process with one call: × {BARE}", get.ratio(title, FUNCTION, BARE, "ms"), 1.35)
    most("5. process with one call: peak MiB", get.value(title, FUNCTION, "peak_mib"), 13.5)
    ours = "one call saymon_bulk"
    for ids in ("10,000", "1,000"):
        for kind in ("plain http", "TLS"):
            title = f"{ids} ids, {kind}"
            least(f"4. {title} in one call: × the best peer", get.against_best(title, ours), 1.4)
    for kind in ("plain http", "TLS"):
        title = f"10,000 ids, {kind}"
        most(f"4. {title}: KiB an id over the result", get.value(title, ours, "kib_an_id"), 1)
        for how in ("asyncio", "16 threads"):
            least(f"3. {title}, {how}: × the best peer", get.against_best(title, f"{how} saymon_bulk", how), 1)
    waiting = TASKS[-1].title
    most("7. 5,000 waited for: % of a core", get.value(waiting, "saymon_bulk", "percent"), 5)
    most("7. 5,000 waited for: KiB each", get.value(waiting, "saymon_bulk", "kib_each"), 2)
    most("8. wheel: MB", everything["about"]["wheel bytes"] / 1e6, 1.75)
    most("8. library: MB", everything["about"]["library bytes"] / 1e6, 3.5)
    for contender, limit in LEAST_CALLS.items():
        each = everything["counts"].get(f"system calls, plain, {contender}")
        most(f"1. system calls a status: {contender}", sum(each.values()) if each else None, limit)
    return rows


def counted(counts: dict) -> str:
    """What is the same on every machine."""
    lines = ["| | a status | of these |", "| --- | ---: | --- |"]
    for what, value in counts.items():
        each = value if isinstance(value, dict) else {}
        most = sorted(each.items(), key=lambda item: -item[1])[:6]
        parts = ", ".join(f"{number:.2f} {name}" for name, number in most if number >= 0.05)
        total = f"{sum(each.values()):.2f}" if each else f"{value:,.0f}"
        lines.append(f"| {what} | {total} | {parts} |")
    return "\n".join(lines)


def target_table(everything: dict) -> str:
    lines = ["| target | measured | wanted | |", "| --- | ---: | ---: | --- |"]
    for what, value, sign, limit in targets(everything):
        if value is not None:
            held = value <= limit if sign == "≤" else value >= limit
            lines.append(f"| {what} | {value:.2f} | {sign} {limit:g} | {'held' if held else '**missed**'} |")
    return "\n".join(lines)


def report(everything: dict) -> str:
    about = everything["about"]
    loads = ", ".join(f"{about[f'load {when}'][0]:.2f} {when}" for when in ("before", "after"))
    versions = about["versions"]
    clients = dict.fromkeys(client_of(c) for rounds in everything["results"].values() for c in rounds)
    named = [f"{name} {versions[name]}" for name in clients if versions.get(name)]
    parts = [
        "# saymon_bulk and its peers",
        f"{about['when']}, {about['state']}{', --short' if about['short'] else ''}; {about['machine']}; "
        f"Python {about['python']}, {about['openssl']}; nginx {about['nginx']}, one worker; load {loads}. "
        + ", ".join(named)
        + ".",
        "Medians [min–max] of interleaved rounds, a fresh process for each figure; all against 127.0.0.1. Pinned: client "
        "and server on one core, which makes microseconds repeatable; unpinned, the scheduler puts them on one core or on "
        "two, and the figures of one client lie apart. Kept is compared with kept, new with new; a client that can resumes "
        "TLS sessions. Many ids: 64 at once, on 16 threads 16 at once, from the making of the client on; wrk runs for "
        "seconds on connections that stand and does not look at the answers.",
        "## Targets",
        target_table(everything),
    ]
    for task in TASKS:
        results = everything["results"].get(task.title)
        if results:
            rounds = max(map(len, results.values()))
            parts += [f"## {task.title}", f"{rounds} rounds.", table(task, results)]
    if everything["counts"]:
        text = "The difference of a long and a short run; what happens once is in neither."
        parts += ["## System calls and instructions", text, counted(everything["counts"])]
    if everything["left out"]:
        parts += ["## Left out", "\n".join(f"- {who}: {why}" for who, why in everything["left out"].items())]
    crashes = [
        f"- {who}: {title}: {sum('crash' in one for one in rounds)} of {len(rounds)} times"
        for title, results in everything["results"].items()
        for who, rounds in results.items()
        if any("crash" in one for one in rounds)
    ]
    if crashes:
        parts += ["## Crashed at the end of the process, after all answers", "\n".join(crashes)]
    parts += ["## Checks", "Each gave the right answer at every site and refused a wrong password and an unknown CA."]
    lines = [
        f"- {who}: " + "; ".join(f"{what}: {value}" for what, value in seen.items() if what != "unknown CA")
        for who, seen in everything["checks"].items()
    ]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


if __name__ == "__main__":
    import json

    print(report(json.loads(Path(sys.argv[1]).read_text())))
