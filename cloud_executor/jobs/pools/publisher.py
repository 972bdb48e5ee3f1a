"""Publish jobs to the queues of their pools, up to a window of each user's jobs (`fair_share`)."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from cloud_executor.clock import Clock
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.jobs.pools.fleet import FleetRequests
from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW, RunningLimit, is_held, limited_window
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import JobQueue, JobStore

logger = logging.getLogger(__name__)


Line = tuple[str, str | None]
"""The user and the pool of jobs that wait for places in the same window."""


@dataclass(frozen=True, slots=True)
class Flights:
    """The lines for which a thread of this process publishes. Safe for use by threads.

    A burst of claims shares one thread: many threads would find the same jobs, and each would publish them.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _requested: set[Line] = field(default_factory=set)
    """Lines with a change that no thread has looked at."""
    _active: set[Line] = field(default_factory=set)

    def request(self, line: Line) -> bool:
        """Request a round for the line. Returns whether the caller must start the thread."""
        with self._lock:
            self._requested.add(line)
            if line in self._active:
                return False
            self._active.add(line)
            return True

    def next_round(self, line: Line) -> bool:
        """Whether the line's thread must make another round; otherwise it ends."""
        with self._lock:
            if line not in self._requested:
                self._active.discard(line)
                return False
            self._requested.discard(line)
            return True

    def end(self, line: Line) -> None:
        """Forget the line's thread, which failed."""
        with self._lock:
            self._requested.discard(line)
            self._active.discard(line)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes waiting jobs, oldest first. A job whose publish fails is left to the sweep.

    Who stores a waiting job looks for a place in its user's window afterward, and who takes a job out of the window
    looks for the next one afterward. So one of the two finds the job that is next, whatever their order. Two that
    find the same job both publish it, which is harmless, and the window can be exceeded by as many jobs as are being
    published at that moment.
    """

    store: JobStore
    queue: JobQueue
    clock: Clock
    fleet: FleetRequests | None = None
    """Asked for workers; None if others start them."""
    window: int = DEFAULT_WINDOW
    running_limit: RunningLimit = lambda _: None
    flights: Flights = field(default_factory=Flights)

    def try_to_publish(self, job: Job) -> None:
        """Publish the next jobs of the job's user, if it waits for a pool and was not published."""
        if not is_held(job):
            return
        if self.fleet is not None:
            self.fleet.request(str(job.pool))  # first, so that it takes place while the job is published
        self.follow(job)

    def follow(self, job: Job) -> None:
        """Publish the next jobs of the job's user, because the job waits, was claimed, or has ended."""
        if not self.store.publishes:
            self.publish_next(job)

    def follow_in_background(self, job: Job) -> None:
        """The same as `follow`, without a wait for the store and the queue."""
        line = (job.user_id, job.pool)
        if self.store.publishes or not self.flights.request(line):
            return
        try:
            threading.Thread(target=self._fly, args=(line, job), name="publish next", daemon=True).start()
        except RuntimeError:  # no thread can be started: the sweep publishes the jobs
            self.flights.end(line)

    def follow_end(self, job: Job) -> None:
        """Publish the next jobs of a user whose running jobs are limited, because this job has stopped running."""
        with suppress(Unavailable):  # the sweep publishes the jobs
            if self.running_limit(job.user_id) is not None:
                self.follow(job)

    def free_slots(self, user_id: str, slots: int) -> int:
        """The number of slots in which the user's jobs may start, of this many."""
        limit = self.running_limit(user_id)
        return (
            slots
            if limit is None
            else limited_window(slots, self.store.count(user_id, (Status.RUNNING,), limit), limit)
        )

    def publish_next(self, job: Job) -> int | None:
        """Publish the next jobs of this job's user to this job's pool, as many as have a place in the user's window.

        Returns their number; None if the queue or store is unavailable.
        """
        if job.pool is None:
            return 0
        count, subject = 0, job
        try:
            window = self.free_slots(job.user_id, self.window)
            for subject in self.store.next_to_publish(job.user_id, job.pool, window):
                self.queue.publish(job.pool, subject.hash)
                self.store.record_publish(subject, self.clock())
                count += 1
        except Unavailable:
            logger.warning("job could not be published", extra=log_fields(subject, "publish"), exc_info=True)
            return None
        return count

    def _fly(self, line: Line, job: Job) -> None:
        try:
            while self.flights.next_round(line):
                self.publish_next(job)
        except BaseException:
            self.flights.end(line)
            raise
