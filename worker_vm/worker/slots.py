"""What each slot of a worker does at the moment: it asks for a delivery, or works on one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Slots:
    """Safe for use by threads. Slots are numbered from 1; `clock` gives seconds that never go back."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self.closed = threading.Event()
        """for who waits for that"""
        self._clock = clock
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        """Begin: no slot has ever worked."""
        with self._lock:
            now = self._clock()
            self._polling_since = dict.fromkeys(range(1, self.count + 1), now)
            self._idle_since = now
            self._refused = False
            self.closed.clear()

    def close(self) -> None:
        """Let no slot take a delivery any more."""
        with self._lock:
            self.closed.set()

    def close_if_idle(self, seconds: float) -> bool:
        """Close if no slot has worked for so long; whether that is so.

        One step: a delivery that comes at the same moment either finds the slots closed, or keeps them open.
        """
        with self._lock:
            idle = self._busy == 0 and self._clock() - self._idle_since >= seconds
            if idle:
                self.closed.set()
            return idle

    @property
    def refused(self) -> bool:
        """Whether a delivery came after the slots were closed."""
        return self._refused

    @property
    def busy(self) -> int:
        """How many work."""
        with self._lock:
            return self._busy

    def polls(self, slot: int) -> None:
        """Note that it asks for a delivery now."""
        with self._lock:
            self._polling_since[slot] = self._clock()

    @contextmanager
    def working(self, slot: int) -> Iterator[bool]:
        """While a slot has a delivery in hand; whether it may work on it, or has to give it back at once."""
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
        """The slot that has not come back from asking for the longest time, and the seconds; None: all work."""
        with self._lock:
            now = self._clock()
            return max(
                ((slot, now - since) for slot, since in self._polling_since.items()),
                key=lambda asking: asking[1],
                default=None,
            )

    @property
    def _busy(self) -> int:
        return self.count - len(self._polling_since)
