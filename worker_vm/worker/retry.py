"""Retry calls while a service that they need, such as the storage, is unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0

RETRY_SECONDS = 900.0
"""Time limit for retrying one step of a job, in seconds. It is long because running the job again would cost more."""


class Waiting(Protocol):
    """Something that ends a wait early: an attempt, or the event that is set when the worker stops."""

    def wait(self, seconds: float, /) -> bool:
        """Wait up to this time. When the wait ends early, return True or raise an exception."""


def retry_while_unavailable(
    action: Callable[[], T],
    waiting: Waiting,
    retry_seconds: float = RETRY_SECONDS,
    *,
    longest_delay_seconds: float = LONGEST_DELAY_SECONDS,
) -> T:
    """Return the result of `action`; call it again, at growing intervals, while it raises Unavailable.

    Raises Unavailable when the time limit is reached or `waiting` ends the wait.
    """
    end = time.monotonic() + retry_seconds
    retry_delays = delays(FIRST_DELAY_SECONDS, longest_delay_seconds)
    while True:
        try:
            return action()
        except Unavailable:
            delay = next(retry_delays)
            if time.monotonic() + delay >= end or waiting.wait(delay):
                raise
