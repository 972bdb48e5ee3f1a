"""The three ports: what storage must be able to do for the use cases, in domain terms.

Every method is one atomic step, safe for concurrent use by threads and processes. Implementations live in `backends/`;
one contract suite (`tests/contract/`) runs unchanged against each. Vendor errors end in the implementation: what leaves
a port is one of the errors below, or `Unavailable` / `StorageFull`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

import msgspec

from cloud_executor.errors import NotFound
from cloud_executor.model.job import Job, OutputSegment
from cloud_executor.model.worker import WorkerRecord

JobChange = Callable[[Job | None], Job | None]
"""A transition: the stored job (None: there is none) to the job to store (None: leave it). May raise to refuse; may
be called more than once by a store that retries, so it must be pure."""


class ObjectNotFound(NotFound):
    """No object has this key."""


class JobNotFound(NotFound):
    """No job has this hash."""


class ObjectInfo(msgspec.Struct, frozen=True):
    """What is known of a stored object without reading it."""

    key: str
    size: int
    """bytes"""
    modified: datetime
    """when it was stored; aware, UTC"""
    crc32: int | None = None
    """of its bytes, where the store keeps it"""
    note: str | None = None
    """of an upload in flight: what `upload_url` was told of it"""


class ObjectStore(Protocol):
    """Bytes under a key such as `wg-content/ab/cdef…`. Objects never change: a key is written once."""

    concurrency: int
    """how many calls are worth making at once: 1 for a local disk, more where each call is a round trip"""

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        """Store the joined chunks durably.

        A reader never sees part of an object, and a put that fails (also because `chunks` raises) leaves nothing.
        If the key is there already its object stays as it is, and that is a success.
        """

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Store small objects as `put` does each, in about the time of one; a failure may leave some of them stored."""

    def open(self, key: str, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """The object's bytes from offset `start` on, as a readable stream. Raises ObjectNotFound."""

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        """A small object whole, with what `stat` says of it, in one step. Raises ObjectNotFound."""

    def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in the order of the keys; pages are the store's own affair."""

    def move(self, source: str, destination: str) -> None:
        """Rename durably; moving onto an existing key drops the source. Raises ObjectNotFound if both are missing."""

    def delete(self, key: str) -> None:
        """Remove; a missing object is a success."""


class DirectTransfers(Protocol):
    """What some object stores can do besides: move bytes between a client and themselves, past this program.

    For answers and requests that are larger than a cloud function may give and take.
    """

    def upload_url(self, key: str, size: int, note: str, origin: str | None) -> str:
        """A URL to which a client sends `size` bytes, in a resumable session; they are then the object `key`.

        `note` is kept beside the object until it is moved. `origin`: of the browser page that will send, if one does.
        """

    def download_url(self, key: str, *, content_type: str, disposition: str | None, lifetime: timedelta) -> str:
        """A URL that gives the object to anybody for that long, with these headers. Nothing is looked up."""

    def record_crc32(self, key: str, crc32: int) -> None:
        """Keep the CRC-32 of an object's bytes beside it. Raises ObjectNotFound."""

    def compose(self, key: str, parts: Sequence[str | bytes]) -> None:
        """Store the parts joined, as `put` does: keys of objects that are there (their bytes are copied inside the
        store), and small pieces of bytes. There may be many thousand parts. Raises ObjectNotFound if one is missing.
        """


class JobPage(msgspec.Struct, frozen=True):
    """Part of a list of jobs, ordered by createTime and hash; hashes of one beginning of 1000 bytes in any order."""

    jobs: tuple[Job, ...]
    next: str | None
    """where the next page starts, an opaque text; None: this is the last page"""


class JobStore(Protocol):
    """Jobs by hash, the segments of their output, and the workers. A hash may be any text."""

    def get(self, job_hash: str) -> Job:
        """Raises JobNotFound."""

    def require(self, job_hash: str) -> None:
        """Raises JobNotFound. As jobs stay for ever, one that was there once may be taken for granted."""

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        """Apply `change` to the job, atomically against every other writer; the job as it is then stored.

        Not `durable`: a power cut may undo it, with all that was written after it. For notes whose loss `sweep` mends.
        """

    def record_publish(self, job: Job, at: datetime) -> None:
        """Note that a message for `job`, as it was stored last, is in the queue; nothing if it was changed since."""

    def query(
        self,
        *,
        status: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = 500,
    ) -> JobPage:
        """A page of the jobs for which all that is given holds, oldest first. `after` is a former page's `next`."""

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """RUNNING jobs whose lease ended before `now`."""

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        """CREATED jobs of some pool, older than that, of which no publish was noted."""

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """Jobs whose output is due to be cleared."""

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        """Store a segment (replacing the one of its number) and transact its job, both or neither.

        Raises Invalid if the number has more than 64 bits; a segment of more than 3 MB may be TooLarge.
        """

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        """Segments with start <= number < end in the order of their number."""

    def clear_output(self, job_hash: str) -> None:
        """Delete the segments of this job, and of no other. Repeating it is harmless."""

    def put_worker(self, worker: WorkerRecord) -> None:
        """Record a worker, replacing what was known of it. Raises TooLarge."""

    def workers(self) -> Iterator[WorkerRecord]:
        """All known workers, by client id; those of one beginning of 1000 bytes in any order."""

    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        """Forget a worker unless it was seen since; whether it was forgotten now."""


class Delivery(Protocol):
    """A message in one worker's hands. It comes again, to anyone, unless it is acked.

    Once it was published anew, or came again, this delivery of it is void: `ack` and `nack` do nothing.
    """

    job_hash: str

    def ack(self) -> None:
        """Done: never deliver this message again."""

    def nack(self) -> None:
        """Deliver it again, now."""


class Subscription(Protocol):
    """Deliveries of one pool. Those in hand are kept from others until acked, nacked, or the process dies."""

    def next(self, timeout: float) -> Delivery | None:
        """The next delivery, or None after `timeout` seconds or once `close` was called."""

    def close(self) -> None:
        """Stop delivering; deliveries in hand can still be acked or nacked. Wakes a waiting `next`."""


class JobQueue(Protocol):
    """Messages that name a job to run. At least once: duplicates and reordering are normal."""

    def publish(self, pool: str, job_hash: str) -> None:
        """Returns once the message is stored, as durably as the note in the job store that it was published."""

    def subscribe(self, pool: str, slots: int) -> AbstractContextManager[Subscription]:
        """Receive the pool's messages, to work on `slots` of them at once: no more are kept from others.

        A message left by a dead process returns within about a minute.
        """
