"""Unpack an untrusted zip (docs/protocol.md: Step by step)."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from cloud_executor.model.job import Status
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.sandbox.limits import MIB
from worker_vm.worker.source.file_times import modified_ns
from worker_vm.worker.source.file_tree import FILE_MODE, FileTree

MAX_FILES = 200_000
"""Limit of files, folders, and links in a source."""

MAX_RATIO = 200
"""Limit of the ratio of unpacked to packed size. Sparse data reaches tens; a zip bomb reaches a thousand and more."""

MAX_BYTES_AT_ANY_RATIO = 128 * 1024**2
"""Unpacked size up to which a zip is never considered a bomb, in bytes."""

MAX_DIRECTORY_BYTES = 32 * 1024**2
"""Limit of the size of the zip's directory, which is held in memory, in bytes."""

MAX_LINK_BYTES = 4096
"""Limit of the length of a symbolic link's target, in bytes."""

READ_BYTES = 256 * 1024

_UTF_8_NAME = 0x0800
_ENCRYPTED = 0x0001
_DOS_SYSTEMS = frozenset({0, 11})
_UNIX_SYSTEMS = frozenset({3, 19})
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Supported compression methods. The others are rare, and `zipfile` does not limit the memory that they take."""
_UNICODE_PATH = 0x7075
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, IndexError, OSError)
"""Exceptions that the standard library raises for damaged archives. It raises NotImplementedError for features that it
does not support, such as other compression methods."""


def unzip(source: BinaryIO, tree: FileTree, attempt: Attempt, disk_mib: int, used_bytes: int) -> None:
    """Fill the tree. `used_bytes` of the job's disk limit are already in use.

    Raises JobFailed with FAILED_UNZIP, and Interrupted.
    """
    size = source.seek(0, os.SEEK_END)
    with _open(source) as archive:
        members = archive.infolist()
        _check_limits(members, size)
        # Wrong sizes do not get around this: no member yields more bytes than its stated size.
        check_disk(used_bytes + sum(member.file_size for member in members), disk_mib, Status.FAILED_UNZIP)
        for member in members:
            attempt.raise_if_interrupted()
            _unpack(archive, member, tree, attempt)


def check_disk(size: int, disk_mib: int, status: Status) -> None:
    """Raises JobFailed with this status if a source of this size, in bytes, exceeds the job's disk limit."""
    if size > disk_mib * MIB:
        raise JobFailed(status, f"The source takes more than the disk limit of {disk_mib} MiB.")


def _open(source: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(_BoundedReads(source))
    except _DirectoryTooLarge:
        raise _rejected("The source has too many files.") from None
    except (*_DAMAGE, NotImplementedError) as error:
        raise _rejected("The source is not a zip archive, or it is damaged.") from error


def _check_limits(members: list[zipfile.ZipInfo], size: int) -> None:
    total = sum(member.file_size for member in members)
    if not members:
        raise _rejected("The source is an empty zip archive.")
    if len(members) > MAX_FILES:
        raise _rejected(f"The source has more than {MAX_FILES} files.")
    if total > MAX_BYTES_AT_ANY_RATIO and total > MAX_RATIO * size:
        raise _rejected(f"The source grows more than {MAX_RATIO} times when it is unpacked; store it uncompressed.")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, tree: FileTree, attempt: Attempt) -> None:
    name = _name(member)
    if member.flag_bits & _ENCRYPTED:
        raise _rejected(f"The file {quoted_name(name)} in the source is encrypted.")
    if member.compress_type not in _METHODS:
        raise _rejected(
            f"The file {quoted_name(name)} in the source uses an unsupported compression method; use deflate."
        )
    mode = member.external_attr >> 16 if member.create_system in _UNIX_SYSTEMS else 0
    kind = stat.S_IFMT(mode)
    if name.endswith("/") or kind == stat.S_IFDIR:
        tree.make_folder(name, modified_ns(member))
    elif kind == stat.S_IFLNK:
        tree.add_link(name, _link_target(archive, member, name, attempt))
    elif kind in (0, stat.S_IFREG):
        permissions = stat.S_IMODE(mode) or FILE_MODE
        tree.write_file(name, permissions, _contents(archive, member, name, attempt), modified_ns(member))
    else:
        raise _rejected(f"{quoted_name(name)} in the source is a device, a pipe, or a socket.")


def _contents(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, attempt: Attempt) -> Iterator[bytes]:
    try:
        with archive.open(member) as content:
            while chunk := content.read(READ_BYTES):
                attempt.raise_if_interrupted()
                yield chunk
    except (*_DAMAGE, NotImplementedError) as error:
        raise _rejected(f"The file {quoted_name(name)} in the source is damaged.") from error


def _link_target(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, attempt: Attempt) -> str:
    target = b"".join(_contents(archive, member, name, attempt)) if member.file_size <= MAX_LINK_BYTES else b""
    if not target or b"\0" in target:
        raise _rejected(f"The link {quoted_name(name)} in the source has no valid target.")
    return os.fsdecode(target)


def _name(member: zipfile.ZipInfo) -> str:
    """Convert a member's name to one for the file system.

    Bytes that are not marked as UTF-8 stay unchanged, as with `unzip`. On DOS and Windows they are decoded as code page
    437 if they are not valid UTF-8.
    """
    stored = member.orig_filename.encode() if member.flag_bits & _UTF_8_NAME else member.orig_filename.encode("cp437")
    stored = _unicode_path(member.extra, stored) or stored
    if member.create_system not in _DOS_SYSTEMS:
        return os.fsdecode(stored)
    try:
        stored.decode()
    except UnicodeDecodeError:
        stored = member.orig_filename.encode()
    name = os.fsdecode(stored.replace(b"\\", b"/"))
    if name[1:2] == ":":
        raise _rejected(f"The name {quoted_name(name)} in the source leads out of it.")
    return name


def _unicode_path(extra: bytes, stored: bytes) -> bytes | None:
    """Get the UTF-8 name that older packers add to the stored one, if it belongs to that."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == b"\1" + struct.pack("<L", zlib.crc32(stored)):
            return field[5:]
    return None


def _rejected(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_UNZIP, sentence)


class _DirectoryTooLarge(Exception):
    """The archive's directory would take too much memory."""


class _BoundedReads(io.RawIOBase):
    """The archive, with a limit for single reads: `zipfile` reads the whole directory at once, whatever its size."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise _DirectoryTooLarge
        return self._source.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
