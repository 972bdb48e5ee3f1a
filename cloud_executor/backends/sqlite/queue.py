"""Messages in SQLite: up to one per job and pool, hidden while a delivery of it is in progress.

Each publish, delivery, and return gives the message a new token, so an earlier holder can no longer settle or extend
it. A delivery hides its message for the length of a lease, which a thread of the subscription extends. When the process
dies, the lease expires and the message becomes visible again.

No write here waits for the disk. The job store is in the same file, and a power failure undoes only the latest commits,
in order: if it undoes a publish, it also undoes the note of that publish, so the job is published again.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cloud_executor.backends.job_records import decode_string, encode_string
from cloud_executor.backends.os_errors import os_errors
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.schema import encode_time
from cloud_executor.backends.sqlite.wake import Listener, WakeFolder
from cloud_executor.errors import Unavailable
from cloud_executor.ports import Delivery, Subscription

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Interval between polls while waiting, in seconds: the longest delay of a message whose wake-up call was lost."""


class SqliteJobQueue:
    """A JobQueue in the embedded database, for the processes of one machine.

    `lease` is how long the message of a dead process stays hidden; `extend_every` is the interval at which a live
    process extends it.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        wake_folder: Path,
        clock: Callable[[], datetime],
        lease: timedelta = timedelta(seconds=30),
        extend_every: timedelta = timedelta(seconds=10),
    ) -> None:
        self._database = database
        self._wake = WakeFolder(wake_folder)
        self._clock = clock
        self._lease = lease
        self._extend_every = extend_every

    def publish(self, pool: str, job_hash: str) -> None:
        self._database.write(lambda connection: self.add(connection, pool, job_hash), durable=False)
        self.call(pool)

    def add(self, connection: sqlite3.Connection, pool: str, job_hash: str) -> datetime:
        """Add a message, or make the existing one visible, in the caller's transaction. Returns the time of publishing.

        Call `call` after the commit.
        """
        now = self._clock()
        connection.execute(
            """
            INSERT INTO messages (pool, job_hash, visible_at, token) VALUES (?, ?, ?, ?)
            ON CONFLICT (pool, job_hash) DO UPDATE
            SET visible_at = min(visible_at, excluded.visible_at), token = excluded.token
            """,
            (encode_string(pool), encode_string(job_hash), encode_time(now), _new_token()),
        )
        return now

    def call(self, pool: str) -> None:
        """Wake the pool's subscribers."""
        self._pool(pool).call()

    @contextmanager
    def subscribe(self, pool: str, slots: int) -> Iterator[Subscription]:
        """Deliveries that are not settled by the end go back to the queue. Nothing is taken before a slot asks."""
        with os_errors():
            listener = self._wake.listen(pool)
        subscription = _Subscription(self._pool(pool), listener)
        extender = threading.Thread(
            target=subscription.keep_extending, args=(self._extend_every.total_seconds(),), daemon=True
        )
        extender.start()
        try:
            yield subscription
        finally:
            subscription.end()
            extender.join()

    def _pool(self, name: str) -> _Pool:
        return _Pool(name, self._database, self._wake, self._clock, self._lease)


@dataclass(frozen=True, slots=True)
class _Message:
    job_hash: str
    token: bytes


