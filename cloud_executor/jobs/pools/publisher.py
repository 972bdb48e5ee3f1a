"""Publish jobs to the queues of their pools, up to a window of each user's jobs (`fair_share`)."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass

from cloud_executor.clock import Clock
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.jobs.pools.fleet import FleetRequests
from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW, RunningLimit, is_held, limited_window
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import JobQueue, JobStore

logger = logging.getLogger(__name__)


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
        if not self.store.publishes:
            with suppress(RuntimeError):  # no thread can be started: the sweep publishes the jobs
                threading.Thread(target=self.publish_next, args=(job,), name="publish next", daemon=True).start()

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
