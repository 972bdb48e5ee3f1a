"""Fields of log records about jobs."""

from __future__ import annotations

import logging

from cloud_executor.model.access.owner import GUEST, id_in
from cloud_executor.model.jobs.job import Job

logger = logging.getLogger(__name__)


def log_fields(job: Job, action: str) -> dict[str, object]:
    """The fields that every log record about a job has."""
    fields: dict[str, object] = {"action": action, "job_hash": job.id, "attempt": job.attempt}
    if job.user_id != GUEST:
        fields["user"] = job.user_id
    return fields if job.trace is None else fields | {"trace": job.trace}


def log_vanished(job: Job, status: str) -> None:
    """Log that the worker of `job` vanished. `job` is as the worker had it; `status` is the status now."""
    fields = log_fields(job, "lose") | {
        "worker_id": None if job.worker is None else id_in(job.worker),
        "status": status,
    }
    logger.warning("worker of a job vanished", extra=fields)
