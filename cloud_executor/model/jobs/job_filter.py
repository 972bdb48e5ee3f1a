"""Conditions that select jobs for a list."""

from __future__ import annotations

import msgspec

from cloud_executor.model.access.owner import id_in
from cloud_executor.model.jobs.job import Job


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A job has to meet all conditions that are set."""

    statuses: tuple[str, ...] = ()
    """Statuses, one of which the job has; empty: any."""
    user_id: str | None = None
    label: str | None = None
    """A label that the job requires."""
    tag: str | None = None
    name_prefix: str | None = None
    """Beginning of the job's name."""
    worker: str | None = None
    """Client id of the worker that has the job, or had it last."""
    pool: str | None = None
    """Worker pool of a job that is not finished."""
    created_from: str | None = None
    """Earliest creation time."""
    created_before: str | None = None
    """Time before which the job was created."""

    def matches(self, job: Job) -> bool:
        return (
            (not self.statuses or job.status in self.statuses)
            and self.user_id in (None, job.user_id)
            and (self.label is None or self.label in job.labels)
            and (self.tag is None or self.tag in job.tags)
            and (self.name_prefix is None or (job.name or "").startswith(self.name_prefix))
            and (self.worker is None or (job.worker is not None and self.worker == id_in(job.worker)))
            and (self.pool is None or (self.pool == job.pool and not job.finished))
            and (self.created_from is None or self.created_from <= job.create_time)
            and (self.created_before is None or job.create_time < self.created_before)
        )


EVERY_JOB = JobFilter()
