"""Tunable options of the job use cases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW

MISSED_REFRESHES = 5
"""Refresh periods without contact after which a worker counts as vanished (docs/protocol.md: Lost workers)."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What an operator can tune."""

    refresh_period: timedelta = timedelta(seconds=5)
    """Interval at which external workers ask for work."""
    lease: timedelta = timedelta(seconds=30)
    """How long one of our workers may be silent before its job goes to another worker."""
    retries: int = 3
    """Maximum number of lost attempts of a job that does not set its own."""
    clear_output_after: timedelta | None = timedelta(seconds=60)
    """Delay after which the output segments of a finished job are deleted; None: never."""
    queue_window: int = DEFAULT_WINDOW
    """Maximum number of each user's waiting jobs in the queue of a pool (`fair_share`)."""

    @property
    def worker_timeout(self) -> timedelta:
        return MISSED_REFRESHES * self.refresh_period
