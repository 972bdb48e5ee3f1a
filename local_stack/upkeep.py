"""What has to be done now and then: mending what crashes left, and clearing away."""

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
CLEARING_SECONDS = 3600.0

STOP_SECONDS = 2.0


@dataclass(slots=True)
class _Chore:
    action: str
    work: Callable[[], object]
    every_seconds: float
    due: float = 0.0


class Upkeep:
    """Runs beside the supervisor; its failures are logged, and the next time tries again."""

    def __init__(self, sweep: Sweep, blobs: BlobUpkeep) -> None:
        sweep_seconds = min(SWEEP_SECONDS, sweep.options.refresh_period.total_seconds() / 2)
        self._chores = (
            _Chore("sweep", sweep.run, sweep_seconds),
            _Chore("delete_abandoned_uploads", blobs.delete_abandoned_uploads, CLEARING_SECONDS),
            _Chore("delete_old_zips", blobs.delete_old_zips, CLEARING_SECONDS),
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for chore in self._chores:
                if time.monotonic() >= chore.due:
                    self._do(chore)
                    chore.due = time.monotonic() + chore.every_seconds
            self._stopping.wait(max(0.0, min(chore.due for chore in self._chores) - time.monotonic()))

    def _do(self, chore: _Chore) -> None:
        try:
            chore.work()
        except Exception:
            logger.exception("upkeep failed", extra={"action": chore.action})
