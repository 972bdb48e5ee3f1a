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
from cloud_executor.errors import Forbidden, Invalid, Unavailable
from cloud_executor.jobs.clients import SWEEP_FAULTS, UNPUBLISHED_AFTER, CheckIn, Executor, ExecutorOptions, Outcome
from cloud_executor.model.job import Job, JobUpdate, NotClaimable, OutputSegment, StaleAttempt, Status
from cloud_executor.model.pool import WorkerPool
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobQueue, JobStore

OPTIONS = ExecutorOptions(
    refresh_period=timedelta(seconds=5),
    lease=timedelta(seconds=30),
    max_losses=2,
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
def executor(tmp_path: Path, clock: Clock) -> Iterator[Executor]:
    database = SqliteDatabase(tmp_path / "executor.sqlite")
    queue = SqliteJobQueue(database, tmp_path / "wake", clock)
    yield Executor(SqliteJobStore(database), queue, POOLS, OPTIONS, clock)
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


def crashing_store(executor: Executor, method: str, calls_before: int = 0) -> Executor:
    store: Any = Crashing(executor.store, method, calls_before)
    return replace(executor, store=store)


def waiting(queue: JobQueue, pool: str = "plain") -> list[str]:
    """The messages of a pool, which stay there."""
    found = []
    with queue.subscribe(pool, 4) as subscription:
        while (delivery := subscription.next(0)) is not None:
            found.append(delivery.job_hash)
    return found


def put_output(executor: Executor, job_hash: str, number: int = 0) -> None:
    executor.put_output(OutputSegment(job_hash, number, f"{job_hash} {number}"))


def output(executor: Executor, job_hash: str) -> list[str]:
    return [segment.output for segment in executor.output(job_hash)]


def finish(executor: Executor, job_hash: str, status: Status = Status.SUCCESS) -> None:
    executor.finish(job_hash, executor.claim(job_hash, "w").attempt, Outcome(status))


# Create ---------------------------------------------------------------------------------------------------------------


def test_a_created_job_is_in_the_queue_of_the_first_pool_that_can_run_it(executor: Executor) -> None:
    for job_hash, labels in [("plain", ()), ("gpu", ("gpu",)), ("external", ("nobody",))]:
        job, created = executor.create(job_hash, labels)
        assert created
        assert job.secret
    assert waiting(executor.queue) == ["plain"]
    assert waiting(executor.queue, "special") == ["gpu"]
    assert executor.get("plain").published_at is not None
    assert executor.get("external").pool is None


def test_a_job_that_no_pool_can_run_says_which_labels_it_waits_for(executor: Executor) -> None:
    executor.create("plain", ("gpu",))
    executor.create("external", ("gpu", "nobody"))
    assert "waitingFor" not in executor.get("plain").document()
    assert executor.get("external").document()["waitingFor"] == ("gpu", "nobody")
    assert executor.get("external").error is None
    executor.check_in(CheckIn("w", 1, ("gpu", "nobody")))
    assert executor.check_in(CheckIn("v", 1, ("gpu",))).jobs_to_start == ("plain",)
    assert "waitingFor" not in executor.get("external").document()


def test_labels_that_label_jobs_give_are_those_of_every_pool(executor: Executor) -> None:
    executor = replace(executor, label_jobs=lambda: {"tool": "0" * 40})
    pools = [executor.create(str(labels), labels)[0].pool for labels in (("tool",), ("gpu", "tool"), ("tool", "none"))]
    assert pools == ["plain", "special", None]


def test_creating_a_job_that_is_there_changes_nothing(executor: Executor) -> None:
    executor.create("j")
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: executor.claim("j", "w"),
        lambda: put_output(executor, "j"),
    ]
    for step in steps:
        step()
        stored = executor.get("j")
        assert executor.create("j", ("gpu",)) == (stored, False)
        assert executor.get("j") == stored


def test_many_creates_at_once_make_one_job(executor: Executor) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: executor.create("j"), range(40)))
    assert sum(created for _, created in made) == 1
    assert len({job.secret for job, _ in made}) == 1
    assert waiting(executor.queue) == ["j"]


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.CANCELED}))
def test_a_finished_job_is_not_run_again_by_creating_it(executor: Executor, status: Status) -> None:
    executor.create("j")
    executor.update("j", JobUpdate(status=status))
    _, created = executor.create("j")
    assert not created
    assert executor.get("j").status == status


