"""Keep the records of a worker and the leases of its jobs up to date.

Each attempt has a thread, so that one slow call delays no other lease. It renews the lease, checks whether the job was
canceled, and interrupts the attempt if necessary. Another thread records the worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from cloud_executor.clock import boot_seconds
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.jobs.job import Job, StaleAttempt, Status
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobNotFound
from worker_vm.worker.attempt import Attempt, Interruption

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Interval between two reads of a job in its first minute, in seconds: a cancel is noticed after up to this time."""

EARLY_SECONDS = 60.0
"""Time after the claim in which a cancel is noticed quickly, in seconds."""

LATER_POLL_SECONDS = 5.0
"""Interval between two reads of a job that runs for longer, in seconds: each read of a job costs money in the cloud."""

RENEWALS_PER_LEASE = 3

CALLS_PER_LEASE = 10
"""Number of calls as slow as the slowest recent one for which a lease lasts."""

LONGEST_LEASE = timedelta(minutes=10)
"""Longest lease that slow calls lead to."""

CALLS_MEASURED = 32
"""Number of recent calls whose slowest one counts."""


class Heartbeat:
    """Runs from `start` to `stop`, and keeps the attempts that were passed to `keep`."""

    def __init__(
        self,
        attempts: Attempts,
        worker_id: str,
        labels: Iterable[str],
        *,
        pool: str | None = None,
        slots: int | None = None,
    ) -> None:
        self._jobs = attempts
        self._worker_id = worker_id
        self.labels = frozenset(labels)
        """Labels that the worker offers to jobs."""
        self._pool = pool
        self._slots = slots
        self._kept: set[_Kept] = set()
        self._call_seconds: deque[float] = deque(maxlen=CALLS_MEASURED)
        self._lock = threading.Lock()
        self._releasing = False
        self._beaten_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Raises Unavailable if the worker cannot be recorded."""
        self.record()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(POLL_SECONDS)

    def record(self) -> None:
        """Record that the worker is alive. Raises Unavailable."""
        with self.measured():
            now = self._jobs.lease_clock()
            labels = tuple(sorted(self.labels))
            self._jobs.record_worker(WorkerRecord(self._worker_id, now, labels, pool=self._pool, slots=self._slots))

    def offer(self, labels: Iterable[str]) -> None:
        """Offer these labels, too. Raises Unavailable."""
        self.labels |= frozenset(labels)
        self.record()

    @property
    def lease(self) -> timedelta:
        """The lease that the worker takes: longer while the job store is slow."""
        with self._lock:
            slowest = max(self._call_seconds, default=0.0)
        return max(self._jobs.options.lease, min(LONGEST_LEASE, timedelta(seconds=CALLS_PER_LEASE * slowest)))

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the call of the job store inside the block; slow calls make leases longer."""
        start = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._call_seconds.append(time.monotonic() - start)

    @property
    def silent_seconds(self) -> float:
        """Longest time since a thread's last sign of life, in seconds. One call to the storage may take long."""
        with self._lock:
            beats = [self._beaten_at, *(kept.beaten_at for kept in self._kept)]
        return time.monotonic() - min(beats)

    @contextmanager
    def keep(self, attempt: Attempt) -> Iterator[None]:
        """Keep the attempt's job inside the block."""
        kept = _Kept(attempt)
        with self._lock:
            self._kept.add(kept)
            if self._releasing:
                attempt.interrupt(Interruption.RELEASED)
        try:
            threading.Thread(target=self._keep, args=(kept,), name="lease", daemon=True).start()
            yield
        finally:
            kept.ended.set()
            with self._lock:
                self._kept.remove(kept)

    def release_all(self) -> None:
        """Interrupt all attempts, current and future, because the worker stops."""
        with self._lock:
            self._releasing = True
            for kept in self._kept:
                kept.attempt.interrupt(Interruption.RELEASED)

    def _beat(self) -> None:
        options = self._jobs.options
        # A worker that was not seen for a lease has vanished.
        every = min(options.refresh_period, options.lease / RENEWALS_PER_LEASE).total_seconds()
        while not self._ended.wait(every):
            self._beaten_at = time.monotonic()
            # No exception may end this thread: the worker would seem to have vanished.
            try:
                self.record()
            except Exception:
                logger.warning("cannot record the worker", extra=self._fields("show"), exc_info=True)

    def _keep(self, kept: _Kept) -> None:
        attempt = kept.attempt
        renew_at = attempt.claimed_at + attempt.lease_seconds / RENEWALS_PER_LEASE
        pause = min(_poll_seconds(attempt), max(0.0, renew_at - boot_seconds()))
        while not kept.ended.wait(pause):
            kept.beaten_at = time.monotonic()
            pause = min(_poll_seconds(attempt), self._jobs.options.lease.total_seconds() / RENEWALS_PER_LEASE)
            # No exception may end this thread: the job would continue without a lease.
            try:
                renew_at = self._check(attempt, renew_at)
                pause = min(pause, max(0.0, renew_at - boot_seconds()))
            except (StaleAttempt, JobNotFound):
                attempt.interrupt(Interruption.LOST)
            except Unavailable:
                logger.warning("cannot reach the job", extra=attempt.fields("renew"), exc_info=True)
            except Exception:
                logger.exception("cannot renew the job", extra=attempt.fields("renew"))

    def _check(self, attempt: Attempt, renew_at: float) -> float:
        """Renew or read the job, and interrupt the attempt if necessary. Returns the time of the next renewal.

        Raises StaleAttempt, JobNotFound, Unavailable.
        """
        now, lease = boot_seconds(), self.lease
        if now >= renew_at or attempt.has_jumped:
            with self.measured():
                job = self._jobs.renew(attempt.job_hash, attempt.number, lease)
            attempt.lease_renewed_at(now, lease.total_seconds())
            renew_at = now + lease.total_seconds() / RENEWALS_PER_LEASE
        elif renew_at - now > 2 * lease.total_seconds() / CALLS_PER_LEASE or lease == self._jobs.options.lease:
            with self.measured():
                job = self._jobs.get(attempt.job_hash)
        else:
            return renew_at  # A slow read must not delay the renewal, which shows a cancel as well.
        if not _belongs_to(job, attempt):
            attempt.interrupt(Interruption.LOST)
        elif job.cancel_requested:
            attempt.interrupt(Interruption.CANCELED)
        return renew_at

    def _fields(self, action: str) -> dict[str, object]:
        return {"action": action, "worker_id": self._worker_id}


class _Kept:
    """An attempt whose lease is kept."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.beaten_at = time.monotonic()
        self.ended = threading.Event()


def _poll_seconds(attempt: Attempt) -> float:
    return POLL_SECONDS if attempt.elapsed_seconds < EARLY_SECONDS else LATER_POLL_SECONDS


def _belongs_to(job: Job, attempt: Attempt) -> bool:
    return job.status == Status.RUNNING and job.attempt == attempt.number
