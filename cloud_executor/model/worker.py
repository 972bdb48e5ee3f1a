"""What is known of the workers."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cloud_executor.model.job import GUEST


class WorkerRecord(msgspec.Struct, frozen=True):
    """A worker as it was last seen."""

    client_id: str
    last_seen: datetime
    labels: tuple[str, ...] = ()
    user_id: str = GUEST
    pool: str | None = None
    """of one of our workers"""
    slots: int | None = None
    """how many jobs it runs at once; None: it does not say"""
