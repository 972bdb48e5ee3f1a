"""Unpack an untrusted zip (docs/protocol.md: Step by step)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from cloud_executor.model.jobs.job import Status
from cloud_executor.zip_reader.content import entry_content
from cloud_executor.zip_reader.directory import ZipDirectory, ZipEntry, open_directory
from cloud_executor.zip_reader.entry_names import DOS_SYSTEMS, UNIX_SYSTEMS, entry_name, find_dos_encoding
from cloud_executor.zip_reader.errors import ZipError
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.source.file_times import modified_ns
from worker_vm.worker.source.file_tree import FILE_MODE, FileTree
from worker_vm.worker.source.tree_plan import TreePlan

MAX_FILES = 200_000
"""Limit of files, folders, and links in a source."""

MAX_RATIO = 200
"""Limit of the ratio of unpacked to packed size. Sparse data reaches tens; a zip bomb reaches a thousand and more."""

MAX_BYTES_AT_ANY_RATIO = 128 * 1024**2
"""Unpacked size up to which a zip is never considered a bomb, in bytes."""

MAX_DIRECTORY_BYTES = 32 * 1024**2
"""Limit of the size of the zip's directory, in bytes. It bounds the memory for names."""

MAX_LINK_BYTES = 4096
"""Limit of the length of a symbolic link's target, in bytes."""


def unzip(source: BinaryIO, tree: FileTree, attempt: Attempt, disk_mib: int, used_bytes: int) -> None:
    """Fill the tree. `used_bytes` of the job's disk limit are already in use.

    Raises JobFailed with FAILED_UNZIP, and Interrupted.
    """
    size = source.seek(0, os.SEEK_END)
    try:
        directory = open_directory(source)
        # The stated number may be wrong, so the entries are counted too.
        if directory.count > MAX_FILES:
            raise _rejected(f"The source has more than {MAX_FILES} files.")
        if directory.size > MAX_DIRECTORY_BYTES:
            raise _rejected("The source has too many files.")
        entries = _Entries(directory, attempt)
        # Wrong sizes do not get around this: no entry yields more bytes than its stated size.
        _check_limits(entries, size, TreePlan(MAX_FILES, disk_mib, used_bytes))
        for entry, name in entries:
            _unpack(source, entry, name, tree, attempt)
    except ZipError as error:
        raise _rejected(str(error)) from error


class _Entries:
    """The entries and their names, which can be read several times."""

    def __init__(self, directory: ZipDirectory, attempt: Attempt) -> None:
        self._directory = directory
        self._attempt = attempt
        self._dos_encoding = find_dos_encoding(directory.entries())

    def __iter__(self) -> Iterator[tuple[ZipEntry, str]]:
        for entry in self._directory.entries():
            self._attempt.raise_if_interrupted()
            yield entry, entry_name(entry, self._dos_encoding)


def _check_limits(entries: _Entries, size: int, plan: TreePlan) -> None:
    total = 0
    is_empty = True
    for entry, name in entries:
        is_empty = False
        total += entry.size
        if total > MAX_BYTES_AT_ANY_RATIO and total > MAX_RATIO * size:
            raise _rejected(f"The source grows more than {MAX_RATIO} times when it is unpacked; store it uncompressed.")
        if _is_folder(entry, name):
            plan.add_folder(name)
        else:
            plan.add_file(name, entry.size)
    if is_empty:
        raise _rejected("The source is an empty zip archive.")


def _mode(entry: ZipEntry) -> int:
    return entry.attributes >> 16 if entry.system in UNIX_SYSTEMS else 0


def _is_folder(entry: ZipEntry, name: str) -> bool:
    return name.endswith("/") or stat.S_IFMT(_mode(entry)) == stat.S_IFDIR


def _unpack(source: BinaryIO, entry: ZipEntry, name: str, tree: FileTree, attempt: Attempt) -> None:
    if entry.system in DOS_SYSTEMS and name[1:2] == ":":
        raise _rejected(f"The name {quoted_name(name)} in the source leads out of it.")
    mode = _mode(entry)
    kind = stat.S_IFMT(mode)
    if _is_folder(entry, name):
        tree.make_folder(name, modified_ns(entry))
    elif kind == stat.S_IFLNK:
        tree.add_link(name, _link_target(source, entry, name, attempt))
    elif kind in (0, stat.S_IFREG):
        permissions = stat.S_IMODE(mode) or FILE_MODE
        tree.write_file(name, permissions, _contents(source, entry, name, attempt), modified_ns(entry))
    else:
        raise _rejected(f"{quoted_name(name)} in the source is a device, a pipe, or a socket.")


def _contents(source: BinaryIO, entry: ZipEntry, name: str, attempt: Attempt) -> Iterator[bytes]:
    for chunk in entry_content(source, entry, quoted_name(name)):
        attempt.raise_if_interrupted()
        yield chunk


def _link_target(source: BinaryIO, entry: ZipEntry, name: str, attempt: Attempt) -> str:
    target = b"".join(_contents(source, entry, name, attempt)) if entry.size <= MAX_LINK_BYTES else b""
    if not target or b"\0" in target:
        raise _rejected(f"The link {quoted_name(name)} in the source has no valid target.")
    return os.fsdecode(target)


def _rejected(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_UNZIP, sentence)
