"""Disk usage of the files that a command has deleted while its processes still have them open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

PROC = Path("/proc")

_BLOCK_BYTES = 512


def deleted_bytes(root: int, device: int) -> int:
    """Bytes of the deleted files on this device that the descendants of a process have open.

    Processes that this one may not inspect, and files that are only mapped into memory, do not count.
    """
    files: dict[int, int] = {}
    for process in descendants(root):
        with suppress(OSError), os.scandir(PROC / str(process) / "fd") as descriptors:
            for descriptor in descriptors:
                with suppress(OSError):
                    found = os.stat(descriptor.path)
                    if found.st_nlink == 0 and found.st_dev == device and S_ISREG(found.st_mode):
                        files[found.st_ino] = found.st_blocks * _BLOCK_BYTES
    return sum(files.values())


def descendants(root: int) -> Iterator[int]:
    """The processes below `root`. Some may be missing while they start others."""
    waiting = [root]
    while waiting:
        with suppress(OSError):
            for task in (PROC / str(waiting.pop()) / "task").iterdir():
                with suppress(OSError):
                    children = [int(child) for child in (task / "children").read_text().split()]
                    yield from children
                    waiting += children
