"""Jobs whose message the queue gave up on."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cloud_executor.clock import Clock
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.jobs.transact import transact
from cloud_executor.model import transitions
from cloud_executor.ports import JobStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Ends jobs that would otherwise wait forever. Safe for concurrent use."""

    store: JobStore
    clock: Clock

    def give_up(self, job_hash: str) -> None:
        """Fail a job whose message was delivered too often, unless a worker has the job. Raises JobNotFound."""
        now = self.clock()
        job = transact(self.store, job_hash, lambda job: transitions.give_up(job, now))
        logger.warning("queue gave up on a job", extra=log_fields(job, "give_up") | {"status": job.status})
