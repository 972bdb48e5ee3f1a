"""Which files a job has left (docs/protocol.md: Results)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_executor.errors import os_reason
from cloud_executor.model.job import Status
from worker_vm.worker.file_names import quoted_name, text_name
from worker_vm.worker.job_failed import JobFailed

MAX_WAITING_MIB = 32
"""of memory for the paths of folders that were found, and not looked into yet"""

MAX_ENTRIES = 5_000_000
"""files and folders that are looked at; links to folders can make more than there are"""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A regular file in the folder of a job."""

    path: str
    """relative to the folder, with `/`"""
    location: str
    """where it is; no part of this is a link"""


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder still to be looked into."""

    path: str
    """relative, as it was reached; ends with a slash, unless it is the top"""
    location: str
    linked_from: tuple[str, ...]
    """the folders whose links led here"""

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return sys.getsizeof(self.path) + sys.getsizeof(self.location)


def result_files(job_folder: Path, failed: Callable[[JobFailed], None]) -> Iterator[ResultFile]:
    """The files below the folder, in no order, those behind links within it included.

    Links that lead out of the folder, or nowhere, are passed over, and so is what is no regular file. `failed` hears of
    what cannot be read.
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
                        failed(_failure(f"The job has left more than {MAX_ENTRIES} files."))
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
                            failed(_failure("The job has left more folders in one than can be looked through."))
                            return
                    elif is_file:
                        yield ResultFile(text_name(path), location)
        except OSError as error:
            reason = os_reason(error)
            failed(_failure(f"The folder {quoted_name(folder.path or '.')} could not be read: {reason}."))


def _follow(folder: _Folder, link: str, top: str) -> tuple[str, tuple[str, ...]]:
    """Where a link in the folder leads, and from where that was reached; nowhere is an empty text."""
    try:
        target = os.path.realpath(link, strict=True)
    except OSError:
        return "", ()
    linked_from = (*folder.linked_from, folder.location)
    # A link back to where we came from would lead round and round.
    if not _is_in(target, top) or any(_is_in(place, target) for place in linked_from):
        return "", ()
    return target, linked_from


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _failure(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_TO_ARCHIVE_FILE, sentence)
