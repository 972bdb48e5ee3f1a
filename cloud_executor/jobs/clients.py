"""The executor: jobs from create to their outcome, over a job store and a queue."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cloud_executor.errors import Invalid, Unavailable
from cloud_executor.jobs.log_fields import log_fields, log_vanished
from cloud_executor.model import job as transitions
from cloud_executor.model.javascript import iso_time
from cloud_executor.model.job import GUEST, Durations, Job, JobUpdate, NotClaimable, OutputSegment, Status
from cloud_executor.model.pool import WorkerPool, pools_with
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobPage, JobQueue, JobStore

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

SWEEP_LIMIT = 500
"""jobs of each kind that one sweep looks at; the next sweep goes on"""

SWEEP_FAULTS = 5
"""jobs that one sweep may fail to publish before it gives up: each may have taken all its patience"""

UNPUBLISHED_AFTER = timedelta(seconds=10)
"""how long a create may take between storing the job and publishing it"""


def system_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """What an operator may turn."""

    refresh_period: timedelta = timedelta(seconds=5)
    """how often external workers ask; one not seen for five periods is lost"""
    lease: timedelta = timedelta(seconds=30)
    """how long one of our workers may be silent before its job goes to another"""
    max_losses: int = 3
    """how often a job whose worker vanished, or waited in vain for a service, is tried again"""
    clear_output_after: timedelta | None = timedelta(seconds=60)
    """output segments of finished jobs are deleted after this; None: never"""

    @property
    def worker_timeout(self) -> timedelta:
        return 5 * self.refresh_period


@dataclass(frozen=True, slots=True)
class CheckIn:
    """What an external worker says when it asks for work."""

    client_id: str
    available_processes: int = 0
    labels: tuple[str, ...] = ()
    running_jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Orders:
    """What it is told."""

    jobs_to_start: tuple[str, ...]
    jobs_to_cancel: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt of one of our workers ended."""

    status: Status
    start_time: datetime | None = None
    finish_time: datetime | None = None
    result_hashes: Mapping[str, str] | None = None
    error: str | None = None
    exit_code: int | None = None
    durations: Durations | None = None
    peak_memory_mib: int | None = None


