"""The tasks of the local stack's upkeep: when they run again."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from local_stack.upkeep import Task, Upkeep


class Collector:
    """Records what it does. `error`: what a run raises."""

    def __init__(self, error: Exception | None) -> None:
        self.calls: list[str] = []
        self.called = threading.Event()
        self._error = error

    def run(self, keep: timedelta) -> None:
        self.calls.append("gc")
        self.called.set()
        if self._error is not None:
            raise self._error

    def measure(self) -> None:
        self.calls.append("measure")
        self.called.set()


@pytest.mark.parametrize(
    ("keep", "error", "calls"),
    [
        (timedelta(1), None, ["gc"]),
        (timedelta(1), OSError("broken"), ["gc", "measure"]),
        (None, None, ["measure"]),
    ],
)
def test_a_deletion_of_old_data_measures_as_well(
    keep: timedelta | None, error: Exception | None, calls: list[str]
) -> None:
    collector: Any = Collector(error)
    upkeep = Upkeep.retention(collector, keep)
    upkeep.start()
    assert collector.called.wait(30)
    upkeep.stop()  # once all tasks that were due have run
    assert collector.calls == calls


def test_a_task_that_takes_long_runs_less_often() -> None:
    done = threading.Event()

    def work() -> None:
        time.sleep(0.02)
        done.set()

    task = Task("work", work, 0.01, pauses=5000)
    upkeep = Upkeep("upkeep", [task])
    upkeep.start()
    assert done.wait(30)
    upkeep.stop()
    assert task.due - time.monotonic() > 60
