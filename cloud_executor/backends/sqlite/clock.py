"""The clock of the embedded backends: all processes of a machine share it. It ignores changes of the wall clock.

It is the boot clock plus the time of the machine's start, which the first process after a start of the machine writes
into a file.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud_executor.backends.os_errors import os_errors
from cloud_executor.clock import Clock, boot_seconds, system_clock

FILE = "boot-clock"

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def open_boot_clock(folder: Path) -> Clock:
    """The clock of this machine, whose file is in the folder. Raises Unavailable."""
    try:
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        return system_clock  # Another system than Linux.
    with os_errors():
        folder.mkdir(parents=True, exist_ok=True)
        started = _read(folder / FILE, boot_id)
        if started is None:
            started = time.time() - boot_seconds()
            _write(folder / FILE, boot_id, started)
            # Another process that did the same at the same time read a clock that differs by microseconds.
    start = datetime.fromtimestamp(started, UTC)
    return lambda: start + timedelta(seconds=boot_seconds())


def _read(path: Path, boot_id: str) -> float | None:
    """The time of the machine's start; None if no process has written it since."""
    try:
        found, started = path.read_text().split()
        return float(started) if found == boot_id else None
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, boot_id: str, started: float) -> None:
    new = path.with_name(f"{path.name}-{os.getpid()}")
    new.write_text(f"{boot_id} {started!r}\n")
    new.replace(path)
