"""Apply a transition to a job that must exist."""

from __future__ import annotations

from collections.abc import Callable

from cloud_executor.model.jobs.job import Job
from cloud_executor.ports import JobNotFound, JobStore


def existing(job: Job | None) -> Job:
    """Raises JobNotFound for None."""
    if job is None:
        raise JobNotFound
    return job


def transact(store: JobStore, job_hash: str, change: Callable[[Job], Job | None], *, durable: bool = True) -> Job:
    """The job as it is stored after `change`. Raises JobNotFound and whatever `change` raises."""
    return existing(store.transact(job_hash, lambda stored: change(existing(stored)), durable=durable))
