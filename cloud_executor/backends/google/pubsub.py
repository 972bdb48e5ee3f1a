"""Messages in Google Cloud Pub/Sub: a topic and a subscription for each pool, both called `<prefix>-<pool>`.

Messages are pulled, never more at once than slots are free, and what is in hand is extended by a minute at a time: so
long a dead process's message stays away. Settling one waits for the service's answer.

The client library's streaming pull is not used. Once it holds as many messages as it may, it takes another only when
less than 80 % of them are left, so that of five slots or more some would idle beside long jobs. And the emulator goes
on sending messages into streams whose reader is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import quote

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import BatchSettings

from cloud_executor.delays import delays
from cloud_executor.errors import QuotaExceeded, Unavailable
from cloud_executor.model.message import InvalidMessage, decode_message, encode_message
from cloud_executor.model.pool import DEAD_LETTER
from cloud_executor.ports import Delivery, Subscription

logger = logging.getLogger(__name__)

CALL_SECONDS = 10.0
"""the deadline of a call, its repetitions included"""

PULL_SECONDS = 30.0
"""how long one pull waits for a message"""

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 10.0
"""between pulls that fail"""

EXTENSIONS_PER_LEASE = 3

STOP_SECONDS = 5.0
"""how long the threads of a subscription may take to end"""

_RETRY = Retry(
    predicate=if_exception_type(
        exceptions.ServiceUnavailable,
        exceptions.InternalServerError,
        exceptions.DeadlineExceeded,
        exceptions.Unknown,
        exceptions.Aborted,
    ),
    initial=0.05,
    maximum=1.0,
    timeout=CALL_SECONDS,
)
_REPEATED: dict[str, Any] = {"retry": _RETRY, "timeout": CALL_SECONDS}


class PubSubJobQueue:
    """A JobQueue in Pub/Sub. Topics and subscriptions are there already: Terraform makes them, `create` an emulator's.

    `longest_job` is how long a delivery can be kept in hand; `lease`, at most how long a dead process's stays away.
    """

    def __init__(
        self, project: str, prefix: str, longest_job: timedelta, lease: timedelta = timedelta(seconds=60)
    ) -> None:
        self._project = project
        self._prefix = prefix
        self._longest_job = longest_job
        self._lease = lease
        self._lock = threading.Lock()

    def publish(self, pool: str, job_hash: str) -> None:
        with _errors():
            message = self._publisher.publish(self._topic(pool), encode_message(job_hash), **_REPEATED)
            message.result(CALL_SECONDS)

    @contextmanager
    def subscribe(self, pool: str, slots: int) -> Iterator[Subscription]:
        """What is still in hand at the end is given back."""
        subscription = _Subscription(self._subscriber, self._subscription(pool), slots, self._longest_job, self._lease)
        subscription.start()
        try:
            yield subscription
        finally:
            subscription.end()

    def create(self, pools: Iterable[str], max_deliveries: int) -> None:
        """Make the topics and subscriptions as Terraform does. Those that are there stay as they are."""
        with _errors():
            self._create(DEAD_LETTER, None)
            for pool in pools:
                dead_letters = {
                    "dead_letter_topic": self._topic(DEAD_LETTER),
                    "max_delivery_attempts": max_deliveries,
                }
                self._create(pool, dead_letters)

    def _create(self, pool: str, dead_letter_policy: dict[str, object] | None) -> None:
        with suppress(exceptions.AlreadyExists):
            self._publisher.create_topic(name=self._topic(pool), **_REPEATED)
        request = {
            "name": self._subscription(pool),
            "topic": self._topic(pool),
            "ack_deadline_seconds": max(10, round(self._lease.total_seconds())),
            "retry_policy": {"minimum_backoff": timedelta(), "maximum_backoff": timedelta(seconds=60)},
            "dead_letter_policy": dead_letter_policy,
        }
        with suppress(exceptions.AlreadyExists):
            self._subscriber.create_subscription(request=request, **_REPEATED)

    def _topic(self, pool: str) -> str:
        return f"projects/{self._project}/topics/{self._name(pool)}"

    def _subscription(self, pool: str) -> str:
        return f"projects/{self._project}/subscriptions/{self._name(pool)}"

    def _name(self, pool: str) -> str:
        return f"{self._prefix}-{quote(pool, safe='')}"

    @property
    def _publisher(self) -> PublisherClient:
        with self._lock:
            return self._opened_publisher

    @cached_property
    def _opened_publisher(self) -> PublisherClient:
        # Whoever publishes waits for it: nothing is gained by waiting for more.
        with _errors():
            return PublisherClient(BatchSettings(max_messages=1))

    @property
    def _subscriber(self) -> SubscriberClient:
        with self._lock:
            return self._opened_subscriber

    @cached_property
    def _opened_subscriber(self) -> SubscriberClient:
        with _errors():
            return SubscriberClient()


class _Delivery:
    """A message in hand."""

    def __init__(self, subscription: _Subscription, ack_id: str, job_hash: str, extended_until: float) -> None:
        self.job_hash = job_hash
        self.ack_id = ack_id
        self.extended_until = extended_until
        """on the monotonic clock"""
        self.void = False
        """whether it is extended no more: others get the message, while a slot may still be busy with it"""
        self._subscription = subscription

    def ack(self) -> None:
        self._subscription.ack(self)

    def nack(self) -> None:
        self._subscription.nack(self)


class _Subscription:
    """Two threads: one pulls while there are free slots, one extends what is held."""

    def __init__(
        self, client: SubscriberClient, path: str, slots: int, longest_job: timedelta, lease: timedelta
    ) -> None:
        self._client = client
        self._path = path
        self._slots = slots
        self._longest_job_seconds = longest_job.total_seconds()
        self._lease_seconds = round(lease.total_seconds())
        # A pull that waits is ended by closing its connection, which the others still need.
        with _errors():
            self._pull_client = SubscriberClient()
        self._changed = threading.Condition()
        self._waiting: deque[_Delivery] = deque()
        self._held: set[_Delivery] = set()
        """what waits for a slot, and what a slot has"""
        self._error: Unavailable | None = None
        self._closed = False
        self._ended = threading.Event()
        self._puller = threading.Thread(target=self._keep_pulling, name="puller", daemon=True)
        self._extender = threading.Thread(target=self._keep_extending, name="extender", daemon=True)

    def start(self) -> None:
        self._puller.start()
        self._extender.start()

    def next(self, timeout: float) -> Delivery | None:
        """Raises Unavailable while messages cannot be pulled."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                if self._waiting:
                    return self._waiting.popleft()
                if self._error is not None:
                    raise Unavailable from self._error
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return None

    def ack(self, delivery: _Delivery) -> None:
        self._settle(delivery, self._client.acknowledge)

    def nack(self, delivery: _Delivery) -> None:
        self._settle(delivery, self._client.modify_ack_deadline, ack_deadline_seconds=0)

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            untaken = list(self._waiting)
            self._waiting.clear()
        self._pull_client.close()
        self._give_back(untaken)

    def end(self) -> None:
        self.close()
        # The one that pulls may just have got something, which it gives back itself.
        self._puller.join(STOP_SECONDS)
        with self._changed:
            in_hand = list(self._held)
        self._give_back(in_hand)
        self._ended.set()
        self._extender.join(STOP_SECONDS)

    def _settle(self, delivery: _Delivery, call: Callable[..., None], **arguments: int) -> None:
        with self._changed:
            if delivery not in self._held:
                return
        if not delivery.void:
            with _errors():
                call(subscription=self._path, ack_ids=[delivery.ack_id], **arguments, **_REPEATED)
        self._drop([delivery])

    def _drop(self, deliveries: Iterable[_Delivery]) -> None:
        with self._changed:
            self._held.difference_update(deliveries)
            self._changed.notify_all()

    def _give_back(self, deliveries: Collection[_Delivery]) -> None:
        """All by one call: who stops has no time. What cannot be given back returns when its lease ends."""
        ack_ids = [delivery.ack_id for delivery in deliveries if not delivery.void]
        if not ack_ids:
            return
        with suppress(Unavailable), _errors():
            self._client.modify_ack_deadline(
                subscription=self._path, ack_ids=ack_ids, ack_deadline_seconds=0, **_REPEATED
            )
        self._drop(deliveries)

    def _keep_pulling(self) -> None:
        retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._held) < self._slots)
                if self._closed:
                    return
                free = self._slots - len(self._held)
            # Nothing may end this thread: the worker would wait for ever.
            try:
                self._receive(self._pull(free))
            except Exception as error:
                if self._closed:
                    return
                logger.warning("cannot pull messages", extra={"action": "pull"}, exc_info=True)
                with self._changed:
                    self._error = error if isinstance(error, Unavailable) else Unavailable()
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed, next(retry_delays))
            else:
                retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
                self._error = None

    def _pull(self, free: int) -> Any:  # noqa: ANN401 - the library's own types are incomplete
        with _errors(), suppress(exceptions.DeadlineExceeded):
            return self._pull_client.pull(
                subscription=self._path, max_messages=free, retry=None, timeout=PULL_SECONDS
            ).received_messages
        return ()

    def _receive(self, messages: Iterable[Any]) -> None:
        until = time.monotonic() + self._longest_job_seconds
        for message in messages:
            try:
                job_hash = decode_message(message.message.data)
            except InvalidMessage:
                # It would come again for ever, and mean no more.
                data = repr(message.message.data[:200])
                logger.error("a message makes no sense", extra={"action": "pull", "data": data})
                job_hash = None
            delivery = _Delivery(self, message.ack_id, job_hash or "", until)
            with self._changed:
                self._held.add(delivery)
                late = self._closed
                if job_hash is not None and not late:
                    self._waiting.append(delivery)
                    self._changed.notify()
            if late:
                self._give_back([delivery])
            elif job_hash is None:
                delivery.ack()

    def _keep_extending(self) -> None:
        while not self._ended.wait(self._lease_seconds / EXTENSIONS_PER_LEASE):
            now = time.monotonic()
            with self._changed:
                held = [delivery for delivery in self._held if not delivery.void]
            given_up = [delivery for delivery in held if delivery.extended_until <= now]
            if given_up:
                logger.warning("messages were held too long", extra={"action": "extend", "count": len(given_up)})
            for delivery in given_up:
                delivery.void = True
            ack_ids = [delivery.ack_id for delivery in held if not delivery.void]
            # Nothing may end this thread: jobs would be delivered to others while they run.
            try:
                if ack_ids:
                    self._client.modify_ack_deadline(
                        subscription=self._path,
                        ack_ids=ack_ids,
                        ack_deadline_seconds=self._lease_seconds,
                        **_REPEATED,
                    )
            except Exception:
                logger.warning("cannot extend messages", extra={"action": "extend"}, exc_info=True)


@contextmanager
def _errors() -> Iterator[None]:
    """Whatever Pub/Sub refuses is no fault of a job's owner: its names and rights are the operator's."""
    try:
        yield
    except exceptions.ResourceExhausted as error:
        raise QuotaExceeded from error
    except (exceptions.GoogleAPIError, GoogleAuthError, TimeoutError) as error:
        raise Unavailable from error
