"""A job and its transitions.

The transitions are pure: each takes a job and gives the next one. A store only makes read-modify-write atomic, so the
state machine exists once, here:

    CREATED --claim--> RUNNING --finish--> SUCCESS, CANCELED, FAILED_…
       ^                  |
       +- release, lose, -+
        abandon, hand over       CREATED --cancel--> CANCELED --create--> CREATED

A finished status is never left, except that creating a canceled job again makes a new one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from cloud_executor.errors import Conflict, Forbidden
from cloud_executor.model.javascript import iso_time

GUEST = "guest"
"""who asks when nobody has to say who they are"""


class Status(StrEnum):
    """The statuses that mean something; an update may set any other text, which counts as not finished."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    CANCELED = "CANCELED"
    FAILED_TO_EXECUTE = "FAILED_TO_EXECUTE"
    FAILED_TO_GET_SOURCE_METADATA = "FAILED_TO_GET_SOURCE_METADATA"
    FAILED_SOURCE_COULD_NOT_BE_OBTAINED = "FAILED_SOURCE_COULD_NOT_BE_OBTAINED"
    FAILED_CREATING_SOURCE_ZIP = "FAILED_CREATING_SOURCE_ZIP"
    FAILED_UNZIP = "FAILED_UNZIP"
    FAILED_EXECUTOR_CONFIG = "FAILED_EXECUTOR_CONFIG"
    FAILED_TO_ARCHIVE_FILE = "FAILED_TO_ARCHIVE_FILE"
    FAILED_TO_SAVE_JOINT_ARTIFACT = "FAILED_TO_SAVE_JOINT_ARTIFACT"
    FAILED_TO_ADD_OBJECT_HASHES = "FAILED_TO_ADD_OBJECT_HASHES"
    FAILED_TO_SAVE_ARTIFACT = "FAILED_TO_SAVE_ARTIFACT"


FINISHED = frozenset(Status) - {Status.CREATED, Status.RUNNING}


class StaleAttempt(Conflict):
    """This attempt no longer owns the job."""


class OutputRemains(Conflict):
    """The output of the canceled job is still there."""


class NotClaimable(Conflict):
    """The job is finished, another worker runs it, or it is for another pool."""


class Durations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long the parts of the last attempt took, in seconds; None: it did not come to that."""

    queued: float | None = None
    """from the creation of the job to the attempt"""
    fetch: float | None = None
    """until its files were there"""
    run: float | None = None
    """the command, with all that its sandbox needs"""
    archive: float | None = None
    """until the results were stored"""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One command to run. Times that clients see are kept as their text; those that only we use are datetimes."""

    hash: str
    """normally the hash of the blob with the job's files, but any text"""
    create_time: str
    secret: str
    """lets its owner cancel the job; shown once, by the create that made the job"""
    user_id: str = GUEST
    status: str = Status.CREATED
    labels: tuple[str, ...] = ()
    """what a worker must have to take it"""
    result_hashes: dict[str, str] | None = None
    """artifact name -> blob hash; None until there are results"""
    start_time: str | None = None
    finish_time: str | None = None
    worker: str | None = None
    """client id of the worker that took it"""
    output_number: int | None = None
    """number of the output segment that came last"""
    cancel_requested: bool = False
    error: str | None = None
    """one sentence on why it failed"""
    exit_code: int | None = None
    """of the command, if that ended by itself"""
    durations: Durations | None = None
    peak_memory_mib: int | None = None
    """the most that the command had at once, as far as the sandbox knows"""
    pool: str | None = None
    """the worker pool it is published to; None: it waits for an external worker"""
    later_pools: tuple[str, ...] = ()
    """to which it goes, one after the other, if it asks for more than its pool gives"""
    attempt: int = 0
    """how often it was claimed; a write in the name of an older attempt is refused"""
    losses: int = 0
    """how many attempts ended because their worker vanished, or lacked what it needed"""
    retries: int | None = None
    """how many of them its own files allow; None: as many as the settings do"""
    lease_expires: datetime | None = None
    """until when the attempt owns the job; None for attempts of external workers, which are known by being seen"""
    published_at: datetime | None = None
    output_expires: datetime | None = None
    """when the output is to be cleared"""
    trace: str | None = None
    """of the request that created it, in 32 hex digits: what is logged about the job has it too"""

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    def document(self) -> dict[str, object]:
        """The job as the API shows it: without its secret."""
        document: dict[str, object] = {
            "hash": self.hash,
            "resultHashes": [] if self.result_hashes is None else self.result_hashes,
            "resultSuperSet": None,
            "userId": [self.user_id],
            "status": self.status,
            "createTime": self.create_time,
            "startTime": self.start_time,
            "finishTime": self.finish_time,
            "worker": self.worker,
            "labels": self.labels,
            "outputNumber": self.output_number,
        }
        if self.cancel_requested:
            document["cancelRequested"] = True
        if self.error is not None:
            document["error"] = self.error
        # What WebGME's documents do not have is there once it is known.
        if self.status == Status.CREATED and self.pool is None:
            document["waitingFor"] = self.labels
        if self.attempt:
            document["attempt"] = self.attempt
        if self.exit_code is not None:
            document["exitCode"] = self.exit_code
        if self.durations is not None:
            document["durations"] = self.durations
        if self.peak_memory_mib is not None:
            document["peakMemoryMiB"] = self.peak_memory_mib
        return document


