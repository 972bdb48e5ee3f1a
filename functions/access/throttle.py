"""Limit the failed attempts to use credentials, per sender."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cloud_executor.errors import TooManyAttempts

BURST = 100
"""Number of failed attempts that a sender has at once."""

REFILL_SECONDS = 1.0
"""Time after which a sender has another attempt, in seconds."""

MAX_SENDERS = 10_000
"""Number of senders that are remembered."""


class Throttle:
    """The failed attempts in this process. Safe for use by threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._senders: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Failed attempts that still count, and the time at which they were counted."""

    def check(self, sender: str) -> None:
        """Raises TooManyAttempts."""
        with self._lock:
            excess = self._failures(sender) - (BURST - 1)
        if excess > 0:
            raise TooManyAttempts(math.ceil(excess * REFILL_SECONDS))

    def count(self, sender: str) -> None:
        """Count a failed attempt."""
        with self._lock:
            self._senders[sender] = min(self._failures(sender) + 1, BURST), self._now()
            self._senders.move_to_end(sender)
            if len(self._senders) > MAX_SENDERS:
                self._senders.popitem(last=False)

    def _failures(self, sender: str) -> float:
        failures, counted = self._senders.get(sender, (0.0, 0.0))
        return max(0.0, failures - (self._now() - counted) / REFILL_SECONDS)
