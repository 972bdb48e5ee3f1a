"""Faults of the worker's machine, which are not the job's: it runs out of disk space, memory, processes, or files."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable

from cloud_executor.errors import Unavailable
from worker_vm.worker.work_folder import NO_SPACE

PAUSE_SECONDS = 120.0
"""Time after a fault in which a worker takes no job, in seconds. Its machine can be replaced meanwhile."""

_RESOURCES = {
    errno.ENOSPC: "disk space",
    errno.EDQUOT: "disk space",
    errno.ENOMEM: "memory",
    errno.EAGAIN: "processes",
    errno.EMFILE: "file descriptors",
    errno.ENFILE: "file descriptors",
}


class MachineFault(Unavailable):
    """The worker's machine has run out of a resource."""


def raise_if_machine_fault(error: BaseException | None) -> None:
    """Raises MachineFault if this error, or one that caused it, means that the machine has run out of a resource."""
    while error is not None:
        resource = _missing(error)
        if resource is not None:
            raise MachineFault(f"The worker's machine has run out of {resource}.") from error
        error = error.__cause__


def raise_if_shortage(reason: str | None) -> None:
    """Raises MachineFault if the reason, in the words of the system, is such an error."""
    for code in _RESOURCES:
        if reason is not None and reason == os.strerror(code).lower():
            raise_if_machine_fault(OSError(code, reason))


def is_out_of_disk(reason: str | None) -> bool:
    """Whether the reason, in the words of the system, is that there is no disk space."""
    return any(reason == os.strerror(code).lower() for code in NO_SPACE)


def _missing(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        return _RESOURCES.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "threads"
    return None


class MachineFaults:
    """The last fault of the machine, while it counts. Safe for use by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[str, float] | None = None

    def note(self, fault: MachineFault) -> None:
        self._last = str(fault), self._clock() + PAUSE_SECONDS

    def note_cause(self, error: BaseException) -> None:
        """Note the fault if one caused the error."""
        try:
            raise_if_machine_fault(error)
        except MachineFault as fault:
            self.note(fault)

    @property
    def current(self) -> str | None:
        """The fault, as a sentence, while the worker must not take jobs."""
        last = self._last
        return last[0] if last is not None and self._clock() < last[1] else None

    def wait(self, stopping: threading.Event) -> None:
        """Wait until the worker may take jobs, or must stop."""
        while self.current is not None and not stopping.wait(1.0):
            pass
