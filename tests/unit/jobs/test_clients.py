"""The use cases of jobs over the embedded backends, with a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.backends.sqlite.queue import SqliteJobQueue
from cloud_executor.composition import Jobs
from cloud_executor.errors import Forbidden, Invalid, Unavailable
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.jobs.options import JobOptions
from cloud_executor.jobs.sweep import MAX_PUBLISH_ERRORS, UNPUBLISHED_AFTER
from cloud_executor.model.job import Job, JobUpdate, NotClaimable, Outcome, OutputSegment, StaleAttempt, Status
from cloud_executor.model.pool import WorkerPool
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobQueue, JobStore

OPTIONS = JobOptions(
    refresh_period=timedelta(seconds=5),
    lease=timedelta(seconds=30),
    retries=2,
    clear_output_after=timedelta(seconds=60),
)
POOLS = (WorkerPool("plain"), WorkerPool("special", frozenset({"gpu", "matlab"})))


@dataclass
class Clock:
    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, time: timedelta) -> None:
        self.now += time + timedelta(milliseconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(tmp_path: Path, clock: Clock) -> Iterator[Jobs]:
    database = SqliteDatabase(tmp_path / "executor.sqlite")
    queue = SqliteJobQueue(database, tmp_path / "wake", clock)
    yield Jobs(SqliteJobStore(database), queue, POOLS, OPTIONS, clock)
    database.close()


@dataclass
class BrokenQueue:
    """A queue that fails, or a crash in place of the publish."""

    error: BaseException

    def publish(self, pool: str, job_hash: str) -> None:
        raise self.error

    def subscribe(self, pool: str, slots: int) -> Any:
        raise self.error


class Crash(BaseException):
    """Nothing after this happens."""


class Crashing:
    """A store, or a queue, that crashes instead of one of its steps."""

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


def waiting(queue: JobQueue, pool: str = "plain") -> list[str]:
    """The messages of a pool, which stay there."""
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


# Create ---------------------------------------------------------------------------------------------------------------


def test_a_created_job_is_in_the_queue_of_the_first_pool_that_can_run_it(jobs: Jobs) -> None:
    for job_hash, labels in [("plain", ()), ("gpu", ("gpu",)), ("external", ("nobody",))]:
        job, created = jobs.clients.create(job_hash, labels)
        assert created
        assert job.secret
    assert waiting(jobs.queue) == ["plain"]
    assert waiting(jobs.queue, "special") == ["gpu"]
    assert jobs.clients.get("plain").published_at is not None
    assert jobs.clients.get("external").pool is None


def test_a_job_that_no_pool_can_run_says_which_labels_it_waits_for(jobs: Jobs) -> None:
    jobs.clients.create("plain", ("gpu",))
    jobs.clients.create("external", ("gpu", "nobody"))
    assert "waitingFor" not in jobs.clients.get("plain").document()
    assert jobs.clients.get("external").document()["waitingFor"] == ("gpu", "nobody")
    assert jobs.clients.get("external").error is None
    jobs.external_workers.check_in(CheckIn("w", 1, ("gpu", "nobody")))
    assert jobs.external_workers.check_in(CheckIn("v", 1, ("gpu",))).jobs_to_start == ("plain",)
    assert "waitingFor" not in jobs.clients.get("external").document()


def test_labels_that_label_jobs_give_are_those_of_every_pool(jobs: Jobs) -> None:
    jobs = replace(jobs, label_jobs=lambda: {"tool": "0" * 40})
    pools = [
        jobs.clients.create(str(labels), labels)[0].pool for labels in (("tool",), ("gpu", "tool"), ("tool", "none"))
    ]
    assert pools == ["plain", "special", None]


def test_creating_a_job_that_is_there_changes_nothing(jobs: Jobs) -> None:
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


def test_many_creates_at_once_make_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: jobs.clients.create("j"), range(40)))
    assert sum(created for _, created in made) == 1
    assert len({job.secret for job, _ in made}) == 1
    assert waiting(jobs.queue) == ["j"]


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.CANCELED}))
def test_a_finished_job_is_not_run_again_by_creating_it(jobs: Jobs, status: Status) -> None:
    jobs.clients.create("j")
    jobs.external_workers.update("j", JobUpdate(status=status))
    _, created = jobs.clients.create("j")
    assert not created
    assert jobs.clients.get("j").status == status


def test_a_canceled_job_is_made_anew_without_its_output(jobs: Jobs) -> None:
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


@pytest.mark.parametrize(("method", "calls_before"), [("clear_output", 0), ("transact", 1), ("transact", 2)])
def test_a_crash_while_a_canceled_job_is_made_anew_leaves_no_new_job_with_old_output(
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


# What crashes leave, and the sweep mends ------------------------------------------------------------------------------


def crash_before_publish(jobs: Jobs) -> None:
    with pytest.raises(Crash):
        replace(jobs, queue=BrokenQueue(Crash())).clients.create("j")


def crash_before_the_note(jobs: Jobs) -> None:
    with pytest.raises(Crash):
        crashing_store(jobs, "record_publish", 0).clients.create("j")


def fail_to_publish(jobs: Jobs) -> None:
    _, created = replace(jobs, queue=BrokenQueue(Unavailable())).clients.create("j")
    assert created


@pytest.mark.parametrize("happens", [crash_before_publish, crash_before_the_note, fail_to_publish])
def test_a_job_that_was_never_published_is_published_by_the_sweep(
    jobs: Jobs, clock: Clock, happens: Callable[[Jobs], None]
) -> None:
    happens(jobs)
    assert jobs.clients.get("j").published_at is None
    assert jobs.sweep.run().republished == 0  # its create may still be about to publish it
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert waiting(jobs.queue) == ["j"]
    assert jobs.sweep.run().republished == 0


def test_jobs_of_a_pool_that_was_taken_away_go_to_those_that_are_there(jobs: Jobs, clock: Clock) -> None:
    before = replace(jobs, queue=BrokenQueue(Unavailable()), pools=(WorkerPool("gone"), *POOLS[1:]))
    before.clients.create("j")
    before.clients.create("labeled", ("gpu",))
    clock.advance(UNPUBLISHED_AFTER)
    now = replace(jobs, pools=POOLS[:1])
    assert now.sweep.run().republished == 2
    assert waiting(jobs.queue) == ["j"]
    assert jobs.clients.get("labeled").document()["waitingFor"] == ("gpu",)
    assert now.sweep.run().republished == 0


def test_jobs_that_cannot_be_published_keep_no_other_chore_from_being_done(jobs: Jobs, clock: Clock) -> None:
    failing = replace(jobs, queue=BrokenQueue(Unavailable()))
    for number in range(MAX_PUBLISH_ERRORS + 1):
        failing.clients.create(f"{number}")
        failing.attempts.claim(f"{number}", "w")
    jobs.clients.create("done")
    put_output(jobs, "done")
    finish(jobs, "done")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(Unavailable):
        failing.sweep.run()
    assert output(jobs, "done") == []
    assert jobs.sweep.run().republished == MAX_PUBLISH_ERRORS + 1


def test_a_job_for_external_workers_is_never_published(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j", ("nobody",))
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 0


def test_a_job_whose_lease_ended_waits_again_and_is_in_the_queue(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    with jobs.queue.subscribe("plain", 4) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        delivery.ack()
    assert jobs.sweep.run().returned == 0
    clock.advance(OPTIONS.lease / 2)
    jobs.attempts.renew("j", attempt)
    clock.advance(OPTIONS.lease / 2)
    assert jobs.sweep.run().returned == 0
    clock.advance(OPTIONS.lease)
    assert jobs.sweep.run().returned == 1
    assert jobs.clients.get("j").status == Status.CREATED
    assert waiting(jobs.queue) == ["j"]
    for stale in (jobs.attempts.renew, jobs.attempts.start, jobs.attempts.release):
        with pytest.raises(StaleAttempt):
            stale("j", attempt)
    with pytest.raises(StaleAttempt):
        jobs.attempts.finish("j", attempt, Outcome(Status.SUCCESS))


def test_two_sweeps_at_once_mend_everything_once(jobs: Jobs, clock: Clock) -> None:
    for number in range(20):
        jobs.clients.create(f"leased {number}")
        jobs.attempts.claim(f"leased {number}", "w")
        jobs.clients.create(f"external {number}", ("x",))
    jobs.external_workers.check_in(CheckIn("lost", 100, ("x",)))
    clock.advance(max(OPTIONS.lease, OPTIONS.worker_timeout))
    with ThreadPoolExecutor(4) as threads:
        reports = list(threads.map(lambda _: jobs.sweep.run(), range(4)))
    assert sum(report.returned for report in reports) == 40
    assert sum(report.workers_forgotten for report in reports) == 1
    for number in range(20):
        for kind in ("leased", "external"):
            job = jobs.clients.get(f"{kind} {number}")
            assert (job.status, job.lost_attempts) == ("CREATED", 1)


def test_a_job_that_kills_its_workers_ends(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("leased")
    jobs.clients.create("external", ("x",))
    for _ in range(OPTIONS.retries + 1):
        jobs.attempts.claim("leased", "w")
        assert jobs.external_workers.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("external",)
        clock.advance(max(OPTIONS.lease, OPTIONS.worker_timeout))
        assert jobs.sweep.run().returned == 2
    for job_hash in ("leased", "external"):
        job = jobs.clients.get(job_hash)
        assert job.status == Status.FAILED_TO_EXECUTE
        assert job.error is not None
        with pytest.raises(NotClaimable):
            jobs.attempts.claim(job_hash, "w")


def test_an_abandoned_attempt_is_a_loss_and_the_sweep_publishes_its_job(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    old = jobs.attempts.claim("j", "w").attempt
    with jobs.queue.subscribe("plain", 4) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        jobs.attempts.abandon("j", old, "It rains.")
        delivery.ack()
    assert (jobs.clients.get("j").status, jobs.clients.get("j").lost_attempts) == (Status.CREATED, 1)
    assert waiting(jobs.queue) == []
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert waiting(jobs.queue) == ["j"]
    now = jobs.attempts.claim("j", "w").attempt
    with pytest.raises(StaleAttempt):
        jobs.attempts.abandon("j", old, "It rains.")
    assert (jobs.clients.get("j").status, jobs.clients.get("j").attempt, jobs.clients.get("j").lost_attempts) == (
        Status.RUNNING,
        now,
        1,
    )


def test_a_claim_finds_the_poison_that_no_sweep_has_seen(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    for _ in range(OPTIONS.retries + 1):
        jobs.attempts.claim("j", "w")
        clock.advance(OPTIONS.lease)
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "w")
    assert jobs.clients.get("j").status == Status.FAILED_TO_EXECUTE


def test_a_job_whose_worker_vanished_after_a_cancel_is_canceled(jobs: Jobs, clock: Clock) -> None:
    job, _ = jobs.clients.create("j")
    jobs.attempts.claim("j", "w")
    jobs.clients.cancel("j", job.secret)
    clock.advance(OPTIONS.lease)
    jobs.sweep.run()
    assert jobs.clients.get("j").status == Status.CANCELED


def test_what_is_logged_about_a_job_has_its_hash_and_trace(
    jobs: Jobs, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[tuple[object, ...]]:
        found = [vars(record) for record in caplog.records]
        caplog.clear()
        return [tuple(line.get(name) for name in ("action", "job_hash", "trace", "status")) for line in found]

    replace(jobs, queue=BrokenQueue(Unavailable())).clients.create("j", trace="1" * 32)
    assert lines() == [("publish", "j", "1" * 32, None)]
    jobs.clients.create("untraced")
    for job_hash, trace in (("j", "1" * 32), ("untraced", None)):
        for _ in range(OPTIONS.retries):
            jobs.attempts.claim(job_hash, "w")
            clock.advance(OPTIONS.lease)
            jobs.sweep.run()
            assert lines() == [("lose", job_hash, trace, "CREATED")]
        jobs.attempts.claim(job_hash, "w")
        clock.advance(OPTIONS.lease)
        with pytest.raises(NotClaimable):
            jobs.attempts.claim(job_hash, "w")
        assert lines() == [("lose", job_hash, trace, "FAILED_TO_EXECUTE")]
        jobs.dead_letters.give_up(job_hash)
        assert lines() == [("give_up", job_hash, trace, "FAILED_TO_EXECUTE")]


def test_a_job_that_waits_is_not_lost_however_long(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.clients.create("external", ("x",))
    clock.advance(timedelta(days=365))
    jobs.sweep.run()
    assert [job.status for job in jobs.clients.jobs()] == ["CREATED", "CREATED"]


def test_an_external_worker_that_is_seen_in_time_keeps_its_jobs(jobs: Jobs, clock: Clock) -> None:
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


def test_a_crash_while_a_lost_worker_is_forgotten_leaves_no_job_behind(jobs: Jobs, clock: Clock) -> None:
    for number in range(3):
        jobs.clients.create(f"{number}", ("x",))
    jobs.external_workers.check_in(CheckIn("w", 3, ("x",)))
    clock.advance(OPTIONS.worker_timeout)
    with pytest.raises(Crash):
        crashing_store(jobs, "transact", 1).sweep.run()
    with pytest.raises(Crash):
        crashing_store(jobs, "delete_worker").sweep.run()
    jobs.sweep.run()
    assert [(job.status, job.lost_attempts) for job in jobs.clients.jobs()] == [("CREATED", 1)] * 3
    assert list(jobs.clients.workers()) == []


def test_one_of_our_workers_that_is_forgotten_keeps_its_leased_jobs(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.attempts.record_worker(WorkerRecord("w", clock(), ()))
    attempt = jobs.attempts.claim("j", "w").attempt
    for _ in range(3):
        clock.advance(OPTIONS.lease / 2)
        jobs.attempts.renew("j", attempt)
        jobs.sweep.run()
    assert jobs.clients.get("j").status == Status.RUNNING


# Cancel and finish ----------------------------------------------------------------------------------------------------


def test_a_canceled_job_is_never_claimed(jobs: Jobs) -> None:
    job, _ = jobs.clients.create("j")
    jobs.clients.cancel("j", job.secret)
    jobs.clients.cancel("j", job.secret)
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "w")
    assert jobs.external_workers.check_in(CheckIn("w", 9)).jobs_to_start == ()


def test_a_running_job_hears_of_its_cancel_by_renewing(jobs: Jobs) -> None:
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


def test_many_claims_at_once_give_the_job_to_one(jobs: Jobs) -> None:
    jobs.clients.create("j")

    def claims(number: int) -> bool:
        try:
            jobs.attempts.claim("j", f"w{number}")
        except NotClaimable:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claims, range(32))) == 1


def test_output_of_an_attempt_that_lost_the_job_is_not_stored(jobs: Jobs) -> None:
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


def lose_message(jobs: Jobs) -> None:
    """What a worker does with a second delivery of a running job, if both are of one message."""
    with jobs.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        delivery.ack()


def test_a_released_job_is_in_the_queue_though_its_message_was_acked(jobs: Jobs) -> None:
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    lose_message(jobs)
    jobs.attempts.release("j", attempt)
    assert waiting(jobs.queue) == ["j"]


def test_a_job_whose_queue_fails_while_it_is_released_is_published_by_the_sweep(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    attempt = jobs.attempts.claim("j", "w").attempt
    lose_message(jobs)
    replace(jobs, queue=BrokenQueue(Unavailable())).attempts.release("j", attempt)
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert waiting(jobs.queue) == ["j"]


def test_a_job_that_is_handed_over_is_in_the_queue_of_the_other_pool(jobs: Jobs) -> None:
    jobs.clients.create("j")
    with jobs.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        jobs.attempts.hand_over("j", jobs.attempts.claim("j", "w").attempt, "special")
        delivery.ack()
    assert (waiting(jobs.queue), waiting(jobs.queue, "special")) == ([], ["j"])
    assert jobs.attempts.claim("j", "w").attempt == 2


def test_a_job_that_is_handed_over_to_external_workers_is_in_no_queue(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.attempts.hand_over("j", jobs.attempts.claim("j", "w").attempt, None)
    clock.advance(UNPUBLISHED_AFTER)
    jobs.sweep.run()
    assert waiting(jobs.queue, "special") == []
    assert jobs.external_workers.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)


def test_a_job_whose_queue_fails_while_it_is_handed_over_is_published_by_the_sweep(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    replace(jobs, queue=BrokenQueue(Unavailable())).attempts.hand_over(
        "j", jobs.attempts.claim("j", "w").attempt, "special"
    )
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert waiting(jobs.queue, "special") == ["j"]


def test_what_is_not_there_is_not_found(jobs: Jobs) -> None:
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


# Output ---------------------------------------------------------------------------------------------------------------


def test_the_output_of_finished_jobs_is_cleared_in_time_and_no_other(jobs: Jobs, clock: Clock) -> None:
    for job_hash in ("ab", "abc", "a", "a%", "AB"):
        jobs.clients.create(job_hash)
        put_output(jobs, job_hash)
    finish(jobs, "ab")
    assert OPTIONS.clear_output_after is not None
    clock.advance(OPTIONS.clear_output_after / 2)
    assert jobs.sweep.run().outputs_cleared == 0
    assert output(jobs, "ab") == ["ab 0"]
    clock.advance(OPTIONS.clear_output_after / 2)
    assert jobs.sweep.run().outputs_cleared == 1
    assert output(jobs, "ab") == []
    assert jobs.clients.get("ab").output_number is None
    for job_hash in ("abc", "a", "a%", "AB"):
        assert output(jobs, job_hash) == [f"{job_hash} 0"]


@pytest.mark.parametrize("method", ["clear_output", "transact"])
def test_a_crash_while_output_is_cleared_is_mended_by_the_next_sweep(jobs: Jobs, clock: Clock, method: str) -> None:
    jobs.clients.create("j")
    put_output(jobs, "j")
    finish(jobs, "j")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(Crash):
        crashing_store(jobs, method).sweep.run()
    assert jobs.sweep.run().outputs_cleared == 1
    assert output(jobs, "j") == []
    assert jobs.clients.get("j").output_number is None


class Meanwhile:
    """A store to whose jobs something happens after a sweep has listed them."""

    def __init__(self, store: JobStore, happens: Callable[[], object]) -> None:
        self._store = store
        self._happens = happens

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        found = self._store.with_expired_output(now, limit)
        self._happens()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_the_output_of_a_new_run_is_not_taken_for_that_of_the_canceled_one(jobs: Jobs, clock: Clock) -> None:
    job, _ = jobs.clients.create("j")
    put_output(jobs, "j")
    jobs.clients.cancel("j", job.secret)
    clock.advance(timedelta(minutes=2))

    def run_anew() -> None:
        jobs.clients.create("j")
        put_output(jobs, "j", 7)

    store: Any = Meanwhile(jobs.store, run_anew)
    assert replace(jobs, store=store).sweep.run().outputs_cleared == 0
    assert output(jobs, "j") == ["j 7"]


def test_output_that_comes_after_the_end_is_cleared_too(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    finish(jobs, "j")
    put_output(jobs, "j", 5)
    clock.advance(timedelta(minutes=2))
    assert jobs.sweep.run().outputs_cleared == 1
    assert output(jobs, "j") == []


def test_output_is_kept_for_ever_where_that_is_wished(jobs: Jobs, clock: Clock) -> None:
    keeping = replace(jobs, options=replace(OPTIONS, clear_output_after=None))
    keeping.clients.create("j")
    put_output(keeping, "j")
    finish(keeping, "j")
    clock.advance(timedelta(days=365))
    assert keeping.sweep.run().outputs_cleared == 0
    assert output(keeping, "j") == ["j 0"]


# External workers -----------------------------------------------------------------------------------------------------


def test_a_worker_without_a_name_is_refused(jobs: Jobs) -> None:
    jobs.clients.create("j")
    with pytest.raises(Invalid):
        jobs.external_workers.check_in(CheckIn("", 1))
    assert jobs.clients.get("j").status == Status.CREATED


def test_many_workers_at_once_never_share_a_job(jobs: Jobs) -> None:
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


def test_jobs_of_our_pools_go_to_external_workers_too_and_their_message_is_harmless(jobs: Jobs) -> None:
    jobs.clients.create("j")
    assert jobs.external_workers.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)
    assert waiting(jobs.queue) == ["j"]
    with pytest.raises(NotClaimable):
        jobs.attempts.claim("j", "ours")


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


def test_lists_and_pages_agree(jobs: Jobs, clock: Clock) -> None:
    for number in range(25):
        jobs.clients.create(f"{number}")
        clock.advance(timedelta(milliseconds=10))
    found: list[str] = []
    after: str | None = None
    while True:
        page = jobs.clients.page(None, after, 10)
        found += [job.hash for job in page.jobs]
        if page.next is None:
            break
        after = page.next
    assert found == [job.hash for job in jobs.clients.jobs()] == [f"{number}" for number in range(25)]
    assert [job.hash for job in jobs.clients.jobs(Status.RUNNING)] == []
