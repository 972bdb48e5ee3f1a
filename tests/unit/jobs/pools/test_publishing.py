"""Fair share: the queue holds a window of each user's jobs, whatever happens."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from embedded_jobs import OPTIONS, POOLS, BrokenQueue, Clock, Crash, Crashing, crashing_store, finish, queued

from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.backends.sqlite.queue import SqliteJobQueue
from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.jobs import sweep
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.jobs.pools.publisher import Flights
from cloud_executor.jobs.sweep import UNPUBLISHED_AFTER
from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW
from cloud_executor.model.jobs.job import Job, NotClaimable, Status

WINDOW = 3
USERS = ("guest", "ada", "eve")


@pytest.fixture(params=["publishes", "leaves publishing to the use cases"])
def windowed(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Jobs]:
    """Jobs with a small window, in a store that publishes them itself, or in one that does not."""
    database = SqliteDatabase(tmp_path / "windowed.sqlite")
    queue = SqliteJobQueue(database, tmp_path / "wake", clock)
    store = SqliteJobStore(database, queue if request.param == "publishes" else None, WINDOW)
    yield Jobs(store, queue, POOLS, replace(OPTIONS, queue_window=WINDOW), clock)
    database.close()


def create(jobs: Jobs, clock: Clock, *names: str, user: str = "guest", labels: tuple[str, ...] = ()) -> None:
    for name in names:
        clock.advance(timedelta())  # so that their order is known
        jobs.clients.create(name, labels, user)


def published(jobs: Jobs, user: str | None = None) -> list[str]:
    return [job.id for job in jobs.clients.jobs(Status.CREATED, user) if job.published_at is not None]


def claim(jobs: Jobs, name: str, user: str = "guest") -> Job:
    job = jobs.attempts.claim(key_of(user, name), "w")
    jobs.attempts.publisher.follow(job)  # as `Attempts.follow`, without a thread
    return job


def test_the_queue_holds_a_window_of_each_user_and_pool(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    assert published(windowed) == ["a", "b", "c"]
    create(windowed, clock, "x", user="ada")
    create(windowed, clock, "g", labels=("gpu",))
    assert published(windowed) == ["a", "b", "c", "x", "g"]


def test_a_claim_publishes_the_next_job_of_its_user(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    create(windowed, clock, *"uvwxyz", user="ada")
    claim(windowed, "b")
    assert published(windowed, "guest") == ["a", "c", "d"]
    claim(windowed, "v", "ada")
    assert published(windowed, "ada") == ["u", "w", "x"]


def test_a_job_that_ends_while_it_waits_makes_room(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    windowed.clients.force_cancel("e")
    assert published(windowed) == ["a", "b", "c"]
    windowed.clients.force_cancel("a")
    assert published(windowed) == ["b", "c", "d"]
    windowed.external_workers.check_in(CheckIn("external", 1))
    assert published(windowed) == ["c", "d", "f"]


def test_a_job_that_is_given_back_waits_for_a_place_before_younger_jobs(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    attempt = claim(windowed, "a").attempt
    windowed.attempts.release("a", attempt)
    assert published(windowed) == ["b", "c", "d"]
    claim(windowed, "b")
    assert published(windowed) == ["a", "c", "d"]


def test_the_sweep_publishes_only_as_many_as_have_a_place(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    clock.advance(UNPUBLISHED_AFTER)
    assert windowed.sweep.run().republished == 0
    assert published(windowed) == ["a", "b", "c"]
    larger = replace(windowed, options=replace(windowed.options, queue_window=5))
    assert larger.sweep.run().republished == 2
    assert published(windowed) == ["a", "b", "c", "d", "e"]


def test_a_message_that_is_lost_takes_no_place_from_others(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    clock.advance(transitions.MESSAGE_LIFETIME)
    windowed.sweep.run()
    assert published(windowed) == ["a", "b", "c"]
    assert {windowed.clients.get(name).publishes for name in "abc"} == {2}


def test_a_queue_that_lost_its_messages_blocks_the_other_jobs_of_a_user_for_minutes(
    windowed: Jobs, clock: Clock
) -> None:
    create(windowed, clock, *"abcdef")
    create(windowed, clock, *"xyz", user="ada")
    lose_messages(windowed)
    assert queued(windowed.queue) == []
    clock.advance(transitions.BLOCKING_LIFETIME / 2)
    windowed.sweep.run()
    assert queued(windowed.queue) == []
    clock.advance(transitions.BLOCKING_LIFETIME / 2)
    windowed.sweep.run()
    # Nobody waits for a place of the other user.
    assert sorted(queued(windowed.queue)) == ["a", "b", "c"]
    claim(windowed, "a")
    assert published(windowed, "guest") == ["b", "c", "d"]


def test_messages_that_wait_for_busy_workers_are_repeated_ever_less_often(windowed: Jobs, clock: Clock) -> None:
    create(windowed, clock, *"abcdef")
    for _ in range(150):
        clock.advance(transitions.BLOCKING_LIFETIME / 5)
        windowed.sweep.run()
    # After 5, 15, 35, and 75 minutes.
    assert {windowed.clients.get(name).publishes for name in "abc"} == {5}
    assert {windowed.clients.get(name).publishes for name in "def"} == {0}


class BlockedQueue:
    """Records what is published, once `open` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.called = threading.Event()
        self.published: list[str] = []

    def publish(self, pool: str, job_hash: str) -> None:
        self.called.set()
        assert self.open.wait(30)
        self.published.append(job_hash)


