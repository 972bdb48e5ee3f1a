"""Jobs whose message the queue gave up on."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cloud_executor.clock import Clock
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.jobs.transact import transact
from cloud_executor.model.jobs import transitions
from cloud_executor.ports import JobStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Returns jobs that would otherwise wait forever to the sweep, or ends them. Safe for concurrent use."""

    store: JobStore
    clock: Clock

    def give_up(self, job_hash: str) -> None:
        """Return a waiting job whose message was delivered too often, up to a limit; then fail it.

        The next sweep publishes it, unless its store does so at once. Raises JobNotFound.
        """
        now = self.clock()
        job = transact(self.store, job_hash, lambda job: transitions.give_up(job, now))
        logger.warning("queue gave up on a job", extra=log_fields(job, "give_up") | {"status": job.status})
