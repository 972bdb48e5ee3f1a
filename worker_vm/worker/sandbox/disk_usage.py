"""Whether an attempt's folder has outgrown its limit, looked at from time to time while the command runs."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path

from worker_vm.worker.sandbox.limits import MIB, Limits

SCAN_SECONDS = 0.5
"""between two looks at the least"""

SHARE = 10
"""a look may take this part of the time: a million files take long to look through"""

LEVELS = 100
"""of folders that are looked into; each takes descriptors meanwhile"""

TOO_DEEP = f"The command made more than {LEVELS} levels of folders: what is in them cannot be looked at."

_BLOCK_BYTES = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class DiskUsage:
    """What the files below a folder take. Files that were deleted but are still open are not seen."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._next = time.monotonic() + SCAN_SECONDS
        self._exceeded: str | None = None

    def exceeded(self) -> str | None:
        """Whether it was over the limit at the last look, in a sentence for the owner of the job; a look may be now."""
        start = time.monotonic()
        if self._limits.disk_mib is not None and self._exceeded is None and start >= self._next:
            self._exceeded = self._look(self._limits.disk_mib * MIB)
            end = time.monotonic()
            self._next = end + max(SCAN_SECONDS, SHARE * (end - start))
        return self._exceeded

    def _look(self, limit: int) -> str | None:
        try:
            folder = os.open(self._folder, _FOLDER)
        except OSError:
            return None
        try:
            used = _used(folder, limit, LEVELS)
        finally:
            os.close(folder)
        if math.isinf(used):
            return TOO_DEEP
        return self._limits.disk_exceeded() if used > limit else None


def _used(folder: int, limit: float, levels: int) -> float:
    """The bytes that all in it takes, or some number above the limit; infinite if there are more levels."""
    if not levels:
        return math.inf
    used = 0.0
    # The command changes all this meanwhile, and may forbid to look.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                found, is_folder = entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
                # A file with several names is counted once in all.
                used += found.st_blocks * _BLOCK_BYTES / (1 if is_folder else max(1, found.st_nlink))
                if is_folder:
                    # From folder to folder: a path cannot name what is very deep.
                    inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        used += _used(inner, limit - used, levels - 1)
                    finally:
                        os.close(inner)
            if used > limit:
                break
    return used
