"""The time, as an argument: use cases and stores take a Clock, so that tests can set it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time: aware, in UTC."""


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # other systems than Linux lack it


def boot_seconds() -> float:
    """Time since the machine was started, in seconds. Setting the wall clock does not change it, and sleep counts."""
    return time.clock_gettime(_BOOT_CLOCK)


def system_clock() -> datetime:
    return datetime.now(UTC)
