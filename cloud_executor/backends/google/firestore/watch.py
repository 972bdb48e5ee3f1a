"""How a request notices changes of a job in Firestore: it reads the job at intervals."""

from __future__ import annotations

import threading

from cloud_executor.delays import delays

FIRST_LOOK_SECONDS = 1.0
LONGEST_LOOK_SECONDS = 5.0
"""Shortest and longest interval between the reads of a job that a request watches, in seconds."""


class IntervalWatch:
    """A JobWatch that makes its owner read the job once a second at first, and then less often."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._intervals = delays(FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS, factor=1.5)

    def wait(self, seconds: float) -> None:
        self._stopped.wait(min(seconds, next(self._intervals)))

    def stop(self) -> None:
        self._stopped.set()
