"""The transitions of a job: pure functions, each from a stored job to the job to store.

A store only makes read-modify-write atomic, so the state machine exists once, here:

    CREATED --claim--> RUNNING --finish--> SUCCESS, CANCELED, FAILED_…
       ^                  |
       +- release, lose, -+
        abandon, hand over       CREATED --cancel--> CANCELED --create--> CREATED

A job never leaves a finished status, except that creating a canceled job again makes a new one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from cloud_executor.errors import Forbidden, Invalid
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import (
    Job,
    JobRuns,
    JobUpdate,
    NotClaimable,
    NotFinished,
    Outcome,
    OutputRemains,
    StaleAttempt,
    Status,
    hashed_secret,
)

MESSAGE_LIFETIME = timedelta(hours=1)
"""Time after which the first message of a waiting job is published again; it doubles each time. Most jobs wait for a
worker, but a message can be lost, for example with a topic that was deleted."""

BLOCKING_LIFETIME = timedelta(minutes=5)
"""The same while other jobs of the user wait for the place of this job: a queue that has lost its messages must not
keep them waiting for hours."""

MAX_DOUBLINGS = 7

START_WITHIN = timedelta(minutes=10)
"""Time in which an external worker has to report on a job that it has, or to name the job when it checks in."""

MIN_BLAME = 1 / 16
"""Least part of a lost attempt that counts, so that a job which is never to blame ends as well."""

MAX_DEAD_LETTERS = 5
"""Number of dead letters in succession after which a job that waits fails."""


def create(
    stored: Job | None,
    job_hash: str,
    *,
    user_id: str,
    labels: tuple[str, ...],
    pools: tuple[str, ...],
    secret: str,
    now: datetime,
    trace: str | None = None,
    rerun: bool = False,
    name: str | None = None,
    tags: tuple[str, ...] = (),
) -> Job | None:
    """Make a new job, or replace a canceled one, or, for a `rerun`, any finished one; None if the job stays as it is.

    `pools` are the pools that have all labels, in order of preference. The results and logs of a job that runs again
    stay in its document until its next outcome, and it keeps its name and its tags if none are given.

    Raises OutputRemains if the old job's output has to be cleared first, and JobRuns for a rerun of a running job.
    """
    if rerun and stored is not None and stored.running:
        raise JobRuns
    if stored is not None and stored.status != Status.CANCELED and not (rerun and stored.finished):
        return None
    if stored is not None and stored.output_number is not None:
        raise OutputRemains
    old = stored if rerun else None
    return Job(
        hash=job_hash,
        create_time=iso_time(now),
        secret=secret,
        user_id=user_id,
        labels=labels,
        name=name if name is not None or old is None else old.name,
        tags=tags if tags or old is None else old.tags,
        pool=pools[0] if pools else None,
        later_pools=pools[1:],
        # The attempt count continues, so that a worker of the old job cannot write to the new one.
        attempt=stored.attempt if stored is not None else 0,
        result_hashes=old.result_hashes if old is not None else None,
        logs=old.logs if old is not None else None,
        trace=trace,
    )


def reroute(job: Job, removed_pool: str, pools: tuple[str, ...]) -> Job | None:
    """Move a waiting job from a removed pool to `pools`, or to external workers; None if it does not wait there."""
    if job.status != Status.CREATED or job.pool != removed_pool:
        return None
    return replace(job, pool=pools[0] if pools else None, later_pools=pools[1:], published_at=None, publishes=0)


def message_lost_at(job: Job, *, blocks: bool = False) -> datetime | None:
    """Time from which the message of a waiting job counts as lost; None if the job needs no message.

    `blocks`: other jobs of the user wait for the place of this job.
    """
    if job.status != Status.CREATED or job.pool is None or job.published_at is None:
        return None
    lifetime = BLOCKING_LIFETIME if blocks else MESSAGE_LIFETIME
    return job.published_at + lifetime * (1 << min(max(0, job.publishes - 1), MAX_DOUBLINGS))


def lose_message(job: Job, now: datetime, *, blocks: bool = False) -> Job | None:
    """Record that the message of a waiting job may be lost, so that it is published again; None if it is not due."""
    lost_at = message_lost_at(job, blocks=blocks)
    return None if lost_at is None or lost_at > now else replace(job, published_at=None)


def record_publish(job: Job, now: datetime) -> Job | None:
    """Record that a message for the job is in the queue; None if the job no longer waits."""
    return replace(job, published_at=now, publishes=job.publishes + 1) if job.status == Status.CREATED else None


def give_up(job: Job, now: datetime) -> Job | None:
    """Return a waiting job whose message the queue gave up on, so that it is published again; after too many, fail it.

    None if the job is finished or a worker has it. No worker could claim the job, which is not its fault: a job that
    harms workers is claimed first, and `lose` counts that.
    """
    if job.status != Status.CREATED:
        return None
    if job.dead_letters + 1 < MAX_DEAD_LETTERS:
        return replace(job, dead_letters=job.dead_letters + 1, published_at=None)
    reason = "The job was delivered to workers too many times, and none of them could claim it."
    return _end(job, Status.FAILED_TO_EXECUTE, now, reason)


def claim(
    job: Job,
    worker: str,
    now: datetime,
    lease: timedelta | None,
    pool: str | None = None,
    token: str | None = None,
    worker_token: str | None = None,
) -> Job:
    """Give a waiting job to a worker. `lease` None: an external worker.

    `pool` is the pool whose message named the job (None: no message did); a job that has left that pool is not claimed.
    A job whose lease has expired is not claimed either: only the sweep takes it from its worker.

    A worker repeats a claim, with the same `token`, if it does not know whether the claim took effect. An external
    worker gets `worker_token` instead, and may send it with its reports.

    Raises NotClaimable.
    """
    lease_expires = now + lease if lease is not None else None
    if job.status == Status.RUNNING and token is not None and job.claim_token == token:
        return replace(job, lease_expires=lease_expires)
    if job.status != Status.CREATED or (pool is not None and job.pool != pool):
        raise NotClaimable
    return replace(
        job,
        status=Status.RUNNING,
        worker=worker,
        attempt=job.attempt + 1,
        claim_token=token,
        worker_token=None if worker_token is None else hashed_secret(worker_token),
        start_by=now + START_WITHIN if lease is None else None,
        lease_expires=lease_expires,
        error=None,
        dead_letters=0,
    )


def renew(job: Job, attempt: int, now: datetime, lease: timedelta) -> Job:
    """Extend the attempt's lease. Raises StaleAttempt."""
    return replace(_owned(job, attempt), lease_expires=now + lease)


