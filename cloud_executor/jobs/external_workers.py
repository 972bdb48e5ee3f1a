"""What external workers (WebGME's own) do over HTTP: ask for jobs, and report on them (docs/protocol.md: Workers)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from cloud_executor.clock import Clock
from cloud_executor.errors import Invalid
from cloud_executor.jobs.options import JobOptions
from cloud_executor.jobs.pools.publisher import Publisher
from cloud_executor.jobs.transact import existing, transact
from cloud_executor.model.access.owner import GUEST, id_in, key_of
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, JobUpdate, NotClaimable, OutputSegment, Status
from cloud_executor.model.jobs.transitions import START_WITHIN
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobStore

PAGES_PER_POLL = 4
"""Maximum number of pages of waiting jobs that one poll of a worker reads."""

MAX_POSITIONS = 1000
"""Maximum number of workers whose polls continue where the previous one stopped."""


class _NotTheirJob(Exception):
    """The report is about a job that only our own workers may change, or that another claim has."""


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
    tokens: Mapping[str, str] = field(default_factory=dict)
    """Token of each claim, by the hash of the job to start: the worker may send it with its reports."""


@dataclass(frozen=True, slots=True)
class ExternalWorkers:
    """The use cases of external workers. Safe for concurrent use.

    A worker gets, and reports on, only jobs of its user. It and its caller name jobs and workers by their ids.
    """

    store: JobStore
    publisher: Publisher
    options: JobOptions
    open_pools: frozenset[str]
    """Names of the pools whose jobs external workers may run too."""
    clock: Clock
    lease_clock: Clock
    """The clock by which workers count as vanished."""
    label_jobs: Callable[[], Mapping[str, str]]
    """Returns label -> hash of the blob whose job gives a worker that label."""
    _positions: dict[str, str] = field(default_factory=dict)
    """Where the next poll of a worker continues to look for jobs, by worker."""

    def check_in(self, worker: CheckIn, user_id: str = GUEST) -> Orders:
        """Record a worker, claim jobs for its free slots, and name its jobs that were canceled."""
        if not worker.client_id:
            raise Invalid("clientId is missing.")
        client = key_of(user_id, worker.client_id)
        self.store.put_worker(WorkerRecord(client, self.lease_clock(), worker.labels, user_id))
        canceled = tuple(
            job_id for job_id in worker.running_jobs if self._cancel_requested(key_of(user_id, job_id), client)
        )
        claimed = {id_in(job_hash): token for job_hash, token in self._claim_for(worker, client, user_id).items()}
        return Orders(tuple(claimed), canceled, claimed)

    def update(self, job_id: str, change: JobUpdate, user_id: str = GUEST) -> None:
        """Apply a worker's report. Late and repeated reports, and those on jobs of our workers, change nothing.

        Raises JobNotFound, and Invalid for a report that starts the job without naming a worker.
        """
        job_hash = key_of(user_id, job_id)
        if change.worker is not None:
            change = replace(change, worker=key_of(user_id, change.worker))
        now, after = self.clock(), self.options.clear_output_after
        # The end of a worker that checks in is noticed. Any other worker has to go on reporting.
        start_by = None if self._checks_in(change.worker) else self.lease_clock() + START_WITHIN

        def apply(job: Job) -> Job | None:
            return transitions.update(job, change, now, after, start_by) if self._may_have(job) else None

        job = transact(self.store, job_hash, apply)
        if job.finished:
            self.publisher.follow_end(job)

    def put_output(self, segment: OutputSegment, token: str | None = None, user_id: str = GUEST) -> None:
        """Store a segment of a job's output, unless another claim, or one of our workers, has the job.

        `token` is that of the worker's claim, if the worker sends it. Raises JobNotFound.
        """
        now, after, start_by = self.clock(), self.options.clear_output_after, self.lease_clock() + START_WITHIN

        def receive(job: Job | None) -> Job:
            if not self._may_have(existing(job)) or not existing(job).is_claimed_with(token):
                raise _NotTheirJob
            return transitions.receive_output(existing(job), segment.number, None, now, after, start_by)

        with suppress(_NotTheirJob):
            self.store.put_output(replace(segment, job_hash=key_of(user_id, segment.job_hash)), receive)

    def _claim_for(self, worker: CheckIn, client: str, user_id: str) -> dict[str, str]:
        """Claim waiting jobs for the worker's free slots, oldest first. Returns the token of each claim, by hash.

        `client` is the worker's key.
        """
        claimed: dict[str, str] = {}
        free = self.publisher.free_slots(user_id, worker.available_processes)
        offered = frozenset(worker.labels)
        after = self._positions.pop(client, None)
        for _ in range(PAGES_PER_POLL):
            if len(claimed) == free:
                return claimed
            page = self.store.query(status=Status.CREATED, user_id=user_id, after=after)
            for job in page.jobs:
                if len(claimed) == free:
                    break
                if not self._may_have(job) or not offered.issuperset(job.labels):
                    continue
                token = secrets.token_urlsafe()
                if self._claim(job.hash, client, token):
                    claimed[job.hash] = token
            after = page.next
            if after is None:
                return claimed
        # The worker's next poll continues here. Each process of the server has positions of its own.
        if len(self._positions) >= MAX_POSITIONS:
            self._positions.clear()
        self._positions[client] = str(after)
        return claimed

    def _checks_in(self, client_id: str | None) -> bool:
        return client_id is not None and any(worker.client_id == client_id for worker in self.store.workers())

    def _may_have(self, job: Job) -> bool:
        """Whether an external worker may get the job and report on it. Jobs of our own workers are theirs alone."""
        return not job.of_own_worker and (job.pool is None or job.pool in self.open_pools)

    def _claim(self, job_hash: str, client_id: str, token: str) -> bool:
        now = self.lease_clock()

        def claim(job: Job) -> Job:
            if not self._may_have(job):
                raise NotClaimable
            return transitions.claim(job, client_id, now, None, worker_token=token)

        try:
            job = transact(self.store, job_hash, claim)
        except (NotClaimable, JobNotFound):
            return False
        self.publisher.follow(job)
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
