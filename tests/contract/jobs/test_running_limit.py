"""A user's running jobs stay within their limit, and the next ones start when others end, with every job store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulators.projects import new_project

from cloud_executor.backends.google.firestore.jobs import FirestoreJobStore
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.backends.sqlite.queue import SqliteJobQueue
from cloud_executor.backends.sqlite.quotas import SqliteQuotaStore
from cloud_executor.clock import system_clock
from cloud_executor.composition import Jobs
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.access.quota import Limits, Quota
from cloud_executor.model.jobs.job import JobUpdate, Outcome, Status
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.ports import JobStore, Subscription

LIMIT = 2


@pytest.fixture(params=["sqlite", "firestore"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Jobs:
    database = SqliteDatabase(tmp_path / "executor.sqlite")
    queue = SqliteJobQueue(database, tmp_path / "wake", system_clock)
    store: JobStore = SqliteJobStore(database, queue, limits=Limits(jobs_running=LIMIT))
    SqliteQuotaStore(database).change_limits("bob", {Quota.JOBS_RUNNING: None}, ())
    if request.param == "firestore":
        request.getfixturevalue("firestore")
        store = FirestoreJobStore(new_project(), "(default)")
    return Jobs(store, queue, [WorkerPool("p")], running_limit=lambda user: LIMIT if user == "ada" else None)


@contextmanager
def subscribed(jobs: Jobs) -> Iterator[Subscription]:
    with jobs.queue.subscribe("p", 100) as subscription:
        yield subscription


def start(jobs: Jobs, subscription: Subscription) -> list[str]:
    """Claim all jobs in the queue; their keys."""
    started = []
    while (delivery := subscription.next(0.2)) is not None:
        jobs.attempts.claim(delivery.job_hash, "worker", "p")
        delivery.ack()
        started.append(delivery.job_hash)
    return started


def running(jobs: Jobs) -> int:
    return jobs.store.count("ada", [Status.RUNNING], 100)


def test_further_jobs_wait_until_others_end(jobs: Jobs) -> None:
    for number in range(5):
        jobs.clients.create(f"{number}", (), "ada")
    for number in range(3):
        jobs.clients.create(f"{number}", (), "bob")
    with subscribed(jobs) as subscription:
        started = start(jobs, subscription)
        assert (len(started), running(jobs)) == (3 + LIMIT, LIMIT)
        adas = [job for job in started if "ada" in job]
        ended = 0
        while adas:
            job = adas.pop()
            jobs.attempts.finish(job, 1, Outcome(Status.SUCCESS))
            ended += 1
            adas += start(jobs, subscription)
            assert running(jobs) == min(LIMIT, 5 - ended)
        assert ended == 5


def test_a_returned_job_starts_again(jobs: Jobs) -> None:
    for number in range(3):
        jobs.clients.create(f"{number}", (), "ada")
    with subscribed(jobs) as subscription:
        (first, _) = start(jobs, subscription)
        jobs.attempts.release(first, 1)
        assert len(start(jobs, subscription)) == 1
        assert running(jobs) == LIMIT


def test_external_workers_get_no_more_jobs(jobs: Jobs) -> None:
    for number in range(4):
        jobs.clients.create(f"{number}", ("label",), "ada")
    worker = CheckIn("w", 10, ("label",))
    first = jobs.external_workers.check_in(worker, "ada").jobs_to_start
    assert len(first) == LIMIT
    assert jobs.external_workers.check_in(worker, "ada").jobs_to_start == ()
    jobs.external_workers.update(first[0], JobUpdate(status="SUCCESS", worker="w"), "ada")
    assert len(jobs.external_workers.check_in(worker, "ada").jobs_to_start) == 1
