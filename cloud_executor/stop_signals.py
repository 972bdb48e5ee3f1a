"""Signals that tell a program to stop, as an event."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable


def set_on_signals(stopping: threading.Event, numbers: Iterable[signal.Signals]) -> None:
    """Set the event when one of the signals comes; one that comes again changes nothing. For the main thread.

    Python runs a handler when the main thread comes round to it, which is never if the signal came just before that
    thread went to sleep on a lock; and a handler that sets the event may wait for ever for the event's own lock. So
    the handler does nothing: the system's half of it writes the signal's number to a pipe, at once, whatever the
    threads do, and a thread of ours waits there.
    """
    stops = frozenset(numbers)
    received, sent = os.pipe()
    os.set_blocking(sent, False)
    signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
    for number in stops:
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        while stops.isdisjoint(os.read(received, 1)):
            pass
        stopping.set()

    threading.Thread(target=wait, name="stop signals", daemon=True).start()
