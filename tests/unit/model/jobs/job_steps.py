"""Jobs in their statuses, for tests of transitions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, JobUpdate, Outcome, Status

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
RETRIES = 2
KEEP = timedelta(seconds=60)
SECRET = "the secret"

Step = Callable[[Job], Job | None]


def new_job(stored: Job | None = None, secret: str = SECRET, now: datetime = NOON) -> Job:
    job = transitions.create(
        stored, "j", user_id="guest", labels=(), pools=("default", "other"), secret=secret, now=now
    )
    assert job is not None
    return job


def claimed(job: Job, worker: str = "w", now: datetime = NOON, lease: timedelta | None = LEASE) -> Job:
    return transitions.claim(job, worker, now, lease)


def finished(job: Job, status: Status = Status.SUCCESS, attempt: int | None = None) -> Job:
    outcome = Outcome(status, NOON, NOON, {"all": "0" * 40})
    return transitions.finish(job, job.attempt if attempt is None else attempt, outcome, NOON, KEEP)


def updated(job: Job, **fields: object) -> Job | None:
    return transitions.update(job, msgspec.convert(fields, JobUpdate), NOON, KEEP, None)
