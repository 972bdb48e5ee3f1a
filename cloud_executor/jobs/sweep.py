"""The sweep: repairs what crashes leave, and deletes expired output."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from cloud_executor.clock import Clock
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.clients import all_jobs
from cloud_executor.jobs.log_fields import log_vanished
from cloud_executor.jobs.options import JobOptions
from cloud_executor.jobs.pools.publisher import Publisher
from cloud_executor.jobs.transact import existing, transact
from cloud_executor.model.access.owner import id_in
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.pool import WorkerPool, pools_with
from cloud_executor.model.jobs.transitions import MIN_BLAME
from cloud_executor.ports import JobNotFound, JobStore
from cloud_executor.process.time_jumps import TimeJumps

logger = logging.getLogger(__name__)

JOBS_PER_SWEEP = 500
"""Maximum number of jobs of each kind that one sweep handles; the next sweep continues."""

WORKERS_PER_SWEEP = 200
"""Maximum number of lost workers that one sweep forgets; the next sweep continues."""

MAX_PUBLISH_ERRORS = 2
"""Failed publishes to a pool after which a sweep skips it: each one may have used up all its retries."""

LEAST_SHARE = 1 / 4
"""Least share of the blame of one of the jobs that ran on a worker when it vanished."""

UNPUBLISHED_AFTER = timedelta(seconds=10)
"""How long a create may take between storing the job and publishing it."""


@dataclass(slots=True)
class SweepReport:
    """What a sweep did."""

    republished: int = 0
    returned: int = 0
    """Jobs taken back from vanished workers."""
    outputs_cleared: int = 0
    workers_forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """Safe to run at any time, also concurrently."""

    store: JobStore
    publisher: Publisher
    pools: Sequence[WorkerPool]
    options: JobOptions
    clock: Clock
    lease_clock: Clock
    """The clock by which leases are judged: the same for all machines."""
    label_jobs: Callable[[], Mapping[str, str]]
    """Returns label -> hash of the blob whose job gives a worker that label."""
    time_jumps: TimeJumps = field(default_factory=TimeJumps)
    rerouted: threading.Event = field(default_factory=threading.Event)
    """Set once the jobs of removed pools have been moved."""

    def run(self) -> SweepReport:
        """Requeue jobs of vanished workers, publish unpublished jobs, delete expired output, and request workers.

        Raises Unavailable, after everything else is done, if jobs could not be published.
        """
        now = self.clock()
        report = SweepReport()
        # After a jump, workers that slept as well first get the time to renew their leases and to check in.
        if not self.time_jumps.within(self.options.lease):
            self._return_expired(self.lease_clock(), report)
        publish_errors = self._publish_again(now, report)
        self._clear_output(now, report)
        # Last, because callers can create any number of workers.
        if not self.time_jumps.within(self.options.worker_timeout):
            self._forget_lost_workers(self.lease_clock(), report)
        if self.publisher.fleet is not None:
            self.publisher.fleet.request_all()  # after the repairs, which it may delay
        if report != SweepReport():
            logger.info("sweep repaired something", extra={"action": "sweep", "report": str(report)})
        if publish_errors:
            raise Unavailable
        return report

    def _return_expired(self, now: datetime, report: SweepReport) -> None:
        """Return jobs whose leases have expired, once it is known whether their workers have vanished."""
        expired = self.store.with_expired_lease(now, JOBS_PER_SWEEP)
        if not expired:
            return
        last_seen = {worker.client_id: worker.last_seen for worker in self.store.workers()}
        leased: dict[str, list[datetime]] = {}
        for job in expired:
            if job.lease_expires is None:
                report.returned += self._reclaim(job.hash, now)
                continue
            worker = job.worker or ""
            if worker not in leased:
                # Before any of its jobs is returned, so that all of them count.
                leased[worker] = self._leases_of(worker)
            leases, seen = leased[worker], last_seen.get(worker)
            if seen is not None and seen > job.lease_expires:
                blame = MIN_BLAME  # The worker lives, but could not renew the lease.
            elif seen is not None and seen > now - min(self.options.lease, self.options.worker_timeout):
                continue  # The worker may still be seen.
            elif any(lease > now for lease in leases):
                continue  # All jobs of a worker that vanishes are lost together, and share the blame.
            else:
                blame = max(1 / max(1, len(leases)), LEAST_SHARE)
            report.returned += self._lose(job.hash, lambda found: _lease_expired(found, now), blame)

    def _leases_of(self, worker: str) -> list[datetime]:
        """When the leases of the worker's jobs expire."""
        return [job.lease_expires for job in self._jobs_of(worker) if job.lease_expires is not None]

    def _jobs_of(self, worker: str) -> Iterator[Job]:
        """The jobs that run on the worker."""
        # Workers of several users can have the same id.
        wanted = JobFilter(worker=id_in(worker), statuses=(Status.RUNNING,))
        after: str | None = None
        while True:
            page = self.store.search(wanted, after=after)
            yield from (job for job in page.jobs if job.worker == worker)
            if page.next is None:
                return
            after = page.next

    def _clear_output(self, now: datetime, report: SweepReport) -> None:
        for job in self.store.with_expired_output(now, JOBS_PER_SWEEP):
            # A canceled job may have been created again since, and the output may be the new run's.
            with suppress(JobNotFound):
                report.outputs_cleared += self.store.clear_output(
                    job.hash, lambda found: transitions.expire_output(existing(found), now)
                )

    def _publish_again(self, now: datetime, report: SweepReport) -> int:
        """Publish the next jobs of each user and pool. Returns the number of failures."""
        errors: Counter[str | None] = Counter()
        known = {pool.name for pool in self.pools}
        self._reroute_once(known)
        for lost in self.store.with_lost_message(now, JOBS_PER_SWEEP):
            with suppress(JobNotFound):
                transact(self.store, lost.hash, lambda stored: transitions.lose_message(stored, now))
        for found in self.store.unpublished(now - UNPUBLISHED_AFTER, JOBS_PER_SWEEP):
            job = found if found.pool in known else self._reroute(found)
            if job is None:
                continue
            if errors[job.pool] == MAX_PUBLISH_ERRORS:
                continue
            published = self.publisher.publish_next(job)
            if published == 0 and self._lose_blocking(job, now):
                published = self.publisher.publish_next(job)
            if published is None:
                errors[job.pool] += 1
            else:
                report.republished += published
        return errors.total()

    def _lose_blocking(self, held: Job, now: datetime) -> bool:
        """Take the places of jobs whose messages may be lost, because this job waits for one. Whether any was taken."""
        queued = self.store.queued(held.user_id, str(held.pool), self.publisher.window)
        blocking = [job for job in queued if transitions.lose_message(job, now, blocks=True) is not None]
        for job in blocking:
            with suppress(JobNotFound):
                transact(self.store, job.hash, lambda stored: transitions.lose_message(stored, now, blocks=True))
        return bool(blocking)

    def _reroute_once(self, known: Set[str]) -> None:
        """Move jobs that wait for removed pools, published or not. Pools change only when a process starts."""
        if self.rerouted.is_set():
            return
        for job in all_jobs(self.store, Status.CREATED):
            if job.pool is not None and job.pool not in known:
                self._reroute(job)
        self.rerouted.set()

    def _reroute(self, job: Job) -> Job | None:
        """Move a job from a pool that the operator has removed to the pools that have its labels now.

        None if the job does not exist anymore.
        """
        removed_pool = str(job.pool)
        pools = pools_with(frozenset(job.labels) - self.label_jobs().keys(), self.pools)
        try:
            return transact(self.store, job.hash, lambda found: transitions.reroute(found, removed_pool, pools))
        except JobNotFound:
            return None

    def _forget_lost_workers(self, now: datetime, report: SweepReport) -> None:
        lost_before = now - self.options.worker_timeout
        unseen = (worker.client_id for worker in self.store.workers() if worker.last_seen < lost_before)
        lost = set(islice(unseen, WORKERS_PER_SWEEP))
        if not lost:
            return
        # Requeue their jobs first: after a crash in between, no job may belong to a worker without a record.
        running = [job for worker in lost for job in self._jobs_of(worker)]
        # Check again: a worker may have returned meanwhile.
        lost &= {worker.client_id for worker in self.store.workers() if worker.last_seen < lost_before}
        for job in running:
            if job.worker in lost:
                report.returned += self._lose(job.hash, lambda found: _runs_externally(found, lost))
        report.workers_forgotten += sum(self.store.delete_worker(worker, lost_before) for worker in lost)

    def _reclaim(self, job_hash: str, now: datetime) -> int:
        """Take a job back from an external worker that never heard of it; 1 if it was taken back, else 0."""
        changed: Job | None = None

        def change(job: Job) -> Job | None:
            nonlocal changed
            changed = transitions.reclaim(job, now)
            return changed

        with suppress(JobNotFound):
            job = transact(self.store, job_hash, change)
            if changed is not None:
                self.publisher.try_to_publish(job)
                return 1
        return 0

    def _lose(self, job_hash: str, is_lost: Callable[[Job], bool], blame: float = 1.0) -> int:
        """Take a job back from a vanished worker if it is still lost; 1 if it was taken back, else 0.

        `blame` is how much the lost attempt counts.
        """
        now = self.clock()
        lost: Job | None = None

        def change(job: Job) -> Job | None:
            nonlocal lost
            lost = job if job.status == Status.RUNNING and is_lost(job) else None
            return transitions.lose(job, now, self.options.retries, blame=blame) if lost is not None else None

        try:
            job = transact(self.store, job_hash, change)
        except JobNotFound:
            return 0
        if lost is None:
            return 0
        log_vanished(lost, job.status)
        self.publisher.try_to_publish(job)
        return 1


def _lease_expired(job: Job, now: datetime) -> bool:
    return job.lease_expires is not None and job.lease_expires <= now


def _runs_externally(job: Job, workers: Set[str | None]) -> bool:
    return job.worker in workers and job.lease_expires is None
