"""Tests for noticing that time has jumped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from cloud_executor.process.time_jumps import TimeJumps

GAP = timedelta(hours=1)  # the thread does not look during a test
PERIOD = timedelta(hours=3)


@dataclass
class Clocks:
    boot: float = 1000.0
    wall: float = 1_800_000_000.0

    def advance(self, period: timedelta, wall: timedelta | None = None) -> None:
        self.boot += period.total_seconds()
        self.wall += (period if wall is None else wall).total_seconds()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def jumps(clocks: Clocks) -> Iterator[TimeJumps]:
    jumps = TimeJumps(GAP, lambda: clocks.boot, lambda: clocks.wall)
    with jumps.watched():
        yield jumps


def test_steady_time_is_no_jump(jumps: TimeJumps, clocks: Clocks) -> None:
    for _ in range(10):
        clocks.advance(GAP)
        assert not jumps.within(PERIOD)


def test_a_sleep_is_a_jump_for_the_first_thread_that_runs_after_it(jumps: TimeJumps, clocks: Clocks) -> None:
    clocks.advance(GAP + timedelta(seconds=1))
    assert jumps.within(PERIOD)
    clocks.advance(GAP)
    assert jumps.within(PERIOD)
    clocks.advance(GAP)
    clocks.advance(timedelta(0))
    assert jumps.last == 1000.0 + GAP.total_seconds() + 1
    clocks.advance(GAP)
    assert jumps.last == 1000.0 + GAP.total_seconds() + 1
    assert not jumps.within(PERIOD)


@pytest.mark.parametrize("wall", [timedelta(hours=-1), timedelta(seconds=3)])
def test_setting_the_wall_clock_is_a_jump(jumps: TimeJumps, clocks: Clocks, wall: timedelta) -> None:
    clocks.advance(timedelta(seconds=1), wall)
    assert jumps.within(PERIOD)


def test_time_is_not_judged_unless_it_is_watched(clocks: Clocks) -> None:
    jumps = TimeJumps(GAP, lambda: clocks.boot, lambda: clocks.wall)
    clocks.advance(10 * GAP)
    assert not jumps.within(PERIOD)
    with jumps.watched():
        assert not jumps.within(PERIOD)
    clocks.advance(10 * GAP)
    assert not jumps.within(PERIOD)
