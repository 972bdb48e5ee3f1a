"""The state of a worker's slots: each one polls for a delivery, or works on one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Slots:
    """The slots, numbered from 1; safe for use by threads. `clock` returns monotonic seconds."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self.closed = threading.Event()
        """Set when the slots are closed."""
        self._clock = clock
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        """Reset the slots to their initial state, in which none has worked."""
        with self._lock:
            now = self._clock()
            self._polling_since = dict.fromkeys(range(1, self.count + 1), now)
            self._idle_since = now
            self._refused = False
            self.closed.clear()

    def close(self) -> None:
        """Let no slot take another delivery."""
        with self._lock:
            self.closed.set()

    def close_if_idle(self, seconds: float) -> bool:
        """Close the slots if none has worked for this time. Returns whether they were closed.

        This is atomic: a delivery that arrives at the same moment either finds the slots closed, or keeps them open.
        """
        with self._lock:
            idle = self._busy == 0 and self._clock() - self._idle_since >= seconds
            if idle:
                self.closed.set()
            return idle

    @property
    def refused(self) -> bool:
        """Whether a delivery arrived after the slots were closed."""
        return self._refused

    @property
    def busy(self) -> int:
        """Number of slots that work on a delivery."""
        with self._lock:
            return self._busy

    def polls(self, slot: int) -> None:
        """Note that the slot starts to poll for a delivery."""
        with self._lock:
            self._polling_since[slot] = self._clock()

    @contextmanager
    def working(self, slot: int) -> Iterator[bool]:
        """Mark the slot as busy inside the block. Yields False if it must give the delivery back instead."""
        with self._lock:
            taken = not self.closed.is_set()
            if taken:
                del self._polling_since[slot]
            else:
                self._refused = True
        try:
            yield taken
        finally:
            with self._lock:
                self._polling_since[slot] = self._clock()
                if taken:
                    self._idle_since = self._clock()

    def longest_polling(self) -> tuple[int, float] | None:
        """The slot that has been polling longest, and for how many seconds; None if all slots work."""
        with self._lock:
            now = self._clock()
            return max(
                ((slot, now - since) for slot, since in self._polling_since.items()),
                key=lambda polling: polling[1],
                default=None,
            )

    @property
    def _busy(self) -> int:
        return self.count - len(self._polling_since)
