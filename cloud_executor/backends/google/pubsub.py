"""Messages in Google Cloud Pub/Sub: a topic and a subscription per pool, both named `<prefix>-<pool>`.

A subscription pulls up to as many messages as there are free slots. It extends the leases of messages in progress, by a
minute at a time: the message of a dead process is redelivered after that time. `ack` and `nack` wait for the service's
response.

The client library's streaming pull is not used. Once it holds the maximum number of messages, it takes more only when
fewer than 80 % of them are left, so with five or more slots, some would idle while long jobs run. Also, the emulator
keeps sending messages into streams whose reader is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError

from cloud_executor.backends.lazy import Lazy
from cloud_executor.delays import delays
from cloud_executor.errors import QuotaExceeded, Unavailable
from cloud_executor.model.jobs.message import InvalidMessage, decode_message, encode_message
from cloud_executor.model.jobs.pool import DEAD_LETTER
from cloud_executor.ports import Delivery, Subscription

if TYPE_CHECKING:  # loaded by the first call: most requests of a function need no messages
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

logger = logging.getLogger(__name__)

CALL_SECONDS = 10.0
"""Timeout of a call, including its retries, in seconds."""

PULL_SECONDS = 30.0
"""Longest wait of a pull for a message, in seconds."""

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 10.0
"""Longest delay after a failed pull, in seconds."""

EXTENSIONS_PER_LEASE = 3

STOP_SECONDS = 5.0
"""Time allowed for the threads of a subscription to end, in seconds."""

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
_RETRIED: dict[str, Any] = {"retry": _RETRY, "timeout": CALL_SECONDS}


class PubSubJobQueue:
    """A JobQueue in Pub/Sub. Topics and subscriptions exist already: Terraform creates them, or `create` in an
    emulator.

    `longest_job` is the longest time that a delivery can be in progress. `lease` is the longest time until the message
    of a dead process is redelivered.
    """

    def __init__(
        self, project: str, prefix: str, longest_job: timedelta, lease: timedelta = timedelta(seconds=60)
    ) -> None:
        self._project = project
        self._prefix = prefix
        self._longest_job = longest_job
        self._lease = lease
        self._publisher = Lazy(_connect_publisher)
        self._subscriber = Lazy(_connect_subscriber)

    def publish(self, pool: str, job_hash: str) -> None:
        with _errors():
            message = self._publisher.get().publish(self._topic(pool), encode_message(job_hash), **_RETRIED)
            message.result(CALL_SECONDS)

    @contextmanager
    def subscribe(self, pool: str, slots: int) -> Iterator[Subscription]:
        """Deliveries that are not settled by the end go back to the queue."""
        subscription = _Subscription(
            self._subscriber.get(), self._subscription(pool), slots, self._longest_job, self._lease
        )
        subscription.start()
        try:
            yield subscription
        finally:
            subscription.end()

    def create(self, pools: Iterable[str], max_deliveries: int) -> None:
        """Create the topics and subscriptions as Terraform does. Existing ones are kept unchanged."""
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
            self._publisher.get().create_topic(name=self._topic(pool), **_RETRIED)
        request = {
            "name": self._subscription(pool),
            "topic": self._topic(pool),
            "ack_deadline_seconds": max(10, round(self._lease.total_seconds())),
            "retry_policy": {"minimum_backoff": timedelta(), "maximum_backoff": timedelta(seconds=60)},
            "dead_letter_policy": dead_letter_policy,
        }
        with suppress(exceptions.AlreadyExists):
            self._subscriber.get().create_subscription(request=request, **_RETRIED)

    def _topic(self, pool: str) -> str:
        return f"projects/{self._project}/topics/{self._name(pool)}"

    def _subscription(self, pool: str) -> str:
        return f"projects/{self._project}/subscriptions/{self._name(pool)}"

    def _name(self, pool: str) -> str:
        return f"{self._prefix}-{quote(pool, safe='')}"


class _Delivery:
    """A message in progress."""

    def __init__(self, subscription: _Subscription, ack_id: str, job_hash: str, extended_until: float) -> None:
        self.job_hash = job_hash
        self.ack_id = ack_id
        self.extended_until = extended_until
        """Time on the monotonic clock after which the message is no longer extended."""
        self.void = False
        """Whether extending has ended: others can get the message, although a slot may still be working on it."""
        self._subscription = subscription

    def ack(self) -> None:
        self._subscription.ack(self)

    def nack(self) -> None:
        self._subscription.nack(self)


class _Subscription:
    """Has two threads: one pulls while there are free slots, the other extends the messages held."""

    def __init__(
        self, client: SubscriberClient, path: str, slots: int, longest_job: timedelta, lease: timedelta
    ) -> None:
        self._client = client
        self._path = path
        self._slots = slots
        self._longest_job_seconds = longest_job.total_seconds()
        self._lease_seconds = round(lease.total_seconds())
        # To end a waiting pull, `close` closes its client; other calls still need theirs.
        self._pull_client = _connect_subscriber()
        self._changed = threading.Condition()
        self._waiting: deque[_Delivery] = deque()
        self._held: set[_Delivery] = set()
        """The deliveries that wait for a slot, and those that a slot has."""
        self._error: Unavailable | None = None
        self._closed = False
        self._ended = threading.Event()
        self._puller = threading.Thread(target=self._keep_pulling, name="puller", daemon=True)
        self._extender = threading.Thread(target=self._keep_extending, name="extender", daemon=True)

    def start(self) -> None:
        self._puller.start()
        self._extender.start()

    def next(self, timeout: float) -> Delivery | None:
        """Raises Unavailable while pulling fails."""
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
        self._requeue(untaken)

    def end(self) -> None:
        self.close()
        # The puller may have just received messages; it requeues them itself.
        self._puller.join(STOP_SECONDS)
        with self._changed:
            held = list(self._held)
        self._requeue(held)
        self._ended.set()
        self._extender.join(STOP_SECONDS)

    def _settle(self, delivery: _Delivery, call: Callable[..., None], **arguments: int) -> None:
        with self._changed:
            if delivery not in self._held:
                return
        if not delivery.void:
            with _errors():
                call(subscription=self._path, ack_ids=[delivery.ack_id], **arguments, **_RETRIED)
        self._drop([delivery])

    def _drop(self, deliveries: Iterable[_Delivery]) -> None:
        with self._changed:
            self._held.difference_update(deliveries)
            self._changed.notify_all()

    def _requeue(self, deliveries: Collection[_Delivery]) -> None:
        """Requeue the messages in one call, because a stop must be quick. If it fails, their leases expire."""
        ack_ids = [delivery.ack_id for delivery in deliveries if not delivery.void]
        if not ack_ids:
            return
        with suppress(Unavailable), _errors():
            self._client.modify_ack_deadline(
                subscription=self._path, ack_ids=ack_ids, ack_deadline_seconds=0, **_RETRIED
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
            # No error may end this thread: the worker would wait forever.
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
                # Acked below: it would be redelivered forever, and never become valid.
                data = repr(message.message.data[:200])
                logger.error("invalid message dropped", extra={"action": "pull", "data": data})
                job_hash = None
            delivery = _Delivery(self, message.ack_id, job_hash or "", until)
            with self._changed:
                self._held.add(delivery)
                late = self._closed
                if job_hash is not None and not late:
                    self._waiting.append(delivery)
                    self._changed.notify()
            if late:
                self._requeue([delivery])
            elif job_hash is None:
                delivery.ack()

    def _keep_extending(self) -> None:
        while not self._ended.wait(self._lease_seconds / EXTENSIONS_PER_LEASE):
            now = time.monotonic()
            with self._changed:
                held = [delivery for delivery in self._held if not delivery.void]
            given_up = [delivery for delivery in held if delivery.extended_until <= now]
            if given_up:
                logger.warning("messages held for too long", extra={"action": "extend", "count": len(given_up)})
            for delivery in given_up:
                delivery.void = True
            ack_ids = [delivery.ack_id for delivery in held if not delivery.void]
            # No error may end this thread: running jobs would be delivered to other workers.
            try:
                if ack_ids:
                    self._client.modify_ack_deadline(
                        subscription=self._path,
                        ack_ids=ack_ids,
                        ack_deadline_seconds=self._lease_seconds,
                        **_RETRIED,
                    )
            except Exception:
                logger.warning("cannot extend messages", extra={"action": "extend"}, exc_info=True)


def _connect_publisher() -> PublisherClient:
    from google.cloud.pubsub_v1 import PublisherClient
    from google.cloud.pubsub_v1.types import BatchSettings

    # `publish` waits for each message, so batching would only delay them.
    with _errors():
        return PublisherClient(BatchSettings(max_messages=1))


def _connect_subscriber() -> SubscriberClient:
    from google.cloud.pubsub_v1 import SubscriberClient

    with _errors():
        return SubscriberClient()


@contextmanager
def _errors() -> Iterator[None]:
    """Translate errors into Unavailable: names and permissions are up to the operator, not to the job's owner."""
    try:
        yield
    except exceptions.ResourceExhausted as error:
        raise QuotaExceeded from error
    except (exceptions.GoogleAPIError, GoogleAuthError, TimeoutError) as error:
        raise Unavailable from error
