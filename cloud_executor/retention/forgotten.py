"""Grants of deleted objects, which are deleted after them: lists of those left, `wg-gc/forget-<uuid>`.

Each batch of deletions stores the list of its objects first, and deletes it last. If a run dies in between, or cannot
delete a grant, the next run continues. Otherwise, the bytes would count for their users forever.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cloud_executor.blobs.keys import RETENTION_PREFIX, content_key, metadata_key
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import ObjectNotFound, ObjectStore

PREFIX = f"{RETENTION_PREFIX}forget-"

_HASH_BYTES = 20


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Deletes grants, in this run or in the next one."""

    objects: ObjectStore
    forget: Callable[[str], None]
    """Deletes the grants of a deleted document or content."""

    @contextmanager
    def deleting(self, hashes: Collection[str]) -> Iterator[None]:
        """Note that some of these objects are deleted in the block, and their grants after them."""
        key = f"{PREFIX}{uuid.uuid4()}"
        self.objects.put(key, (b"".join(map(bytes.fromhex, hashes)),))
        yield
        self.objects.delete(key)  # not after an error

    def complete(self) -> None:
        """Delete the grants that earlier runs have left."""
        for info in list(self.objects.list(PREFIX)):
            with suppress(ObjectNotFound):  # a simultaneous run is done with it
                stored = self.objects.read(info.key)[0]
                hashes = [stored[start : start + _HASH_BYTES].hex() for start in range(0, len(stored), _HASH_BYTES)]
                for _ in parallel_map(self._forget_deleted, hashes, self.objects.concurrency):
                    pass
                self.objects.delete(info.key)

    def _forget_deleted(self, found: str) -> None:
        if not self._is_stored(metadata_key(found)) and not self._is_stored(content_key(found)):
            self.forget(found)

    def _is_stored(self, key: str) -> bool:
        try:
            self.objects.stat(key)
        except ObjectNotFound:
            return False
        return True
