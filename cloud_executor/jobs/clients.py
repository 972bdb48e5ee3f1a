"""What clients do with jobs: create, look up, list, cancel, and read output."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from cloud_executor.clock import Clock
from cloud_executor.jobs.pools.publisher import Publisher
from cloud_executor.jobs.transact import existing, transact
from cloud_executor.model.access.owner import GUEST, key_of
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, OutputRemains, OutputSegment, Status, hashed_secret
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.pool import WorkerPool, pools_with
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobPage, JobStore


@dataclass(frozen=True, slots=True)
class JobClients:
    """The use cases of clients of the executor API. Safe for concurrent use.

    Except for `create`, jobs are named by their keys (`key_of`), so a caller reaches only jobs of the key's user.
    """

    store: JobStore
    publisher: Publisher
    pools: Sequence[WorkerPool]
    clock: Clock
    label_jobs: Callable[[], Mapping[str, str]]
    """Returns label -> hash of the blob whose job gives a worker that label."""

    def create(
        self,
        job_id: str,
        labels: tuple[str, ...] = (),
        user_id: str = GUEST,
        *,
        trace: str | None = None,
        rerun: bool = False,
        name: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> tuple[Job, bool]:
        """Create a job of this user, unless it exists and was not canceled. The job, and whether this call created it.

        A `rerun` also creates a finished job again, with its old labels, name, and tags if none are given. It raises
        JobRuns for a running job.

        The job has the secret itself if this call created it, otherwise only the hash. Only the caller that created the
        job may learn its secret. Two simultaneous calls create one job. `trace` is the request's trace id, which a new
        job keeps.

        If the process dies before the publish, or before the publish is recorded, the sweep publishes the job (again);
        claiming makes a second message harmless.
        """
        job_hash = key_of(user_id, job_id)
        # A pool need not offer labels that its workers can get from label jobs.
        obtainable = self.label_jobs().keys()
        secret = str(uuid.uuid4())
        hashed = hashed_secret(secret)
        now = self.clock()

        def change(stored: Job | None) -> Job | None:
            wanted = stored.labels if rerun and stored is not None and not labels else labels
            return transitions.create(
                stored,
                job_hash,
                user_id=user_id,
                labels=wanted,
                pools=pools_with(frozenset(wanted) - obtainable, self.pools),
                secret=hashed,
                now=now,
                trace=trace,
                rerun=rerun,
                name=name,
                tags=tags,
            )

        try:
            job = existing(self.store.transact(job_hash, change))
        except OutputRemains:
            # Delete the old output first: a crash here leaves a finished job without output, never a new job with the
            # output of the old one.
            with suppress(JobNotFound):  # it was deleted meanwhile
                self.store.clear_output(job_hash, lambda stored: transitions.drop_finished_output(existing(stored)))
            job = existing(self.store.transact(job_hash, change))
        created = job.secret == hashed
        if created:
            # Ignore a failure: the job is stored, the sweep publishes it, and only this response has its secret.
            self.publisher.try_to_publish(job)
            return replace(job, secret=secret), True
        return job, False

    def get(self, job_hash: str) -> Job:
        """Raises JobNotFound."""
        return self.store.get(job_hash)

    def exists(self, job_hash: str) -> bool:
        try:
            self.store.get(job_hash)
        except JobNotFound:
            return False
        return True

    def jobs(self, status: str | None = None, user_id: str | None = None) -> Iterator[Job]:
        """All jobs, or those with this status and of this user, oldest first. Pages are read as they are consumed."""
        return all_jobs(self.store, status, user_id)

    def page(self, wanted: JobFilter, *, newest_first: bool, after: str | None, limit: int) -> JobPage:
        """One page of the jobs that meet all conditions."""
        return self.store.search(wanted, newest_first=newest_first, after=after, limit=limit)

    def cancel(self, job_hash: str, secret: object) -> None:
        """Raises JobNotFound, and Forbidden without the job's secret."""
        now = self.clock()
        self._follow(transact(self.store, job_hash, lambda job: transitions.cancel(job, secret, now)))

    def force_cancel(self, job_hash: str) -> None:
        """Cancel a job without its secret, as its owner and the operator do. Raises JobNotFound."""
        now = self.clock()
        self._follow(transact(self.store, job_hash, lambda job: transitions.force_cancel(job, now)))

    def _follow(self, job: Job) -> None:
        if job.status == Status.CANCELED:  # at once, because it waited
            self.publisher.follow(job)

    def delete(self, job_hash: str) -> None:
        """Delete a finished job and its output. Raises JobNotFound and NotFinished.

        A message for the job that arrives later is dropped.
        """
        self.store.delete(job_hash, transitions.check_deletable)

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        """Segments with start <= number < end. Raises JobNotFound."""
        segments = self.store.output(job_hash, start, end)
        first = next(segments, None)
        if first is None:
            # Only an existing job has output, so finding any output proves that the job exists.
            self.store.require(job_hash)
            return iter(())
        return itertools.chain((first,), segments)

    def workers(self, user_id: str | None = None) -> Iterator[tuple[WorkerRecord, Sequence[Job]]]:
        """Every worker with the jobs that it runs, oldest first.

        With a user: our own workers, which serve all users, and the external workers of this user, with their jobs.
        """
        running: dict[str, list[Job]] = {}
        for job in self.jobs(Status.RUNNING, user_id):
            if job.worker is not None:
                running.setdefault(job.worker, []).append(job)
        for worker in self.store.workers():
            if user_id is not None and worker.pool is None and worker.user_id != user_id:
                continue
            yield worker, running.get(worker.client_id, [])


def all_jobs(store: JobStore, status: str | None, user_id: str | None = None) -> Iterator[Job]:
    """All jobs with this status and user (None: any), oldest first. Pages are read as the iterator is consumed."""
    after: str | None = None
    while True:
        page = store.query(status=status, user_id=user_id, after=after)
        yield from page.jobs
        if page.next is None:
            return
        after = page.next