class JobUpdate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an external worker may change. None changes nothing: nothing can be unset."""

    status: str | None = None
    result_hashes: dict[str, str] | None = None
    start_time: str | None = None
    finish_time: str | None = None
    worker: str | None = None
    labels: tuple[str, ...] | None = None
    output_number: int | None = None


class OutputSegment(msgspec.Struct, frozen=True):
    """A numbered piece of a job's standard output; numbers may be negative."""

    job_hash: str
    number: int
    output: str
    """may hold lone surrogates: it comes from JavaScript"""


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
) -> Job | None:
    """A new job where there is none, or a canceled one; None: the stored one stays as it is.

    `pools` are those that have its labels, in order of preference.

    Raises OutputRemains if the output of the canceled one has to be cleared first.
    """
    if stored is not None and stored.status != Status.CANCELED:
        return None
    if stored is not None and stored.output_number is not None:
        raise OutputRemains
    return Job(
        hash=job_hash,
        create_time=iso_time(now),
        secret=secret,
        user_id=user_id,
        labels=labels,
        pool=pools[0] if pools else None,
        later_pools=pools[1:],
        # Attempts go on counting, so that a worker of the canceled job cannot speak for the new one.
        attempt=stored.attempt if stored is not None else 0,
        trace=trace,
    )


def rerouted(job: Job, gone: str, pools: tuple[str, ...]) -> Job | None:
    """Give a waiting job whose pool is gone to those `pools`, or to external workers; None: it is not waiting there."""
    if job.status != Status.CREATED or job.pool != gone:
        return None
    return msgspec.structs.replace(job, pool=pools[0] if pools else None, later_pools=pools[1:])


def published(job: Job, now: datetime) -> Job | None:
    """Note that a message for the job is in the queue."""
    return msgspec.structs.replace(job, published_at=now) if job.status == Status.CREATED else None


def undeliverable(job: Job, now: datetime) -> Job | None:
    """The queue gave up on a job that nobody has: it has failed, and says why.

    None: it is finished, or a worker has it. Should that one be lost, `lose` counts it, and so the job ends too.
    """
    if job.status != Status.CREATED:
        return None
    reason = "The job was given to workers again and again, and none brought it to its end."
    return _ended(job, Status.FAILED_TO_EXECUTE, now, reason)


def claim(
    job: Job, worker: str, now: datetime, lease: timedelta | None, max_losses: int, pool: str | None = None
) -> Job:
    """Give the job to a worker: CREATED, or RUNNING under a lease that has ended. `lease` None: an external worker.

    `pool` is the one whose message brought it: one that the job has left since gets nothing. None: no message did.

    Raises NotClaimable. A job that was lost too often comes back finished instead of claimed: look at `status`.
    """
    if pool is not None and job.pool != pool:
        raise NotClaimable
    if job.status == Status.RUNNING and job.lease_expires is not None and job.lease_expires <= now:
        job = lose(job, now, max_losses)
        if job.finished:
            return job
    if job.status != Status.CREATED:
        raise NotClaimable
    return msgspec.structs.replace(
        job,
        status=Status.RUNNING,
        worker=worker,
        attempt=job.attempt + 1,
        lease_expires=now + lease if lease is not None else None,
        error=None,
    )


def renew(job: Job, attempt: int, now: datetime, lease: timedelta) -> Job:
    """Extend the attempt's lease. Raises StaleAttempt."""
    return msgspec.structs.replace(_owned(job, attempt), lease_expires=now + lease)


def started(job: Job, attempt: int, now: datetime, retries: int | None) -> Job:
    """Note when the command starts, and what the job's files say of losses. Raises StaleAttempt."""
    return msgspec.structs.replace(_owned(job, attempt), start_time=iso_time(now), retries=retries)


def finish(
    job: Job,
    attempt: int,
    status: Status,
    *,
    now: datetime,
    start_time: str | None,
    finish_time: str | None,
    result_hashes: Mapping[str, str] | None,
    error: str | None,
    exit_code: int | None = None,
    durations: Durations | None = None,
    peak_memory_mib: int | None = None,
    clear_output_after: timedelta | None,
) -> Job:
    """Record the outcome, once. Raises StaleAttempt."""
    finished = msgspec.structs.replace(
        _owned(job, attempt),
        status=status,
        start_time=start_time,
        finish_time=finish_time,
        result_hashes=None if result_hashes is None else dict(result_hashes),
        error=error,
        exit_code=exit_code,
        durations=durations,
        peak_memory_mib=peak_memory_mib,
        lease_expires=None,
        cancel_requested=False,
    )
    return _schedule_clearing(finished, now, clear_output_after)


def release(job: Job, attempt: int, now: datetime) -> Job:
    """Give the job back unfinished, as a worker that stops does; it is still to be published. Raises StaleAttempt.

    Its message need not be there any more: whoever got it a second time found the job running, and acked it.
    A job whose cancel was requested ends as canceled: its owner was told so.
    """
    owned = _owned(job, attempt)
    return _ended(owned, Status.CANCELED, now, None) if owned.cancel_requested else _waiting(owned)


