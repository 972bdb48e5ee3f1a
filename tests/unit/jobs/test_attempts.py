"""Tests for the use cases of our workers: claiming, renewing, finishing, and returning jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from embedded_jobs import OPTIONS, BrokenQueue, Clock, queued

from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.jobs.sweep import UNPUBLISHED_AFTER
from cloud_executor.model.jobs.job import JobUpdate, NotClaimable, Outcome, OutputSegment, StaleAttempt, Status


def test_simultaneous_claims_give_the_job_to_one_worker(jobs: Jobs) -> None:
    jobs.clients.create("j")

    def claims(number: int) -> bool:
        try:
            jobs.attempts.claim("j", f"w{number}")
        except NotClaimable:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claims, range(32))) == 1


def test_only_the_sweep_takes_a_job_whose_lease_expired_from_its_worker(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    clock.advance(10 * OPTIONS.lease)
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "other")
    assert jobs.attempts.renew("j", attempt).lease_expires == clock() + OPTIONS.lease
    clock.advance(OPTIONS.lease)
    jobs.sweep.run()
    assert jobs.attempts.claim("j", "other").attempt == attempt + 1


def test_renewing_a_lease_reports_a_requested_cancel(jobs: Jobs) -> None:
    job, _ = jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    assert not jobs.attempts.renew("j", attempt).cancel_requested
    jobs.clients.cancel("j", job.secret)
    assert jobs.attempts.renew("j", attempt).cancel_requested
    assert jobs.attempts.finish("j", attempt, Outcome(Status.CANCELED)).status == Status.CANCELED


def test_an_outcome_is_recorded_once(jobs: Jobs, clock: Clock) -> None:
    job, _ = jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    started, ended = clock(), clock() + timedelta(seconds=1)
    jobs.attempts.start("j", attempt)
    jobs.attempts.finish("j", attempt, Outcome(Status.SUCCESS, started, ended, {"all": "0" * 40}))
    recorded = jobs.clients.get("j")
    assert recorded.result_hashes == {"all": "0" * 40}
    assert (recorded.start_time, recorded.finish_time) == ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:01.000Z")
    with pytest.raises(StaleAttempt):
        jobs.attempts.finish("j", attempt, Outcome(Status.FAILED_TO_EXECUTE))
    jobs.clients.cancel("j", job.secret)
    jobs.external_workers.update("j", JobUpdate(status="RUNNING"))
    clock.advance(timedelta(days=1))
    jobs.sweep.run()
    assert jobs.clients.get("j") == recorded


def test_racing_attempts_record_one_outcome(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    attempts = [jobs.attempts.claim("j", "slow").attempt]
    clock.advance(OPTIONS.lease)
    jobs.sweep.run()
    attempts.append(jobs.attempts.claim("j", "next").attempt)

    def finished(attempt: int) -> bool:
        try:
            jobs.attempts.finish("j", attempt, Outcome(Status.SUCCESS, result_hashes={"attempt": str(attempt)}))
        except StaleAttempt:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(finished, attempts * 10))
    assert sum(outcomes) == 1
    assert jobs.clients.get("j").result_hashes == {"attempt": "2"}


def test_output_of_an_attempt_that_lost_its_job_is_not_stored(jobs: Jobs) -> None:
    jobs.clients.create("j")
    first = jobs.attempts.claim("j", "w").attempt
    jobs.attempts.put_output(OutputSegment("j", 0, "mine"), first)
    jobs.attempts.release("j", first)
    jobs.attempts.claim("j", "other")
    with pytest.raises(StaleAttempt):
        jobs.attempts.put_output(OutputSegment("j", 0, "late"), first)
    assert [segment.output for segment in jobs.clients.output("j")] == ["mine"]


def test_a_released_job_can_be_claimed_at_once(jobs: Jobs) -> None:
    jobs.clients.create("j")
    jobs.attempts.release("j", jobs.attempts.claim("j", "w").attempt)
    again = jobs.attempts.claim("j", "other")
    assert (again.attempt, again.lost_attempts) == (2, 0)


def ack_message(jobs: Jobs) -> None:
    """Ack the job's message, as a worker does that gets it again while the job runs."""
    with jobs.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        delivery.ack()


def test_a_released_job_is_queued_even_if_its_message_was_acked(jobs: Jobs) -> None:
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    ack_message(jobs)
    jobs.attempts.release("j", attempt)
    assert queued(jobs.queue) == ["j"]


def test_the_sweep_publishes_a_released_job_whose_publish_failed(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    ack_message(jobs)
    replace(jobs, queue=BrokenQueue(Unavailable())).attempts.release("j", attempt)
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert queued(jobs.queue) == ["j"]


def test_a_job_that_is_handed_over_is_queued_for_the_other_pool(jobs: Jobs) -> None:
    jobs.clients.create("j")
    with jobs.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        jobs.attempts.hand_over("j", jobs.attempts.claim("j", "w").attempt, "special")
        delivery.ack()
    assert (queued(jobs.queue), queued(jobs.queue, "special")) == ([], ["j"])
    assert jobs.attempts.claim("j", "w").attempt == 2


def test_a_job_that_is_handed_over_to_external_workers_is_in_no_queue(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.attempts.hand_over("j", jobs.attempts.claim("j", "w").attempt, None)
    clock.advance(UNPUBLISHED_AFTER)
    jobs.sweep.run()
    assert queued(jobs.queue, "special") == []
    assert jobs.external_workers.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)


def test_the_sweep_publishes_a_handed_over_job_whose_publish_failed(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    replace(jobs, queue=BrokenQueue(Unavailable())).attempts.hand_over(
        "j", jobs.attempts.claim("j", "w").attempt, "special"
    )
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert queued(jobs.queue, "special") == ["j"]


def test_an_abandoned_attempt_counts_as_lost_and_the_sweep_publishes_its_job(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    old = jobs.attempts.claim("j", "w").attempt
    with jobs.queue.subscribe("plain", 4) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        jobs.attempts.abandon("j", old, "The network is down.")
        delivery.ack()
    assert (jobs.clients.get("j").status, jobs.clients.get("j").lost_attempts) == (Status.CREATED, 1)
    assert queued(jobs.queue) == []
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert queued(jobs.queue) == ["j"]
    now = jobs.attempts.claim("j", "w").attempt
    with pytest.raises(StaleAttempt):
        jobs.attempts.abandon("j", old, "The network is down.")
    assert (jobs.clients.get("j").status, jobs.clients.get("j").attempt, jobs.clients.get("j").lost_attempts) == (
        Status.RUNNING,
        now,
        1,
    )
