"""Notice when time jumps: the machine slept, this process was stopped, or the wall clock was set."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from cloud_executor.clock import boot_seconds

LOOKS_PER_GAP = 4

WALL_SECONDS = 1.0
"""Least difference between the progress of the wall clock and the boot clock that counts as a jump, in seconds."""


class TimeJumps:
    """Notices jumps inside a `watched` block. Safe for use by threads.

    A process that did not run for `gap` cannot tell a dead worker from one that slept as well, so it must not judge
    expired leases until their owners have had time to renew them.
    """

    def __init__(
        self,
        gap: timedelta = timedelta(seconds=5),
        boot_clock: Callable[[], float] = boot_seconds,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._gap_seconds = gap.total_seconds()
        self._boot_clock = boot_clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._watched = False
        self._looked_at = 0.0
        self._wall_offset = 0.0
        self._last = -math.inf

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice jumps inside the block."""
        self._reset()
        self._watched = True
        ended = threading.Event()
        thread = threading.Thread(target=self._keep_looking, args=(ended,), name="time jumps", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._watched = False
            ended.set()
            thread.join()

    @property
    def last(self) -> float:
        """Time of the last jump, on the boot clock; minus infinity if there was none.

        A jump counts as soon as it is over, even if the caller is the first thread to run after it.
        """
        with self._lock:
            if self._watched:
                self._look()
            return self._last

    def within(self, period: timedelta) -> bool:
        """Whether time has jumped in the period before now."""
        return self._boot_clock() < self.last + period.total_seconds()

    def _keep_looking(self, ended: threading.Event) -> None:
        while not ended.wait(self._gap_seconds / LOOKS_PER_GAP):
            with self._lock:
                self._look()

    def _look(self) -> None:
        before, offset_before = self._looked_at, self._wall_offset
        self._reset()
        if self._looked_at - before > self._gap_seconds or abs(self._wall_offset - offset_before) > WALL_SECONDS:
            self._last = self._looked_at

    def _reset(self) -> None:
        self._looked_at = self._boot_clock()
        self._wall_offset = self._wall_clock() - self._looked_at
