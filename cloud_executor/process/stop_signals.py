"""Signals of our programs: start with the defaults, and stop on an event."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable

KEPT = frozenset({signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ})
"""Signals that stay ignored: SIGHUP because of `nohup`, the others because Python ignores them at its start."""


def reset_signals() -> None:
    """Undo the ignored and blocked signals that a program inherits. Call this first, from the main thread.

    With SIGCHLD ignored, for example, the system discards the exit codes of children, and Python takes them for 0.
    """
    for number in signal.valid_signals() - KEPT:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def set_on_signals(stopping: threading.Event, numbers: Iterable[signal.Signals]) -> None:
    """Set the event on the first of the signals; later ones have no effect. Call this from the main thread.

    Python runs signal handlers between two instructions of the main thread: never, if the signal arrives just before
    that thread blocks on a lock. Also, a handler that sets the event can deadlock on the event's own lock. So the
    handler does nothing. Instead, the interpreter's low-level handler writes the signal number to a pipe at once, and a
    thread waits on the pipe.
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
