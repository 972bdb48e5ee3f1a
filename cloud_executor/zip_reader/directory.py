"""The entries of a zip, read one after the other: the directory is never in memory as a whole.

Format: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cloud_executor.zip_reader.errors import NotAZip, SplitZip

READ_BYTES = 256 * 1024
"""Size of one read of the directory, in bytes."""

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_MAX_COMMENT_BYTES = 0xFFFF
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
_SPLIT = b"PK\7\x08"
_ZIP64 = 1
_TRIES = 100
"""Number of places that are taken for the end of the directory: a comment can contain its signature too."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """An entry of the directory."""

    stored_name: bytes
    extra: bytes
    system: int
    """System on which the entry was made; it determines the meaning of the name and of the attributes."""
    flags: int
    method: int
    dos_time: int
    dos_date: int
    crc32: int
    packed_size: int
    size: int
    attributes: int
    offset: int
    """Position of the local header."""


@dataclass(frozen=True, slots=True)
class ZipDirectory:
    """The directory of a zip."""

    source: BinaryIO
    start: int
    size: int
    """Size in bytes."""
    count: int
    """Number of entries, as stated by the zip."""
    shift: int
    """Number of bytes before the archive, such as a program that unpacks it."""

    def entries(self) -> Iterator[ZipEntry]:
        """Read the entries; between two of them, other parts of the source may be read. Raises NotAZip, SplitZip."""
        buffer, at, position = b"", 0, self.start
        end = self.start + self.size
        while position - len(buffer) + at < end:
            for wanted in (_ENTRY.size, None):
                need = _entry_size(buffer, at) if wanted is None else wanted
                if len(buffer) - at < need:
                    self.source.seek(position)
                    more = self.source.read(min(max(READ_BYTES, need), end - position))
                    position += len(more)
                    buffer, at = buffer[at:] + more, 0
                if len(buffer) - at < need:
                    raise NotAZip
            yield self._entry(buffer, at)
            at += need

    def _entry(self, buffer: bytes, at: int) -> ZipEntry:
        fields = _ENTRY.unpack_from(buffer, at)
        made_by, _, flags, method, time, date, crc32, packed, size, name_size, extra_size, _, disk, _ = fields[1:15]
        attributes, offset = fields[15:]
        names = at + _ENTRY.size
        extra = buffer[names + name_size : names + name_size + extra_size]
        if _MAX_32 in (packed, size, offset) or disk == _MAX_16:
            size, packed, offset, disk = _zip64_fields(extra, size, packed, offset, disk)
        if disk:
            raise SplitZip
        return ZipEntry(
            stored_name=buffer[names : names + name_size],
            extra=extra,
            system=made_by >> 8,
            flags=flags,
            method=method,
            dos_time=time,
            dos_date=date,
            crc32=crc32,
            packed_size=packed,
            size=size,
            attributes=attributes,
            offset=offset + self.shift,
        )


def open_directory(source: BinaryIO) -> ZipDirectory:
    """Find the directory. Raises NotAZip, SplitZip."""
    size = source.seek(0, os.SEEK_END)
    tail_start = max(0, size - _MAX_COMMENT_BYTES - _END.size)
    source.seek(tail_start)
    tail = source.read(size - tail_start)
    place, is_split = len(tail), False
    for _ in range(_TRIES):
        place = tail.rfind(b"PK\5\6", 0, place)
        if place < 0:
            break
        if len(tail) - place < _END.size:
            continue
        try:
            found = _directory(source, tail_start + place, _END.unpack_from(tail, place))
        except SplitZip:
            is_split = True
            continue
        if found is not None:
            return found
    source.seek(0)
    if is_split or source.read(4) == _SPLIT:
        raise SplitZip
    raise NotAZip


def extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of an entry's extra data: kind and content."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _directory(source: BinaryIO, end: int, fields: tuple[int, ...]) -> ZipDirectory | None:
    """The directory that belongs to this end; None if there is none at the stated place. Raises SplitZip."""
    _, disk, directory_disk, _, count, size, offset, _ = fields
    end_64 = _end_64(source, end)
    if end_64 is not None:
        end, (disk, directory_disk, count, size, offset) = end_64
    if disk or directory_disk:
        raise SplitZip
    # Bytes before the archive shift all positions in it. Some packers put a signature after the directory instead.
    for start, shift in ((end - size, end - size - offset), (offset, 0)):
        if 0 <= start <= end - size and shift >= 0 and (_signature(source, start) == b"PK\1\2" or size == count == 0):
            return ZipDirectory(source, start, size, count, shift)
    return None


def _end_64(source: BinaryIO, end: int) -> tuple[int, tuple[int, ...]] | None:
    """The position and the fields of the end record for large archives. Raises SplitZip."""
    place = end - _END_64_LOCATOR.size
    if place < 0 or _signature(source, place) != b"PK\6\7":
        return None
    source.seek(place)
    _, _, offset, disks = _END_64_LOCATOR.unpack(source.read(_END_64_LOCATOR.size))
    if disks > 1:
        raise SplitZip
    for start in (place - _END_64.size, offset):
        if 0 <= start <= place - _END_64.size and _signature(source, start) == b"PK\6\6":
            source.seek(start)
            fields = _END_64.unpack(source.read(_END_64.size))
            return start, (fields[4], fields[5], fields[7], fields[8], fields[9])
    return None


def _signature(source: BinaryIO, position: int) -> bytes:
    source.seek(position)
    return source.read(4)


def _entry_size(buffer: bytes, at: int) -> int:
    """Size of the entry whose fixed part is in the buffer. Raises NotAZip."""
    if buffer[at : at + 4] != b"PK\1\2":
        raise NotAZip
    return _ENTRY.size + sum(map(int, struct.unpack_from("<3H", buffer, at + 28)))


def _zip64_fields(extra: bytes, *values: int) -> tuple[int, ...]:
    """The values (size, packed size, offset, disk), of which those that are too large for the entry are in `extra`."""
    found = next((content for kind, content in extra_fields(extra) if kind == _ZIP64), b"")
    read = []
    for value, (largest, form) in zip(values, [(_MAX_32, "<Q")] * 3 + [(_MAX_16, "<L")], strict=True):
        if value != largest:
            read.append(value)
            continue
        try:
            read.append(struct.unpack_from(form, found)[0])
        except struct.error:
            raise NotAZip from None
        found = found[struct.calcsize(form) :]
    return tuple(read)