def test_a_canceled_job_is_made_anew_without_its_output(executor: Executor) -> None:
    first, _ = executor.create("j")
    for other in ("j2", "J", "j ", ""):
        executor.create(other)
        put_output(executor, other)
    put_output(executor, "j")
    executor.cancel("j", first.secret)
    second, created = executor.create("j")
    assert created
    assert second.secret != first.secret
    assert (second.status, second.output_number) == ("CREATED", None)
    assert output(executor, "j") == []
    assert output(executor, "j2") == ["j2 0"]
    with pytest.raises(Forbidden):
        executor.cancel("j", first.secret)
    assert executor.claim("j", "w").status == Status.RUNNING


@pytest.mark.parametrize(("method", "calls_before"), [("clear_output", 0), ("transact", 1), ("transact", 2)])
def test_a_crash_while_a_canceled_job_is_made_anew_leaves_no_new_job_with_old_output(
    executor: Executor, method: str, calls_before: int
) -> None:
    job, _ = executor.create("j")
    put_output(executor, "j")
    executor.cancel("j", job.secret)
    with pytest.raises(Crash):
        crashing_store(executor, method, calls_before).create("j")
    assert executor.get("j").status == Status.CANCELED
    again, created = executor.create("j")
    assert created
    assert again.output_number is None
    assert output(executor, "j") == []


# What crashes leave, and the sweep mends ------------------------------------------------------------------------------


def crash_before_publish(executor: Executor) -> None:
    with pytest.raises(Crash):
        replace(executor, queue=BrokenQueue(Crash())).create("j")


def crash_before_the_note(executor: Executor) -> None:
    with pytest.raises(Crash):
        crashing_store(executor, "note_published", 0).create("j")


def fail_to_publish(executor: Executor) -> None:
    _, created = replace(executor, queue=BrokenQueue(Unavailable())).create("j")
    assert created


@pytest.mark.parametrize("happens", [crash_before_publish, crash_before_the_note, fail_to_publish])
def test_a_job_that_was_never_published_is_published_by_the_sweep(
    executor: Executor, clock: Clock, happens: Callable[[Executor], None]
) -> None:
    happens(executor)
    assert executor.get("j").published_at is None
    assert executor.sweep().republished == 0  # its create may still be about to publish it
    clock.advance(UNPUBLISHED_AFTER)
    assert executor.sweep().republished == 1
    assert waiting(executor.queue) == ["j"]
    assert executor.sweep().republished == 0


def test_jobs_of_a_pool_that_was_taken_away_go_to_those_that_are_there(executor: Executor, clock: Clock) -> None:
    before = replace(executor, queue=BrokenQueue(Unavailable()), pools=(WorkerPool("gone"), *POOLS[1:]))
    before.create("j")
    before.create("labeled", ("gpu",))
    clock.advance(UNPUBLISHED_AFTER)
    now = replace(executor, pools=POOLS[:1])
    assert now.sweep().republished == 2
    assert waiting(executor.queue) == ["j"]
    assert executor.get("labeled").document()["waitingFor"] == ("gpu",)
    assert now.sweep().republished == 0


def test_jobs_that_cannot_be_published_keep_no_other_chore_from_being_done(executor: Executor, clock: Clock) -> None:
    failing = replace(executor, queue=BrokenQueue(Unavailable()))
    for number in range(SWEEP_FAULTS + 1):
        failing.create(f"{number}")
        failing.claim(f"{number}", "w")
    executor.create("done")
    put_output(executor, "done")
    finish(executor, "done")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(Unavailable):
        failing.sweep()
    assert output(executor, "done") == []
    assert executor.sweep().republished == SWEEP_FAULTS + 1


def test_a_job_for_external_workers_is_never_published(executor: Executor, clock: Clock) -> None:
    executor.create("j", ("nobody",))
    clock.advance(UNPUBLISHED_AFTER)
    assert executor.sweep().republished == 0


