"""Publish jobs to the queues of their pools."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cloud_executor.clock import Clock
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.jobs.pools.fleet import FleetRequests
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import JobQueue, JobStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes waiting jobs. A job whose publish fails is left to the sweep."""

    store: JobStore
    queue: JobQueue
    clock: Clock
    fleet: FleetRequests | None = None
    """Asked for workers; None if others start them."""

    def try_to_publish(self, job: Job) -> bool:
        """Publish the job if it waits for a pool and was not published; False if the queue or store is unavailable."""
        if job.pool is None or job.status != Status.CREATED or job.published_at is not None:
            return True
        if self.fleet is not None:
            self.fleet.request(job.pool)  # first, so that it takes place while the job is published
        try:
            self.queue.publish(job.pool, job.hash)
            self.store.record_publish(job, self.clock())
        except Unavailable:
            logger.warning("job could not be published", extra=log_fields(job, "publish"), exc_info=True)
            return False
        return True
