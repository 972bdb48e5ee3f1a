"""The time, as an argument: use cases and stores take a Clock, so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time: aware, in UTC."""


def system_clock() -> datetime:
    return datetime.now(UTC)
