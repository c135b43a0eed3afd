"""The chart for the README: python chart.py results.json chart.png. Kept connections against kept ones, axes from zero."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from clients import FUNCTIONS
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

OURS, PEER, LIMIT = "#1f6fb2", "#b8bfc6", "#6b7280"
PANELS = (
    ("Warm call, TLS, connection kept, pinned", "us", "One call on a kept TLS connection", "µs (shorter is better)", False),
    ("10,000 ids, TLS", "per_second", "10,000 operations over TLS", "statuses a second (longer is better)", True),
)
LIMITS = {"raw C": "raw C (the limit)", "bare reqwest": "reqwest in Rust (our limit)", "wrk": "wrk (the limit)"}
# The README has the figure of the plain function.
LEFT_OUT = FUNCTIONS


def panel(axes: plt.Axes, rounds: dict[str, list[dict[str, float]]], key: str, *, more: bool) -> None:
    values = {who: [one[key] for one in all_of_it] for who, all_of_it in rounds.items() if who not in LEFT_OUT}
    names = sorted(values, key=lambda who: median(values[who]), reverse=not more)
    middles = [median(values[who]) for who in names]
    spread = [
        [middle - min(values[who]) for who, middle in zip(names, middles)],
        [max(values[who]) - middle for who, middle in zip(names, middles)],
    ]
    colours = [OURS if "saymon_bulk" in who else LIMIT if who in LIMITS else PEER for who in names]
    axes.barh(
        [LIMITS.get(who, who) for who in names], middles, color=colours, xerr=spread, error_kw={"lw": 0.8, "capsize": 2}
    )
    longest = max(max(all_of_it) for all_of_it in values.values())
    for row, who in enumerate(names):
        text = f"{middles[row]:,.0f}" if middles[row] >= 100 else f"{middles[row]:.1f}"
        axes.text(max(values[who]) + longest * 0.015, row, text, va="center", fontsize=8)
    axes.set_xlim(0, longest * 1.15)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=9)
    for label, who in zip(axes.get_yticklabels(), names):
        label.set_fontweight("bold" if "saymon_bulk" in who else "normal")


def main(source: Path, target: Path) -> None:
    everything = json.loads(source.read_text())
    shown = [one for one in PANELS if everything["results"].get(one[0])]
    if not shown:
        print("no chart: neither of its tasks was measured")
        return
    figure, all_axes = plt.subplots(1, len(shown), figsize=(6.2 * len(shown), 4.6), squeeze=False)
    for axes, (task, key, title, unit, more) in zip(all_axes[0], shown):
        panel(axes, everything["results"][task], key, more=more)
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xlabel(unit, fontsize=9)
    about = everything["about"]
    rounds = max(len(one) for one in everything["results"][shown[0][0]].values())
    figure.text(
        0.01,
        0.01,
        f"Median, least and most of {rounds} rounds on loopback, nginx with one worker; {about['when'][:10]}, "
        f"Python {about['python']}. One call: client and server on one core.\nMany: 64 at once, on threads 16, connecting "
        "included; wrk on standing connections. Over a real network its delay comes on top for all.",
        fontsize=7,
        color="#555555",
    )
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(target, dpi=150)


main(Path(sys.argv[1]), Path(sys.argv[2]))
