"""The list of the documents that nothing needed in the last run, and since when: one object `wg-gc/unneeded-<time>`.

A document is deleted once nothing has needed it for the whole grace period. So a client that learned its hash in that
time, for example from a job that was deleted since, can still use it. Each run writes a new list, ordered by hash, and
then deletes the older ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import BinaryIO

from cloud_executor.blobs.keys import RETENTION_PREFIX
from cloud_executor.blobs.store import READ_BYTES
from cloud_executor.ports import ObjectNotFound, ObjectStore
from cloud_executor.retention.marks import Unneeded

PREFIX = f"{RETENTION_PREFIX}unneeded-"

_ENTRY = struct.Struct(">20sq")
"""The hash of a document, and the second since which nothing has needed it."""


class EarlierList:
    """The list of the last complete run, read along with the documents, which are in the same order."""

    def __init__(self, objects: ObjectStore) -> None:
        self._opened = ExitStack()
        self.keys = [info.key for info in objects.list(PREFIX)]
        """Keys of all lists, oldest first."""
        self._entries: Iterator[tuple[bytes, int]] = iter(())
        if self.keys:
            # A simultaneous run may have deleted it. All documents then wait again.
            with suppress(ObjectNotFound):
                self._entries = _entries(self._opened.enter_context(objects.open(self.keys[-1])))
        self._next = next(self._entries, None)

    def since(self, metadata_hash: str) -> datetime | None:
        """Time since which nothing has needed the document; None if it is not listed. Call it in the list's order."""
        wanted = bytes.fromhex(metadata_hash)
        while self._next is not None and self._next[0] < wanted:
            self._next = next(self._entries, None)
        if self._next is None or self._next[0] != wanted:
            return None
        return datetime.fromtimestamp(self._next[1], UTC)

    def close(self) -> None:
        self._opened.close()


def store_list(objects: ObjectStore, documents: Iterable[Unneeded], now: datetime) -> None:
    """Store the list of these documents durably."""
    entries = (_ENTRY.pack(bytes.fromhex(found.hash), int(found.since.timestamp())) for found in documents)
    objects.put(f"{PREFIX}{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}", entries)


def _entries(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    rest = b""
    while data := stream.read(READ_BYTES):
        rest += data
        whole = len(rest) - len(rest) % _ENTRY.size
        yield from _ENTRY.iter_unpack(rest[:whole])
        rest = rest[whole:]
