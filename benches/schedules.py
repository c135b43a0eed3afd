"""How late a wait knows that an operation has ended, and how often it asks: our schedule beside others, simulated.

python benches/schedules.py [--json] [--chart FILE]; the chart alone needs more than the standard library: matplotlib.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Callable

SEED = 18
COUNT = 10_000
SHORTEST, LONGEST = 1.0, 7200.0
ROUND_TRIP = 0.03

# The defaults of `wait_for_bulk` and `wait_for_bulks`; PAUSE_RATIO and JITTER stand in src/core/api/schedule.rs.
INTERVAL, MAX_INTERVAL, CONCURRENCY = 1.0, 10.0, 16
PAUSE_RATIO, JITTER = 0.1, 0.1

# The next pause, from the time waited so far, the number of pauses so far, and a source of chance.
Pause = Callable[[float, int, Random], float]


def ours(interval: float = INTERVAL, max_interval: float = MAX_INTERVAL) -> Pause:
    def pause(age: float, _: int, random: Random) -> float:
        nominal = min(max(age * PAUSE_RATIO, interval), max(max_interval, interval))
        return nominal * random.uniform(1 - JITTER, 1 + JITTER)

    return pause


def growing(age: float, count: int, random: Random) -> float:
    """Ours in 0.1: each pause is 1.5 times the one before."""
    return min(1.5 ** min(count, 50), 10.0) * random.uniform(1 - JITTER, 1 + JITTER)


def google(age: float, count: int, random: Random) -> float:
    """`exponential_sleep_generator`: between zero and a limit, and it is the limit that grows."""
    return random.uniform(0.0, min(1.5 ** min(count, 50), 20.0))


def shopify(age: float, count: int, random: Random) -> float:
    return 1.0 if count < 10 else 5.0


def every(seconds: float) -> Pause:
    return lambda age, count, random: seconds


@dataclass(frozen=True)
class Schedule:
    name: str
    pause: Pause
    source: str = ""
    is_ours: bool = False
    is_fixed: bool = False
    # Where its name stands in the chart, in points from its mark.
    label: tuple[int, int] = (8, 3)


# Without the limits on the whole wait, such as the 900 s of google-api-core and botocore's number of attempts. gh asks for
# more than the run at each turn; one request is counted. kubectl wait is left out: it watches, which a SAYMON server cannot.
SCHEDULES = (
    Schedule("saymon_bulk", ours(), is_ours=True, label=(-8, -14)),
    Schedule("saymon_bulk, max_interval=30", ours(max_interval=30.0), is_ours=True, label=(-8, -12)),
    Schedule("saymon_bulk, max_interval=60", ours(max_interval=60.0), is_ours=True, label=(-8, 6)),
    Schedule("saymon_bulk 0.1", growing, is_ours=True, label=(-8, 1)),
    Schedule("google-api-core", google, "google-api-core 2.44.0: DEFAULT_POLLING of google.api_core.future.polling"),
    Schedule(
        "Shopify CLI",
        shopify,
        "Shopify CLI: watch-bulk-operation.ts, INITIAL_POLL_COUNT and the intervals",
        label=(-28, -15),
    ),
    Schedule("gh run watch", every(3.0), "gh-run-watch(1): --interval", is_fixed=True),
    Schedule("botocore", every(15.0), "botocore 1.44.8: the median delay of the 415 waiters in its data", is_fixed=True),
    Schedule("azure-core", every(30.0), "azure-core 1.41.0: `timeout` of LROBasePolling", is_fixed=True),
    Schedule("every second", every(1.0), is_fixed=True),
    Schedule("every 5 s", every(5.0), is_fixed=True),
    Schedule("every 10 s", every(10.0), is_fixed=True),
)


@dataclass
class Result:
    """Of each operation its delay and its polls; of the server the requests in each second."""

    delays: list[float] = field(default_factory=list)
    polls: list[int] = field(default_factory=list)
    seconds: Counter[int] = field(default_factory=Counter)


def lengths(count: int = COUNT) -> list[float]:
    """Each order of magnitude is as likely as another."""
    random = Random(SEED)
    return [math.exp(random.uniform(math.log(SHORTEST), math.log(LONGEST))) for _ in range(count)]


def unbounded(pause: Pause, operations: list[float]) -> Result:
    """All at once, each by itself: the server answers all in the same time, however many there are."""
    random, result = Random(SEED), Result()
    for length in operations:
        asked, polls, seconds = 0.0, 1, result.seconds
        while (seen := asked + ROUND_TRIP / 2) < length:
            seconds[int(seen)] += 1
            answered = asked + ROUND_TRIP
            asked = answered + pause(answered, polls - 1, random)
            polls += 1
        seconds[int(seen)] += 1
        result.delays.append(asked + ROUND_TRIP - length)
        result.polls.append(polls)
    return result


def bounded(pause: Pause, operations: list[float], concurrency: int = CONCURRENCY) -> Result:
    """All at once in one `wait_for_bulks`: `concurrency` polls under way, one alone until it has proved the password."""
    random = Random(SEED)
    result = Result([0.0] * len(operations), [0] * len(operations))
    due = [(0.0, number) for number in range(len(operations))]
    free = [0.0]
    while due:
        asked, number = heapq.heappop(due)
        asked = max(asked, heapq.heappop(free))
        answered = asked + ROUND_TRIP
        heapq.heappush(free, answered)
        if not result.seconds:
            for _ in range(concurrency - 1):
                heapq.heappush(free, answered)
        seen = asked + ROUND_TRIP / 2
        result.seconds[int(seen)] += 1
        result.polls[number] += 1
        if seen >= operations[number]:
            result.delays[number] = answered - operations[number]
        else:
            heapq.heappush(due, (answered + pause(answered, result.polls[number] - 1, random), number))
    return result


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def summary(result: Result, operations: list[float]) -> dict[str, float]:
    """The part of the length is told of operations above 10 s: the shorter ones know within the shortest pause."""
    parts = [delay / length for delay, length in zip(result.delays, operations) if length >= 10]
    return {
        "median": quantile(result.delays, 0.5),
        "p95": quantile(result.delays, 0.95),
        "part_p95": quantile(parts, 0.95),
        "polls": sum(result.polls) / len(result.polls),
        "peak": max(result.seconds.values()),
    }


COLUMNS = (
    ("median", "delay s, median", "{:.1f}"),
    ("p95", "95 %", "{:.1f}"),
    ("part_p95", "of the length, 95 %", "{:.0%}"),
    ("polls", "polls each", "{:.0f}"),
    ("peak", "peak a second", "{:,.0f}"),
)


def table(head: str, rows: dict[str, dict[str, float]]) -> str:
    cells = [[head, *(title for _, title, _ in COLUMNS)]]
    cells += [[name, *(form.format(row[key]) for key, _, form in COLUMNS)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def better(rows: dict[str, dict[str, float]]) -> list[str]:
    """The others that know no later and ask no more often, by the median or by the 95th percentile."""
    mine = rows[SCHEDULES[0].name]
    others = [one.name for one in SCHEDULES if not one.is_ours]
    return [
        name
        for name in others
        if rows[name]["polls"] <= mine["polls"] and any(rows[name][key] <= mine[key] for key in ("median", "p95"))
    ]


def chart(target: Path, operations: list[float], results: dict[str, Result]) -> None:
    """Left, what a schedule costs and gives; right, the delay by the length. Colours of Okabe and Ito, and marks."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12.4, 4.9))
    rows = {name: summary(result, operations) for name, result in results.items()}
    fixed = sorted((one for one in SCHEDULES if one.is_fixed), key=lambda one: rows[one.name]["polls"])
    left.plot(
        [rows[one.name]["polls"] for one in fixed],
        [rows[one.name]["median"] for one in fixed],
        color="#999999",
        linestyle=":",
        zorder=1,
    )
    for one in SCHEDULES:
        x, y = rows[one.name]["polls"], rows[one.name]["median"]
        is_first = one is SCHEDULES[0]
        colour, mark = ("#0072B2", "o" if is_first else "D") if one.is_ours else ("#555555", "s" if one.is_fixed else "^")
        left.plot(x, y, mark, color=colour, markersize=10 if is_first else 6)
        left.annotate(
            one.name.replace("saymon_bulk, ", ""),
            (x, y),
            xytext=one.label,
            ha="right" if one.is_ours else "left",
            textcoords="offset points",
            fontsize=9 if is_first else 8,
            fontweight="bold" if is_first else "normal",
            color=colour,
        )
    left.set(xscale="log", yscale="log", xlim=(15, 2000), ylim=(0.4, 40))
    left.set_xticks(ticks := [20, 50, 100, 200, 500, 1000], map(str, ticks))
    left.set_xlabel("polls an operation, mean (fewer is better)", fontsize=9)
    left.set_ylabel("delay, median, s (less is better)", fontsize=9)
    left.set_title("What knowing sooner costs", fontsize=11, loc="left")
    shown = {
        "saymon_bulk": ("#0072B2", "-", 2.6),
        "google-api-core": ("#D55E00", "--", 1.4),
        "botocore": ("#009E73", "-.", 1.4),
        "azure-core": ("#000000", ":", 1.6),
    }
    bins = 24
    step = math.log(LONGEST / SHORTEST) / bins
    for name, (colour, line, width) in shown.items():
        groups: list[list[float]] = [[] for _ in range(bins)]
        for length, delay in zip(operations, results[name].delays):
            groups[min(int(math.log(length / SHORTEST) / step), bins - 1)].append(delay)
        middles = [SHORTEST * math.exp((number + 0.5) * step) for number in range(bins)]
        values = [quantile(group, 0.95) for group in groups]
        right.plot(middles, values, color=colour, linestyle=line, linewidth=width, label=name)
    right.plot([10, 100], [1, 10], color="#999999", linewidth=6, alpha=0.35, zorder=1, label="a tenth of the length")
    right.set(xscale="log", yscale="log", ylim=(0.4, 40))
    right.set_xticks([1, 10, 60, 600, 3600, 7200], ["1 s", "10 s", "1 min", "10 min", "1 h", "2 h"])
    right.set_xlabel("length of the operation", fontsize=9)
    right.set_ylabel("delay, 95th percentile, s", fontsize=9)
    right.set_title("The delay grows with the operation, up to 10 s", fontsize=11, loc="left")
    right.legend(fontsize=8, frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_yticks(ticks := [0.5, 1, 2, 5, 10, 20, 40], map(str, ticks))
        axes.minorticks_off()
        axes.grid(color="#eeeeee", zorder=0)
    figure.text(
        0.01,
        0.01,
        f"{COUNT:,} simulated operations of 1 s to 2 h, short and long ones as likely (log-uniform); a round trip of 30 ms; "
        "defaults as documented. Squares: fixed intervals.",
        fontsize=7,
        color="#555555",
    )
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(target, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--chart", type=Path, help="write a PNG")
    options = parser.parse_args()
    operations = lengths()
    results = {one.name: unbounded(one.pause, operations) for one in SCHEDULES}
    rows = {name: summary(result, operations) for name, result in results.items()}
    together = {one.name: summary(bounded(one.pause, operations), operations) for one in SCHEDULES if one.is_ours}
    if options.chart:
        chart(options.chart, operations, results)
    if options.json:
        print(json.dumps({"each by itself": rows, "one call": together, "better": better(rows)}, indent=1))
        return
    print(f"{COUNT:,} operations of 1 s to 2 h, begun at once, each waited for by itself; simulated\n")
    print(table("schedule", rows))
    print(f"\nThe same in one call of wait_for_bulks, {CONCURRENCY} polls under way\n")
    print(table("schedule", together))
    print(f"\nNo later than ours with no more polls: {', '.join(better(rows)) or 'none'}")
    print("\nSources of the defaults")
    print("\n".join(f"- {one.name}: {one.source}" for one in SCHEDULES if one.source))


if __name__ == "__main__":
    main()
