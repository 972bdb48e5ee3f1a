"""The record of a worker."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cloud_executor.model.access.owner import GUEST


class WorkerRecord(msgspec.Struct, frozen=True):
    """A worker and when it was last seen."""

    client_id: str
    """Key of the worker (`key_of`): its client id, or, if its user is not the guest, the user and the client id."""
    last_seen: datetime
    labels: tuple[str, ...] = ()
    user_id: str = GUEST
    pool: str | None = None
    """Pool of the worker; None for external workers."""
    slots: int | None = None
    """Number of jobs that the worker runs at a time; None if unknown."""
