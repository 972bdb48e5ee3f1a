"""Tests for the clients' use cases: creating, listing, and canceling jobs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from embedded_jobs import Clock, Crash, crashing_store, finish, output, put_output, queued
from msgspec.structs import replace as replace_job

from cloud_executor.composition import Jobs
from cloud_executor.errors import Forbidden
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.jobs.job import JobRuns, JobUpdate, NotClaimable, Outcome, OutputSegment, StaleAttempt, Status
from cloud_executor.model.jobs.job_filter import EVERY_JOB
from cloud_executor.ports import JobNotFound


def test_a_created_job_is_queued_for_the_first_pool_that_can_run_it(jobs: Jobs) -> None:
    for job_hash, labels in [("plain", ()), ("gpu", ("gpu",)), ("external", ("nobody",))]:
        job, created = jobs.clients.create(job_hash, labels)
        assert created
        assert job.secret
    assert queued(jobs.queue) == ["plain"]
    assert queued(jobs.queue, "special") == ["gpu"]
    assert jobs.clients.get("plain").published_at is not None
    assert jobs.clients.get("external").pool is None


def test_a_job_that_no_pool_can_run_lists_the_labels_it_waits_for(jobs: Jobs) -> None:
    jobs.clients.create("plain", ("gpu",))
    jobs.clients.create("external", ("gpu", "nobody"))
    assert "waitingFor" not in jobs.clients.get("plain").document()
    assert jobs.clients.get("external").document()["waitingFor"] == ("gpu", "nobody")
    assert jobs.clients.get("external").error is None
    jobs.external_workers.check_in(CheckIn("w", 1, ("gpu", "nobody")))
    assert jobs.external_workers.check_in(CheckIn("v", 1, ("gpu",))).jobs_to_start == ("plain",)
    assert "waitingFor" not in jobs.clients.get("external").document()


def test_every_pool_offers_the_labels_of_label_jobs(jobs: Jobs) -> None:
    jobs = replace(jobs, label_jobs=lambda: {"tool": "0" * 40})
    pools = [
        jobs.clients.create(str(labels), labels)[0].pool for labels in (("tool",), ("gpu", "tool"), ("tool", "none"))
    ]
    assert pools == ["plain", "special", None]


def test_creating_an_existing_job_changes_nothing(jobs: Jobs) -> None:
    jobs.clients.create("j")
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: jobs.attempts.claim("j", "w"),
        lambda: put_output(jobs, "j"),
    ]
    for step in steps:
        step()
        stored = jobs.clients.get("j")
        assert jobs.clients.create("j", ("gpu",)) == (stored, False)
        assert jobs.clients.get("j") == stored


def test_the_store_has_only_a_hash_of_the_secret(jobs: Jobs) -> None:
    created, _ = jobs.clients.create("j")
    stored = jobs.clients.get("j").secret
    assert created.secret not in stored
    with pytest.raises(Forbidden):
        jobs.clients.cancel("j", stored)
    jobs.clients.cancel("j", created.secret)
    assert jobs.clients.get("j").status == Status.CANCELED


def test_a_job_of_an_earlier_version_is_canceled_with_its_stored_secret(jobs: Jobs) -> None:
    jobs.clients.create("j")
    jobs.store.transact("j", lambda job: job and replace_job(job, secret="plain"))
    with pytest.raises(Forbidden):
        jobs.clients.cancel("j", "other")
    jobs.clients.cancel("j", "plain")
    assert jobs.clients.get("j").status == Status.CANCELED


def test_simultaneous_creates_make_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: jobs.clients.create("j"), range(40)))
    assert sum(created for _, created in made) == 1
    assert len({job.secret for job, created in made if not created}) == 1
    assert queued(jobs.queue) == ["j"]


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.CANCELED}))
def test_creating_a_finished_job_does_not_run_it_again(jobs: Jobs, status: Status) -> None:
    jobs.clients.create("j")
    jobs.external_workers.update("j", JobUpdate(status=status, worker="w"))
    _, created = jobs.clients.create("j")
    assert not created
    assert jobs.clients.get("j").status == status


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED_TO_EXECUTE, Status.CANCELED])
def test_a_finished_job_can_run_again(jobs: Jobs, status: Status) -> None:
    first, _ = jobs.clients.create("j", ("gpu",))
    attempt = jobs.attempts.claim("j", "w", token="t").attempt
    put = OutputSegment("j", 0, "old")
    jobs.attempts.put_output(put, attempt)
    jobs.attempts.finish("j", attempt, Outcome(status, result_hashes={"all": "0" * 40}, error="it failed"))
    job, created = jobs.clients.create("j", rerun=True)
    assert created and job.secret != first.secret
    assert (job.status, job.labels, job.pool, job.attempt, job.error) == ("CREATED", ("gpu",), "special", 1, None)
    assert job.result_hashes == {"all": "0" * 40}
    assert output(jobs, "j") == []
    assert jobs.clients.create("j", rerun=True)[1] is False  # It waits already.
    with pytest.raises(StaleAttempt):
        jobs.attempts.finish("j", attempt, Outcome(Status.SUCCESS))
    again = jobs.attempts.claim("j", "w", token="u")
    with pytest.raises(JobRuns):
        jobs.clients.create("j", rerun=True)
    jobs.attempts.finish("j", again.attempt, Outcome(Status.SUCCESS))
    assert (jobs.clients.get("j").attempt, jobs.clients.get("j").result_hashes) == (2, None)


@pytest.mark.parametrize("step", ["cancel", "lose"])
def test_a_rerun_without_results_of_its_own_shows_none(jobs: Jobs, step: str) -> None:
    jobs.clients.create("j")
    outcome = Outcome(Status.SUCCESS, result_hashes={"all": "0" * 40}, logs={"stdout": "1" * 40})
    jobs.attempts.finish("j", jobs.attempts.claim("j", "w").attempt, outcome)
    rerun, _ = jobs.clients.create("j", rerun=True)
    if step == "cancel":
        jobs.clients.cancel("j", rerun.secret)
    else:
        while not jobs.clients.get("j").finished:
            jobs.attempts.abandon("j", jobs.attempts.claim("j", "w").attempt, "The storage is unavailable.")
    job = jobs.clients.get("j")
    assert (job.finished, job.result_hashes, job.logs) == (True, None, None)


def test_a_rerun_can_have_other_labels_and_creates_a_job_that_does_not_exist(jobs: Jobs) -> None:
    assert jobs.clients.create("j", rerun=True)[1]
    finish(jobs, "j")
    job, _ = jobs.clients.create("j", ("gpu", "matlab"), rerun=True)
    assert (job.labels, job.pool) == (("gpu", "matlab"), "special")


def test_creating_a_canceled_job_makes_a_new_job_without_output(jobs: Jobs) -> None:
    first, _ = jobs.clients.create("j")
    for other in ("j2", "J", "j ", ""):
        jobs.clients.create(other)
        put_output(jobs, other)
    put_output(jobs, "j")
    jobs.clients.cancel("j", first.secret)
    second, created = jobs.clients.create("j")
    assert created
    assert second.secret != first.secret
    assert (second.status, second.output_number) == ("CREATED", None)
    assert output(jobs, "j") == []
    assert output(jobs, "j2") == ["j2 0"]
    with pytest.raises(Forbidden):
        jobs.clients.cancel("j", first.secret)
    assert jobs.attempts.claim("j", "w").status == Status.RUNNING


@pytest.mark.parametrize(("method", "calls_before"), [("clear_output", 0), ("transact", 1)])
def test_a_crash_while_a_canceled_job_is_recreated_leaves_no_new_job_with_old_output(
    jobs: Jobs, method: str, calls_before: int
) -> None:
    job, _ = jobs.clients.create("j")
    put_output(jobs, "j")
    jobs.clients.cancel("j", job.secret)
    with pytest.raises(Crash):
        crashing_store(jobs, method, calls_before).clients.create("j")
    assert jobs.clients.get("j").status == Status.CANCELED
    again, created = jobs.clients.create("j")
    assert created
    assert again.output_number is None
    assert output(jobs, "j") == []


def test_a_canceled_job_is_never_claimed(jobs: Jobs) -> None:
    job, _ = jobs.clients.create("j")
    jobs.clients.cancel("j", job.secret)
    jobs.clients.cancel("j", job.secret)
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "w")
    assert jobs.external_workers.check_in(CheckIn("w", 9)).jobs_to_start == ()


def test_an_unknown_job_is_not_found(jobs: Jobs) -> None:
    calls: list[Callable[[], object]] = [
        lambda: jobs.clients.get("j"),
        lambda: jobs.external_workers.update("j", JobUpdate(status="SUCCESS")),
        lambda: jobs.clients.cancel("j", "x"),
        lambda: jobs.clients.output("j"),
        lambda: put_output(jobs, "j"),
        lambda: jobs.attempts.claim("j", "w"),
        lambda: jobs.attempts.renew("j", 1),
        lambda: jobs.attempts.release("j", 1),
        lambda: jobs.attempts.finish("j", 1, Outcome(Status.SUCCESS)),
    ]
    for call in calls:
        with pytest.raises(JobNotFound):
            call()
    jobs.clients.create("j")
    assert output(jobs, "j") == []


def test_workers_are_listed_with_their_jobs(jobs: Jobs, clock: Clock) -> None:
    for number in range(3):
        jobs.clients.create(f"{number}", ("x",))
        clock.advance(timedelta(seconds=1))
    jobs.external_workers.check_in(CheckIn("b", 1, ("x",)))
    jobs.external_workers.check_in(CheckIn("a", 2, ("x",)))
    jobs.external_workers.check_in(CheckIn("c", 1, ("x",)))
    listed = {worker.client_id: [job.hash for job in jobs] for worker, jobs in jobs.clients.workers()}
    assert listed == {"a": ["1", "2"], "b": ["0"], "c": []}
    assert list(listed) == ["a", "b", "c"]


def test_the_list_and_the_pages_contain_the_same_jobs(jobs: Jobs, clock: Clock) -> None:
    for number in range(25):
        jobs.clients.create(f"{number}")
        clock.advance(timedelta(milliseconds=10))
    found: list[str] = []
    after: str | None = None
    while True:
        page = jobs.clients.page(EVERY_JOB, newest_first=False, after=after, limit=10)
        found += [job.hash for job in page.jobs]
        if page.next is None:
            break
        after = page.next
    assert found == [job.hash for job in jobs.clients.jobs()] == [f"{number}" for number in range(25)]
    assert [job.hash for job in jobs.clients.jobs(Status.RUNNING)] == []
