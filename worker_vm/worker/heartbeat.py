"""What a worker repeats while it lives: that it is there, and that its jobs are its own.

One thread does it for all slots: it extends each attempt's lease, looks whether somebody canceled the job, and tells
the attempt what it learned.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cloud_executor.errors import Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.job import Job, StaleAttempt, Status
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound
from worker_vm.worker.attempt import Attempt, Interruption

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""how often a running job is looked at: so long a cancel may take to be noticed"""

RENEWALS_PER_LEASE = 3


class Heartbeat:
    """`start` and `stop` it; in between it keeps whatever `keep` was given."""

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
        """what the worker offers to jobs"""
        self._pool = pool
        self._slots = slots
        self._renew_every = attempts.options.lease.total_seconds() / RENEWALS_PER_LEASE
        self._attempts: dict[Attempt, float] = {}
        """when each is to be renewed, on the monotonic clock"""
        self._lock = threading.Lock()
        self._releasing = False
        self._beaten_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Raises Unavailable if the worker cannot be recorded."""
        self.show()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(POLL_SECONDS)

    def show(self) -> None:
        """Record that the worker is there."""
        labels = tuple(sorted(self.labels))
        self._jobs.record_worker(
            WorkerRecord(self._worker_id, self._jobs.clock(), labels, pool=self._pool, slots=self._slots)
        )

    def offer(self, labels: Iterable[str]) -> None:
        """Offer these labels too. Raises Unavailable."""
        self.labels |= frozenset(labels)
        self.show()

    @property
    def silent_seconds(self) -> float:
        """How long ago its thread came round last; one call to the storage may take its time."""
        return time.monotonic() - self._beaten_at

    @contextmanager
    def keep(self, attempt: Attempt) -> Iterator[None]:
        """Keep the attempt's job while this lasts."""
        with self._lock:
            self._attempts[attempt] = time.monotonic() + self._renew_every
            if self._releasing:
                attempt.interrupt(Interruption.RELEASED)
        try:
            yield
        finally:
            with self._lock:
                del self._attempts[attempt]

    def release_all(self) -> None:
        """Interrupt what runs, and what comes from now on: the worker stops."""
        with self._lock:
            self._releasing = True
            for attempt in self._attempts:
                attempt.interrupt(Interruption.RELEASED)

    def _beat(self) -> None:
        refresh_seconds = self._jobs.options.refresh_period.total_seconds()
        show_at = time.monotonic() + refresh_seconds
        while not self._ended.wait(min(POLL_SECONDS, self._renew_every, refresh_seconds)):
            self._beaten_at = time.monotonic()
            # Nothing may end this thread: jobs would go on without a lease.
            try:
                if time.monotonic() >= show_at:
                    show_at = time.monotonic() + refresh_seconds
                    self.show()
            except Exception:
                logger.warning("worker was not recorded", extra=self._fields("show"), exc_info=True)
            with self._lock:
                attempts = list(self._attempts.items())
            for attempt, renew_at in attempts:
                self._beaten_at = time.monotonic()
                try:
                    self._look_at(attempt, renew_at)
                except Unavailable:
                    logger.warning("job cannot be reached", extra=attempt.fields("renew"), exc_info=True)
                except Exception:
                    logger.exception("job cannot be kept", extra=attempt.fields("renew"))

    def _look_at(self, attempt: Attempt, renew_at: float) -> None:
        now = time.monotonic()
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
        if not _is_of(job, attempt):
            attempt.interrupt(Interruption.LOST)
        elif job.cancel_requested:
            attempt.interrupt(Interruption.CANCELED)

    def _fields(self, action: str) -> dict[str, object]:
        return {"action": action, "worker_id": self._worker_id}


def _is_of(job: Job, attempt: Attempt) -> bool:
    return job.status == Status.RUNNING and job.attempt == attempt.number
