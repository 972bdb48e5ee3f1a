"""Periodic maintenance: repairs after crashes, and deletion of old data."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloud_executor.blobs.upkeep import BlobUpkeep
from cloud_executor.jobs.sweep import Sweep

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
"""Longest interval between sweeps, in seconds."""

DELETION_SECONDS = 3600.0
"""Interval between deletions of old data, in seconds."""

STOP_SECONDS = 2.0
"""Longest wait for a running task at the end, in seconds."""


@dataclass(slots=True)
class _Task:
    action: str
    work: Callable[[], object]
    interval_seconds: float
    due: float = 0.0


class Upkeep:
    """A thread of the supervisor, from `start` to `stop`. Errors are logged, and the task runs again when it is due."""

    def __init__(self, sweep: Sweep, blobs: BlobUpkeep) -> None:
        sweep_seconds = min(SWEEP_SECONDS, sweep.options.refresh_period.total_seconds() / 2)
        self._tasks = (
            _Task("sweep", sweep.run, sweep_seconds),
            _Task("delete_abandoned_uploads", blobs.delete_abandoned_uploads, DELETION_SECONDS),
            _Task("delete_old_zips", blobs.delete_old_zips, DELETION_SECONDS),
        )
        self._time_jumps = sweep.time_jumps
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with self._time_jumps.watched():
            while not self._stopping.is_set():
                for task in self._tasks:
                    if time.monotonic() >= task.due:
                        self._run_task(task)
                        task.due = time.monotonic() + task.interval_seconds
                self._stopping.wait(max(0.0, min(task.due for task in self._tasks) - time.monotonic()))

    def _run_task(self, task: _Task) -> None:
        try:
            task.work()
        except Exception:
            logger.exception("upkeep failed", extra={"action": task.action})
