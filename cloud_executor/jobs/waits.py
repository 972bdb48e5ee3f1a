"""Requests that wait until a job changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloud_executor.model.jobs.job import Job
from cloud_executor.ports import JobStore, JobWatch


class Waits:
    """The waiting requests of one process. Safe for use by threads."""

    def __init__(self, limit: Callable[[], int]) -> None:
        """`limit` returns how many requests can wait at once, so that the other threads serve all other requests."""
        self._limit = limit
        self._lock = threading.Lock()
        self._free: int | None = None
        self._watches: set[JobWatch] = set()
        self._stopped = False

    def until(
        self, store: JobStore, job_hash: str, seconds: float, is_over: Callable[[Job, Job], bool]
    ) -> tuple[Job, bool]:
        """Wait until `is_over(first, job)`, or up to `seconds`. Returns the job, and whether the request could wait.

        `first` is the job when the wait begins, and `job` its current version. If too many requests wait, or the
        process stops, the job is returned at once. Raises JobNotFound.
        """
        if not self._take():
            job = store.get(job_hash)
            return job, is_over(job, job)
        try:
            return self._watch(store, job_hash, seconds, is_over), True
        finally:
            self._give_back()

    def stop(self) -> None:
        """End all waits now, and allow no more. A signal handler can call it: no thread waits while it has the lock."""
        with self._lock:
            self._stopped = True
            watches = list(self._watches)
        for watch in watches:
            watch.stop()

    def _watch(self, store: JobStore, job_hash: str, seconds: float, is_over: Callable[[Job, Job], bool]) -> Job:
        deadline = time.monotonic() + seconds
        with store.watch(job_hash) as watch, self._registered(watch):
            # Read only now: the watch notices every later change.
            first = job = store.get(job_hash)
            while not is_over(first, job):
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._stopped:
                    break
                watch.wait(remaining)
                job = store.get(job_hash)
            return job

    @contextmanager
    def _registered(self, watch: JobWatch) -> Iterator[None]:
        with self._lock:
            self._watches.add(watch)
        try:
            yield
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _take(self) -> bool:
        with self._lock:
            if self._free is None:
                self._free = self._limit()
            if self._stopped or self._free <= 0:
                return False
            self._free -= 1
            return True

    def _give_back(self) -> None:
        with self._lock:
            self._free = (self._free or 0) + 1
