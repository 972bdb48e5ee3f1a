"""The modification times of files in a zip, as `unzip` restores them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime

from cloud_executor.zip_reader.directory import ZipEntry, extra_fields

NO_TIME = (1 << 5 | 1, 0)
"""DOS date and time (1980-01-01 00:00:00) of packers that store no times, whose zips depend on their contents only."""

_SECOND = 10**9
_EXTENDED_TIMESTAMP = 0x5455
_NTFS = 0x000A
_UNIX = frozenset({0x5855, 0x000D})
_NTFS_TIMES = 1
_NTFS_EPOCH = 11_644_473_600
"""Seconds from 1601, the epoch of NTFS, to 1970."""


def modified_ns(entry: ZipEntry) -> int | None:
    """Modification time in nanoseconds since 1970; None if the entry has no valid one.

    The entry's own time is local, with a resolution of two seconds. A time in an extra field is in UTC and takes
    precedence.
    """
    try:
        found = next(_extra_times(entry.extra), None)
        return _local_time(entry.dos_date, entry.dos_time) if found is None else found
    except (ValueError, OverflowError, OSError, struct.error):
        return None


def _local_time(date: int, time: int) -> int | None:
    if (date, time) == NO_TIME:
        return None
    year, month, day = (date >> 9) + 1980, date >> 5 & 0xF, date & 0x1F
    # A DOS time can have up to 62 seconds. In the hour that is repeated when summer time ends, the first one is meant.
    hour, minute, second = time >> 11, time >> 5 & 0x3F, min(2 * (time & 0x1F), 59)
    local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - without a zone, it is local
    return int(local.timestamp()) * _SECOND


def _extra_times(extra: bytes) -> Iterator[int]:
    for kind, field in extra_fields(extra):
        if kind == _EXTENDED_TIMESTAMP and len(field) >= 5 and field[0] & 1:
            yield struct.unpack_from("<l", field, 1)[0] * _SECOND
        elif kind in _UNIX and len(field) >= 8:
            yield struct.unpack_from("<l", field, 4)[0] * _SECOND
        elif kind == _NTFS:
            for tag, times in extra_fields(field[4:]):
                if tag == _NTFS_TIMES and len(times) >= 8:
                    yield struct.unpack_from("<Q", times)[0] * 100 - _NTFS_EPOCH * _SECOND
