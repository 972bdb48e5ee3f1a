"""Tests for the use cases of external workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from embedded_jobs import OPTIONS, Clock, queued

from cloud_executor.composition import Jobs
from cloud_executor.errors import Invalid
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.job import NotClaimable, Status


def test_a_worker_without_a_name_is_rejected(jobs: Jobs) -> None:
    jobs.clients.create("j")
    with pytest.raises(Invalid):
        jobs.external_workers.check_in(CheckIn("", 1))
    assert jobs.clients.get("j").status == Status.CREATED


def test_simultaneous_workers_never_share_a_job(jobs: Jobs) -> None:
    for number in range(30):
        jobs.clients.create(f"{number}", ("x",))
    with ThreadPoolExecutor(8) as threads:
        orders = list(threads.map(lambda n: jobs.external_workers.check_in(CheckIn(f"w{n}", 2, ("x",))), range(20)))
    given = [job_hash for order in orders for job_hash in order.jobs_to_start]
    assert sorted(given) == sorted(f"{number}" for number in range(30))


def test_a_worker_finds_its_job_behind_many_that_it_cannot_run(jobs: Jobs, clock: Clock) -> None:
    for number in range(600):  # more than a page
        jobs.clients.create(f"{number}", ("other",))
    clock.advance(timedelta(seconds=1))
    jobs.clients.create("mine", ("x",))
    assert jobs.external_workers.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("mine",)


def test_external_workers_also_get_jobs_of_our_pools_and_the_queued_message_is_harmless(jobs: Jobs) -> None:
    jobs.clients.create("j")
    assert jobs.external_workers.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)
    assert queued(jobs.queue) == ["j"]
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "ours")


def test_a_worker_that_checks_in_on_time_keeps_its_jobs(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j", ("x",))
    jobs.external_workers.check_in(CheckIn("w", 1, ("x",)))
    for _ in range(5):
        clock.advance(OPTIONS.worker_timeout - timedelta(seconds=1))
        jobs.external_workers.check_in(CheckIn("w", 0, ("x",), ("j",)))
        jobs.sweep.run()
    assert jobs.clients.get("j").status == Status.RUNNING
    clock.advance(OPTIONS.worker_timeout)
    report = jobs.sweep.run()
    assert (report.returned, report.workers_forgotten) == (1, 1)
    assert list(jobs.clients.workers()) == []