def test_a_burst_of_claims_publishes_each_job_once(jobs: Jobs, clock: Clock) -> None:
    windowed = replace(jobs, options=replace(jobs.options, queue_window=WINDOW))
    create(windowed, clock, *"abcdefgh")
    queue: Any = BlockedQueue()
    process = replace(windowed, queue=queue)
    claimed = [process.attempts.claim(name, "w") for name in "abc"]
    for _ in range(5):
        for job in claimed:
            process.attempts.follow(job)
    assert queue.called.wait(30)
    # A change during the flight is followed as well.
    process.attempts.follow(process.attempts.claim("d", "w"))
    process.attempts.follow(claimed[0])
    queue.open.set()
    end = time.monotonic() + 30
    while "g" not in queue.published or any(thread.name == "publish next" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.005)
    assert queue.published == ["d", "e", "f", "g"]


def test_a_flight_that_fails_does_not_keep_the_next_one_from_starting() -> None:
    flights = Flights()
    line = ("guest", "p")
    assert flights.request(line) and not flights.request(line)
    flights.end(line)
    assert flights.request(line) and flights.next_round(line) and not flights.next_round(line)


def lose_messages(jobs: Jobs) -> None:
    """Complete all deliveries without a claim."""
    with jobs.queue.subscribe("plain", 9) as subscription:
        while (delivery := subscription.next(0)) is not None:
            delivery.ack()


@pytest.mark.parametrize("method", ["next_to_publish", "record_publish"])
def test_the_sweep_publishes_the_next_job_if_the_claim_could_not(jobs: Jobs, clock: Clock, method: str) -> None:
    windowed = replace(jobs, options=replace(jobs.options, queue_window=1))
    create(windowed, clock, "a", "b")
    dying = crashing_store(windowed, method)
    with pytest.raises(Crash):
        claim(dying, "a")
    assert published(windowed) == []
    clock.advance(UNPUBLISHED_AFTER)
    assert windowed.sweep.run().republished == 1
    assert published(windowed) == ["b"]


def test_a_queue_that_is_unreachable_fails_no_claim_and_no_cancel(jobs: Jobs, clock: Clock) -> None:
    windowed = replace(jobs, options=replace(jobs.options, queue_window=1))
    create(windowed, clock, "a", "b", "c")
    broken = replace(windowed, queue=BrokenQueue(Unavailable()))
    assert claim(broken, "a").status == Status.RUNNING
    broken.clients.force_cancel("b")
    assert published(windowed) == []
    clock.advance(UNPUBLISHED_AFTER)
    assert windowed.sweep.run().republished == 1


def test_one_users_many_jobs_do_not_keep_another_users_job_from_the_sweep(
    jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "JOBS_PER_SWEEP", 2)
    create(jobs, clock, *(str(number) for number in range(DEFAULT_WINDOW + 4)))
    with pytest.raises(Crash):
        crashing_store(jobs, "next_to_publish").clients.create("x", user_id="ada")
    clock.advance(UNPUBLISHED_AFTER)
    assert jobs.sweep.run().republished == 1
    assert published(jobs, "ada") == ["x"]


@pytest.mark.parametrize("seed", range(4))
def test_every_job_runs_although_processes_die_at_any_step(windowed: Jobs, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    created: Counter[str] = Counter()
    for _ in range(300):
        jobs = windowed
        if chance.random() < 0.2:
            method = chance.choice(("next_to_publish", "record_publish", "transact"))
            jobs = crashing_store(windowed, method, chance.randrange(3))
        elif chance.random() < 0.1:
            queue: object = Crashing(windowed.queue, "publish")
            jobs = replace(windowed, queue=queue)  # type: ignore[arg-type]
        user = chance.choice(USERS)
        with suppress(Crash, NotClaimable):
            waiting = published(windowed, user)
            match chance.randrange(6):
                case 0 | 1 | 2:
                    created[user] += 1
                    create(jobs, clock, str(created[user]), user=user)
                case 3 if waiting:
                    claim(jobs, chance.choice(waiting), user)
                case 4 if waiting:
                    name = chance.choice(waiting)
                    jobs.attempts.release(key_of(user, name), claim(jobs, name, user).attempt)
                case 5 if waiting:
                    jobs.clients.force_cancel(key_of(user, chance.choice(waiting)))
        assert all(len(published(windowed, user)) <= WINDOW for user in USERS)
    for _ in range(400):
        clock.advance(max(UNPUBLISHED_AFTER, OPTIONS.lease))
        windowed.sweep.run()
        jobs_left = [job for job in windowed.clients.jobs() if not job.finished]
        if not jobs_left:
            return
        for job in jobs_left:
            if job.published_at is not None and job.status == Status.CREATED:
                finish(windowed, job.hash)
    raise AssertionError(jobs_left)
