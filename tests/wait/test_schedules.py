"""The simulation of benches/schedules.py waits as the package does."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from random import Random
from statistics import median
from types import ModuleType
from typing import Any

import pytest
from peer import END, RUN, Answer, Desk, at, no_hanging
from saymon_bulk import _client

_no_hanging = no_hanging()


def loaded() -> ModuleType:
    path = Path(__file__).parents[2] / "benches" / "schedules.py"
    spec = importlib.util.spec_from_file_location("schedules", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["schedules"] = module
    spec.loader.exec_module(module)
    return module


schedules: Any = loaded()


class Edge(Random):
    """Always the same end of a range."""

    def __init__(self, *, is_upper: bool) -> None:
        self.is_upper = is_upper
        super().__init__()

    def uniform(self, a: float, b: float) -> float:
        return b if self.is_upper else a


def test_the_defaults_are_those_of_the_package() -> None:
    ours = (schedules.INTERVAL, schedules.MAX_INTERVAL, schedules.CONCURRENCY)
    assert ours == (_client.INTERVAL, _client.MAX_INTERVAL, _client.CONCURRENCY)


class Clock(Desk):
    """It notes when it was asked."""

    def __init__(self) -> None:
        self.times: list[float] = []
        super().__init__()

    def _script_for(self, request: bytes) -> list[Answer]:
        self.times.append(time.monotonic())
        return super()._script_for(request)


@pytest.mark.slow
@pytest.mark.clock
def test_the_pauses_are_those_of_the_simulation() -> None:
    """None is shorter; most are as long. A busy machine may lengthen a few."""
    interval, max_interval, polls = 0.05, 0.3, 40
    pause = schedules.ours(interval, max_interval)
    with Clock() as clock:
        clock.answer(*[RUN] * polls, END)
        began = time.monotonic()
        at(clock).wait_for_bulk("op", interval=interval, max_interval=max_interval)
    assert len(clock.times) == polls + 1
    shortest, longest = Edge(is_upper=False), Edge(is_upper=True)
    over = []
    for number, (last, following) in enumerate(zip(clock.times, clock.times[1:])):
        # The wait began after `began` and before the first poll.
        assert following - last >= pause(last - clock.times[0], number, shortest) - 0.005
        over.append((following - last) / pause(last - began, number, longest))
    assert median(over) < 1.2
    # It has grown: the first is a sixth of the last.
    assert clock.times[-1] - clock.times[-2] > 4 * interval


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_simulation_keeps_to_the_concurrency(concurrency: int) -> None:
    result = schedules.bounded(schedules.ours(), [1.0] * 200, concurrency)
    assert max(result.seconds.values()) <= concurrency * (1 / schedules.ROUND_TRIP + 1)


def test_one_by_itself_and_one_of_one_are_the_same() -> None:
    lengths = [30.0]
    alone = schedules.unbounded(schedules.ours(), lengths)
    among = schedules.bounded(schedules.ours(), lengths)
    assert (alone.delays, alone.polls, alone.seconds) == (among.delays, among.polls, among.seconds)


def test_what_is_known_late_is_late_by_a_tenth_of_its_length() -> None:
    lengths = schedules.lengths(500)
    result = schedules.unbounded(schedules.ours(), lengths)
    for length, delay in zip(lengths, result.delays):
        assert delay <= max(0.11 * length, 1.1) + 2 * schedules.ROUND_TRIP


@pytest.mark.slow
def test_nobody_knows_sooner_with_fewer_polls() -> None:
    lengths = schedules.lengths(500)
    rows = {one.name: schedules.summary(schedules.unbounded(one.pause, lengths), lengths) for one in schedules.SCHEDULES}
    assert schedules.better(rows) == []
