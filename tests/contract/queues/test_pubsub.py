"""A PubSubJobQueue's behavior when the service fails, its limits, and messages from other publishers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from emulators.projects import new_project
from google.api_core import exceptions
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from cloud_executor.backends.google.pubsub import PubSubJobQueue
from cloud_executor.errors import QuotaExceeded, Unavailable

TIMEOUT_SECONDS = 20.0


@pytest.fixture
def project(pubsub: str) -> str:
    return new_project()


@pytest.fixture
def queue(project: str) -> PubSubJobQueue:
    queue = PubSubJobQueue(project, "executor", timedelta(hours=1), timedelta(seconds=10))
    queue.create(["pool"], max_deliveries=5)
    return queue


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_creating_existing_resources_changes_nothing(queue: PubSubJobQueue) -> None:
    queue.publish("pool", "a")
    queue.create(["pool"], max_deliveries=5)
    with queue.subscribe("pool", 1) as subscription:
        delivery = subscription.next(TIMEOUT_SECONDS)
        assert delivery is not None
        assert delivery.job_hash == "a"


def test_publishing_to_a_missing_topic_is_unavailable(queue: PubSubJobQueue) -> None:
    with pytest.raises(Unavailable):
        queue.publish("unknown", "a")


def test_an_exhausted_quota_is_reported_as_such(queue: PubSubJobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublisherClient, "publish", raising(exceptions.ResourceExhausted("quota")))
    with pytest.raises(QuotaExceeded):
        queue.publish("pool", "a")


def test_a_missing_subscription_is_unavailable_until_it_is_created(queue: PubSubJobQueue) -> None:
    with queue.subscribe("later", 1) as subscription:
        with pytest.raises(Unavailable):
            subscription.next(TIMEOUT_SECONDS)
        queue.create(["later"], max_deliveries=5)
        queue.publish("later", "a")
        found, end = None, time.monotonic() + TIMEOUT_SECONDS
        while found is None and time.monotonic() < end:
            try:
                found = subscription.next(TIMEOUT_SECONDS)
            except Unavailable:
                time.sleep(0.1)
        assert found is not None
        assert found.job_hash == "a"


def test_a_malformed_message_is_dropped(queue: PubSubJobQueue, project: str) -> None:
    PublisherClient().publish(f"projects/{project}/topics/executor-pool", b"not one of our messages").result(10)
    queue.publish("pool", "a")
    with queue.subscribe("pool", 1) as subscription:
        delivery = subscription.next(TIMEOUT_SECONDS)
        assert delivery is not None
        assert delivery.job_hash == "a"
        delivery.ack()
        assert subscription.next(0.5) is None


def test_a_subscription_holds_up_to_one_message_per_slot(queue: PubSubJobQueue) -> None:
    for number in range(6):
        queue.publish("pool", str(number))
    with queue.subscribe("pool", 2) as first, queue.subscribe("pool", 4) as second:
        held = [first.next(TIMEOUT_SECONDS), first.next(TIMEOUT_SECONDS)]
        held += [second.next(TIMEOUT_SECONDS) for _ in range(4)]
        assert sorted(delivery.job_hash for delivery in held if delivery) == [str(number) for number in range(6)]


def test_a_freed_slot_is_filled_while_the_other_slots_are_busy(queue: PubSubJobQueue) -> None:
    slots = 8
    with queue.subscribe("pool", slots) as subscription:
        for number in range(slots + 3):
            queue.publish("pool", str(number))
        held = [subscription.next(TIMEOUT_SECONDS) for _ in range(slots)]
        assert all(held)
        for _ in range(3):
            last = held.pop()
            assert last is not None
            last.ack()
            held.append(subscription.next(TIMEOUT_SECONDS))
            assert held[-1] is not None


def test_a_failed_ack_can_be_repeated(queue: PubSubJobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.publish("pool", "a")
    with queue.subscribe("pool", 1) as subscription:
        delivery = subscription.next(TIMEOUT_SECONDS)
        assert delivery is not None
        with monkeypatch.context() as patch:
            patch.setattr(SubscriberClient, "acknowledge", raising(exceptions.PermissionDenied("no")))
            with pytest.raises(Unavailable):
                delivery.ack()
        delivery.ack()
        assert subscription.next(0.5) is None


def test_a_message_is_withheld_from_others_only_as_long_as_a_job_may_run(project: str) -> None:
    lease_seconds = 10.0
    queue = PubSubJobQueue(project, "executor", timedelta(seconds=1), timedelta(seconds=lease_seconds))
    queue.create(["pool"], max_deliveries=5)
    queue.publish("pool", "a")
    with queue.subscribe("pool", 1) as busy:
        assert busy.next(TIMEOUT_SECONDS) is not None
        assert busy.next(lease_seconds + 3) is None, "the busy slot must not get another message"
        with queue.subscribe("pool", 1) as other:
            again = other.next(TIMEOUT_SECONDS)
            assert again is not None
            assert again.job_hash == "a"


def test_a_message_that_was_delivered_too_often_becomes_a_dead_letter(queue: PubSubJobQueue) -> None:
    queue.publish("pool", "a")
    with queue.subscribe("pool", 1) as subscription, queue.subscribe("dead-letter", 1) as letters:
        for _ in range(5):
            delivery = subscription.next(TIMEOUT_SECONDS)
            assert delivery is not None
            delivery.nack()
        letter = letters.next(TIMEOUT_SECONDS)
        assert letter is not None
        assert letter.job_hash == "a"
