"""Make many files durable at once."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice

FSYNC_THREADS = 32
"""Number of concurrent fsync calls, which the disk combines, on systems without syncfs."""


def sync_all(descriptors: Collection[int]) -> None:
    """Sync open files or folders of one file system, and everything else that was written to it. Raises OSError.

    The files must have been opened before they were written: syncfs reports the errors that occurred since then.
    """
    sync_file_system = _syncfs()
    if sync_file_system is not None:
        sync_file_system(next(iter(descriptors)))
        return
    with ThreadPoolExecutor(min(FSYNC_THREADS, len(descriptors))) as threads:
        list(threads.map(os.fsync, descriptors))


def sync_folders(folders: Collection[str]) -> None:
    """Sync the names in folders of one file system. Raises OSError."""
    left = iter(folders)
    # With syncfs, one folder stands for all.
    while some := list(islice(left, FSYNC_THREADS if _syncfs() is None else 1)):
        descriptors: list[int] = []
        try:
            for folder in some:
                descriptors.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            sync_all(descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if _syncfs() is not None:
            return


@cache
def _syncfs() -> Callable[[int], None] | None:
    """The system call syncfs, or None where it does not exist or does not report write errors: before Linux 5.8."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if platform.system() != "Linux" or release is None or (int(release[1]), int(release[2])) < (5, 8):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None

    def sync_file_system(descriptor: int) -> None:
        if function(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync_file_system
