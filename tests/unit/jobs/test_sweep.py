"""Tests for the sweep: it repairs what crashes and outages leave behind, and clears expired output."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from embedded_jobs import OPTIONS, POOLS, BrokenQueue, Clock, Crash, crashing_store, finish, output, put_output, queued
from msgspec.structs import replace as replace_job

from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.jobs.sweep import MAX_PUBLISH_ERRORS, UNPUBLISHED_AFTER
from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs.job import Job, NotClaimable, Outcome, StaleAttempt, Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobPage, JobStore
from cloud_executor.process.time_jumps import TimeJumps


def crash_before_publish(jobs: Jobs) -> None:
    with pytest.raises(Crash):
        replace(jobs, queue=BrokenQueue(Crash())).clients.create("j")


def crash_before_the_publish_is_recorded(jobs: Jobs) -> None:
    with pytest.raises(Crash):
        crashing_store(jobs, "record_publish", 0).clients.create("j")


def fail_to_publish(jobs: Jobs) -> None:
    _, created = replace(jobs, queue=BrokenQueue(Unavailable())).clients.create("j")
    assert created


@pytest.mark.parametrize("failure", [crash_before_publish, crash_before_the_publish_is_recorded, fail_to_publish])
def test_the_sweep_publishes_a_job_that_was_never_published(
    jobs: Jobs, clock: Clock, failure: Callable[[Jobs], None]
) -> None:
    failure(jobs)
    assert jobs.clients.get("j").published_at is None
    assert jobs.sweep.run().republished == 0  # the call that created it may still publish it
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert queued(jobs.queue) == ["j"]
    assert jobs.sweep.run().republished == 0


def test_jobs_of_a_removed_pool_go_to_the_remaining_pools(jobs: Jobs, clock: Clock) -> None:
    before = replace(jobs, queue=BrokenQueue(Unavailable()), pools=(WorkerPool("gone"), *POOLS[1:]))
    before.clients.create("j")
    before.clients.create("labeled", ("gpu",))
    clock.advance(UNPUBLISHED_AFTER)
    now = replace(jobs, pools=POOLS[:1])
    assert now.sweep.run().republished == 1
    assert queued(jobs.queue) == ["j"]
    assert jobs.clients.get("labeled").document()["waitingFor"] == ("gpu",)
    assert now.sweep.run().republished == 0


def test_jobs_that_cannot_be_published_do_not_block_the_rest_of_the_sweep(jobs: Jobs, clock: Clock) -> None:
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


def test_a_pool_whose_queue_fails_does_not_block_other_pools(jobs: Jobs, clock: Clock) -> None:
    class BrokenPool:
        def publish(self, pool: str, job_hash: str) -> None:
            calls.append(pool)
            if pool == "plain":
                raise Unavailable
            jobs.queue.publish(pool, job_hash)

    calls: list[str] = []
    unpublished = replace(jobs, queue=BrokenQueue(Unavailable()))
    for number in range(10):
        unpublished.clients.create(f"{number}")
    clock.advance(timedelta(seconds=1))
    unpublished.clients.create("labeled", ("gpu",))
    clock.advance(UNPUBLISHED_AFTER)
    queue: Any = BrokenPool()
    with pytest.raises(Unavailable):
        replace(jobs, queue=queue).sweep.run()
    assert queued(jobs.queue, "special") == ["labeled"]
    assert 0 < calls.count("plain") <= MAX_PUBLISH_ERRORS


def test_a_job_for_external_workers_is_never_published(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j", ("nobody",))
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 0


def test_a_job_whose_lease_expired_is_queued_again(jobs: Jobs, clock: Clock) -> None:
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
    assert queued(jobs.queue) == ["j"]
    for stale in (jobs.attempts.renew, jobs.attempts.start, jobs.attempts.release):
        with pytest.raises(StaleAttempt):
            stale("j", attempt)
    with pytest.raises(StaleAttempt):
        jobs.attempts.finish("j", attempt, Outcome(Status.SUCCESS))


@pytest.mark.parametrize("renewed", [True, False])
def test_after_a_sleep_of_the_machine_its_workers_have_time_to_renew_their_leases(
    jobs: Jobs, clock: Clock, renewed: bool
) -> None:
    jobs.clients.create("leased")
    jobs.clients.create("external", ("x",))
    attempt = jobs.attempts.claim("leased", "w").attempt
    jobs.external_workers.check_in(CheckIn("external", 1, ("x",)))
    jobs.external_workers.check_in(CheckIn("external", 0, ("x",), ("external",)))
    start, hour = clock(), timedelta(hours=1)
    # The thread that looks for jumps does not run by itself in an hour.
    jumps = TimeJumps(hour, lambda: (clock() - start).total_seconds(), lambda: clock().timestamp())
    watched = replace(jobs, time_jumps=jumps)
    with jumps.watched():
        clock.advance(hour + timedelta(seconds=33))
        assert watched.sweep.run().returned == 0
        clock.advance(OPTIONS.worker_timeout - timedelta(seconds=1))
        assert watched.sweep.run().returned == 0
        if renewed:
            jobs.attempts.renew("leased", attempt)
            jobs.external_workers.check_in(CheckIn("external", 0, ("x",)))
        clock.advance(timedelta(seconds=7))
        assert watched.sweep.run().returned == (0 if renewed else 2)


def test_simultaneous_sweeps_repair_everything_once(jobs: Jobs, clock: Clock) -> None:
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


def test_a_job_with_too_many_lost_attempts_fails(jobs: Jobs, clock: Clock) -> None:
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


def test_a_job_whose_worker_vanished_after_a_cancel_is_canceled(jobs: Jobs, clock: Clock) -> None:
    job, _ = jobs.clients.create("j")
    jobs.attempts.claim("j", "w")
    jobs.clients.cancel("j", job.secret)
    clock.advance(OPTIONS.lease)
    jobs.sweep.run()
    assert jobs.clients.get("j").status == Status.CANCELED


def test_a_job_whose_message_was_lost_is_published_again_at_growing_intervals(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.sweep.run()
    for hours in (1, 2, 4):
        with jobs.queue.subscribe("plain", 1) as subscription:
            delivery = subscription.next(0)
            assert delivery is not None
            delivery.ack()  # by a topic that is deleted
        clock.advance(timedelta(hours=hours) - timedelta(seconds=5))
        jobs.sweep.run()
        assert queued(jobs.queue) == []
        clock.advance(timedelta(seconds=5))
        jobs.sweep.run()
        assert queued(jobs.queue) == ["j"]
    jobs.attempts.release("j", jobs.attempts.claim("j", "w").attempt)
    assert jobs.clients.get("j").publishes == 1


def test_published_jobs_of_a_removed_pool_are_moved_when_the_stack_starts_again(jobs: Jobs, clock: Clock) -> None:
    before = replace(jobs, pools=(WorkerPool("gone"), WorkerPool("gone too", frozenset({"gpu", "x"}))))
    before.clients.create("j")
    before.clients.create("labeled", ("gpu", "x"))
    clock.advance(UNPUBLISHED_AFTER)
    sweep = replace(jobs, pools=POOLS[:1]).sweep
    sweep.run()
    assert queued(jobs.queue) == ["j"]
    assert jobs.clients.get("labeled").document()["waitingFor"] == ("gpu", "x")


def test_a_deleted_job_does_not_end_the_sweep(jobs: Jobs, clock: Clock) -> None:
    for job_hash in ("a", "b"):
        jobs.clients.create(job_hash)
        put_output(jobs, job_hash)
        finish(jobs, job_hash)
    clock.advance(timedelta(minutes=2))
    listed = jobs.store.with_expired_output(clock(), 10)
    ghost = replace_job(listed[0], hash="deleted by an operator")

    class Listing:
        def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
            return (ghost, *listed)

        def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
            return (replace_job(ghost, status=Status.RUNNING, lease_expires=now),)

        def with_lost_message(self, now: datetime, limit: int) -> tuple[Job, ...]:
            return (ghost,)

        def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
            return (replace_job(ghost, pool="gone"),)

        def __getattr__(self, name: str) -> Any:
            return getattr(jobs.store, name)

    store: Any = Listing()
    assert replace(jobs, store=store).sweep.run().outputs_cleared == 2


def test_a_worker_that_returns_during_the_sweep_keeps_its_jobs(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j", ("x",))
    jobs.external_workers.check_in(CheckIn("w", 1, ("x",)))
    clock.advance(OPTIONS.worker_timeout)

    class Returning:
        def search(self, wanted: JobFilter, **named: Any) -> JobPage:
            jobs.external_workers.check_in(CheckIn("w", 0, ("x",), ("j",)))
            return jobs.store.search(wanted, **named)

        def __getattr__(self, name: str) -> Any:
            return getattr(jobs.store, name)

    store: Any = Returning()
    assert replace(jobs, store=store).sweep.run().returned == 0
    assert (jobs.clients.get("j").status, jobs.clients.get("j").worker) == (Status.RUNNING, "w")


def test_a_waiting_job_is_never_lost(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.clients.create("external", ("x",))
    clock.advance(timedelta(days=365))
    jobs.sweep.run()
    assert [job.status for job in jobs.clients.jobs()] == ["CREATED", "CREATED"]


def test_the_sweep_reads_only_jobs_of_lost_workers(jobs: Jobs, clock: Clock) -> None:
    """Two users may give their workers the same name."""
    read: list[str] = []
    for user in ("ada", "eve"):
        jobs.clients.create("j", ("x",), user_id=user)
        assert jobs.external_workers.check_in(CheckIn("w", 1, ("x",)), user).jobs_to_start == ("j",)
    jobs.clients.create("other", ("x",))
    assert jobs.external_workers.check_in(CheckIn("v", 1, ("x",))).jobs_to_start == ("other",)
    clock.advance(OPTIONS.worker_timeout)
    jobs.external_workers.check_in(CheckIn("w", 0, ("x",), ("j",)), "eve")
    jobs.external_workers.check_in(CheckIn("v", 0, ("x",), ("other",)))

    class Recording:
        def query(self, **named: Any) -> JobPage:
            return self._record(jobs.store.query(**named))

        def search(self, wanted: JobFilter, **named: Any) -> JobPage:
            return self._record(jobs.store.search(wanted, **named))

        def _record(self, page: JobPage) -> JobPage:
            read.extend(job.hash for job in page.jobs if job.status == Status.RUNNING)
            return page

        def __getattr__(self, name: str) -> Any:
            return getattr(jobs.store, name)

    store: Any = Recording()
    assert replace(jobs, store=store).sweep.run().returned == 1
    assert "other" not in read
    assert jobs.clients.get(key_of("ada", "j")).status == Status.CREATED
    assert jobs.clients.get(key_of("eve", "j")).status == Status.RUNNING


def test_a_crash_while_a_lost_worker_is_removed_leaves_no_job_behind(jobs: Jobs, clock: Clock) -> None:
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


def test_a_worker_of_ours_that_is_removed_keeps_its_leased_jobs(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    jobs.attempts.record_worker(WorkerRecord("w", clock(), ()))
    attempt = jobs.attempts.claim("j", "w").attempt
    for _ in range(3):
        clock.advance(OPTIONS.lease / 2)
        jobs.attempts.renew("j", attempt)
        jobs.sweep.run()
    assert jobs.clients.get("j").status == Status.RUNNING


def test_only_expired_output_of_finished_jobs_is_cleared(jobs: Jobs, clock: Clock) -> None:
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


def test_the_next_sweep_completes_a_clearing_that_crashed(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    put_output(jobs, "j")
    finish(jobs, "j")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(Crash):
        crashing_store(jobs, "clear_output").sweep.run()
    assert jobs.sweep.run().outputs_cleared == 1
    assert output(jobs, "j") == []
    assert jobs.clients.get("j").output_number is None


class StoreWithConcurrentChange:
    """A store whose jobs change after a sweep has listed them."""

    def __init__(self, store: JobStore, change: Callable[[], object]) -> None:
        self._store = store
        self._change = change

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        found = self._store.with_expired_output(now, limit)
        self._change()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_the_output_of_a_job_recreated_during_the_sweep_is_kept(jobs: Jobs, clock: Clock) -> None:
    job, _ = jobs.clients.create("j")
    put_output(jobs, "j")
    jobs.clients.cancel("j", job.secret)
    clock.advance(timedelta(minutes=2))

    def recreate() -> None:
        jobs.clients.create("j")
        put_output(jobs, "j", 7)

    store: Any = StoreWithConcurrentChange(jobs.store, recreate)
    assert replace(jobs, store=store).sweep.run().outputs_cleared == 0
    assert output(jobs, "j") == ["j 7"]


def test_output_that_arrives_after_the_job_finished_is_cleared(jobs: Jobs, clock: Clock) -> None:
    jobs.clients.create("j")
    finish(jobs, "j")
    put_output(jobs, "j", 5)
    clock.advance(timedelta(minutes=2))
    assert jobs.sweep.run().outputs_cleared == 1
    assert output(jobs, "j") == []


def test_output_is_kept_forever_without_a_clear_timeout(jobs: Jobs, clock: Clock) -> None:
    keeping = replace(jobs, options=replace(OPTIONS, clear_output_after=None))
    keeping.clients.create("j")
    put_output(keeping, "j")
    finish(keeping, "j")
    clock.advance(timedelta(days=365))
    assert keeping.sweep.run().outputs_cleared == 0
    assert output(keeping, "j") == ["j 0"]


def test_a_sweep_forgets_a_limited_number_of_workers(jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_executor.jobs.sweep.WORKERS_PER_SWEEP", 2)
    for number in range(5):
        jobs.external_workers.check_in(CheckIn(f"w{number}"))
    clock.advance(timedelta(minutes=5))
    assert [jobs.sweep.run().workers_forgotten for _ in range(4)] == [2, 2, 1, 0]
