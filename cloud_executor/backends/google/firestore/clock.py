"""The clock of the database, as its responses show it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from cloud_executor.clock import boot_seconds

FRESH_SECONDS = 600.0
"""Time for which a response shows the time, in seconds. Two machines' clocks drift apart by
less than a millisecond per second."""


class ServerClock:
    """Never runs ahead of the database's clock. Safe for use by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: tuple[datetime, float] | None = None

    def note(self, time: datetime | None) -> None:
        """Note the time in a response that has just arrived."""
        if time is None:
            return
        received = boot_seconds()
        with self._lock:
            shown = self._time_at(received)
            # The slower a response, the later its time.
            if shown is None or time > shown:
                # Not the library's own type, which has nanoseconds.
                self._noted = datetime.fromtimestamp(time.timestamp(), UTC), received

    def now(self) -> datetime | None:
        """The time; None without a recent response."""
        with self._lock:
            return self._time_at(boot_seconds())

    def _time_at(self, moment: float) -> datetime | None:
        if self._noted is None or moment - self._noted[1] > FRESH_SECONDS:
            return None
        return self._noted[0] + timedelta(seconds=moment - self._noted[1])
