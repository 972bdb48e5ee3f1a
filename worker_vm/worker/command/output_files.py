"""The files with a command's output: next to the job's folder while it runs, in the job's folder afterwards.

A job must not find its own output in its folder: `cat *` would never end, and `rm *` would delete it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cloud_executor.errors import os_reason
from cloud_executor.model.jobs.job import Status
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.work_folder import AttemptFolder

STDOUT_FILE = "job_stdout.txt"
STDERR_FILE = "job_stderr.txt"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The open files of one command."""

    folder: AttemptFolder
    stdout: int
    stderr: int

    @property
    def by_name(self) -> dict[str, int]:
        """The descriptors by the names that the files get in the job's folder."""
        return {STDOUT_FILE: self.stdout, STDERR_FILE: self.stderr}

    def move_to_job(self) -> tuple[list[str], list[str]]:
        """Move the files into the job's folder, now that the command has ended.

        Returns the names of those that are there, and warnings for the job's owner. A file, link, or folder of the job
        that has the name of an output file is kept if that output is empty. Otherwise the output replaces a file or
        link, but not a folder.
        """
        try:
            # The command may have removed the folder, or put a link in its place.
            job = os.open(self.folder.job, _FOLDER)
        except OSError:
            return [], []
        moved: list[str] = []
        warnings: list[str] = []
        try:
            for name, path in ((STDOUT_FILE, self.folder.stdout), (STDERR_FILE, self.folder.stderr)):
                exists = _exists(name, job)
                if exists and os.fstat(self.by_name[name]).st_size == 0:
                    continue
                if self._move(path, name, job):
                    moved.append(name)
                    if exists:
                        warnings.append(f"The command's output replaced a file of the job, {name}.")
                elif exists:
                    warnings.append(f"The job made a folder {name}, so only its logs contain the command's output.")
        finally:
            os.close(job)
        return moved, warnings

    def _move(self, path: Path, name: str, job: int) -> bool:
        try:
            try:
                os.replace(path, name, dst_dir_fd=job)
            except PermissionError:
                os.fchmod(job, stat.S_IMODE(os.fstat(job).st_mode) | stat.S_IRWXU)
                os.replace(path, name, dst_dir_fd=job)
        except OSError:
            return False
        return True


def _exists(name: str, folder: int) -> bool:
    with suppress(OSError):
        os.lstat(name, dir_fd=folder)
        return True
    return False


@contextmanager
def open_output_files(folder: AttemptFolder) -> Iterator[OutputFiles]:
    """Create the files of a command, and remove files of the source that have their names. Raises JobFailed."""
    with _opened(folder, folder.stdout, STDOUT_FILE) as stdout, _opened(folder, folder.stderr, STDERR_FILE) as stderr:
        files = OutputFiles(folder, stdout, stderr)
        for name in files.by_name:
            with suppress(OSError):
                (folder.job / name).unlink()
        yield files


@contextmanager
def _opened(folder: AttemptFolder, path: Path, name: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        message = f"The output file '{name}' could not be created: {os_reason(error)}."
        raise JobFailed(Status.FAILED_TO_EXECUTE, message) from (None if folder.is_full(error) else error)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
