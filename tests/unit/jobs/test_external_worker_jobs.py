"""Tests for the use cases of external workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from embedded_jobs import OPTIONS, Clock, output, put_output, queued

from cloud_executor.composition import Jobs
from cloud_executor.errors import Invalid
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.jobs.job import JobUpdate, NotClaimable, Outcome, Status


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


def test_a_poll_reads_few_pages_and_the_next_one_continues(
    jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_executor.backends.job_records.JOB_BYTES_PER_READ", 1)  # a page has one job
    for number in range(6):
        jobs.clients.create(f"{number}", ("other",))
    clock.advance(timedelta(seconds=1))
    jobs.clients.create("mine", ("x",))
    workers = jobs.external_workers
    polls = [workers.check_in(CheckIn("w", 1, ("x",))).jobs_to_start for _ in range(3)]
    assert polls == [(), ("mine",), ()]


def test_a_worker_finds_its_job_behind_many_that_it_cannot_run(jobs: Jobs, clock: Clock) -> None:
    for number in range(600):  # more than a page
        jobs.clients.create(f"{number}", ("other",))
    clock.advance(timedelta(seconds=1))
    jobs.clients.create("mine", ("x",))
    assert jobs.external_workers.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("mine",)


def test_an_external_worker_gets_a_job_of_an_open_pool_and_the_queued_message_is_harmless(jobs: Jobs) -> None:
    jobs.clients.create("j")
    assert jobs.external_workers.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)
    assert queued(jobs.queue) == ["j"]
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "ours")
    put_output(jobs, "j")
    jobs.external_workers.update("j", JobUpdate(status="SUCCESS"))
    put_output(jobs, "j", 1)
    assert (jobs.clients.get("j").status, output(jobs, "j")) == (Status.SUCCESS, ["j 0", "j 1"])


def attack(jobs: Jobs) -> None:
    """Do what a client of the API can do to a job, and check that nothing happens."""
    before = jobs.store.get("j")
    forged = JobUpdate(status="SUCCESS", result_hashes={"all": "0" * 40})
    jobs.external_workers.update("j", forged)
    jobs.external_workers.update("j", JobUpdate(status="RUNNING"))
    put_output(jobs, "j", 7)
    assert jobs.external_workers.check_in(CheckIn("thief", 9)).jobs_to_start == ()
    assert (jobs.store.get("j"), output(jobs, "j")) == (before, [])


@pytest.mark.parametrize("is_open", [True, False])
def test_nobody_else_changes_a_job_that_our_worker_has(jobs: Jobs, is_open: bool) -> None:
    jobs = replace(jobs, pools=[replace(pool, external_workers=is_open) for pool in jobs.pools])
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "ours", token="t").attempt
    attack(jobs)
    jobs.attempts.finish("j", attempt, Outcome(Status.SUCCESS))
    attack(jobs)


def test_external_workers_get_and_change_no_waiting_job_of_a_closed_pool(jobs: Jobs) -> None:
    jobs = replace(jobs, pools=[replace(pool, external_workers=False) for pool in jobs.pools])
    jobs.clients.create("j")
    attack(jobs)


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
