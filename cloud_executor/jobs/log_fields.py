"""What the log says of jobs."""

from __future__ import annotations

import logging

from cloud_executor.model.job import Job

logger = logging.getLogger(__name__)


def log_fields(job: Job, action: str) -> dict[str, object]:
    """What every log line about a job says of it."""
    fields: dict[str, object] = {"action": action, "job_hash": job.hash, "attempt": job.attempt}
    return fields if job.trace is None else fields | {"trace": job.trace}


def log_vanished(job: Job, status: str) -> None:
    """`job` as its worker had it, and its status now."""
    fields = log_fields(job, "lose") | {"worker_id": job.worker, "status": status}
    logger.warning("worker of a job vanished", extra=fields)
