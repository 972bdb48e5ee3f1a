"""Tests for jobs whose message the queue gave up on."""

from __future__ import annotations

import pytest
from embedded_jobs import Clock, queued

from cloud_executor.composition import Jobs
from cloud_executor.jobs.sweep import UNPUBLISHED_AFTER
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.transitions import MAX_DEAD_LETTERS


def lose_message(jobs: Jobs) -> None:
    """Do what the queue does once it has delivered the job's message too often."""
    with jobs.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        delivery.ack()
    jobs.dead_letters.give_up("j")
    jobs.sweep.run()


@pytest.fixture(autouse=True)
def created(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    clock.advance(UNPUBLISHED_AFTER)


def test_a_job_that_never_ran_is_published_again(jobs: Jobs) -> None:
    lose_message(jobs)
    job = jobs.clients.get("j")
    assert (job.status, job.error) == (Status.CREATED, None)
    assert queued(jobs.queue) == ["j"]


def test_a_job_that_nobody_can_claim_fails_in_the_end(jobs: Jobs) -> None:
    for _ in range(MAX_DEAD_LETTERS):
        assert not jobs.clients.get("j").finished
        lose_message(jobs)
    job = jobs.clients.get("j")
    assert job.status == Status.FAILED_TO_EXECUTE
    assert job.error == "The job was delivered to workers too many times, and none of them could claim it."
    assert queued(jobs.queue) == []


def test_dead_letters_before_an_attempt_do_not_count_after_it(jobs: Jobs) -> None:
    for _ in range(3 * MAX_DEAD_LETTERS):
        lose_message(jobs)
        jobs.attempts.release("j", jobs.attempts.claim("j", "w").attempt)
    assert jobs.clients.get("j").status == Status.CREATED


def test_a_job_that_runs_or_has_ended_is_left_alone(jobs: Jobs) -> None:
    running = jobs.attempts.claim("j", "w")
    jobs.dead_letters.give_up("j")
    assert jobs.clients.get("j") == running
