"""A deleted job: messages and workers that still name it are harmless."""

from __future__ import annotations

from datetime import timedelta

import pytest
from embedded_jobs import OPTIONS, Clock, finish, put_output, queued

from cloud_executor.composition import Jobs
from cloud_executor.model.jobs.job import NotFinished, Outcome, OutputSegment, StaleAttempt, Status
from cloud_executor.ports import JobChange, JobNotFound


def test_only_a_finished_job_is_deleted(jobs: Jobs) -> None:
    jobs.clients.create("a")
    with pytest.raises(NotFinished):
        jobs.clients.delete("a")
    attempt = jobs.attempts.claim("a", "w").attempt
    with pytest.raises(NotFinished):
        jobs.clients.delete("a")
    jobs.attempts.finish("a", attempt, Outcome(Status.SUCCESS))
    jobs.clients.delete("a")
    with pytest.raises(JobNotFound):
        jobs.clients.delete("a")


def test_the_message_of_a_deleted_job_is_harmless(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("a")
    jobs.clients.force_cancel("a")
    jobs.clients.delete("a")
    assert queued(jobs.queue) == ["a"]
    with pytest.raises(JobNotFound):
        jobs.attempts.claim("a", "w")
    with pytest.raises(JobNotFound):
        jobs.dead_letters.give_up("a")
    with pytest.raises(JobNotFound):
        put_output(jobs, "a")
    clock.advance(timedelta(days=2))
    jobs.sweep.run()
    assert list(jobs.clients.jobs()) == []
    assert list(jobs.store.output("a")) == []


def test_a_worker_of_a_deleted_job_cannot_write_to_its_successor(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("a")
    paused = jobs.attempts
    attempt = paused.claim("a", "paused").attempt
    clock.advance(OPTIONS.lease)
    jobs.sweep.run()
    finish(jobs, "a")
    jobs.clients.delete("a")
    clock.advance(timedelta(seconds=1))
    jobs.clients.create("a")
    assert jobs.attempts.claim("a", "new").attempt == attempt
    steps = (
        lambda: paused.renew("a", attempt),
        lambda: paused.start("a", attempt),
        lambda: paused.put_output(OutputSegment("a", 0, "x"), attempt),
        lambda: paused.finish("a", attempt, Outcome(Status.FAILED_TO_EXECUTE)),
    )
    for step in steps:
        with pytest.raises(StaleAttempt):
            step()
    assert jobs.clients.get("a").status == Status.RUNNING
    assert list(jobs.store.output("a")) == []


def test_a_job_that_is_deleted_while_it_is_created_again_is_created(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.clients.create("a")
    attempt = jobs.attempts.claim("a", "w").attempt
    jobs.attempts.put_output(OutputSegment("a", 0, "old"), attempt)
    jobs.attempts.finish("a", attempt, Outcome(Status.FAILED_TO_EXECUTE))
    clear = jobs.store.clear_output

    def clear_a_deleted_job(job_hash: str, change: JobChange) -> bool:
        jobs.clients.delete(job_hash)
        return clear(job_hash, change)

    monkeypatch.setattr(jobs.store, "clear_output", clear_a_deleted_job)
    jobs.clients.create("a", rerun=True)
    assert jobs.clients.get("a").status == Status.CREATED
    assert list(jobs.store.output("a")) == []
