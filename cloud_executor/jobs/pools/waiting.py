"""Why a job waits, and how many jobs are ahead of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Set
from enum import StrEnum

from cloud_executor.clock import Clock
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import JobStore

MOST_AHEAD = 1000
"""Largest number of jobs ahead that is counted: it means as many or more."""

FRESH_SECONDS = 5.0
"""Time for which the list of pools with workers is kept, in seconds."""


class WaitingReason(StrEnum):
    """Why no job of the pool can start."""

    MACHINE_STARTING = "machine starting"
    """The pool has no worker, but one was requested."""
    NO_WORKER = "no worker"
    """The pool has no worker, and this server starts none."""


class WaitingLine:
    """Looks up what a waiting job waits for. Safe for use by threads."""

    def __init__(
        self, store: JobStore, options: JobOptions, open_pools: Set[str], lease_clock: Clock, starts_workers: bool
    ) -> None:
        """`open_pools`: pools whose jobs external workers may run too. `starts_workers`: there is a `WorkerFleet`."""
        self._store = store
        self._options = options
        self._open_pools = open_pools
        self._lease_clock = lease_clock
        self._starts_workers = starts_workers
        self._lock = threading.Lock()
        self._kept: tuple[frozenset[str | None], float] | None = None

    def facts(self, job: Job) -> dict[str, object]:
        """Further fields for the document of a job: none unless it waits for a pool."""
        if job.status != Status.CREATED or job.pool is None:
            return {}
        found: dict[str, object] = {"jobsAhead": self._store.jobs_ahead(job, MOST_AHEAD)}
        served = self._served()
        if job.pool not in served and not (None in served and job.pool in self._open_pools):
            reason = WaitingReason.MACHINE_STARTING if self._starts_workers else WaitingReason.NO_WORKER
            found["waitingReason"] = reason
        return found

    def _served(self) -> frozenset[str | None]:
        """The pools with workers, and None if there are external workers."""
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[1] > FRESH_SECONDS:
                seen_after = self._lease_clock() - self._options.worker_timeout
                seen = (worker for worker in self._store.workers() if worker.last_seen > seen_after)
                self._kept = frozenset(worker.pool for worker in seen), time.monotonic()
            return self._kept[0]