def start(job: Job, attempt: int, now: datetime, retries: int | None) -> Job:
    """Record when the command starts and the retries that the job's files allow. Raises StaleAttempt."""
    return replace(_owned(job, attempt), start_time=iso_time(now), retries=retries)


def finish(job: Job, attempt: int, outcome: Outcome, now: datetime, clear_output_after: timedelta | None) -> Job:
    """Record the outcome, once. Raises StaleAttempt."""
    finished = replace(
        _owned(job, attempt),
        status=outcome.status,
        start_time=_time(outcome.start_time),
        finish_time=_time(outcome.finish_time),
        result_hashes=None if outcome.result_hashes is None else dict(outcome.result_hashes),
        error=outcome.error,
        exit_code=outcome.exit_code,
        durations=outcome.durations,
        peak_memory_mib=outcome.peak_memory_mib,
        logs=None if outcome.logs is None else dict(outcome.logs),
        warnings=outcome.warnings,
        lease_expires=None,
        start_by=None,
        cancel_requested=False,
    )
    return _schedule_clearing(finished, now, clear_output_after)


def release(job: Job, attempt: int, now: datetime) -> Job:
    """Return the job unfinished, as a stopping worker does; it has to be published again. Raises StaleAttempt.

    Its message may be gone: a worker that received it a second time found the job running, and acked it.
    A job with a requested cancel ends as canceled, because its owner was told so.
    """
    owned = _owned(job, attempt)
    return _end(owned, Status.CANCELED, now, None) if owned.cancel_requested else _wait_again(owned)


