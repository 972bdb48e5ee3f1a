"""How much the object store holds."""

from __future__ import annotations

from datetime import datetime

import msgspec


class StorageUsage(msgspec.Struct, frozen=True):
    """Size of all blobs at some time."""

    bytes_stored: int
    """Size of all contents and metadata documents, in bytes."""
    measured: datetime
