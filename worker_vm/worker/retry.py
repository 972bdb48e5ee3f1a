"""Calls that are repeated while what they need, such as the storage, cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0

PATIENCE_SECONDS = 900.0
"""how long a step of a job, and its outcome, wait for what is away: to repeat the job would cost more"""


class Waiting(Protocol):
    """An attempt, or the event that the worker stops: what ends a wait at once."""

    def wait(self, seconds: float, /) -> bool:
        """Wait so long; whether that has ended before, if it raises no error of its own then."""


def persist(
    action: Callable[[], T],
    waiting: Waiting,
    patience_seconds: float = PATIENCE_SECONDS,
    *,
    longest_delay_seconds: float = LONGEST_DELAY_SECONDS,
) -> T:
    """What `action` gives, which is repeated while it raises Unavailable, at growing intervals.

    The error leaves once patience is at its end, or the wait is.
    """
    end = time.monotonic() + patience_seconds
    retry_delays = delays(FIRST_DELAY_SECONDS, longest_delay_seconds)
    while True:
        try:
            return action()
        except Unavailable:
            delay = next(retry_delays)
            if time.monotonic() + delay >= end or waiting.wait(delay):
                raise
