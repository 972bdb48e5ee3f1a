"""Tests for how much a lost attempt counts: only for a job that may have been the cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from embedded_jobs import OPTIONS, Clock

from cloud_executor.composition import Jobs
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.worker import WorkerRecord

SECOND = timedelta(seconds=1)


def record(jobs: Jobs, clock: Clock, worker: str = "w") -> None:
    jobs.attempts.record_worker(WorkerRecord(worker, clock()))


def counted(jobs: Jobs, job_hash: str) -> float:
    job = jobs.clients.get(job_hash)
    return job.lost_attempts - job.excused


def test_a_worker_that_could_not_renew_but_lives_is_hardly_blamed_on_its_job(jobs: Jobs, clock: Clock) -> None:
    strict = replace(jobs, options=replace(OPTIONS, retries=0))
    jobs.clients.create("j")
    for _ in range(4):
        jobs.attempts.claim("j", "w")
        clock.advance(OPTIONS.lease)
        record(jobs, clock)
        assert strict.sweep.run().returned == 1
        assert jobs.clients.get("j").status == Status.CREATED


def test_a_job_that_its_living_worker_never_finishes_fails_in_the_end(jobs: Jobs, clock: Clock) -> None:
    strict = replace(jobs, options=replace(OPTIONS, retries=0))
    jobs.clients.create("j")
    attempts = 0
    while not jobs.clients.get("j").finished:
        jobs.attempts.claim("j", "w")
        clock.advance(OPTIONS.lease)
        record(jobs, clock)
        strict.sweep.run()
        attempts += 1
        assert attempts < 100
    assert jobs.clients.get("j").status == Status.FAILED_TO_EXECUTE


def test_a_worker_counts_as_vanished_only_once_it_is_not_seen(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.attempts.claim("j", "w")
    clock.advance(OPTIONS.lease - 3 * SECOND)
    record(jobs, clock)
    clock.advance(4 * SECOND)
    assert jobs.sweep.run().returned == 0
    clock.advance(OPTIONS.worker_timeout)
    assert jobs.sweep.run().returned == 1
    assert counted(jobs, "j") == 1


def test_jobs_that_are_lost_together_share_the_blame(jobs: Jobs, clock: Clock) -> None:
    for name in ("a", "b", "c", "alone"):
        jobs.clients.create(name)
        jobs.attempts.claim(name, "other" if name == "alone" else "w")
        clock.advance(SECOND)
    clock.advance(OPTIONS.lease - 3 * SECOND)
    assert jobs.sweep.run().returned == 0, "the worker still has a lease"
    clock.advance(3 * SECOND)
    assert jobs.sweep.run().returned == 4
    assert [counted(jobs, name) for name in ("a", "b", "c", "alone")] == [pytest.approx(1 / 3)] * 3 + [1]


def test_a_job_that_kills_its_worker_fails_although_others_share_the_blame(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("poison")
    deaths = 0
    while not jobs.clients.get("poison").finished:
        jobs.attempts.claim("poison", "w")
        for number in range(9):
            # Other innocent jobs each time.
            jobs.clients.create(f"{deaths} {number}")
            jobs.attempts.claim(f"{deaths} {number}", "w")
        clock.advance(OPTIONS.lease)
        jobs.sweep.run()
        deaths += 1
        assert deaths < 50
    assert deaths == 4 * (OPTIONS.retries + 1)
    assert {job.status for job in jobs.clients.jobs()} == {Status.CREATED, Status.FAILED_TO_EXECUTE}
    assert [job.hash for job in jobs.clients.jobs(Status.FAILED_TO_EXECUTE)] == ["poison"]


@pytest.mark.parametrize("offset", [timedelta(seconds=-40), timedelta(seconds=40), timedelta(hours=-1)])
def test_leases_do_not_depend_on_the_clock_of_a_machine(jobs: Jobs, clock: Clock, offset: timedelta) -> None:
    """The job store has one clock, and each machine its own."""
    wrong = replace(jobs, clock=lambda: clock() + offset, lease_clock=clock)
    jobs.clients.create("j")
    attempt = wrong.attempts.claim("j", "w").attempt
    for _ in range(5):
        assert wrong.sweep.run().returned == jobs.sweep.run().returned == 0
        clock.advance(OPTIONS.lease - SECOND)
        wrong.attempts.renew("j", attempt)
    clock.advance(OPTIONS.lease)
    assert wrong.sweep.run().returned == 1


def test_only_the_jobs_of_workers_with_expired_leases_are_read(
    jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[object] = []
    monkeypatch.setattr("cloud_executor.jobs.sweep.all_jobs", lambda _, status: listed.append(status) or ())
    for name in ("a", "b", "c"):
        jobs.clients.create(name)
        jobs.attempts.claim(name, "w")
    clock.advance(OPTIONS.lease)
    jobs.clients.create("elsewhere")
    jobs.attempts.claim("elsewhere", "other")
    assert jobs.sweep.run().returned == 3
    assert [counted(jobs, name) for name in ("a", "b", "c")] == [pytest.approx(1 / 3)] * 3
    assert Status.RUNNING not in listed
