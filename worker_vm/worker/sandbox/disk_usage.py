"""Check now and then, while a command runs, whether its attempt's folder exceeds the disk limit."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker_vm.worker.sandbox.deleted_files import deleted_bytes
from worker_vm.worker.sandbox.limits import MIB, Limits

SCAN_SECONDS = 0.5
"""Minimum interval between two scans, in seconds."""

PAUSE_RATIO = 10
"""Minimum ratio of the pause after a scan to the scan's duration: scanning a million files is slow."""

LEVELS = 100
"""Depth of folders that are scanned. Each level takes file descriptors."""

TOO_DEEP = f"The command created more than {LEVELS} levels of folders; their disk usage cannot be checked."

_BLOCK_BYTES = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

LEAST_BYTES = 4096
"""Size for which each file and folder counts at least, in bytes."""


class DiskUsage:
    """Disk usage of the files below a folder, and of the deleted files that a command still has open."""

    def __init__(self, folder: Path, limits: Limits, root: Callable[[], int | None] = lambda: None) -> None:
        """`root` returns the process whose descendants are the command's; None if it is unknown."""
        self._folder = folder
        self._limits = limits
        self._root = root
        self._next = time.monotonic() + SCAN_SECONDS
        self._exceeded: str | None = None

    def exceeded(self) -> str | None:
        """Scan the folder if it is time to. If it exceeded the limit, return a sentence for the job's owner."""
        start = time.monotonic()
        if self._limits.disk_mib is not None and self._exceeded is None and start >= self._next:
            self._exceeded = self._scan(self._limits.disk_mib * MIB)
            end = time.monotonic()
            self._next = end + max(SCAN_SECONDS, PAUSE_RATIO * (end - start))
        return self._exceeded

    def _scan(self, limit: int) -> str | None:
        try:
            folder = os.open(self._folder, _FOLDER)
        except OSError:
            return None
        try:
            used = _used(folder, limit, LEVELS)
            root = self._root() if used <= limit else None
            if root is not None:
                used += deleted_bytes(root, os.fstat(folder).st_dev)
        finally:
            os.close(folder)
        if math.isinf(used):
            return TOO_DEEP
        return self._limits.disk_exceeded() if used > limit else None


def _used(folder: int, limit: float, levels: int) -> float:
    """Bytes used by the folder's contents, or any number above the limit. Infinite if there are more levels."""
    if not levels:
        return math.inf
    used = 0.0
    # The command may change everything meanwhile, and may make folders unreadable.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                found, is_folder = entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
                # A file with several hard links counts once in total; an empty one takes an inode.
                size = max(found.st_blocks * _BLOCK_BYTES, LEAST_BYTES)
                used += size / (1 if is_folder else max(1, found.st_nlink))
                if is_folder:
                    # Go from folder to folder, because a path has a maximum length.
                    inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        used += _used(inner, limit - used, levels - 1)
                    finally:
                        os.close(inner)
            if used > limit:
                break
    return used