def hand_over(job: Job, attempt: int, pool: str | None, now: datetime) -> Job:
    """Move the job to one of its later pools, or to external workers (None); it has to be published there.

    It never returns to an earlier pool, so a job cannot circle between pools. Otherwise the same as `release`.
    """
    waiting = release(job, attempt, now)
    if waiting.finished:
        return waiting
    later = () if pool is None else job.later_pools[job.later_pools.index(pool) + 1 :]
    return replace(waiting, pool=pool, later_pools=later)


def abandon(job: Job, attempt: int, now: datetime, retries: int, cause: str, blame: float = 1.0) -> Job:
    """Count the attempt as lost because something outside the job is missing; `cause` is a sentence that names it.

    Raises StaleAttempt.
    """
    return lose(_owned(job, attempt), now, retries, cause, blame)


def lose(job: Job, now: datetime, retries: int, cause: str | None = None, blame: float = 1.0) -> Job:
    """Take the job back from a worker that vanished; it fails once `retries`, or its own retries, are used up.

    `blame`, up to 1, is how much the lost attempt counts: less if something else than the job may be the cause.

    A job with a requested cancel ends as canceled: no worker is left to interrupt it.
    """
    if job.cancel_requested:
        return _end(job, Status.CANCELED, now, None)
    counted = job.lost_attempts - job.excused + blame
    if counted <= (retries if job.retries is None else job.retries) + 1 - MIN_BLAME:
        excused = job.excused + 1 - blame
        return replace(_wait_again(job), lost_attempts=job.lost_attempts + 1, excused=excused)
    times = "once" if job.lost_attempts == 0 else f"{job.lost_attempts + 1} times"
    reason = f"The worker that ran the job vanished {times}: the job may crash its machine."
    if cause is not None:
        reason = f"An attempt was lost {times}, most recently for this reason: {cause}"
    return _end(job, Status.FAILED_TO_EXECUTE, now, reason)


def update(
    job: Job, change: JobUpdate, now: datetime, clear_output_after: timedelta | None, start_by: datetime | None
) -> Job | None:
    """Apply an external worker's report; None if it changes nothing.

    A finished job and a job of our own workers stay as they are, and a report from a worker that has lost the job is
    ignored: one with another token, or without one in the name of another worker. `start_by` is when the job is taken
    back if this is the last that is heard of it; None: the worker checks in.

    Raises Invalid if the report starts the job without naming its worker.
    """
    if job.finished or job.of_own_worker or not job.is_claimed_with(change.token):
        return None
    if change.worker and job.worker and change.worker != job.worker:
        return None
    status = change.status or job.status
    if status == Status.RUNNING and not job.running and not (change.worker or job.worker):
        raise Invalid("worker is missing: a report that starts a job must name its worker.")
    changed = replace(
        job,
        status=status,
        result_hashes=job.result_hashes if change.result_hashes is None else change.result_hashes,
        result_super_set=change.result_super_set or job.result_super_set,
        start_time=change.start_time or job.start_time,
        finish_time=change.finish_time or job.finish_time,
        worker=change.worker or job.worker,
        labels=change.labels or job.labels,
        claim_token=None,
        output_number=job.output_number if change.output_number is None else change.output_number,
    )
    if changed.finished:
        changed = replace(changed, start_by=None, cancel_requested=False)
    elif changed.running:
        changed = replace(changed, start_by=_extended(job, start_by))
    elif job.running:
        changed = replace(changed, start_by=None, published_at=None)
    return _schedule_clearing(changed, now, clear_output_after)


