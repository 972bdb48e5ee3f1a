"""Calls to the storage that are repeated while it cannot be reached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cloud_executor.model.errors import Unavailable

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0

STORAGE_PATIENCE_SECONDS = 30.0
"""how long a step of a job waits for the storage"""


def persist(
    action: Callable[[], T], stopping: threading.Event, patience_seconds: float = STORAGE_PATIENCE_SECONDS
) -> T:
    """What `action` gives, which is repeated while it raises Unavailable, at growing intervals.

    The error leaves once patience is at its end, or the worker stops.
    """
    end = time.monotonic() + patience_seconds
    delay = FIRST_DELAY_SECONDS
    while True:
        try:
            return action()
        except Unavailable:
            if time.monotonic() + delay >= end or stopping.wait(delay):
                raise
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)
