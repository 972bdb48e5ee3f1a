"""What our own workers do with jobs: claim them, keep their leases, and record outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from cloud_executor.clock import Clock
from cloud_executor.jobs.options import JobOptions
from cloud_executor.jobs.pools.publisher import Publisher
from cloud_executor.jobs.transact import existing, transact
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, Outcome, OutputSegment, StaleAttempt
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobStore


@dataclass(frozen=True, slots=True)
class Attempts:
    """The use cases of our workers. Safe for concurrent use."""

    store: JobStore
    publisher: Publisher
    options: JobOptions
    clock: Clock
    lease_clock: Clock
    """The clock by which leases are judged: the same for all machines."""
    _created: dict[tuple[str, int], str] = field(default_factory=dict)
    """Creation time of each job by its hash and attempt, from the claim until the attempt ends."""

    def record_worker(self, worker: WorkerRecord) -> None:
        """Record that one of our workers is alive."""
        self.store.put_worker(worker)

    def get(self, job_hash: str) -> Job:
        """Raises JobNotFound."""
        return self.store.get(job_hash)

    def claim(
        self,
        job_hash: str,
        worker: str,
        pool: str | None = None,
        token: str | None = None,
        lease: timedelta | None = None,
    ) -> Job:
        """Claim a job: it is RUNNING, with a new attempt under a lease. `pool`: the pool whose delivery named it.

        `lease` is a longer lease than usual, for a slow store. A claim whose response was lost can be repeated with
        the same `token`: it is the same attempt.

        Raises JobNotFound. Raises NotClaimable if the job is finished, runs on another worker, or has left the pool.
        """
        now = self.lease_clock()
        job = transact(
            self.store,
            job_hash,
            lambda stored: transitions.claim(stored, worker, now, lease or self.options.lease, pool, token),
            durable=False,
        )
        self._created[job_hash, job.attempt] = job.create_time
        return job

    def follow(self, job: Job) -> None:
        """Publish the next job of the user whose job was claimed, in the background."""
        self.publisher.follow_in_background(job)

    def renew(self, job_hash: str, attempt: int, lease: timedelta | None = None) -> Job:
        """Extend the lease; the job says whether a cancel was requested. Raises StaleAttempt: stop the command."""
        now = self.lease_clock()
        return transact(
            self.store,
            job_hash,
            lambda job: transitions.renew(self._same(job, attempt), attempt, now, lease or self.options.lease),
            durable=False,
        )

    def start(self, job_hash: str, attempt: int, retries: int | None = None) -> Job:
        """Record that the command starts, and the retries that the job's files allow. Raises StaleAttempt."""
        now = self.clock()
        return transact(
            self.store,
            job_hash,
            lambda job: transitions.start(self._same(job, attempt), attempt, now, retries),
            durable=False,
        )

    def put_output(self, segment: OutputSegment, attempt: int) -> None:
        """Store a segment of the attempt's output. Raises JobNotFound or StaleAttempt, and then stores nothing."""
        now, after = self.clock(), self.options.clear_output_after
        self.store.put_output(
            segment,
            lambda job: transitions.receive_output(
                self._same(existing(job), attempt), segment.number, attempt, now, after
            ),
        )

    def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
        """Record the outcome of an attempt. Raises StaleAttempt if the attempt no longer owns the job."""
        now, after = self.clock(), self.options.clear_output_after
        job = self._end(job_hash, attempt, lambda job: transitions.finish(job, attempt, outcome, now, after))
        self.publisher.follow_end(job)
        return job

    def release(self, job_hash: str, attempt: int) -> None:
        """Return a job unfinished and publish it again; its delivery can then be acked. Raises StaleAttempt."""
        now = self.clock()
        job = self._end(job_hash, attempt, lambda job: transitions.release(job, attempt, now))
        self.publisher.try_to_publish(job)

    def abandon(self, job_hash: str, attempt: int, cause: str, blame: float = 1.0) -> None:
        """Count an attempt as lost for a reason outside its job; its delivery can then be acked. Raises StaleAttempt.

        The job fails after too many lost attempts. Otherwise the next sweep publishes it, unless its store does so
        at once; that gives the missing service time to return. `blame` is how much the attempt counts.
        """
        now, retries = self.clock(), self.options.retries
        self._end(job_hash, attempt, lambda job: transitions.abandon(job, attempt, now, retries, cause, blame))

    def hand_over(self, job_hash: str, attempt: int, pool: str | None) -> None:
        """Move a job to a later pool, or to external workers (None); its delivery can then be acked.

        Raises StaleAttempt.
        """
        now = self.clock()
        job = self._end(job_hash, attempt, lambda job: transitions.hand_over(job, attempt, pool, now))
        self.publisher.try_to_publish(job)

    def _end(self, job_hash: str, attempt: int, change: Callable[[Job], Job]) -> Job:
        """Apply the change that ends an attempt."""
        try:
            job = transact(self.store, job_hash, lambda job: change(self._same(job, attempt)))
        except (StaleAttempt, JobNotFound):
            self._created.pop((job_hash, attempt), None)
            raise
        self._created.pop((job_hash, attempt), None)
        return job

    def _same(self, job: Job, attempt: int) -> Job:
        """The job that was claimed. Raises StaleAttempt if it was deleted and created again, which counts from 1."""
        if self._created.get((job.hash, attempt), job.create_time) != job.create_time:
            raise StaleAttempt
        return job