def hand_over(job: Job, attempt: int, pool: str | None, now: datetime) -> Job:
    """Give the job to one of its later pools, or (None) to external workers; it is still to be published there.

    It never comes back to a pool, so no job is handed round. Otherwise as `release`.
    """
    waiting = release(job, attempt, now)
    if waiting.finished:
        return waiting
    later = () if pool is None else job.later_pools[job.later_pools.index(pool) + 1 :]
    return msgspec.structs.replace(waiting, pool=pool, later_pools=later)


def abandon(job: Job, attempt: int, now: datetime, max_losses: int, cause: str) -> Job:
    """Give the job back as lost, by an attempt that lacked what is no part of the job: `cause`, a sentence.

    Raises StaleAttempt.
    """
    return lose(_owned(job, attempt), now, max_losses, cause)


def lose(job: Job, now: datetime, max_losses: int, cause: str | None = None) -> Job:
    """Take the job back from a worker that vanished; after `max_losses`, or its own `retries`, more it has failed.

    A job whose cancel was requested ends as canceled: nobody is left to interrupt it.
    """
    if job.cancel_requested:
        return _ended(job, Status.CANCELED, now, None)
    if job.losses >= (max_losses if job.retries is None else job.retries):
        times = "once" if job.losses == 0 else f"{job.losses + 1} times"
        reason = f"The workers that ran it vanished {times}: it may take its machine down."
        if cause is not None:
            reason = f"Workers gave it up or vanished {times}; the last one for this reason: {cause}"
        return _ended(job, Status.FAILED_TO_EXECUTE, now, reason)
    return msgspec.structs.replace(_waiting(job), losses=job.losses + 1)


def update(job: Job, change: JobUpdate, now: datetime, clear_output_after: timedelta | None) -> Job | None:
    """What an external worker reports; None if it changes nothing.

    A finished job stays as it is, and a worker that lost the job to another one is not heard.
    """
    if job.finished or (change.worker and job.worker and change.worker != job.worker):
        return None
    status = change.status or job.status
    changed = msgspec.structs.replace(
        job,
        status=status,
        result_hashes=job.result_hashes if change.result_hashes is None else change.result_hashes,
        start_time=change.start_time or job.start_time,
        finish_time=change.finish_time or job.finish_time,
        worker=change.worker or job.worker,
        labels=change.labels or job.labels,
        output_number=job.output_number if change.output_number is None else change.output_number,
    )
    if changed.finished:
        changed = msgspec.structs.replace(changed, lease_expires=None, cancel_requested=False)
    elif status == Status.CREATED and job.status != Status.CREATED:
        changed = msgspec.structs.replace(changed, lease_expires=None, published_at=None)
    return _schedule_clearing(changed, now, clear_output_after)


def cancel(job: Job, secret: object, now: datetime) -> Job | None:
    """Cancel in the name of whoever has the secret; None: it is finished already. Raises Forbidden.

    A job that waits is canceled at once; one that runs is once its worker has heard of it.
    """
    if not isinstance(secret, str) or not hmac.compare_digest(
        secret.encode("utf-8", "surrogatepass"), job.secret.encode()
    ):
        raise Forbidden
    if job.finished:
        return None
    if job.status == Status.CREATED:
        return _ended(job, Status.CANCELED, now, None)
    return msgspec.structs.replace(job, cancel_requested=True)


def output_received(
    job: Job, number: int, attempt: int | None, now: datetime, clear_output_after: timedelta | None
) -> Job:
    """Note the number of the segment that came last, from an attempt or (None) an external worker.

    Raises StaleAttempt.
    """
    if attempt is not None:
        _owned(job, attempt)
    return _schedule_clearing(msgspec.structs.replace(job, output_number=number), now, clear_output_after)


def output_dropped(job: Job) -> Job:
    """Note that the output is gone."""
    return msgspec.structs.replace(job, output_number=None, output_expires=None)


def output_cleared(job: Job, now: datetime) -> Job | None:
    """Note that the output is gone, if it was due."""
    if job.output_expires is None or job.output_expires > now:
        return None
    return output_dropped(job)


def _owned(job: Job, attempt: int) -> Job:
    if job.status != Status.RUNNING or job.attempt != attempt:
        raise StaleAttempt
    return job


def _waiting(job: Job) -> Job:
    return msgspec.structs.replace(
        job, status=Status.CREATED, worker=None, start_time=None, lease_expires=None, published_at=None
    )


def _ended(job: Job, status: Status, now: datetime, error: str | None) -> Job:
    return msgspec.structs.replace(
        job,
        status=status,
        finish_time=iso_time(now),
        error=error,
        lease_expires=None,
        cancel_requested=False,
    )


def _schedule_clearing(job: Job, now: datetime, after: timedelta | None) -> Job:
    due = after is not None and job.finished and job.output_number is not None and job.output_expires is None
    return msgspec.structs.replace(job, output_expires=now + after) if due and after is not None else job
