"""Limits for the files and folders of a source, checked before the first of them is created."""

from __future__ import annotations

from cloud_executor.model.jobs.job import Status
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.sandbox.limits import MIB

MAX_LEVELS = 100
"""Largest depth of folders."""

BLOCK_BYTES = 4096
"""Size of the blocks in which file systems store files, in bytes. A folder takes at least one."""


class TreePlan:
    """Counts what a source would create. Raises JobFailed with FAILED_UNZIP as soon as that exceeds a limit."""

    def __init__(self, max_files: int, disk_mib: int, used_bytes: int = 0) -> None:
        """Limits of files, folders, and links together, and of their disk space, of which some is in use already."""
        self._max_files = max_files
        self._disk_mib = disk_mib
        self._bytes = used_bytes
        self._files = 0
        # Numbers instead of paths, whose total length would grow with the depth.
        self._folders: dict[tuple[int, str], int] = {}

    def add_file(self, name: str, size: int) -> None:
        """Count a file or link, and its folders."""
        self.add_folder(name.rpartition("/")[0])
        self._files += 1
        self._bytes += -(-size // BLOCK_BYTES) * BLOCK_BYTES
        self._check()

    def add_folder(self, name: str) -> None:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if len(parts) > MAX_LEVELS:
            shown = quoted_name(name)
            reason = f"its name is too long, because it has more than {MAX_LEVELS} folders"
            raise _rejected(f"The file {shown} of the source could not be written: {reason}.")
        folder = 0
        for part in parts:
            new = len(self._folders) + 1
            folder = self._folders.setdefault((folder, part), new)
            if folder == new:
                self._bytes += BLOCK_BYTES
                self._check()

    def _check(self) -> None:
        if self._files + len(self._folders) > self._max_files:
            raise _rejected(f"The source has more than {self._max_files} files.")
        if self._bytes > self._disk_mib * MIB:
            raise _rejected(f"The source takes more than the disk limit of {self._disk_mib} MiB.")


def _rejected(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_UNZIP, sentence)
