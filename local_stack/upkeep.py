"""Periodic maintenance: repairs after crashes, and deletion of old data."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from cloud_executor.blobs.upkeep import BlobUpkeep
from cloud_executor.jobs.sweep import Sweep
from cloud_executor.process.time_jumps import TimeJumps
from cloud_executor.retention.collector import Collector

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
"""Longest interval between sweeps, in seconds."""

DELETION_SECONDS = 3600.0
"""Interval between deletions of old data, in seconds."""

MEASURE_SECONDS = 3600.0
"""Interval between measurements of the storage in use, in seconds."""

MEASURE_PAUSES = 50
"""Least pause after a measurement, as a multiple of its time: it looks at every object."""

GC_SECONDS = 86400.0
"""Interval between deletions of old jobs and blobs, in seconds."""

STOP_SECONDS = 2.0
"""Longest wait for a running task at the end, in seconds."""


@dataclass(slots=True)
class Task:
    action: str
    work: Callable[[], object]
    interval_seconds: float
    pauses: float = 0.0
    """Least pause after the task, as a multiple of its time."""
    includes: Task | None = None
    """A task that this one does as well, unless it fails."""
    due: float = 0.0


class Upkeep:
    """A thread of the supervisor, from `start` to `stop`. Errors are logged, and the task runs again when it is due."""

    def __init__(self, name: str, tasks: Sequence[Task], time_jumps: TimeJumps | None = None) -> None:
        self._tasks = tasks
        self._time_jumps = time_jumps
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @classmethod
    def repairs(cls, sweep: Sweep, blobs: BlobUpkeep) -> Self:
        """The short tasks."""
        sweep_seconds = min(SWEEP_SECONDS, sweep.options.refresh_period.total_seconds() / 2)
        tasks = (
            Task("sweep", sweep.run, sweep_seconds),
            Task("delete_abandoned_uploads", blobs.delete_abandoned_uploads, DELETION_SECONDS),
            Task("delete_old_zips", blobs.delete_old_zips, DELETION_SECONDS),
        )
        return cls("upkeep", tasks, sweep.time_jumps)

    @classmethod
    def retention(cls, collector: Collector, keep: timedelta | None) -> Self:
        """The tasks that look at every object, which can take minutes. If `keep` is None, nothing is deleted."""
        measure = Task("measure", collector.measure, MEASURE_SECONDS, MEASURE_PAUSES)
        if keep is None:
            return cls("retention", [measure])
        return cls("retention", [Task("gc", lambda: collector.run(keep), GC_SECONDS, includes=measure), measure])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with nullcontext() if self._time_jumps is None else self._time_jumps.watched():
            while not self._stopping.is_set():
                for task in self._tasks:
                    if time.monotonic() >= task.due:
                        self._run_task(task)
                self._stopping.wait(max(0.0, min(task.due for task in self._tasks) - time.monotonic()))

    def _run_task(self, task: Task) -> None:
        start = time.monotonic()
        try:
            task.work()
        except Exception:
            logger.exception("upkeep failed", extra={"action": task.action})
        else:
            if task.includes is not None:
                task.includes.due = time.monotonic() + task.includes.interval_seconds
        end = time.monotonic()
        task.due = end + max(task.interval_seconds, task.pauses * (end - start))
