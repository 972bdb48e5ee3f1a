"""Signals that tell a program to stop, as an event."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from queue import SimpleQueue


def set_on_signals(stopping: threading.Event, numbers: Iterable[signal.Signals]) -> None:
    """Set the event when one of the signals comes; one that comes again changes nothing. For the main thread.

    The handler must not do it itself: it would wait for ever for the event's lock if it interrupts the main thread
    while that holds it, within a `wait`. What a handler may do is to put something in a SimpleQueue.
    """
    received: SimpleQueue[int] = SimpleQueue()

    def wait() -> None:
        received.get()
        stopping.set()

    threading.Thread(target=wait, name="stop signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, lambda found, _: received.put(found))
