"""The modification times of files in a zip, as `unzip` restores them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from datetime import datetime

NO_TIME = (1980, 1, 1, 0, 0, 0)
"""Local time in entries of packers that store no times, so that their zips depend on the contents only."""

_SECOND = 10**9
_EXTENDED_TIMESTAMP = 0x5455
_NTFS = 0x000A
_UNIX = frozenset({0x5855, 0x000D})
_NTFS_TIMES = 1
_NTFS_EPOCH = 11_644_473_600
"""Seconds from 1601, the epoch of NTFS, to 1970."""


def modified_ns(member: zipfile.ZipInfo) -> int | None:
    """Modification time in nanoseconds since 1970; None if the entry has no valid one.

    The entry's own time is local, with a resolution of two seconds. A time in an extra field is in UTC and takes
    precedence.
    """
    try:
        found = next(_extra_times(member.extra), None)
        return _local_time(member.date_time) if found is None else found
    except (ValueError, OverflowError, OSError, struct.error):
        return None


def _local_time(fields: tuple[int, int, int, int, int, int]) -> int | None:
    if fields == NO_TIME:
        return None
    year, month, day, hour, minute, second = fields
    # A DOS time can have up to 62 seconds. In the hour that is repeated when summer time ends, the first one is meant.
    local = datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001 - without a zone, it is local
    return int(local.timestamp()) * _SECOND


def _extra_times(extra: bytes) -> Iterator[int]:
    for kind, field in _fields(extra):
        if kind == _EXTENDED_TIMESTAMP and len(field) >= 5 and field[0] & 1:
            yield struct.unpack_from("<l", field, 1)[0] * _SECOND
        elif kind in _UNIX and len(field) >= 8:
            yield struct.unpack_from("<l", field, 4)[0] * _SECOND
        elif kind == _NTFS:
            for tag, times in _fields(field[4:]):
                if tag == _NTFS_TIMES and len(times) >= 8:
                    yield struct.unpack_from("<Q", times)[0] * 100 - _NTFS_EPOCH * _SECOND


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        kind, size = struct.unpack_from("<HH", data)
        yield kind, data[4 : 4 + size]
        data = data[4 + size :]