def confirm(job: Job, worker: str) -> Job | None:
    """Record that an external worker knows of a job that it was given; None if nothing changes."""
    if not job.running or job.worker != worker or job.start_by is None:
        return None
    return replace(job, start_by=None)


def reclaim(job: Job, now: datetime) -> Job | None:
    """Take a job back from an external worker that is not heard of, as after the response that named it was lost.

    The attempt does not count as lost. None if the worker knows of the job, or still has time.
    """
    if not job.running or job.start_by is None or job.start_by > now:
        return None
    return _end(job, Status.CANCELED, now, None) if job.cancel_requested else _wait_again(job)


def cancel(job: Job, secret: object, now: datetime) -> Job | None:
    """Cancel the job for a caller that has its secret; None if it is finished. Raises Forbidden."""
    if not isinstance(secret, str) or not job.has_secret(secret):
        raise Forbidden("The job's secret is wrong; only the response to the create that made the job has it.")
    return force_cancel(job, now)


def force_cancel(job: Job, now: datetime) -> Job | None:
    """Cancel the job, for its operator; None if it is finished.

    A waiting job is canceled at once, a running job once its worker has received the request.
    """
    if job.finished:
        return None
    if job.status == Status.CREATED:
        return _end(job, Status.CANCELED, now, None)
    return replace(job, cancel_requested=True)


def check_deletable(job: Job) -> None:
    """Raises NotFinished for a job that waits or runs."""
    if not job.finished:
        raise NotFinished


def receive_output(
    job: Job,
    number: int,
    attempt: int | None,
    now: datetime,
    clear_output_after: timedelta | None,
    start_by: datetime | None = None,
) -> Job:
    """Record the number of the last output segment, from an attempt or from an external worker (None).

    `start_by` is when the job is taken back from an external worker if this is the last that is heard of it.

    Raises StaleAttempt.
    """
    if attempt is not None:
        _owned(job, attempt)
    received = replace(job, output_number=number, start_by=_extended(job, start_by) if job.running else None)
    return _schedule_clearing(received, now, clear_output_after)


def drop_output(job: Job) -> Job:
    """Record that the output is deleted."""
    return replace(job, output_number=None, output_expires=None)


def drop_finished_output(job: Job) -> Job | None:
    """Record that the output of a finished job is deleted, before it is created again; None if there is nothing to do.

    None also if the job is no longer finished: the output is a new run's.
    """
    return drop_output(job) if job.finished and job.output_number is not None else None


def expire_output(job: Job, now: datetime) -> Job | None:
    """Record that the output is deleted, if it has expired; None if it has not."""
    if job.output_expires is None or job.output_expires > now:
        return None
    return drop_output(job)


def _extended(job: Job, start_by: datetime | None) -> datetime | None:
    """None if the worker has named the job when it checked in: then the job is lost with the worker."""
    return None if job.running and job.start_by is None else start_by


def _owned(job: Job, attempt: int) -> Job:
    if job.status != Status.RUNNING or job.attempt != attempt:
        raise StaleAttempt
    return job


def _wait_again(job: Job) -> Job:
    return replace(
        job,
        status=Status.CREATED,
        worker=None,
        start_time=None,
        worker_token=None,
        lease_expires=None,
        published_at=None,
        publishes=0,
        start_by=None,
    )


def _end(job: Job, status: Status, now: datetime, error: str | None) -> Job:
    return replace(
        job,
        status=status,
        finish_time=iso_time(now),
        # A job that runs again still has those of its previous run.
        result_hashes=None,
        logs=None,
        error=error,
        lease_expires=None,
        start_by=None,
        cancel_requested=False,
    )


def _schedule_clearing(job: Job, now: datetime, after: timedelta | None) -> Job:
    due = after is not None and job.finished and job.output_number is not None and job.output_expires is None
    return replace(job, output_expires=now + after) if due and after is not None else job


def _time(moment: datetime | None) -> str | None:
    return iso_time(moment) if moment is not None else None
