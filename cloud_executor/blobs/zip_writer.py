"""Writes zip archives as a stream, without temporary files. The size is known in advance.

Members are stored, not compressed. A member of up to `WHOLE_LIMIT` bytes is read before it is written, so that its
header contains its CRC-32. A larger member is passed through, and its CRC-32 follows in a data descriptor. Zip64 fields
appear only where a size, an offset, or the member count requires them. The bytes depend only on the members, so an
archive can have a strong ETag.

Format: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import msgspec

WHOLE_LIMIT = 1024 * 1024
"""Size up to which a member is held in memory, in bytes."""

FLUSH_BYTES = 256 * 1024
"""Size at which joined small pieces are sent, in bytes."""

_MAX_32 = 0xFFFFFFFF
_MAX_16 = 0xFFFF
_UTF_8_NAME = 0x0800
_DATA_DESCRIPTOR = 0x0008
_EARLIEST_DATE = 0x0021  # 1980-01-01, so that the bytes do not depend on the time of creation
_REGULAR_FILE_0644 = 0o100644 << 16
_MADE_ON_UNIX = 3 << 8
_PLAIN_VERSION = 20
_ZIP64_VERSION = 45

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR_64 = struct.Struct("<4sL2Q")
_DIRECTORY_ENTRY = struct.Struct("<4s6H3L5H2L")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")


class ZipMember(msgspec.Struct, frozen=True):
    """One file of an archive."""

    name: str
    """Name in the archive, up to 65,535 bytes long in UTF-8; one of `zip_names`."""
    size: int
    """Number of bytes that `read` yields."""
    read: Callable[[], Iterator[bytes]]


class SizeChanged(Exception):
    """A member yielded more or fewer bytes than its size."""


def archive_size(members: Iterable[ZipMember]) -> int:
    """Number of bytes that `archive_chunks` yields for these members."""
    offset = directory = count = 0
    for member in members:
        name = len(_encoded(member.name))
        directory += _DIRECTORY_ENTRY.size + name + len(_directory_extra(member.size, offset))
        offset += _LOCAL_HEADER.size + name + len(_local_extra(member.size)) + member.size
        if member.size > WHOLE_LIMIT:
            offset += (_DESCRIPTOR_64 if member.size >= _MAX_32 else _DESCRIPTOR).size
        count += 1
    return offset + directory + len(_end_of_archive(count, directory, offset))


def archive_chunks(members: Iterable[ZipMember]) -> Iterator[bytes]:
    """The bytes of the archive. Raises SizeChanged."""
    pending: list[bytes] = []
    pending_bytes = 0
    flush_bytes = 1  # the first piece is sent at once
    for chunk in _pieces(members):
        pending.append(chunk)
        pending_bytes += len(chunk)
        if pending_bytes >= flush_bytes:
            yield b"".join(pending) if len(pending) > 1 else chunk
            pending, pending_bytes, flush_bytes = [], 0, FLUSH_BYTES
    if pending:
        yield b"".join(pending)


def _pieces(members: Iterable[ZipMember]) -> Iterator[bytes]:
    layout = ArchiveLayout()
    for member in members:
        if member.size <= WHOLE_LIMIT:
            content = b"".join(member.read())
            check_size(member, len(content))
            crc32 = zlib.crc32(content)
            yield layout.before(member, crc32)
            yield content
        else:
            yield layout.before(member, 0)
            crc32 = received = 0
            for chunk in member.read():
                crc32 = zlib.crc32(chunk, crc32)
                received += len(chunk)
                yield chunk
            check_size(member, received)
        yield layout.after(member, crc32)
    yield layout.end()


class ArchiveLayout:
    """Produces the bytes of an archive before and after each member, in order, and at the end."""

    def __init__(self) -> None:
        self._offset = 0
        self._start = 0
        self._directory: list[bytes] = []

    def before(self, member: ZipMember, crc32: int) -> bytes:
        """The local header. The CRC-32 is ignored for members above `WHOLE_LIMIT`, which do not need it yet."""
        large = member.size > WHOLE_LIMIT
        header = _local_header(_encoded(member.name), member.size, 0 if large else crc32, _flags(member))
        self._start = self._offset
        self._offset += len(header) + member.size
        return header

    def after(self, member: ZipMember, crc32: int) -> bytes:
        """The data descriptor; empty for members that have none."""
        descriptor = _data_descriptor(member.size, crc32) if member.size > WHOLE_LIMIT else b""
        self._offset += len(descriptor)
        name = _encoded(member.name)
        self._directory.append(_directory_entry(name, member.size, crc32, _flags(member), self._start))
        return descriptor

    def end(self) -> bytes:
        """The central directory."""
        directory = b"".join(self._directory)
        return directory + _end_of_archive(len(self._directory), len(directory), self._offset)


def check_size(member: ZipMember, received: int) -> None:
    """Raises SizeChanged."""
    if received != member.size:
        raise SizeChanged(f"The member has {received} bytes instead of {member.size}.")


def _flags(member: ZipMember) -> int:
    return _UTF_8_NAME | _DATA_DESCRIPTOR if member.size > WHOLE_LIMIT else _UTF_8_NAME


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "replace")[:_MAX_16]


def _local_extra(size: int) -> bytes:
    return struct.pack("<2H2Q", 1, 16, size, size) if size >= _MAX_32 else b""


def _local_header(name: bytes, size: int, crc: int, flags: int) -> bytes:
    # The header has the sizes even if a descriptor follows: readers that unpack from a pipe need them.
    extra = _local_extra(size)
    shown = min(size, _MAX_32)
    version = _ZIP64_VERSION if extra else _PLAIN_VERSION
    fields = (b"PK\3\4", version, flags, 0, 0, _EARLIEST_DATE, crc, shown, shown, len(name), len(extra))
    return _LOCAL_HEADER.pack(*fields) + name + extra


def _data_descriptor(size: int, crc: int) -> bytes:
    return (_DESCRIPTOR_64 if size >= _MAX_32 else _DESCRIPTOR).pack(b"PK\7\x08", crc, size, size)


def _directory_extra(size: int, offset: int) -> bytes:
    # Always all fields: after a member of exactly 0xFFFFFFFF bytes, unzip misreads a field with only the offset.
    return struct.pack("<2H3Q", 1, 24, size, size, offset) if max(size, offset) >= _MAX_32 else b""


def _directory_entry(name: bytes, size: int, crc: int, flags: int, offset: int) -> bytes:
    extra = _directory_extra(size, offset)
    shown, shown_offset = (_MAX_32, _MAX_32) if extra else (size, offset)
    version = _ZIP64_VERSION if extra else _PLAIN_VERSION
    fixed = _DIRECTORY_ENTRY.pack(
        b"PK\1\2",
        _MADE_ON_UNIX | version,
        version,
        flags,
        0,
        0,
        _EARLIEST_DATE,
        crc,
        shown,
        shown,
        len(name),
        len(extra),
        0,
        0,
        0,
        _REGULAR_FILE_0644,
        shown_offset,
    )
    return fixed + name + extra


def _end_of_archive(count: int, directory_size: int, directory_offset: int) -> bytes:
    end = _END.pack(
        b"PK\5\6",
        0,
        0,
        min(count, _MAX_16),
        min(count, _MAX_16),
        min(directory_size, _MAX_32),
        min(directory_offset, _MAX_32),
        0,
    )
    if count < _MAX_16 and directory_size < _MAX_32 and directory_offset < _MAX_32:
        return end
    made_by = _MADE_ON_UNIX | _ZIP64_VERSION
    end_64 = _END_64.pack(
        b"PK\6\6",
        _END_64.size - 12,
        made_by,
        _ZIP64_VERSION,
        0,
        0,
        count,
        count,
        directory_size,
        directory_offset,
    )
    locator = _END_64_LOCATOR.pack(b"PK\6\7", 0, directory_offset + directory_size, 1)
    return end_64 + locator + end
