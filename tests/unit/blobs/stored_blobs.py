"""Creates blobs for tests, and provides a store that counts its calls."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from cloud_executor.blobs.store import BlobStore, StoredBlob
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType
from cloud_executor.ports import ObjectStore

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class CountingStore:
    """A wrapper that counts the calls of each method and records the threads that made them."""

    def __init__(self, wrapped: ObjectStore, concurrency: int) -> None:
        self.concurrency = concurrency
        self.calls: Counter[str] = Counter()
        self.threads: set[int] = set()
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        self.threads.add(threading.get_ident())
        return getattr(self._wrapped, name)


def counting(objects: ObjectStore, concurrency: int = 1) -> tuple[BlobStore, CountingStore]:
    store: Any = CountingStore(objects, concurrency)
    return BlobStore(store, lambda: NOON), store


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def keys(objects: ObjectStore) -> set[str]:
    return {info.key for info in objects.list("")}


def file(blobs: BlobStore, content: bytes, name: str = "x.txt") -> StoredBlob:
    return blobs.create_file(name, [content])


def link(blobs: BlobStore, target: str, name: str = "link") -> str:
    document = b'{"name":"%b","content":"%b","contentType":"softLink"}' % (name.encode(), target.encode())
    return blobs.create_metadata(BlobMetadata.parse(document)).hash


def artifact(blobs: BlobStore, **files: tuple[str, ContentType]) -> str:
    entries = {path: ArtifactFile(found, 1, kind) for path, (found, kind) in files.items()}
    return blobs.create_metadata(BlobMetadata.for_artifact("art", entries)).hash
