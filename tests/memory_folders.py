"""Temporary folders in memory, for tests that would otherwise mostly wait until a disk has stored their files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 4 * 1024**3


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A temporary folder in memory, or on a disk if this machine has too little memory."""
    enough = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES
    with TemporaryDirectory(dir=MEMORY if enough else None, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
