"""Find the files that a job left (docs/protocol.md: Results)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_executor.errors import os_reason
from cloud_executor.model.job import Status
from worker_vm.worker.file_names import protocol_name, quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.machine.faults import raise_if_machine_fault

MAX_WAITING_MIB = 32
"""Memory limit for the paths of folders that were found but not yet listed, in MiB."""

MAX_ENTRIES = 5_000_000
"""Limit of files and folders that are visited. Links to folders can lead to the same ones many times."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A regular file in a job's folder."""

    path: str
    """Path relative to the folder, with `/`, for display and patterns."""
    native_path: str
    """The same path as the file system names it: different files have different ones."""
    location: str
    """Absolute path, in which no part is a link."""


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


def result_files(job_folder: Path, failed: Callable[[JobFailed], None]) -> Iterator[ResultFile]:
    """Yield the files below the folder, in no particular order. Links within the folder are followed.

    Links that are broken or lead out of the folder are skipped, as is everything that is neither a regular file nor a
    folder. `failed` is called for each folder that cannot be read.
    """
    top = str(job_folder)
    # The command may have removed the folder, or put a link in its place.
    if os.path.realpath(top) != top or not os.path.isdir(top):
        return
    waiting = [_Folder("", top, ())]
    size = waiting[0].size
    looked_at = 0
    while waiting:
        folder = waiting.pop()
        size -= folder.size
        try:
            with os.scandir(folder.location) as entries:
                for entry in entries:
                    looked_at += 1
                    if looked_at > MAX_ENTRIES:
                        failed(_failure(f"The job left more than {MAX_ENTRIES} files; leave fewer, or pack them."))
                        return
                    path = folder.path + entry.name
                    location, linked_from = entry.path, folder.linked_from
                    is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
                    if entry.is_symlink():
                        location, linked_from = _follow(folder, entry.path, top)
                        is_folder, is_file = os.path.isdir(location), os.path.isfile(location)
                    if is_folder:
                        waiting.append(_Folder(path + "/", location, linked_from))
                        size += waiting[-1].size
                        if size > MAX_WAITING_MIB * 2**20:
                            failed(_failure("The job left too many folders; leave fewer, or pack them."))
                            return
                    elif is_file:
                        yield ResultFile(protocol_name(path), path, location)
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
