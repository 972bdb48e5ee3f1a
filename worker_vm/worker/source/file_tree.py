"""A folder that is filled from an untrusted archive, which cannot write outside the folder."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from cloud_executor.errors import os_reason
from cloud_executor.model.jobs.job import Status
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.job_failed import JobFailed

FILE_MODE = 0o644
"""Mode of a file whose archive does not contain one."""

MAX_LINKS_MIB = 16
"""Limit of the total length of the links' targets, which are held in memory, in MiB."""

_REASONS = {
    errno.ENOSPC: "the worker's disk is full",
    errno.EDQUOT: "the worker's disk is full",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ENOTDIR: "a file has the name of its folder",
    errno.EISDIR: "a folder has the same name",
    errno.EEXIST: "a file has the same name",
}


class FileTree:
    """Files, folders, and links below a root that was empty.

    Links are created at the end, so that nothing is ever written through one. Any error is a FAILED_UNZIP.

    All files without a modification time get the same one: with different ones, `make` would take some for outdated.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._last_folder = self._root
        self._links: dict[str, str] = {}
        self._link_bytes = 0
        self._folder_times: dict[str, int] = {}
        self._now_ns = time.time_ns()

    def write_file(self, name: str, mode: int, chunks: Iterable[bytes], modified_ns: int | None = None) -> None:
        """Write a file, replacing any file with the same name. `modified_ns` is its time, in nanoseconds since 1970."""
        path = self._path(name)
        with _errors(name):
            self._make_folder(os.path.dirname(path))
            self._links.pop(path, None)
            if os.path.lexists(path):
                os.unlink(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with open(descriptor, "wb", buffering=0) as file:
            for chunk in chunks:
                with _errors(name):
                    left = memoryview(chunk)
                    while left:  # a disk that becomes full takes a part first
                        left = left[file.write(left) :]
            # Not on creation, because of the worker's umask. The owner must be able to read the file.
            os.fchmod(descriptor, mode & 0o777 | 0o400)
            _set_time(descriptor, self._now_ns if modified_ns is None else modified_ns)

    def make_folder(self, name: str, modified_ns: int | None = None) -> None:
        path = self._path(name)
        with _errors(name):
            self._make_folder(path)
        if modified_ns is not None:
            self._folder_times[path] = modified_ns

    def add_link(self, name: str, target: str) -> None:
        """Create a symbolic link when the tree is closed."""
        path = self._path(name)
        with _errors(name):
            self._make_folder(os.path.dirname(path))
        self._link_bytes += len(target)
        if self._link_bytes > MAX_LINKS_MIB * 2**20:
            message = f"The links in the source take more than {MAX_LINKS_MIB} MiB: use shorter targets."
            raise JobFailed(Status.FAILED_UNZIP, message)
        self._links[path] = target

    def close(self) -> None:
        """Create the links and set the times of folders. Raises JobFailed if a link leads out of the tree."""
        for path, target in self._links.items():
            name = os.path.relpath(path, self._root)
            with _errors(name):
                if os.path.lexists(path):
                    os.unlink(path)
                os.symlink(target, path)
        for path, target in self._links.items():
            if not self._stays_inside(path, target):
                name = os.path.relpath(path, self._root)
                raise JobFailed(Status.FAILED_UNZIP, f"The link {quoted_name(name)} in the source leads out of it.")
        for path, modified_ns in self._folder_times.items():
            _set_time(path, modified_ns)

    def _path(self, name: str) -> str:
        """The path of a relative name, which must stay below the root; the root itself for `.`."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise JobFailed(Status.FAILED_UNZIP, f"The name {quoted_name(name)} in the source leads out of it.")
        return os.path.join(self._root, *(part for part in parts if part not in ("", ".")))

    def _make_folder(self, path: str) -> None:
        # Most files are in the folder of the previous one. All folders would take too much memory.
        if path == self._last_folder:
            return
        try:
            os.mkdir(path, 0o755)
        except FileNotFoundError:
            self._make_folder(os.path.dirname(path))
            os.mkdir(path, 0o755)
        except FileExistsError:
            # Links are created at the end, so this is not a link to a folder.
            if not os.path.isdir(path):
                raise
        self._last_folder = path

    def _stays_inside(self, path: str, target: str) -> bool:
        if os.path.isabs(target):
            return False
        try:
            real = os.path.realpath(path, strict=True)
        except FileNotFoundError:
            # The link is broken. What the command later creates at its target is up to the command.
            real = os.path.realpath(path)
        except OSError:
            return False
        return real == self._root or real.startswith(self._root + "/")


def _set_time(file: str | int, modified_ns: int) -> None:
    # Not every file system can store every time.
    with suppress(OSError, OverflowError):
        os.utime(file, ns=(modified_ns, modified_ns))


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, os_reason(error))
        message = f"The file {quoted_name(name)} of the source could not be written: {reason}."
        raise JobFailed(Status.FAILED_UNZIP, message) from error
