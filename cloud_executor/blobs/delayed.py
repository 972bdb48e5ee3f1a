"""A blob store that stores small blobs together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloud_executor.blobs.keys import metadata_key
from cloud_executor.blobs.store import BlobStore, ContentDiffers, StoredBlob
from cloud_executor.errors import CloudExecutorError, Unavailable
from cloud_executor.model.blobs.metadata import BlobMetadata

MAX_WAITING_OBJECTS = 2048
MAX_WAITING_BYTES = 16 * 2**20
"""Largest number and total size of objects that wait to be stored."""


class NotStored(Exception):
    """Some of the blobs that were to be stored together cannot be stored. Store them one by one to learn which."""


@dataclass(frozen=True, slots=True)
class DelayedBlobStore(BlobStore):
    """A BlobStore whose small contents and metadata are stored by `flush`, in much less time than one by one.

    `create_file`, `create_files`, and `create_metadata` also flush what waits if it is too much. They then raise
    NotStored.
    """

    _waiting: dict[str, bytes] = field(default_factory=dict)
    _unreported: list[BlobMetadata] = field(default_factory=list)
    """Blobs for which `on_stored` is called once they are stored."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def flush(self) -> None:
        """Store everything that waits, durably. Safe to repeat. Raises NotStored, and Unavailable."""
        with self._lock:
            self._flush()

    def create_metadata(self, metadata: BlobMetadata) -> StoredBlob:
        self._put_all({metadata_key(metadata.hash): metadata.canonical})
        return self._stored(metadata)

    def _put_all(self, objects: Mapping[str, bytes]) -> None:
        with self._lock:
            for key, content in objects.items():
                if self._waiting.setdefault(key, content) != content:
                    raise ContentDiffers
            size = sum(map(len, self._waiting.values()))
            if len(self._waiting) >= MAX_WAITING_OBJECTS or size >= MAX_WAITING_BYTES:
                self._flush()

    def _stored(self, metadata: BlobMetadata) -> StoredBlob:
        with self._lock:
            self._unreported.append(metadata)
        return StoredBlob(metadata.hash, metadata.canonical, self.clock())

    def _flush(self) -> None:
        try:
            BlobStore._put_all(self, self._waiting)
        except Unavailable:
            raise
        except CloudExecutorError as error:
            raise NotStored from error
        self._waiting.clear()
        if self.on_stored is not None:
            for metadata in self._unreported:
                self.on_stored(metadata)
        self._unreported.clear()
