"""What external workers (WebGME's own) do over HTTP: ask for jobs, and report on them (docs/protocol.md: Workers)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cloud_executor.clock import Clock
from cloud_executor.errors import Invalid
from cloud_executor.jobs.options import JobOptions
from cloud_executor.jobs.transact import existing, transact
from cloud_executor.model import transitions
from cloud_executor.model.job import GUEST, JobUpdate, NotClaimable, OutputSegment, Status
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobStore


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A worker's request for work."""

    client_id: str
    available_processes: int = 0
    """Number of free slots."""
    labels: tuple[str, ...] = ()
    running_jobs: tuple[str, ...] = ()
    """Hashes of the jobs that it runs."""


@dataclass(frozen=True, slots=True)
class Orders:
    """The response to a check-in: job hashes."""

    jobs_to_start: tuple[str, ...]
    jobs_to_cancel: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExternalWorkers:
    """The use cases of external workers. Safe for concurrent use."""

    store: JobStore
    options: JobOptions
    clock: Clock
    lease_clock: Clock
    """The clock by which workers count as vanished."""
    label_jobs: Callable[[], Mapping[str, str]]
    """Returns label -> hash of the blob whose job gives a worker that label."""

    def check_in(self, worker: CheckIn, user_id: str = GUEST) -> Orders:
        """Record a worker, claim jobs for its free slots, and name its jobs that were canceled."""
        if not worker.client_id:
            raise Invalid("clientId is missing.")
        self.store.put_worker(WorkerRecord(worker.client_id, self.lease_clock(), worker.labels, user_id))
        canceled = tuple(
            job_hash for job_hash in worker.running_jobs if self._cancel_requested(job_hash, worker.client_id)
        )
        return Orders(self._claim_for(worker, user_id), canceled)

    def update(self, job_hash: str, change: JobUpdate) -> None:
        """Apply a worker's report. Late and repeated reports change nothing. Raises JobNotFound."""
        now, after = self.clock(), self.options.clear_output_after
        transact(self.store, job_hash, lambda job: transitions.update(job, change, now, after))

    def put_output(self, segment: OutputSegment) -> None:
        """Store a segment of a job's output. Raises JobNotFound, and then stores nothing."""
        now, after = self.clock(), self.options.clear_output_after
        self.store.put_output(
            segment, lambda job: transitions.receive_output(existing(job), segment.number, None, now, after)
        )

    def _claim_for(self, worker: CheckIn, user_id: str) -> tuple[str, ...]:
        """Claim waiting jobs for the worker's free slots, oldest first."""
        claimed: list[str] = []
        offered = frozenset(worker.labels)
        after: str | None = None
        while len(claimed) < worker.available_processes:
            page = self.store.query(status=Status.CREATED, user_id=user_id, after=after)
            for job in page.jobs:
                if len(claimed) == worker.available_processes:
                    break
                if offered.issuperset(job.labels) and self._claim(job.hash, worker.client_id):
                    claimed.append(job.hash)
            if page.next is None:
                break
            after = page.next
        return tuple(claimed)

    def _claim(self, job_hash: str, client_id: str) -> bool:
        now = self.lease_clock()
        try:
            transact(self.store, job_hash, lambda stored: transitions.claim(stored, client_id, now, None))
        except (NotClaimable, JobNotFound):
            return False
        return True

    def _cancel_requested(self, job_hash: str, client_id: str) -> bool:
        """Whether the worker must cancel the job, which it runs."""
        try:
            job = self.store.get(job_hash)
            if transitions.confirm(job, client_id) is not None:
                job = transact(self.store, job_hash, lambda stored: transitions.confirm(stored, client_id))
            return job.cancel_requested
        except JobNotFound:
            return False