@dataclass(frozen=True, slots=True)
class _Pool:
    """The messages of one pool."""

    name: str
    database: SqliteDatabase
    wake: WakeFolder
    clock: Callable[[], datetime]
    lease: timedelta

    def seconds_to_next(self) -> float | None:
        """Seconds until the next message becomes visible; None if the queue is empty."""
        rows = self.database.rows(
            "SELECT visible_at FROM messages WHERE pool = ? ORDER BY visible_at LIMIT 1",
            (encode_string(self.name),),
        )
        return (rows[0][0] - encode_time(self.clock())) / 1_000_000 if rows else None

    def take(self) -> _Message | None:
        """Hide the message that has waited longest, for the length of a lease, and return it."""
        key, token, now = encode_string(self.name), _new_token(), self.clock()

        def work(connection: sqlite3.Connection) -> _Message | None:
            row = connection.execute(
                "SELECT job_hash FROM messages WHERE pool = ? AND visible_at <= ? ORDER BY visible_at LIMIT 1",
                (key, encode_time(now)),
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE messages SET visible_at = ?, token = ? WHERE pool = ? AND job_hash = ?",
                (encode_time(now + self.lease), token, key, row[0]),
            )
            return _Message(decode_string(row[0]), token)

        return self.database.write(work, durable=False)

    def extend(self, messages: Collection[_Message]) -> None:
        """Hide those messages whose tokens are still current, for another lease."""
        until = encode_time(self.clock() + self.lease)
        rows = [(until, *self._identity(message)) for message in messages]
        self.database.write(
            lambda connection: (
                connection.executemany(
                    "UPDATE messages SET visible_at = ? WHERE pool = ? AND job_hash = ? AND token = ?", rows
                ).rowcount
            ),
            durable=False,
        )

    def remove(self, message: _Message) -> None:
        self.database.execute(
            "DELETE FROM messages WHERE pool = ? AND job_hash = ? AND token = ?",
            self._identity(message),
            durable=False,
        )

    def show(self, message: _Message) -> None:
        """Make the message visible to every subscription."""
        self.database.execute(
            "UPDATE messages SET visible_at = ?, token = ? WHERE pool = ? AND job_hash = ? AND token = ?",
            (encode_time(self.clock()), _new_token(), *self._identity(message)),
            durable=False,
        )
        self.call()

    def _identity(self, message: _Message) -> tuple[bytes, bytes, bytes]:
        return encode_string(self.name), encode_string(message.job_hash), message.token

    def call(self) -> None:
        # The message is stored: at worst, the next poll of a subscription finds it.
        with suppress(OSError):
            self.wake.call(self.name)


class _Subscription:
    """A Subscription. Several threads can ask it for deliveries."""

    def __init__(self, pool: _Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener
        self._turn = threading.Lock()
        self._closed = False
        self._ended = threading.Event()
        self._in_hand: dict[bytes, _Message] = {}

    def next(self, timeout: float) -> Delivery | None:
        deadline = time.monotonic() + timeout
        # One thread waits for calls, the others for their turn. A thread that gets its turn polls before it waits, so
        # it cannot miss a call that the thread before it cleared.
        if not self._turn.acquire(timeout=max(0.0, timeout)):
            return None
        try:
            while not self._closed:
                self._listener.clear()
                # Check again: the call from `close` can be one of those just cleared.
                if self._closed:
                    return None
                seconds = self._pool.seconds_to_next()
                if seconds is not None and seconds <= 0:
                    message = self._pool.take()
                    if message is not None:
                        self._in_hand[message.token] = message
                        return _Delivery(self, message)
                    continue
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                self._listener.wait(min(remaining, POLL_SECONDS, seconds or POLL_SECONDS))
            return None
        finally:
            self._turn.release()

    def close(self) -> None:
        self._closed = True
        self._listener.call()

    def ack(self, message: _Message) -> None:
        self._pool.remove(message)
        self._in_hand.pop(message.token, None)

    def nack(self, message: _Message) -> None:
        self._pool.show(message)
        self._in_hand.pop(message.token, None)

    def keep_extending(self, every_seconds: float) -> None:
        while not self._ended.wait(every_seconds):
            messages = list(self._in_hand.values())
            try:
                if messages:
                    self._pool.extend(messages)
            except Unavailable:
                logger.warning("cannot extend deliveries", extra={"action": "extend"}, exc_info=True)

    def end(self) -> None:
        self.close()
        with self._turn:
            self._listener.close()
        self._ended.set()
        # If this fails, the messages become visible when their leases expire.
        with suppress(Unavailable):
            for message in list(self._in_hand.values()):
                self.nack(message)


class _Delivery:
    def __init__(self, subscription: _Subscription, message: _Message) -> None:
        self.job_hash = message.job_hash
        self._subscription = subscription
        self._message = message

    def ack(self) -> None:
        self._subscription.ack(self._message)

    def nack(self) -> None:
        self._subscription.nack(self._message)


def _new_token() -> bytes:
    return secrets.token_bytes(16)
