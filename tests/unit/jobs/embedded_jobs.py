"""The use cases of jobs on the embedded backends, with a clock that the test advances, and ways to break them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cloud_executor.composition import Jobs
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.jobs.job import Outcome, OutputSegment, Status
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.ports import JobQueue


@dataclass
class Clock:
    """A clock that only the test advances."""

    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, time: timedelta) -> None:
        self.now += time + timedelta(milliseconds=1)


OPTIONS = JobOptions(
    refresh_period=timedelta(seconds=5),
    lease=timedelta(seconds=30),
    retries=2,
    clear_output_after=timedelta(seconds=60),
)
POOLS = (
    WorkerPool("plain", external_workers=True),
    WorkerPool("special", frozenset({"gpu", "matlab"}), external_workers=True),
)


@dataclass
class BrokenQueue:
    """A queue whose every call raises this error."""

    error: BaseException

    def publish(self, pool: str, job_hash: str) -> None:
        raise self.error

    def subscribe(self, pool: str, slots: int) -> Any:
        raise self.error


class Crash(BaseException):
    """The process dies here."""


class Crashing:
    """A wrapper around a store or queue: calls of one method crash, after the first `calls_before` calls."""

    def __init__(self, wrapped: object, method: str, calls_before: int = 0) -> None:
        self._wrapped = wrapped
        self._method = method
        self._calls_before = calls_before

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._calls_before -= 1
            if self._calls_before < 0:
                return self._crash
        return getattr(self._wrapped, name)

    def _crash(self, *_: object, **__: object) -> None:
        raise Crash


def crashing_store(jobs: Jobs, method: str, calls_before: int = 0) -> Jobs:
    store: Any = Crashing(jobs.store, method, calls_before)
    return replace(jobs, store=store)


def queued(queue: JobQueue, pool: str = "plain") -> list[str]:
    """The hashes of the jobs in a pool's queue. The messages stay in the queue."""
    found = []
    with queue.subscribe(pool, 4) as subscription:
        while (delivery := subscription.next(0)) is not None:
            found.append(delivery.job_hash)
    return found


def put_output(jobs: Jobs, job_hash: str, number: int = 0) -> None:
    jobs.external_workers.put_output(OutputSegment(job_hash, number, f"{job_hash} {number}"))


def output(jobs: Jobs, job_hash: str) -> list[str]:
    return [segment.output for segment in jobs.clients.output(job_hash)]


def finish(jobs: Jobs, job_hash: str, status: Status = Status.SUCCESS) -> None:
    jobs.attempts.finish(job_hash, jobs.attempts.claim(job_hash, "w").attempt, Outcome(status))
