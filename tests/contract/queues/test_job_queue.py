"""The contract of every JobQueue (cloud_executor/ports.py)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

import pytest
from contract_backends import PROCESSES, STRANGE_POOLS, TIMEOUT_SECONDS, QueueBackend, in_process

from cloud_executor.ports import Delivery, JobQueue, Subscription


@pytest.fixture
def subscription(job_queue: JobQueue) -> Iterator[Subscription]:
    with job_queue.subscribe("pool", 4) as subscription:
        yield subscription


@pytest.fixture
def soon(queue_backend: QueueBackend) -> float:
    """Time after which every message that can be delivered now has arrived, in seconds."""
    return queue_backend.delivers_within_seconds


def take(subscription: Subscription, timeout: float = TIMEOUT_SECONDS) -> Delivery:
    delivery = subscription.next(timeout)
    assert delivery is not None
    return delivery


def take_all(subscription: Subscription, soon: float) -> list[str]:
    """Ack all available messages and return their job hashes."""
    found = []
    while (delivery := subscription.next(soon)) is not None:
        delivery.ack()
        found.append(delivery.job_hash)
    return found


def test_a_message_names_its_job(job_queue: JobQueue, subscription: Subscription) -> None:
    job_queue.publish("pool", "a")
    assert take(subscription).job_hash == "a"


@pytest.mark.parametrize(
    "job_hash",
    ["", "a\0b", "../..", "a/b", "'\"", "\U0001f600", "\ud83d", "\ud83d\ude00", "long/" * 20_000],
    ids=["empty", "NUL", "path", "slash", "quotes", "emoji", "lone surrogate", "surrogates apart", "very long"],
)
def test_a_job_hash_can_be_any_string(
    job_queue: JobQueue, subscription: Subscription, job_hash: str, soon: float
) -> None:
    job_queue.publish("pool", job_hash)
    delivery = take(subscription)
    assert delivery.job_hash == job_hash
    delivery.nack()
    delivery = take(subscription)
    assert delivery.job_hash == job_hash
    delivery.ack()
    assert take_all(subscription, soon) == []


def test_messages_from_before_the_subscription_are_delivered(job_queue: JobQueue) -> None:
    job_queue.publish("pool", "a")
    with job_queue.subscribe("pool", 4) as subscription:
        assert take(subscription).job_hash == "a"


def test_every_message_is_delivered(job_queue: JobQueue, subscription: Subscription, soon: float) -> None:
    published = [f"job {number}" for number in range(50)]
    for job_hash in published:
        job_queue.publish("pool", job_hash)
    assert sorted(take_all(subscription, soon)) == sorted(published)


def test_a_subscription_gets_only_its_own_pools_messages(
    job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    for pool in STRANGE_POOLS:
        job_queue.publish(pool, "x")
        with job_queue.subscribe(pool, 4) as other:
            assert subscription.next(soon) is None
            assert take(other).job_hash == "x"
            job_queue.publish("pool", "mine")
            assert other.next(soon) is None
            take(subscription).ack()


def test_next_returns_none_after_its_timeout(subscription: Subscription) -> None:
    started = time.monotonic()
    assert subscription.next(0.05) is None
    assert subscription.next(0) is None
    assert time.monotonic() - started >= 0.05


def test_an_acked_message_is_never_redelivered(
    queue_backend: QueueBackend, job_queue: JobQueue, subscription: Subscription
) -> None:
    job_queue.publish("pool", "a")
    take(subscription).ack()
    assert subscription.next(1.2 * queue_backend.returns_within_seconds) is None


def test_an_ack_can_be_repeated(job_queue: JobQueue, subscription: Subscription, soon: float) -> None:
    job_queue.publish("pool", "a")
    delivery = take(subscription)
    delivery.ack()
    delivery.ack()
    delivery.nack()
    assert subscription.next(soon) is None


def test_a_nacked_message_is_redelivered_at_once(job_queue: JobQueue, subscription: Subscription, soon: float) -> None:
    job_queue.publish("pool", "a")
    take(subscription).nack()
    assert take(subscription, soon).job_hash == "a"


def test_a_nack_wakes_a_waiting_subscriber(job_queue: JobQueue, subscription: Subscription) -> None:
    job_queue.publish("pool", "a")
    delivery = take(subscription)
    with job_queue.subscribe("pool", 4) as other, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(each.next, TIMEOUT_SECONDS) for each in (subscription, other)]
        delivery.nack()
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        found = next(iter(done)).result()
        subscription.close()
        other.close()
        assert found is not None
        assert found.job_hash == "a"


def test_an_unsettled_delivery_is_withheld_from_others(
    queue_backend: QueueBackend, job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    job_queue.publish("pool", "a")
    delivery = take(subscription)
    with job_queue.subscribe("pool", 4) as other:
        assert other.next(1.5 * queue_backend.returns_within_seconds) is None
    assert subscription.next(soon) is None
    delivery.nack()
    assert take(subscription).job_hash == "a"


def test_a_delivery_can_be_settled_after_close(
    queue_backend: QueueBackend, job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    job_queue.publish("pool", "a")
    job_queue.publish("pool", "b")
    deliveries = [take(subscription), take(subscription)]
    subscription.close()
    deliveries[0].ack()
    deliveries[1].nack()
    with job_queue.subscribe("pool", 4) as other:
        # Usually at once, but later if the nack raced with the end of the closed stream.
        returned = take(other, 2 * queue_backend.returns_within_seconds + 5)
        assert returned.job_hash == deliveries[1].job_hash
        returned.ack()
        assert take_all(other, soon) == []


def test_an_unsettled_delivery_is_withheld_from_others_after_close(
    queue_backend: QueueBackend, job_queue: JobQueue, subscription: Subscription
) -> None:
    job_queue.publish("pool", "a")
    delivery = take(subscription)
    subscription.close()
    with job_queue.subscribe("pool", 4) as other:
        assert other.next(1.5 * queue_backend.returns_within_seconds) is None
    assert delivery.job_hash == "a"


def test_a_delivery_left_unsettled_by_a_closed_subscription_is_redelivered(
    queue_backend: QueueBackend, job_queue: JobQueue
) -> None:
    job_queue.publish("pool", "a")
    with job_queue.subscribe("pool", 4) as subscription:
        take(subscription)
    with job_queue.subscribe("pool", 4) as other:
        assert take(other, 2 * queue_backend.returns_within_seconds + 5).job_hash == "a"


# Publishing again -----------------------------------------------------------------------------------------------------


def test_a_republished_message_outlives_the_ack_of_its_old_delivery(
    job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    job_queue.publish("pool", "a")
    old = take(subscription)
    job_queue.publish("pool", "a")
    old.ack()
    new = take(subscription)
    assert new.job_hash == "a"
    old.ack()
    old.nack()
    new.ack()
    assert take_all(subscription, soon) == []


def test_a_republished_message_is_delivered_at_once(
    job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    job_queue.publish("pool", "a")
    take(subscription)
    assert subscription.next(soon) is None
    job_queue.publish("pool", "a")
    assert take(subscription, soon).job_hash == "a"


def test_a_job_can_be_published_again_after_its_ack(
    job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    for _ in range(3):
        job_queue.publish("pool", "a")
        delivery = take(subscription)
        assert delivery.job_hash == "a"
        delivery.ack()
        assert subscription.next(soon) is None


# Waiting --------------------------------------------------------------------------------------------------------------


def test_a_publish_wakes_a_waiting_subscriber(job_queue: JobQueue, subscription: Subscription) -> None:
    with ThreadPoolExecutor(1) as pool:
        for number in range(20):
            waiting = pool.submit(subscription.next, TIMEOUT_SECONDS)
            job_queue.publish("pool", f"job {number}")
            delivery = waiting.result()
            assert delivery is not None
            assert delivery.job_hash == f"job {number}"
            delivery.ack()


def test_close_wakes_all_waiting_threads(subscription: Subscription) -> None:
    waits = threading.Barrier(4)

    def wait_for_one() -> Delivery | None:
        waits.wait(TIMEOUT_SECONDS)
        return subscription.next(10 * TIMEOUT_SECONDS)

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(wait_for_one) for _ in range(3)]
        waits.wait(TIMEOUT_SECONDS)
        subscription.close()
        assert [future.result(TIMEOUT_SECONDS) for future in waiting] == [None] * 3


def test_nothing_is_delivered_after_close(job_queue: JobQueue, subscription: Subscription) -> None:
    job_queue.publish("pool", "a")
    subscription.close()
    assert subscription.next(TIMEOUT_SECONDS) is None
    subscription.close()


# Races ----------------------------------------------------------------------------------------------------------------


def test_threads_of_one_or_several_subscriptions_share_the_messages(job_queue: JobQueue) -> None:
    count = 60
    published = [f"job {number}" for number in range(count)]
    taken: list[str] = []
    all_taken = threading.Event()

    def work(subscription: Subscription) -> None:
        while not all_taken.is_set():
            delivery = subscription.next(TIMEOUT_SECONDS)
            if delivery is None:
                return
            taken.append(delivery.job_hash)
            delivery.ack()
            if len(taken) >= count:
                all_taken.set()

    with (
        ThreadPoolExecutor(6) as pool,
        job_queue.subscribe("pool", 4) as first,
        job_queue.subscribe("pool", 4) as second,
    ):
        working = [pool.submit(work, subscription) for subscription in (first, second) for _ in range(3)]
        for job_hash in published:
            job_queue.publish("pool", job_hash)
        assert all_taken.wait(TIMEOUT_SECONDS)
        first.close()
        second.close()
        for worker in working:
            worker.result(TIMEOUT_SECONDS)
    # Duplicates are allowed in general, but not without a failure.
    assert sorted(taken) == sorted(published)


def work_in_a_process(backend: QueueBackend, ready: Event, taken: Queue[str]) -> None:
    with backend.open() as queue, queue.subscribe("pool", 4) as subscription:
        ready.set()
        while (delivery := subscription.next(TIMEOUT_SECONDS)) is not None:
            taken.put(delivery.job_hash)
            delivery.ack()


def test_processes_share_the_messages(queue_backend: QueueBackend, job_queue: JobQueue) -> None:
    published = [f"job {number}" for number in range(40)]
    taken: Queue[str] = PROCESSES.Queue()
    ready = [PROCESSES.Event() for _ in range(2)]
    with (
        in_process(work_in_a_process, queue_backend, ready[0], taken),
        in_process(work_in_a_process, queue_backend, ready[1], taken),
    ):
        assert all(event.wait(TIMEOUT_SECONDS) for event in ready)
        for job_hash in published:
            job_queue.publish("pool", job_hash)
        found = [taken.get(timeout=TIMEOUT_SECONDS) for _ in published]
    assert sorted(found) == sorted(published)


# Crashes --------------------------------------------------------------------------------------------------------------


def take_and_stall(backend: QueueBackend, taken: Event) -> None:
    with backend.open() as queue, queue.subscribe("pool", 4) as subscription:
        take(subscription)
        taken.set()
        threading.Event().wait()


def test_the_message_of_a_dead_process_is_redelivered(
    queue_backend: QueueBackend, job_queue: JobQueue, soon: float
) -> None:
    job_queue.publish("pool", "a")
    taken = PROCESSES.Event()
    with ExitStack() as stack:
        with in_process(take_and_stall, queue_backend, taken):
            assert taken.wait(TIMEOUT_SECONDS)
            subscription = stack.enter_context(job_queue.subscribe("pool", 4))
            assert subscription.next(1.5 * queue_backend.returns_within_seconds) is None
        delivery = take(subscription, 2 * queue_backend.returns_within_seconds + 5)
        assert delivery.job_hash == "a"
        delivery.ack()
        assert subscription.next(soon) is None


def publish_and_stall(backend: QueueBackend, published: Event) -> None:
    with backend.open() as queue:
        queue.publish("pool", "a")
        published.set()
        threading.Event().wait()


def test_a_message_outlives_its_publisher(
    queue_backend: QueueBackend, job_queue: JobQueue, subscription: Subscription, soon: float
) -> None:
    published = PROCESSES.Event()
    with in_process(publish_and_stall, queue_backend, published):
        assert published.wait(TIMEOUT_SECONDS)
    assert take(subscription, soon).job_hash == "a"