def test_a_job_whose_lease_ended_waits_again_and_is_in_the_queue(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    attempt = executor.claim("j", "w").attempt
    with executor.queue.subscribe("plain", 4) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        delivery.ack()
    assert executor.sweep().returned == 0
    clock.advance(OPTIONS.lease / 2)
    executor.renew("j", attempt)
    clock.advance(OPTIONS.lease / 2)
    assert executor.sweep().returned == 0
    clock.advance(OPTIONS.lease)
    assert executor.sweep().returned == 1
    assert executor.get("j").status == Status.CREATED
    assert waiting(executor.queue) == ["j"]
    for stale in (executor.renew, executor.started, executor.release):
        with pytest.raises(StaleAttempt):
            stale("j", attempt)
    with pytest.raises(StaleAttempt):
        executor.finish("j", attempt, Outcome(Status.SUCCESS))


def test_two_sweeps_at_once_mend_everything_once(executor: Executor, clock: Clock) -> None:
    for number in range(20):
        executor.create(f"leased {number}")
        executor.claim(f"leased {number}", "w")
        executor.create(f"external {number}", ("x",))
    executor.check_in(CheckIn("lost", 100, ("x",)))
    clock.advance(max(OPTIONS.lease, OPTIONS.worker_timeout))
    with ThreadPoolExecutor(4) as threads:
        reports = list(threads.map(lambda _: executor.sweep(), range(4)))
    assert sum(report.returned for report in reports) == 40
    assert sum(report.workers_forgotten for report in reports) == 1
    for number in range(20):
        for kind in ("leased", "external"):
            job = executor.get(f"{kind} {number}")
            assert (job.status, job.losses) == ("CREATED", 1)


def test_a_job_that_kills_its_workers_ends(executor: Executor, clock: Clock) -> None:
    executor.create("leased")
    executor.create("external", ("x",))
    for _ in range(OPTIONS.max_losses + 1):
        executor.claim("leased", "w")
        assert executor.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("external",)
        clock.advance(max(OPTIONS.lease, OPTIONS.worker_timeout))
        assert executor.sweep().returned == 2
    for job_hash in ("leased", "external"):
        job = executor.get(job_hash)
        assert job.status == Status.FAILED_TO_EXECUTE
        assert job.error is not None
        with pytest.raises(NotClaimable):
            executor.claim(job_hash, "w")


def test_an_abandoned_attempt_is_a_loss_and_the_sweep_publishes_its_job(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    old = executor.claim("j", "w").attempt
    with executor.queue.subscribe("plain", 4) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        executor.abandon("j", old, "It rains.")
        delivery.ack()
    assert (executor.get("j").status, executor.get("j").losses) == (Status.CREATED, 1)
    assert waiting(executor.queue) == []
    clock.advance(UNPUBLISHED_AFTER)
    assert executor.sweep().republished == 1
    assert waiting(executor.queue) == ["j"]
    now = executor.claim("j", "w").attempt
    with pytest.raises(StaleAttempt):
        executor.abandon("j", old, "It rains.")
    assert (executor.get("j").status, executor.get("j").attempt, executor.get("j").losses) == (Status.RUNNING, now, 1)


def test_a_claim_finds_the_poison_that_no_sweep_has_seen(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    for _ in range(OPTIONS.max_losses + 1):
        executor.claim("j", "w")
        clock.advance(OPTIONS.lease)
    with pytest.raises(NotClaimable):
        executor.claim("j", "w")
    assert executor.get("j").status == Status.FAILED_TO_EXECUTE


def test_a_job_whose_worker_vanished_after_a_cancel_is_canceled(executor: Executor, clock: Clock) -> None:
    job, _ = executor.create("j")
    executor.claim("j", "w")
    executor.cancel("j", job.secret)
    clock.advance(OPTIONS.lease)
    executor.sweep()
    assert executor.get("j").status == Status.CANCELED


def test_what_is_logged_about_a_job_has_its_hash_and_trace(
    executor: Executor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[tuple[object, ...]]:
        found = [vars(record) for record in caplog.records]
        caplog.clear()
        return [tuple(line.get(name) for name in ("action", "job_hash", "trace", "status")) for line in found]

    replace(executor, queue=BrokenQueue(Unavailable())).create("j", trace="1" * 32)
    assert lines() == [("publish", "j", "1" * 32, None)]
    executor.create("untraced")
    for job_hash, trace in (("j", "1" * 32), ("untraced", None)):
        for _ in range(OPTIONS.max_losses):
            executor.claim(job_hash, "w")
            clock.advance(OPTIONS.lease)
            executor.sweep()
            assert lines() == [("lose", job_hash, trace, "CREATED")]
        executor.claim(job_hash, "w")
        clock.advance(OPTIONS.lease)
        with pytest.raises(NotClaimable):
            executor.claim(job_hash, "w")
        assert lines() == [("lose", job_hash, trace, "FAILED_TO_EXECUTE")]
        executor.give_up(job_hash)
        assert lines() == [("give_up", job_hash, trace, "FAILED_TO_EXECUTE")]


def test_a_job_that_waits_is_not_lost_however_long(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    executor.create("external", ("x",))
    clock.advance(timedelta(days=365))
    executor.sweep()
    assert [job.status for job in executor.jobs()] == ["CREATED", "CREATED"]


def test_an_external_worker_that_is_seen_in_time_keeps_its_jobs(executor: Executor, clock: Clock) -> None:
    executor.create("j", ("x",))
    executor.check_in(CheckIn("w", 1, ("x",)))
    for _ in range(5):
        clock.advance(OPTIONS.worker_timeout - timedelta(seconds=1))
        executor.check_in(CheckIn("w", 0, ("x",), ("j",)))
        executor.sweep()
    assert executor.get("j").status == Status.RUNNING
    clock.advance(OPTIONS.worker_timeout)
    report = executor.sweep()
    assert (report.returned, report.workers_forgotten) == (1, 1)
    assert list(executor.workers()) == []


def test_a_crash_while_a_lost_worker_is_forgotten_leaves_no_job_behind(executor: Executor, clock: Clock) -> None:
    for number in range(3):
        executor.create(f"{number}", ("x",))
    executor.check_in(CheckIn("w", 3, ("x",)))
    clock.advance(OPTIONS.worker_timeout)
    with pytest.raises(Crash):
        crashing_store(executor, "transact", 1).sweep()
    with pytest.raises(Crash):
        crashing_store(executor, "delete_worker").sweep()
    executor.sweep()
    assert [(job.status, job.losses) for job in executor.jobs()] == [("CREATED", 1)] * 3
    assert list(executor.workers()) == []


def test_one_of_our_workers_that_is_forgotten_keeps_its_leased_jobs(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    executor.seen(WorkerRecord("w", clock(), ()))
    attempt = executor.claim("j", "w").attempt
    for _ in range(3):
        clock.advance(OPTIONS.lease / 2)
        executor.renew("j", attempt)
        executor.sweep()
    assert executor.get("j").status == Status.RUNNING


# Cancel and finish ----------------------------------------------------------------------------------------------------


def test_a_canceled_job_is_never_claimed(executor: Executor) -> None:
    job, _ = executor.create("j")
    executor.cancel("j", job.secret)
    executor.cancel("j", job.secret)
    with pytest.raises(NotClaimable):
        executor.claim("j", "w")
    assert executor.check_in(CheckIn("w", 9)).jobs_to_start == ()


def test_a_running_job_hears_of_its_cancel_by_renewing(executor: Executor) -> None:
    job, _ = executor.create("j")
    attempt = executor.claim("j", "w").attempt
    assert not executor.renew("j", attempt).cancel_requested
    executor.cancel("j", job.secret)
    assert executor.renew("j", attempt).cancel_requested
    assert executor.finish("j", attempt, Outcome(Status.CANCELED)).status == Status.CANCELED


def test_an_outcome_is_recorded_once(executor: Executor, clock: Clock) -> None:
    job, _ = executor.create("j")
    attempt = executor.claim("j", "w").attempt
    started, ended = clock(), clock() + timedelta(seconds=1)
    executor.started("j", attempt)
    executor.finish("j", attempt, Outcome(Status.SUCCESS, started, ended, {"all": "0" * 40}))
    recorded = executor.get("j")
    assert recorded.result_hashes == {"all": "0" * 40}
    assert (recorded.start_time, recorded.finish_time) == ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:01.000Z")
    with pytest.raises(StaleAttempt):
        executor.finish("j", attempt, Outcome(Status.FAILED_TO_EXECUTE))
    executor.cancel("j", job.secret)
    executor.update("j", JobUpdate(status="RUNNING"))
    clock.advance(timedelta(days=1))
    executor.sweep()
    assert executor.get("j") == recorded


def test_racing_attempts_record_one_outcome(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    attempts = [executor.claim("j", "slow").attempt]
    clock.advance(OPTIONS.lease)
    attempts.append(executor.claim("j", "next").attempt)

    def finished(attempt: int) -> bool:
        try:
            executor.finish("j", attempt, Outcome(Status.SUCCESS, result_hashes={"attempt": str(attempt)}))
        except StaleAttempt:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(finished, attempts * 10))
    assert sum(outcomes) == 1
    assert executor.get("j").result_hashes == {"attempt": "2"}


def test_many_claims_at_once_give_the_job_to_one(executor: Executor) -> None:
    executor.create("j")

    def claims(number: int) -> bool:
        try:
            executor.claim("j", f"w{number}")
        except NotClaimable:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claims, range(32))) == 1


def test_output_of_an_attempt_that_lost_the_job_is_not_stored(executor: Executor) -> None:
    executor.create("j")
    first = executor.claim("j", "w").attempt
    executor.put_output(OutputSegment("j", 0, "mine"), first)
    executor.release("j", first)
    executor.claim("j", "other")
    with pytest.raises(StaleAttempt):
        executor.put_output(OutputSegment("j", 0, "late"), first)
    assert [segment.output for segment in executor.output("j")] == ["mine"]


def test_a_released_job_can_be_claimed_at_once(executor: Executor) -> None:
    executor.create("j")
    executor.release("j", executor.claim("j", "w").attempt)
    again = executor.claim("j", "other")
    assert (again.attempt, again.losses) == (2, 0)


def lose_message(executor: Executor) -> None:
    """What a worker does with a second delivery of a running job, if both are of one message."""
    with executor.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        delivery.ack()


def test_a_released_job_is_in_the_queue_though_its_message_was_acked(executor: Executor) -> None:
    executor.create("j")
    attempt = executor.claim("j", "w").attempt
    lose_message(executor)
    executor.release("j", attempt)
    assert waiting(executor.queue) == ["j"]


def test_a_job_whose_queue_fails_while_it_is_released_is_published_by_the_sweep(
    executor: Executor, clock: Clock
) -> None:
    executor.create("j")
    attempt = executor.claim("j", "w").attempt
    lose_message(executor)
    replace(executor, queue=BrokenQueue(Unavailable())).release("j", attempt)
    clock.advance(UNPUBLISHED_AFTER)
    assert executor.sweep().republished == 1
    assert waiting(executor.queue) == ["j"]


def test_a_job_that_is_handed_over_is_in_the_queue_of_the_other_pool(executor: Executor) -> None:
    executor.create("j")
    with executor.queue.subscribe("plain", 1) as subscription:
        delivery = subscription.next(0)
        assert delivery is not None
        executor.hand_over("j", executor.claim("j", "w").attempt, "special")
        delivery.ack()
    assert (waiting(executor.queue), waiting(executor.queue, "special")) == ([], ["j"])
    assert executor.claim("j", "w").attempt == 2


def test_a_job_that_is_handed_over_to_external_workers_is_in_no_queue(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    executor.hand_over("j", executor.claim("j", "w").attempt, None)
    clock.advance(UNPUBLISHED_AFTER)
    executor.sweep()
    assert waiting(executor.queue, "special") == []
    assert executor.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)


def test_a_job_whose_queue_fails_while_it_is_handed_over_is_published_by_the_sweep(
    executor: Executor, clock: Clock
) -> None:
    executor.create("j")
    replace(executor, queue=BrokenQueue(Unavailable())).hand_over("j", executor.claim("j", "w").attempt, "special")
    clock.advance(UNPUBLISHED_AFTER)
    assert executor.sweep().republished == 1
    assert waiting(executor.queue, "special") == ["j"]


def test_what_is_not_there_is_not_found(executor: Executor) -> None:
    calls: list[Callable[[], object]] = [
        lambda: executor.get("j"),
        lambda: executor.update("j", JobUpdate(status="SUCCESS")),
        lambda: executor.cancel("j", "x"),
        lambda: executor.output("j"),
        lambda: put_output(executor, "j"),
        lambda: executor.claim("j", "w"),
        lambda: executor.renew("j", 1),
        lambda: executor.release("j", 1),
        lambda: executor.finish("j", 1, Outcome(Status.SUCCESS)),
    ]
    for call in calls:
        with pytest.raises(JobNotFound):
            call()
    executor.create("j")
    assert output(executor, "j") == []


# Output ---------------------------------------------------------------------------------------------------------------


def test_the_output_of_finished_jobs_is_cleared_in_time_and_no_other(executor: Executor, clock: Clock) -> None:
    for job_hash in ("ab", "abc", "a", "a%", "AB"):
        executor.create(job_hash)
        put_output(executor, job_hash)
    finish(executor, "ab")
    assert OPTIONS.clear_output_after is not None
    clock.advance(OPTIONS.clear_output_after / 2)
    assert executor.sweep().outputs_cleared == 0
    assert output(executor, "ab") == ["ab 0"]
    clock.advance(OPTIONS.clear_output_after / 2)
    assert executor.sweep().outputs_cleared == 1
    assert output(executor, "ab") == []
    assert executor.get("ab").output_number is None
    for job_hash in ("abc", "a", "a%", "AB"):
        assert output(executor, job_hash) == [f"{job_hash} 0"]


@pytest.mark.parametrize("method", ["clear_output", "transact"])
def test_a_crash_while_output_is_cleared_is_mended_by_the_next_sweep(
    executor: Executor, clock: Clock, method: str
) -> None:
    executor.create("j")
    put_output(executor, "j")
    finish(executor, "j")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(Crash):
        crashing_store(executor, method).sweep()
    assert executor.sweep().outputs_cleared == 1
    assert output(executor, "j") == []
    assert executor.get("j").output_number is None


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


def test_the_output_of_a_new_run_is_not_taken_for_that_of_the_canceled_one(executor: Executor, clock: Clock) -> None:
    job, _ = executor.create("j")
    put_output(executor, "j")
    executor.cancel("j", job.secret)
    clock.advance(timedelta(minutes=2))

    def run_anew() -> None:
        executor.create("j")
        put_output(executor, "j", 7)

    store: Any = Meanwhile(executor.store, run_anew)
    assert replace(executor, store=store).sweep().outputs_cleared == 0
    assert output(executor, "j") == ["j 7"]


def test_output_that_comes_after_the_end_is_cleared_too(executor: Executor, clock: Clock) -> None:
    executor.create("j")
    finish(executor, "j")
    put_output(executor, "j", 5)
    clock.advance(timedelta(minutes=2))
    assert executor.sweep().outputs_cleared == 1
    assert output(executor, "j") == []


def test_output_is_kept_for_ever_where_that_is_wished(executor: Executor, clock: Clock) -> None:
    keeping = replace(executor, options=replace(OPTIONS, clear_output_after=None))
    keeping.create("j")
    put_output(keeping, "j")
    finish(keeping, "j")
    clock.advance(timedelta(days=365))
    assert keeping.sweep().outputs_cleared == 0
    assert output(keeping, "j") == ["j 0"]


# External workers -----------------------------------------------------------------------------------------------------


def test_a_worker_without_a_name_is_refused(executor: Executor) -> None:
    executor.create("j")
    with pytest.raises(Invalid):
        executor.check_in(CheckIn("", 1))
    assert executor.get("j").status == Status.CREATED


def test_many_workers_at_once_never_share_a_job(executor: Executor) -> None:
    for number in range(30):
        executor.create(f"{number}", ("x",))
    with ThreadPoolExecutor(8) as threads:
        orders = list(threads.map(lambda n: executor.check_in(CheckIn(f"w{n}", 2, ("x",))), range(20)))
    given = [job_hash for order in orders for job_hash in order.jobs_to_start]
    assert sorted(given) == sorted(f"{number}" for number in range(30))


def test_a_worker_finds_its_job_behind_many_that_it_cannot_run(executor: Executor, clock: Clock) -> None:
    for number in range(600):  # more than a page
        executor.create(f"{number}", ("other",))
    clock.advance(timedelta(seconds=1))
    executor.create("mine", ("x",))
    assert executor.check_in(CheckIn("w", 1, ("x",))).jobs_to_start == ("mine",)


def test_jobs_of_our_pools_go_to_external_workers_too_and_their_message_is_harmless(executor: Executor) -> None:
    executor.create("j")
    assert executor.check_in(CheckIn("w", 1)).jobs_to_start == ("j",)
    assert waiting(executor.queue) == ["j"]
    with pytest.raises(NotClaimable):
        executor.claim("j", "ours")


def test_workers_are_listed_with_their_jobs(executor: Executor, clock: Clock) -> None:
    for number in range(3):
        executor.create(f"{number}", ("x",))
        clock.advance(timedelta(seconds=1))
    executor.check_in(CheckIn("b", 1, ("x",)))
    executor.check_in(CheckIn("a", 2, ("x",)))
    executor.check_in(CheckIn("c", 1, ("x",)))
    listed = {worker.client_id: [job.hash for job in jobs] for worker, jobs in executor.workers()}
    assert listed == {"a": ["1", "2"], "b": ["0"], "c": []}
    assert list(listed) == ["a", "b", "c"]


def test_lists_and_pages_agree(executor: Executor, clock: Clock) -> None:
    for number in range(25):
        executor.create(f"{number}")
        clock.advance(timedelta(milliseconds=10))
    found: list[str] = []
    after: str | None = None
    while True:
        page = executor.page(None, after, 10)
        found += [job.hash for job in page.jobs]
        if page.next is None:
            break
        after = page.next
    assert found == [job.hash for job in executor.jobs()] == [f"{number}" for number in range(25)]
    assert [job.hash for job in executor.jobs(Status.RUNNING)] == []
