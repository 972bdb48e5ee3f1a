"""Leases and wake-up calls of a SqliteJobQueue. tests/contract/ covers what all job queues have in common."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_executor.backends.sqlite import queue as sqlite_queue
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.queue import SqliteJobQueue
from cloud_executor.backends.sqlite.schema import encode_time
from cloud_executor.backends.sqlite.wake import Listener, WakeFolder
from cloud_executor.errors import StorageFull
from cloud_executor.ports import Delivery, Subscription

PATIENCE_SECONDS = 30
NEVER = timedelta(days=1)
LEASE = timedelta(seconds=30)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "database")
    yield database
    database.close()


Opener = Callable[..., SqliteJobQueue]


@pytest.fixture
def wake_folder(tmp_path: Path) -> Path:
    return tmp_path / "wake"


@pytest.fixture
def open_queue(database: SqliteDatabase, wake_folder: Path, clock: Clock) -> Opener:
    def open_queue(extend_every: timedelta = NEVER) -> SqliteJobQueue:
        return SqliteJobQueue(database, wake_folder, clock, lease=LEASE, extend_every=extend_every)

    return open_queue


@pytest.fixture
def queue(open_queue: Opener) -> SqliteJobQueue:
    return open_queue()


def take(subscription: Subscription) -> Delivery:
    delivery = subscription.next(0)
    assert delivery is not None
    return delivery


# Leases ---------------------------------------------------------------------------------------------------------------


def test_messages_are_delivered_in_the_order_of_publishing(queue: SqliteJobQueue, clock: Clock) -> None:
    with queue.subscribe("pool", 4) as subscription:
        for job_hash in ("b", "c", "a", "b"):
            queue.publish("pool", job_hash)
            clock.advance(1)
        # A second publish keeps a message's place in the queue. A nack does not, so that the message cannot block
        # others.
        first = take(subscription)
        assert first.job_hash == "b"
        first.nack()
        assert [take(subscription).job_hash for _ in range(3)] == ["c", "a", "b"]


def test_a_message_is_redelivered_when_its_lease_expires(queue: SqliteJobQueue, clock: Clock) -> None:
    queue.publish("pool", "a")
    with queue.subscribe("pool", 4) as one, queue.subscribe("pool", 4) as other:
        take(one)
        clock.advance(29.999)
        assert other.next(0) is None
        clock.advance(0.001)
        assert take(other).job_hash == "a"


def test_a_void_delivery_can_be_neither_acked_nor_nacked(queue: SqliteJobQueue, clock: Clock) -> None:
    queue.publish("pool", "a")
    with queue.subscribe("pool", 4) as one, queue.subscribe("pool", 4) as other:
        lost = take(one)
        clock.advance(30)
        held = take(other)
        lost.nack()
        assert one.next(0) is None
        lost.ack()
        held.nack()
        assert take(one).job_hash == "a"


def test_a_void_delivery_is_not_extended(open_queue: Opener, queue: SqliteJobQueue, clock: Clock) -> None:
    queue.publish("pool", "a")
    with open_queue(extend_every=timedelta(milliseconds=5)).subscribe("pool", 4) as one:
        take(one)
        queue.publish("pool", "a")
        with queue.subscribe("pool", 4) as other:
            take(other)
            clock.advance(30)
            pause = threading.Event()
            for _ in range(10):
                pause.wait(0.005)
            assert take(other).job_hash == "a"


def test_deliveries_are_extended_while_the_process_lives(
    open_queue: Opener, database: SqliteDatabase, clock: Clock
) -> None:
    queue = open_queue(extend_every=timedelta(milliseconds=5))
    queue.publish("pool", "a")
    queue.publish("pool", "b")
    with queue.subscribe("pool", 4) as subscription:
        deliveries = [take(subscription), take(subscription)]
        deliveries[0].ack()
        for _ in range(3):
            clock.advance(20)
            wanted = encode_time(clock.now + LEASE)
            pause = threading.Event()
            for _ in range(PATIENCE_SECONDS * 100):
                if database.rows("SELECT visible_at FROM messages") == [(wanted,)]:
                    break
                pause.wait(0.01)
            assert database.rows("SELECT job_hash, visible_at FROM messages") == [(b"b", wanted)]
            assert subscription.next(0) is None


def test_a_failed_extension_is_retried(
    open_queue: Opener,
    database: SqliteDatabase,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = open_queue(extend_every=timedelta(milliseconds=5))
    queue.publish("pool", "a")
    failed, extended = threading.Event(), threading.Event()
    actual = database.write

    def write(work: object, *, durable: bool = True) -> object:
        if not failed.is_set():
            failed.set()
            raise StorageFull
        extended.set()
        return actual(work, durable=durable)  # type: ignore[arg-type]

    with queue.subscribe("pool", 4) as subscription, caplog.at_level(logging.WARNING):
        take(subscription)
        monkeypatch.setattr(database, "write", write)
        assert extended.wait(PATIENCE_SECONDS)
    assert "cannot extend deliveries" in caplog.text


def test_unsettled_deliveries_are_redelivered_when_the_subscription_ends(queue: SqliteJobQueue) -> None:
    for job_hash in "abc":
        queue.publish("pool", job_hash)
    with queue.subscribe("pool", 4) as subscription:
        take(subscription)
        take(subscription).ack()
    with queue.subscribe("pool", 4) as subscription:
        assert {take(subscription).job_hash, take(subscription).job_hash} == {"a", "c"}
        assert subscription.next(0) is None


def test_a_delivery_can_be_settled_again_after_an_error(
    queue: SqliteJobQueue, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise StorageFull

    queue.publish("pool", "a")
    with queue.subscribe("pool", 4) as subscription:
        delivery = take(subscription)
        for settle in (delivery.nack, delivery.ack):
            with monkeypatch.context() as patch:
                patch.setattr(database, "write", full)
                with pytest.raises(StorageFull):
                    settle()
        delivery.ack()
    assert database.rows("SELECT * FROM messages") == []


# Wake-up calls --------------------------------------------------------------------------------------------------------


def test_no_wake_up_call_is_lost_between_polling_and_waiting(
    queue: SqliteJobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poll interval is longer than the test, so that a single lost call would fail it."""
    monkeypatch.setattr(sqlite_queue, "POLL_SECONDS", 10 * PATIENCE_SECONDS)
    count = 200
    done = threading.Semaphore(0)

    def work(subscription: Subscription) -> None:
        while (delivery := subscription.next(10 * PATIENCE_SECONDS)) is not None:
            delivery.ack()
            done.release()

    with ThreadPoolExecutor(4) as pool, queue.subscribe("pool", 4) as one, queue.subscribe("pool", 4) as other:
        working = [pool.submit(work, subscription) for subscription in (one, one, one, other)]
        try:
            for number in range(count):
                queue.publish("pool", f"job {number}")
                if number % 3:
                    # Publish one at a time and in bursts.
                    assert done.acquire(timeout=PATIENCE_SECONDS)
            for _ in range(len(range(0, count, 3))):
                assert done.acquire(timeout=PATIENCE_SECONDS)
        finally:
            one.close()
            other.close()
        for worker in working:
            worker.result()


