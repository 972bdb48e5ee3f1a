"""Tests for jobs of external workers that never heard of them, because the response to their request was lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from embedded_jobs import Clock
from msgspec.structs import replace

from cloud_executor.composition import Jobs
from cloud_executor.errors import Invalid
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.jobs.job import JobUpdate, OutputSegment, Status
from cloud_executor.model.jobs.transitions import START_WITHIN

STEP = timedelta(seconds=20)


def polls(jobs: Jobs, clock: Clock, *running: str, period: timedelta = START_WITHIN + STEP) -> None:
    """Let the worker poll for this long, without free slots, and sweep."""
    for _ in range(period // STEP):
        clock.advance(STEP)
        jobs.external_workers.check_in(CheckIn("w", 0, (), running))
        jobs.sweep.run()


@pytest.fixture(autouse=True)
def given(jobs: Jobs) -> None:
    jobs.clients.create("j", ("x",))
    assert jobs.external_workers.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("j",)


def test_a_job_whose_worker_never_heard_of_it_waits_again(jobs: Jobs, clock: Clock) -> None:
    polls(jobs, clock, period=START_WITHIN - STEP)
    assert jobs.clients.get("j").status == Status.RUNNING
    polls(jobs, clock, period=2 * STEP)
    job = jobs.clients.get("j")
    assert (job.status, job.worker, job.lost_attempts) == (Status.CREATED, None, 0)
    assert jobs.external_workers.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("j",)


def test_a_worker_that_lists_the_job_keeps_it(jobs: Jobs, clock: Clock) -> None:
    polls(jobs, clock, "j", period=STEP)
    polls(jobs, clock)
    assert jobs.clients.get("j").status == Status.RUNNING


def test_a_worker_that_only_sends_output_keeps_the_job_while_it_does(jobs: Jobs, clock: Clock) -> None:
    for number in range(3):
        polls(jobs, clock, period=START_WITHIN - STEP)
        jobs.external_workers.put_output(OutputSegment("j", number, "text"))
    assert jobs.clients.get("j").status == Status.RUNNING
    polls(jobs, clock)
    assert jobs.clients.get("j").status == Status.CREATED


@pytest.mark.parametrize("status", ["RUNNING", "a status of its own"])
def test_a_worker_that_never_checks_in_keeps_the_job_while_it_reports(jobs: Jobs, clock: Clock, status: str) -> None:
    jobs.clients.create("reported", ("x",))
    for _ in range(3):
        jobs.external_workers.update("reported", JobUpdate(status=status, worker="nobody"))
        polls(jobs, clock, period=START_WITHIN - STEP)
    assert (jobs.clients.get("reported").status, jobs.clients.get("reported").worker) == (status, "nobody")
    polls(jobs, clock)
    assert (jobs.clients.get("reported").status, jobs.clients.get("reported").worker) == (Status.CREATED, None)


def test_a_report_that_starts_a_job_names_its_worker(jobs: Jobs) -> None:
    jobs.clients.create("unnamed", ("x",))
    with pytest.raises(Invalid, match="worker is missing"):
        jobs.external_workers.update("unnamed", JobUpdate(status="RUNNING"))
    assert jobs.clients.get("unnamed").status == Status.CREATED


def test_a_worker_that_reports_on_the_job_keeps_it(jobs: Jobs, clock: Clock) -> None:
    jobs.external_workers.update("j", JobUpdate(status="RUNNING", worker="w"))
    polls(jobs, clock)
    assert jobs.clients.get("j").status == Status.RUNNING


def test_another_worker_does_not_confirm_the_job(jobs: Jobs, clock: Clock) -> None:
    jobs.external_workers.check_in(CheckIn("liar", 0, (), ("j",)))
    polls(jobs, clock)
    assert jobs.clients.get("j").status == Status.CREATED


def test_a_canceled_job_that_nobody_runs_is_canceled(jobs: Jobs, clock: Clock) -> None:
    jobs.store.transact("j", lambda job: job and replace(job, cancel_requested=True))
    polls(jobs, clock)
    assert jobs.clients.get("j").status == Status.CANCELED
