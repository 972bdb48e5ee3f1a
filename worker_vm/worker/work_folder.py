"""The folders of attempts, each removed when its attempt ends.

<work>/attempt-<random>/    locked by the worker that created it, while that worker lives
    job/                    the command's working directory, from which results are taken
    tmp/                    the command's TMPDIR
    stdout, stderr          the command's output, until it is moved to the job's folder
    source.zip              the job's source, while it is unpacked
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_PREFIX = "attempt-"

REMOVAL_SECONDS = 600
"""Time limit for removing one folder, in seconds. After that it is left to the next start of a worker."""

LEVELS = 100
"""Depth of folders that are removed without the help of a program. Each level takes file descriptors."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """The folder of one attempt."""

    root: Path

    @property
    def job(self) -> Path:
        return self.root / "job"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def stdout(self) -> Path:
        return self.root / "stdout"

    @property
    def stderr(self) -> Path:
        return self.root / "stderr"

    @property
    def source_zip(self) -> Path:
        return self.root / "source.zip"


class WorkFolder:
    """A folder that contains the attempt folders of all workers that share it."""

    def __init__(self, root: Path) -> None:
        """Raises OSError if the folder cannot be created."""
        root.mkdir(parents=True, exist_ok=True)
        self._root = root.resolve()

    @contextmanager
    def attempt(self) -> Iterator[AttemptFolder]:
        """Create a folder that exists inside the block. Raises OSError."""
        path, lock = self._make()
        try:
            folder = AttemptFolder(path)
            folder.job.mkdir()
            folder.temporary.mkdir()
            yield folder
        finally:
            remove_folder(path)
            os.close(lock)

    def sweep(self, end_processes: Callable[[Path], None]) -> None:
        """Remove the folders that dead workers left, after ending the processes that still use them."""
        for path in self._root.glob(f"{_PREFIX}*"):
            lock = _lock(path)
            if lock is None:
                continue
            try:
                logger.warning("leftovers removed", extra={"action": "sweep", "folder": path.name})
                end_processes(path)
                remove_folder(path)
            finally:
                os.close(lock)

    def _make(self) -> tuple[Path, int]:
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
            lock = _lock(path)
            if lock is None:
                continue  # Another worker, which has just started, took it for a leftover.
            if path.exists():
                return path, lock
            os.close(lock)


def remove_folder(path: Path) -> None:
    """Remove a folder, even with a million files, without permissions, or deeper than the longest possible path."""
    try:
        folder = os.open(path, _FOLDER)
        try:
            _clear(folder, LEVELS)
        finally:
            os.close(folder)
        path.rmdir()
    except OSError:
        if not os.path.lexists(path):
            return
        for command in (("chmod", "-R", "u+rwX", "--", path), ("rm", "-rf", "--", path)):
            try:
                subprocess.run(
                    command,
                    check=True,
                    timeout=REMOVAL_SECONDS,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except (OSError, subprocess.SubprocessError):
                logger.warning(
                    "cannot remove the folder", extra={"action": "remove", "folder": path.name}, exc_info=True
                )


def _clear(folder: int, levels: int) -> None:
    """Remove the folder's contents without holding all names in memory. Raises OSError."""
    if not levels:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                try:
                    _clear(inner, levels - 1)
                finally:
                    os.close(inner)
                os.rmdir(entry.name, dir_fd=folder)
            else:
                os.unlink(entry.name, dir_fd=folder)


def _lock(path: Path) -> int | None:
    """Lock the folder. Returns None if another worker has locked it, or it is gone."""
    try:
        folder = os.open(path, _FOLDER)
    except OSError:
        return None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(folder)
        return None
    return folder
