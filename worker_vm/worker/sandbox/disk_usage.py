"""Whether an attempt's folder has outgrown its limit, looked at from time to time while the command runs."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from worker_vm.worker.sandbox.limits import MIB

LOOK_SECONDS = 0.5
"""between two looks at the least"""

SHARE = 10
"""a look may take this part of the time: a million files take long to look through"""

_BLOCK_BYTES = 512


class DiskUsage:
    """What the files below a folder take. Files that were deleted but are still open are not seen."""

    def __init__(self, folder: Path, limit_mib: int | None) -> None:
        self._folder = folder
        self._limit = None if limit_mib is None else limit_mib * MIB
        self._next = time.monotonic() + LOOK_SECONDS
        self._exceeded = False

    def exceeded(self) -> bool:
        """Whether it was over the limit at the last look, which is now if that is due."""
        start = time.monotonic()
        if self._limit is not None and not self._exceeded and start >= self._next:
            self._exceeded = _is_over(self._folder, self._limit)
            end = time.monotonic()
            self._next = end + max(LOOK_SECONDS, SHARE * (end - start))
        return self._exceeded


def _is_over(folder: Path, limit: int) -> bool:
    used = 0.0
    waiting = [str(folder)]
    while waiting:
        # The command changes all this meanwhile, and may forbid to look.
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found, is_folder = entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
                    # A file with several names is counted once in all.
                    used += found.st_blocks * _BLOCK_BYTES / (1 if is_folder else max(1, found.st_nlink))
                    if used > limit:
                        return True
                    if is_folder:
                        waiting.append(entry.path)
    return False
