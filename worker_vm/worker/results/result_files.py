"""Find the files that a job left (docs/protocol.md: Results)."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_executor.errors import os_reason
from cloud_executor.model.jobs.job import Status
from worker_vm.worker.file_names import protocol_name, quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.machine.faults import raise_if_machine_fault

MAX_WAITING_MIB = 32
"""Memory limit for the paths of folders that were found but not yet listed, in MiB."""

MAX_ENTRIES = 5_000_000
"""Limit of files and folders that are visited."""

MAX_LINKED_ENTRIES = 500_000
"""Limit of those that links lead to. A dozen folders that link to each other would otherwise yield millions."""

MAX_PATH_BYTES = 4095
"""Longest absolute path of a file, in bytes, as for other programs."""

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | _NO_LINK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | _NO_LINK
_FILE = os.O_RDONLY | os.O_NONBLOCK | _NO_LINK
"""Flags that do not wait, in case the name has become that of a FIFO."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A regular file in a job's folder."""

    path: str
    """Path relative to the folder, with `/`, for display and patterns."""
    native_path: str
    """The same path as the file system names it: different files have different ones."""
    folder: str
    """The job's folder."""
    location: str
    """Absolute path, in which no part was a link when the file was found."""

    def open(self) -> io.FileIO:
        """Open the file for unbuffered reading.

        Raises OSError if it is not a regular file in the job's folder: a process that the command left behind may have
        put something else in its place.
        """
        with _opened(self.folder, self.location, _FILE) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return io.FileIO(os.dup(descriptor))


@contextmanager
def _opened(top: str, location: str, flags: int) -> Iterator[int]:
    """A descriptor of a file or folder in `top`, opened without following links. Raises OSError."""
    if len(os.fsencode(location)) > MAX_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    descriptor = os.open(top, _ON_THE_WAY)
    try:
        parts = location.removeprefix(top).lstrip("/").split("/")
        for part, part_flags in [*((part, _ON_THE_WAY) for part in parts[:-1]), (parts[-1] or ".", flags)]:
            outer, descriptor = descriptor, os.open(part, part_flags, dir_fd=descriptor)
            os.close(outer)
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder that is still to be listed."""

    path: str
    """Relative path by which it was reached. It ends with a slash, except at the top."""
    location: str
    linked_from: tuple[str, ...]
    """Folders whose links led here."""

    @property
    def size(self) -> int:
        """Approximate memory use, in bytes."""
        return sys.getsizeof(self.path) + sys.getsizeof(self.location)


def result_files(
    job_folder: Path, failed: Callable[[JobFailed], None], check: Callable[[], None] = lambda: None
) -> Iterator[ResultFile]:
    """Yield the files below the folder, in no particular order. Links within the folder are followed.

    Links that are broken or lead out of the folder are skipped, as is everything that is neither a regular file nor a
    folder. `failed` is called for each folder that cannot be read. `check` is called for each entry; its exceptions end
    the search.
    """
    top = str(job_folder)
    # The command may have removed the folder, or put a link in its place.
    if os.path.realpath(top) != top or not os.path.isdir(top):
        return
    waiting = [_Folder("", top, ())]
    size = waiting[0].size
    looked_at = linked = 0
    while waiting:
        folder = waiting.pop()
        size -= folder.size
        try:
            with _opened(top, folder.location, _FOLDER) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    check()
                    looked_at += 1
                    linked += bool(folder.linked_from)
                    if looked_at > MAX_ENTRIES:
                        failed(_failure(f"The job left more than {MAX_ENTRIES} files; leave fewer, or pack them."))
                        return
                    if linked > MAX_LINKED_ENTRIES:
                        failed(_failure("The links in the job's folder lead to too many files; leave fewer links."))
                        return
                    path = folder.path + entry.name
                    location, linked_from = f"{folder.location}/{entry.name}", folder.linked_from
                    is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
                    if entry.is_symlink():
                        location, linked_from = _follow(folder, location, top)
                        is_folder, is_file = os.path.isdir(location), os.path.isfile(location)
                    if is_folder:
                        waiting.append(_Folder(path + "/", location, linked_from))
                        size += waiting[-1].size
                        if size > MAX_WAITING_MIB * 2**20:
                            failed(_failure("The job left too many folders; leave fewer, or pack them."))
                            return
                    elif is_file:
                        yield ResultFile(protocol_name(path), path, top, location)
        except OSError as error:
            raise_if_machine_fault(error)
            reason = os_reason(error)
            failed(_failure(f"The folder {quoted_name(folder.path or '.')} could not be read: {reason}."))


def _follow(folder: _Folder, link: str, top: str) -> tuple[str, tuple[str, ...]]:
    """Resolve a link in the folder. Returns its target (empty: skip it) and the folders that link to it."""
    try:
        target = os.path.realpath(link, strict=True)
    except OSError:
        return "", ()
    linked_from = (*folder.linked_from, folder.location)
    # A link back to a folder on the way here would never end.
    if not _is_in(target, top) or any(_is_in(place, target) for place in linked_from):
        return "", ()
    return target, linked_from


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _failure(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_TO_ARCHIVE_FILE, sentence)
