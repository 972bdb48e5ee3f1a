"""Numbers about all jobs and the worker pools."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from cloud_executor.clock import Clock
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobStore

logger = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""Time for which the numbers are kept, in seconds."""


class PoolStats(msgspec.Struct, frozen=True, rename="camel"):
    """Numbers about a worker pool."""

    waiting: int
    """Number of jobs that wait for the pool."""
    running: int
    slots: int
    """Number of jobs that the workers of the pool can run at once."""
    workers: int
    """Number of workers."""
    oldest_waiting_seconds: float | None
    """Age of the oldest job that waits, in seconds; None if none does."""


class Stats(msgspec.Struct, frozen=True, rename="camel"):
    """Numbers about a deployment."""

    jobs: Mapping[str, int]
    """Number of jobs by status."""
    pools: Mapping[str, PoolStats]
    bytes_stored: int | None = None
    """Size of all blobs at `bytes_stored_at`, in bytes; None until it is measured for the first time."""
    bytes_stored_at: datetime | None = None


class JobStats:
    """Computes the numbers, at most once every FRESH_SECONDS. Safe for use by threads."""

    def __init__(self, store: JobStore, pools: Sequence[WorkerPool], clock: Clock) -> None:
        self._store = store
        self._pools = pools
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[Stats, float] | None = None

    def current(self) -> Stats:
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[1] > FRESH_SECONDS:
                self._kept = self._compute(), time.monotonic()
            return self._kept[0]

    def log_waiting(self) -> None:
        """Log the age of the oldest job that waits for each pool: one read per pool. Raises Unavailable."""
        for pool in self._pools:
            seconds = self._oldest_waiting_seconds(pool.name)
            if seconds is not None:
                logger.info("jobs wait", extra={"action": "wait", "pool": pool.name, "seconds": seconds})

    def _compute(self) -> Stats:
        workers: dict[str, list[WorkerRecord]] = {pool.name: [] for pool in self._pools}
        for worker in self._store.workers():
            if worker.pool is not None:
                workers.setdefault(worker.pool, []).append(worker)
        pools = {name: self._pool(name, found) for name, found in workers.items()}
        usage = self._store.usage()
        if usage is None:
            return Stats(self._store.counts(), pools)
        return Stats(self._store.counts(), pools, usage.bytes_stored, usage.measured)

    def _pool(self, name: str, workers: Sequence[WorkerRecord]) -> PoolStats:
        counts = self._store.counts(name)
        waiting = counts.get(Status.CREATED, 0)
        return PoolStats(
            waiting=waiting,
            running=sum(counts.values()) - waiting,
            slots=sum(worker.slots or 0 for worker in workers),
            workers=len(workers),
            oldest_waiting_seconds=self._oldest_waiting_seconds(name) if waiting else None,
        )

    def _oldest_waiting_seconds(self, pool: str) -> float | None:
        oldest = self._store.search(JobFilter(statuses=(Status.CREATED,), pool=pool), limit=1).jobs
        if not oldest:
            return None
        age = (self._clock() - datetime.fromisoformat(oldest[0].create_time)).total_seconds()
        return round(max(0.0, age), 3)
