"""The folders of attempts, each removed when its attempt ends.

<work>/attempt-<random>/    locked by the worker that created it, while that worker lives
    job/                    the command's working directory, from which results are taken
    home/                   the command's HOME
    tmp/                    the command's temporary folder
    stdout, stderr          the command's output, until it is moved to the job's folder
    source.zip              the job's source, while it is unpacked
/tmp/ce-<random>            a link to tmp/: the command's TMPDIR, if /tmp can be written

With disks, which are file systems of the size that a job may use, the folder of an attempt is
<work>/disk-<number>/attempt-<random>/, and no other attempt uses this disk meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

logger = logging.getLogger(__name__)

_PREFIX = "attempt-"
_LINK_PREFIX = "ce-"

REMOVAL_SECONDS = 600
"""Time limit for removing one folder, in seconds. After that it is left to the next start of a worker."""

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Codes of the errors of a file system that has no space left."""

LEVELS = 100
"""Depth of folders that are removed without the help of a program. Each level takes file descriptors."""

LINKS = Path("/tmp")  # noqa: S108 - the names of the links are random, and /tmp is sticky
"""Folder with the links to temporary folders. Its path is short, because that of a socket has up to 107 characters."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """The folder of one attempt."""

    root: Path
    own_disk: bool = False
    """Whether it is on a file system of the size that the job may use."""

    def is_full(self, error: BaseException | None) -> bool:
        """Whether the error means that the attempt has used up its own disk, which is no fault of the machine."""
        return self.own_disk and isinstance(error, OSError) and error.errno in NO_SPACE

    @property
    def job(self) -> Path:
        return self.root / "job"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def short_temporary(self) -> str:
        """A short path of `temporary`, where possible. It ends with a slash, because `find` does not follow a link."""
        link = self._temporary_link
        return f"{link}/" if _target(link) == str(self.temporary) else str(self.temporary)

    @property
    def _temporary_link(self) -> Path:
        return LINKS / f"{_LINK_PREFIX}{self.root.name.removeprefix(_PREFIX)}"

    def create(self) -> None:
        """Create the folders in `root`. Raises OSError."""
        self.job.mkdir()
        for folder in (self.home, self.temporary):
            folder.mkdir(mode=0o700)
        with suppress(OSError):
            self._temporary_link.symlink_to(self.temporary)

    def remove(self) -> None:
        """Remove everything, as far as possible."""
        if _target(self._temporary_link) == str(self.temporary):
            with suppress(OSError):
                self._temporary_link.unlink()
        remove_folder(self.root)

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
    """A folder that contains the attempt folders of all workers that share it, unless it has disks."""

    def __init__(self, root: Path, disks: int = 0) -> None:
        """`disks` is the number of disks that are mounted in the folder for its only worker, one for each slot.

        Raises OSError if the folder cannot be created, or a disk is missing.
        """
        root.mkdir(parents=True, exist_ok=True)
        self._root = root.resolve()
        self._disks = [self._root / f"disk-{number}" for number in range(1, disks + 1)]
        for disk in self._disks:
            if not disk.is_mount():
                raise FileNotFoundError(errno.ENOENT, "no disk is mounted", str(disk))
        self._free = deque(self._disks)
        self._lost: set[Path] = set()

    @property
    def lost_disks(self) -> int:
        """Number of disks that could not be emptied after an attempt, so that no other attempt can have them."""
        return len(self._lost)

    @contextmanager
    def attempt(self) -> Iterator[AttemptFolder]:
        """Create a folder that exists inside the block. Raises OSError."""
        with self._place() as place, self._folder(place) as folder:
            yield folder

    @contextmanager
    def _place(self) -> Iterator[Path]:
        """The folder in which to create an attempt's folder: a disk that no other attempt uses, if there are disks."""
        if not self._disks:
            yield self._root
            return
        try:
            disk = self._free.popleft()
        except IndexError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        try:
            yield disk
        finally:
            # What could not be removed would count towards the next job's limit.
            if not any(disk.glob(f"{_PREFIX}*")):
                self._free.append(disk)
            else:
                self._lost.add(disk)
                logger.error(
                    "a job's disk could not be emptied: one slot takes no more jobs until the worker starts again",
                    extra={"action": "remove", "folder": disk.name},
                )

    @contextmanager
    def _folder(self, place: Path) -> Iterator[AttemptFolder]:
        path, lock = _make(place)
        folder = AttemptFolder(path, own_disk=bool(self._disks))
        try:
            folder.create()
            yield folder
        finally:
            folder.remove()
            os.close(lock)

    def sweep(self, end_processes: Callable[[Path], None]) -> None:
        """Remove the folders that dead workers left, after ending the processes that still use them."""
        for path in chain.from_iterable(place.glob(f"{_PREFIX}*") for place in (self._root, *self._disks)):
            lock = _lock(path)
            if lock is None:
                continue
            try:
                logger.warning("leftovers removed", extra={"action": "sweep", "folder": path.name})
                end_processes(path)
                AttemptFolder(path).remove()
            finally:
                os.close(lock)
        for link in LINKS.glob(f"{_LINK_PREFIX}*"):
            # Its attempt's folder was removed together with a data folder, for example.
            target = Path(_target(link) or LINKS)
            with suppress(OSError):
                if target.parent.name.startswith(_PREFIX) and not target.exists():
                    link.unlink()


def _make(place: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
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


def _target(link: Path) -> str | None:
    """The target of a link; None if the link does not exist."""
    try:
        return os.readlink(link)
    except OSError:
        return None


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