def test_a_close_between_polling_and_waiting_ends_the_wait(
    queue: SqliteJobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_queue, "POLL_SECONDS", 10 * PATIENCE_SECONDS)
    clear = Listener.clear
    with queue.subscribe("pool", 1) as subscription, ThreadPoolExecutor(1) as pool:

        def close_first(listener: Listener) -> None:
            subscription.close()
            clear(listener)

        monkeypatch.setattr(Listener, "clear", close_first)
        assert pool.submit(subscription.next, 10 * PATIENCE_SECONDS).result(PATIENCE_SECONDS) is None


def test_a_message_whose_wake_up_call_fails_is_found_by_polling(
    queue: SqliteJobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(sqlite_queue, "POLL_SECONDS", 0.02)
    with queue.subscribe("pool", 4) as subscription, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(subscription.next, PATIENCE_SECONDS)
        with monkeypatch.context() as patch:
            patch.setattr(WakeFolder, "call", fail)
            queue.publish("pool", "a")
        delivery = waiting.result()
        assert delivery is not None
        assert delivery.job_hash == "a"


def test_a_waiting_subscription_notices_the_end_of_a_lease(database: SqliteDatabase, wake_folder: Path) -> None:
    queue = SqliteJobQueue(
        database, wake_folder, lambda: datetime.now(UTC), lease=timedelta(seconds=0.1), extend_every=NEVER
    )
    queue.publish("pool", "a")
    with queue.subscribe("pool", 4) as one, queue.subscribe("pool", 4) as other:
        take(one)
        delivery = other.next(PATIENCE_SECONDS)
        assert delivery is not None
        assert delivery.job_hash == "a"


def test_a_subscription_leaves_no_pipe_thread_or_file(queue: SqliteJobQueue, wake_folder: Path) -> None:
    queue.publish("pool", "a")
    threads, files = threading.active_count(), os.listdir("/proc/self/fd")
    with queue.subscribe("pool", 4) as subscription:
        assert len(list(wake_folder.iterdir())) == 1
        assert subscription.next(0) is not None
    assert list(wake_folder.iterdir()) == []
    assert threading.active_count() == threads
    assert os.listdir("/proc/self/fd") == files
    # Closing it later, as a signal handler can, is harmless.
    subscription.close()
    assert subscription.next(0) is None


def test_the_path_of_the_wake_folder_can_be_longer_than_that_of_a_socket(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    queue = SqliteJobQueue(database, tmp_path / ("deep/" * 60), lambda: datetime.now(UTC))
    with queue.subscribe("pool", 4) as subscription, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(subscription.next, PATIENCE_SECONDS)
        queue.publish("pool", "a")
        assert waiting.result() is not None
