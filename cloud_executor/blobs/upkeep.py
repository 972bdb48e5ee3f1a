"""Deletes objects that have outlived their use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from cloud_executor.blobs.keys import TEMPORARY_PREFIX, ZIP_PREFIX
from cloud_executor.blobs.store import BlobStore
from cloud_executor.parallel import parallel_map

TEMPORARY_LIFETIME = timedelta(days=1)
"""How long an upload may take before its parts are deleted."""

ZIP_LIFETIME = timedelta(days=8)
"""How long a composed zip or a manifest is kept; a later request creates it again."""

MAX_DELETES = 1000
"""Maximum number of objects that one call deletes; the next call continues."""


@dataclass(frozen=True, slots=True)
class BlobUpkeep:
    """Safe to run at any time, also concurrently."""

    blobs: BlobStore

    def delete_abandoned_uploads(self) -> int:
        """Delete what interrupted uploads left more than a day ago. The number of objects deleted."""
        return self._delete_older(TEMPORARY_PREFIX, TEMPORARY_LIFETIME)

    def delete_old_zips(self) -> int:
        """Delete zips and manifests that are more than eight days old. The number of objects deleted."""
        return self._delete_older(ZIP_PREFIX, ZIP_LIFETIME)

    def _delete_older(self, prefix: str, lifetime: timedelta) -> int:
        objects = self.blobs.objects
        limit = self.blobs.clock() - lifetime
        old = (info.key for info in objects.list(prefix) if info.modified < limit)
        keys = list(islice(old, MAX_DELETES))
        for _ in parallel_map(objects.delete, keys, objects.concurrency):
            pass
        return len(keys)