@dataclass(slots=True)
class SweepReport:
    """What a sweep mended."""

    republished: int = 0
    returned: int = 0
    outputs_cleared: int = 0
    workers_forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Executor:
    """Every use case of the executor API, and of our own workers. Safe for concurrent use."""

    store: JobStore
    queue: JobQueue
    pools: Sequence[WorkerPool]
    options: ExecutorOptions = field(default_factory=ExecutorOptions)
    clock: Clock = system_clock
    label_jobs: Callable[[], Mapping[str, str]] = dict
    """label -> hash of the blob whose job gives a worker that label"""

    # Clients ------------------------------------------------------------------------------------------------------

    def create(
        self, job_hash: str, labels: tuple[str, ...] = (), user_id: str = GUEST, *, trace: str | None = None
    ) -> tuple[Job, bool]:
        """The job of this hash, and whether it was made now. A canceled job is made anew, any other stays.

        `trace`: of the request, if it has one; a job that is made now keeps it.

        A crash before the publish, a queue that fails, or a crash before the publish is noted is healed by `sweep`: the
        job is published again, and claiming makes a second message harmless.
        """
        pools = pools_with(self._labels_of_pools(labels), self.pools)
        secret = str(uuid.uuid4())
        now = self.clock()

        def change(stored: Job | None) -> Job | None:
            return transitions.create(
                stored,
                job_hash,
                user_id=user_id,
                labels=labels,
                pools=pools,
                secret=secret,
                now=now,
                trace=trace,
            )

        try:
            job = _existing(self.store.transact(job_hash, change))
        except transitions.OutputRemains:
            # The old output goes first: a crash here leaves a canceled job without output, never a new one with old.
            self.store.clear_output(job_hash)
            self._transact(job_hash, transitions.output_dropped)
            job = _existing(self.store.transact(job_hash, change))
        created = job.secret == secret
        if created:
            # Whatever becomes of that: the job is stored, and this answer is the only one that has its secret.
            self._try_to_publish(job)
        return job, created

    def get(self, job_hash: str) -> Job:
        """Raises JobNotFound."""
        return self.store.get(job_hash)

    def jobs(self, status: str | None = None) -> Iterator[Job]:
        """All jobs, or those with this status, oldest first; read in pages while they are consumed."""
        after: str | None = None
        while True:
            page = self.store.query(status=status, after=after)
            yield from page.jobs
            if page.next is None:
                return
            after = page.next

    def page(self, status: str | None, after: str | None, limit: int) -> JobPage:
        """One page of `jobs`."""
        return self.store.query(status=status, after=after, limit=limit)

    def update(self, job_hash: str, change: JobUpdate) -> None:
        """An external worker's report. Late and repeated ones change nothing. Raises JobNotFound."""
        now = self.clock()
        self._transact(job_hash, lambda job: transitions.update(job, change, now, self.options.clear_output_after))

    def cancel(self, job_hash: str, secret: object) -> None:
        """Raises JobNotFound, and Forbidden without the job's secret."""
        now = self.clock()
        self._transact(job_hash, lambda job: transitions.cancel(job, secret, now))

    def put_output(self, segment: OutputSegment, attempt: int | None = None) -> None:
        """Store a segment of a job's output, from an attempt of our own or (None) an external worker.

        Raises JobNotFound or StaleAttempt, and then stores nothing.
        """
        now = self.clock()

        def change(job: Job | None) -> Job:
            return transitions.output_received(
                _existing(job), segment.number, attempt, now, self.options.clear_output_after
            )

        self.store.put_output(segment, change)

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        """Segments with start <= number < end. Raises JobNotFound."""
        segments = self.store.output(job_hash, start, end)
        first = next(segments, None)
        if first is None:
            # Only output of an existing job is ever stored: to find some spares the look at the job.
            self.store.require(job_hash)
            return iter(())
        return itertools.chain((first,), segments)

    # External workers ---------------------------------------------------------------------------------------------

    def check_in(self, worker: CheckIn, user_id: str = GUEST) -> Orders:
        """Record an external worker, give it jobs for its free slots, and name its jobs that were canceled."""
        if not worker.client_id:
            raise Invalid("clientId is missing.")
        self.store.put_worker(WorkerRecord(worker.client_id, self.clock(), worker.labels, user_id))
        canceled = tuple(job_hash for job_hash in worker.running_jobs if self._cancel_requested(job_hash))
        return Orders(self._claim_for(worker, user_id), canceled)

    def workers(self) -> Iterator[tuple[WorkerRecord, Sequence[Job]]]:
        """Every worker with the jobs it runs, oldest first."""
        running: dict[str, list[Job]] = {}
        for job in self.jobs(Status.RUNNING):
            if job.worker is not None:
                running.setdefault(job.worker, []).append(job)
        for worker in self.store.workers():
            yield worker, running.get(worker.client_id, [])

    # Our own workers ----------------------------------------------------------------------------------------------

    def seen(self, worker: WorkerRecord) -> None:
        """Record that one of our workers is there."""
        self.store.put_worker(worker)

    def claim(self, job_hash: str, worker: str, pool: str | None = None) -> Job:
        """Take a job to run it: the job, RUNNING, with a new attempt under a lease. `pool`: whose delivery names it.

        Raises JobNotFound, and NotClaimable if it is finished, another worker runs it, it is no longer for that pool,
        or it was lost too often (and is then recorded as failed).
        """
        now = self.clock()
        job = self._transact(
            job_hash,
            lambda stored: transitions.claim(stored, worker, now, self.options.lease, self.options.max_losses, pool),
            durable=False,
        )
        if job.finished:
            log_vanished(job, job.status)
            raise NotClaimable
        return job

    def renew(self, job_hash: str, attempt: int) -> Job:
        """Extend the lease; the job tells whether it is to be canceled. Raises StaleAttempt: stop it."""
        now = self.clock()
        return self._transact(
            job_hash, lambda job: transitions.renew(job, attempt, now, self.options.lease), durable=False
        )

    def started(self, job_hash: str, attempt: int, retries: int | None = None) -> Job:
        """Note that the command starts now, and how many losses the job allows. Raises StaleAttempt."""
        now = self.clock()
        return self._transact(job_hash, lambda job: transitions.started(job, attempt, now, retries), durable=False)

    def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
        """Record the outcome of an attempt. Raises StaleAttempt if the job is no longer its own."""
        now = self.clock()
        return self._transact(
            job_hash,
            lambda job: transitions.finish(
                job,
                attempt,
                outcome.status,
                now=now,
                start_time=iso_time(outcome.start_time) if outcome.start_time else None,
                finish_time=iso_time(outcome.finish_time) if outcome.finish_time else None,
                result_hashes=outcome.result_hashes,
                error=outcome.error,
                exit_code=outcome.exit_code,
                durations=outcome.durations,
                peak_memory_mib=outcome.peak_memory_mib,
                clear_output_after=self.options.clear_output_after,
            ),
        )

    def release(self, job_hash: str, attempt: int) -> None:
        """Give a job back unfinished: it is published anew, and its delivery is then done. Raises StaleAttempt."""
        now = self.clock()
        self._try_to_publish(self._transact(job_hash, lambda job: transitions.release(job, attempt, now)))

    def abandon(self, job_hash: str, attempt: int, cause: str) -> None:
        """Count an attempt as lost that cannot go on through no fault of its job; its delivery is then done.

        The job has failed because of too many losses, or is published by the next sweep, if its store does not do so at
        once: what it lacked has until then to come back. Raises StaleAttempt.
        """
        now = self.clock()
        self._transact(job_hash, lambda job: transitions.abandon(job, attempt, now, self.options.max_losses, cause))

    def hand_over(self, job_hash: str, attempt: int, pool: str | None) -> None:
        """Give a job to a later pool, or (None) to external workers; its delivery is then done. Raises StaleAttempt."""
        now = self.clock()
        self._try_to_publish(self._transact(job_hash, lambda job: transitions.hand_over(job, attempt, pool, now)))

    def give_up(self, job_hash: str) -> None:
        """The queue no longer delivers the job's message: end the job, unless a worker has it. Raises JobNotFound."""
        now = self.clock()
        job = self._transact(job_hash, lambda job: transitions.undeliverable(job, now))
        logger.warning("queue gave up on a job", extra=log_fields(job, "give_up") | {"status": job.status})

    # Upkeep -------------------------------------------------------------------------------------------------------

    def sweep(self) -> SweepReport:
        """Mend what crashes left: lost leases and workers, jobs never published, old output. Safe to run twice.

        Raises Unavailable at the end if jobs could not be published.
        """
        now = self.clock()
        report = SweepReport()
        for job in self.store.with_expired_lease(now, SWEEP_LIMIT):
            report.returned += self._lose(job.hash, lambda found: _lease_expired(found, now))
        self._forget_lost_workers(now, report)
        faults = self._publish_again(now, report)
        for job in self.store.with_expired_output(now, SWEEP_LIMIT):
            # Looked at again: a canceled one may have been made anew meanwhile, and its output be the new run's.
            if transitions.output_cleared(self.store.get(job.hash), now) is None:
                continue
            self.store.clear_output(job.hash)
            self._transact(job.hash, lambda found: transitions.output_cleared(found, now))
            report.outputs_cleared += 1
        if report != SweepReport():
            logger.info("swept", extra={"action": "sweep", "report": str(report)})
        if faults:
            raise Unavailable
        return report

    def _publish_again(self, now: datetime, report: SweepReport) -> int:
        """How many could not be published."""
        faults = 0
        known = {pool.name for pool in self.pools}
        for job in self.store.unpublished(now - UNPUBLISHED_AFTER, SWEEP_LIMIT):
            if self._try_to_publish(job if job.pool in known else self._rerouted(job)):
                report.republished += 1
            else:
                faults += 1
            if faults == SWEEP_FAULTS:
                break
        return faults

    def _rerouted(self, job: Job) -> Job:
        """A job whose pool the operator has taken away, with the pools that have its labels now."""
        gone, pools = str(job.pool), pools_with(self._labels_of_pools(job.labels), self.pools)
        return self._transact(job.hash, lambda found: transitions.rerouted(found, gone, pools))

    def _forget_lost_workers(self, now: datetime, report: SweepReport) -> None:
        lost_before = now - self.options.worker_timeout
        lost = {worker.client_id for worker in self.store.workers() if worker.last_seen < lost_before}
        if not lost:
            return
        # Their jobs first: a crash in between must not leave jobs of a worker that nobody remembers.
        for job in self.jobs(Status.RUNNING):
            if job.worker in lost:
                report.returned += self._lose(job.hash, lambda found: _runs_externally(found, lost))
        report.workers_forgotten += sum(self.store.delete_worker(worker, lost_before) for worker in lost)

    def _lose(self, job_hash: str, still: Callable[[Job], bool]) -> int:
        """Return a job of a vanished worker, if it is still lost when looked at again; how many were returned."""
        now = self.clock()
        lost: Job | None = None

        def change(job: Job) -> Job | None:
            nonlocal lost
            lost = job if job.status == Status.RUNNING and still(job) else None
            return transitions.lose(job, now, self.options.max_losses) if lost is not None else None

        job = self._transact(job_hash, change)
        if lost is None:
            return 0
        log_vanished(lost, job.status)
        self._try_to_publish(job)
        return 1

    def _labels_of_pools(self, labels: Iterable[str]) -> frozenset[str]:
        """Those that a pool must have by itself: label jobs give its workers the others."""
        return frozenset(labels) - self.label_jobs().keys()

    def _try_to_publish(self, job: Job) -> bool:
        """Publish now, or leave it to the sweep."""
        try:
            self._publish(job)
        except Unavailable:
            logger.warning("could not publish", extra=log_fields(job, "publish"), exc_info=True)
            return False
        return True

    def _publish(self, job: Job) -> None:
        if job.pool is None or job.status != Status.CREATED or job.published_at is not None:
            return
        self.queue.publish(job.pool, job.hash)
        self.store.note_published(job, self.clock())

    def _claim_for(self, worker: CheckIn, user_id: str) -> tuple[str, ...]:
        """Claim up to the worker's free slots of waiting jobs, oldest first."""
        claimed: list[str] = []
        offered = frozenset(worker.labels)
        after: str | None = None
        while len(claimed) < worker.available_processes:
            page = self.store.query(status=Status.CREATED, user_id=user_id, after=after)
            for job in page.jobs:
                if len(claimed) == worker.available_processes:
                    break
                if offered.issuperset(job.labels) and self._claim_external(job.hash, worker.client_id):
                    claimed.append(job.hash)
            if page.next is None:
                break
            after = page.next
        return tuple(claimed)

    def _claim_external(self, job_hash: str, client_id: str) -> bool:
        now = self.clock()
        try:
            job = self._transact(
                job_hash,
                lambda stored: transitions.claim(stored, client_id, now, None, self.options.max_losses),
            )
        except (NotClaimable, JobNotFound):
            return False
        return not job.finished

    def _cancel_requested(self, job_hash: str) -> bool:
        try:
            return self.store.get(job_hash).cancel_requested
        except JobNotFound:
            return False

    def _transact(self, job_hash: str, change: Callable[[Job], Job | None], *, durable: bool = True) -> Job:
        return _existing(self.store.transact(job_hash, lambda stored: change(_existing(stored)), durable=durable))


def _existing(job: Job | None) -> Job:
    if job is None:
        raise JobNotFound
    return job


def _lease_expired(job: Job, now: datetime) -> bool:
    return job.lease_expires is not None and job.lease_expires <= now


def _runs_externally(job: Job, workers: Set[str | None]) -> bool:
    return job.worker in workers and job.lease_expires is None
