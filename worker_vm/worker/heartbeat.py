"""Keep the records of a worker and the leases of its jobs up to date.

One thread serves all slots. It renews the lease of each attempt, checks whether the job was canceled, and interrupts
the attempt if necessary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cloud_executor.clock import boot_seconds
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.job import Job, StaleAttempt, Status
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound
from worker_vm.worker.attempt import Attempt, Interruption

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Interval between two reads of a running job, in seconds: a cancel is noticed after up to this time."""

RENEWALS_PER_LEASE = 3


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
        self._renew_every = attempts.options.lease.total_seconds() / RENEWALS_PER_LEASE
        self._attempts: dict[Attempt, float] = {}
        """Time of each attempt's next renewal, on the boot clock."""
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
        labels = tuple(sorted(self.labels))
        self._jobs.record_worker(
            WorkerRecord(self._worker_id, self._jobs.clock(), labels, pool=self._pool, slots=self._slots)
        )

    def offer(self, labels: Iterable[str]) -> None:
        """Offer these labels, too. Raises Unavailable."""
        self.labels |= frozenset(labels)
        self.record()

    @property
    def silent_seconds(self) -> float:
        """Time since the thread's last sign of life, in seconds. One call to the storage may take long."""
        return time.monotonic() - self._beaten_at

    @contextmanager
    def keep(self, attempt: Attempt) -> Iterator[None]:
        """Keep the attempt's job inside the block."""
        with self._lock:
            self._attempts[attempt] = boot_seconds() + self._renew_every
            if self._releasing:
                attempt.interrupt(Interruption.RELEASED)
        try:
            yield
        finally:
            with self._lock:
                del self._attempts[attempt]

    def release_all(self) -> None:
        """Interrupt all attempts, current and future, because the worker stops."""
        with self._lock:
            self._releasing = True
            for attempt in self._attempts:
                attempt.interrupt(Interruption.RELEASED)

    def _beat(self) -> None:
        refresh_seconds = self._jobs.options.refresh_period.total_seconds()
        record_at = time.monotonic() + refresh_seconds
        while not self._ended.wait(min(POLL_SECONDS, self._renew_every, refresh_seconds)):
            self._beaten_at = time.monotonic()
            # No exception may end this thread: jobs would continue without a lease.
            try:
                if time.monotonic() >= record_at:
                    record_at = time.monotonic() + refresh_seconds
                    self.record()
            except Exception:
                logger.warning("cannot record the worker", extra=self._fields("show"), exc_info=True)
            with self._lock:
                attempts = list(self._attempts.items())
            for attempt, renew_at in attempts:
                self._beaten_at = time.monotonic()
                try:
                    self._check(attempt, renew_at)
                except Unavailable:
                    logger.warning("cannot reach the job", extra=attempt.fields("renew"), exc_info=True)
                except Exception:
                    logger.exception("cannot renew the job", extra=attempt.fields("renew"))

    def _check(self, attempt: Attempt, renew_at: float) -> None:
        """Renew or read the job, and interrupt the attempt if necessary."""
        now = boot_seconds()
        try:
            if now >= renew_at:
                job = self._jobs.renew(attempt.job_hash, attempt.number)
                attempt.lease_renewed_at(now)
                with self._lock:
                    if attempt in self._attempts:
                        self._attempts[attempt] = now + self._renew_every
            else:
                job = self._jobs.get(attempt.job_hash)
        except (StaleAttempt, JobNotFound):
            attempt.interrupt(Interruption.LOST)
            return
        if not _belongs_to(job, attempt):
            attempt.interrupt(Interruption.LOST)
        elif job.cancel_requested:
            attempt.interrupt(Interruption.CANCELED)

    def _fields(self, action: str) -> dict[str, object]:
        return {"action": action, "worker_id": self._worker_id}


def _belongs_to(job: Job, attempt: Attempt) -> bool:
    return job.status == Status.RUNNING and job.attempt == attempt.number
