"""The ports: the operations that the use cases need from storage and from the fleet of workers, in domain terms.

Each method is one atomic step, safe for concurrent use by threads and processes. Implementations are in `backends/`;
one contract suite (`tests/contract/`) runs unchanged against all of them. Implementations translate vendor errors: a
port raises the documented errors, or `Unavailable` and its subclasses, such as `StorageFull`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

import msgspec

from cloud_executor.errors import NotFound
from cloud_executor.model.access.token import TokenRecord
from cloud_executor.model.blobs.usage import StorageUsage
from cloud_executor.model.jobs.job import Job, OutputSegment
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.worker import WorkerRecord

JobChange = Callable[[Job | None], Job | None]
"""A transition from the stored job (None if there is none) to the job to store (None for no change).

It can raise an error to reject the change. It must be pure, because a store that retries calls it again.
"""


USE_NOTED_AFTER = timedelta(days=1)
"""Time after the last noted use of an object until the next use is noted: noting one costs a write."""


class ObjectNotFound(NotFound):
    """No object has this key."""


class JobNotFound(NotFound):
    """No job has this hash."""


class ObjectInfo(msgspec.Struct, frozen=True):
    """Properties of a stored object."""

    key: str
    size: int
    """Size, in bytes."""
    modified: datetime
    """Time when the object was stored, in UTC."""
    crc32: int | None = None
    """CRC-32 of the object's bytes, if the store keeps it."""
    note: str | None = None
    """The note of an upload in flight, as passed to `upload_url`."""
    used: datetime | None = None
    """Time when the object was stored or when its last use was noted, in UTC; None if that is not known."""
    version: str = ""
    """Changes when the object is stored or a use is noted; `read` does not tell it."""


class ObjectStore(Protocol):
    """Byte strings under keys such as `wg-content/ab/cdef…`. Objects never change: each key is written once."""

    concurrency: int
    """Useful number of concurrent calls: 1 for a local disk, more if each call is a round trip."""

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        """Store the joined chunks durably.

        Readers never see part of an object. A put that fails, for example because `chunks` raises, leaves nothing. If
        the object exists already, it stays unchanged, counts as used (see `use`), and the call succeeds.
        """

    def put_all(self, objects: Mapping[str, bytes]) -> Collection[str]:
        """Put small objects, in much less time than one by one. If the call fails, some of them may be stored.

        Returns the keys of objects that existed already, whose bytes may be other ones. Repeated steps of this call
        may count as well.
        """

    def open(self, key: str, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """Open a stream of the object's bytes from offset `start` on. Raises ObjectNotFound."""

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read a small object and its properties in one step. Raises ObjectNotFound."""

    def stat(self, key: str) -> ObjectInfo:
        """Look up the object's properties. Raises ObjectNotFound."""

    def use(self, key: str, known: ObjectInfo | None = None) -> ObjectInfo:
        """Look up an object on which the caller relies from now on. Raises ObjectNotFound.

        The use is noted unless another one was noted in the last USE_NOTED_AFTER. The information may be from before
        that. `known`, from a `read`, spares the lookup if there is nothing to note. Such a call does not fail if the
        service's rate limit prevents the note.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield all objects whose keys start with `prefix`, ordered by key. Pages are fetched as needed."""

    def move(self, source: str, destination: str) -> bool:
        """Rename durably. If both exist, the destination stays, and counts as used. Returns whether it was moved.

        Safe to repeat: if only the destination exists, the object counts as moved. Raises ObjectNotFound if both are
        missing. A call that is interrupted may leave both.
        """

    def delete(self, key: str) -> None:
        """Delete the object. Succeeds if there is none."""

    def delete_unused(self, info: ObjectInfo) -> bool:
        """Delete an object from a list unless a use was noted, or the object was replaced, since then.

        Returns whether the object is gone. A store may keep objects whose use it could not note.
        """


class DirectTransfers(Protocol):
    """Optional operations of an object store: transfers between a client and the store that bypass this program.

    They serve requests and responses that exceed the size limits of a cloud function.
    """

    def upload_url(self, key: str, size: int, note: str, origin: str | None) -> str:
        """Return the URL of a resumable session in which a client uploads the object, of `size` bytes.

        `note` is kept with the object until it is moved. `origin` is the origin of the browser page that will upload,
        if any.
        """

    def download_url(self, key: str, *, content_type: str, disposition: str | None, lifetime: timedelta) -> str:
        """Return a URL at which anyone can download the object, with these headers, for `lifetime`. Makes no call."""

    def record_crc32(self, key: str, crc32: int) -> None:
        """Store the CRC-32 of an object's bytes with it. Raises ObjectNotFound."""

    def compose(self, key: str, parts: Sequence[str | bytes]) -> None:
        """Put the joined parts: keys of existing objects, which are copied inside the store, and small byte strings.

        There can be many thousands of parts. Raises ObjectNotFound if one is missing.
        """


class JobPage(msgspec.Struct, frozen=True):
    """A part of a list of jobs, ordered by createTime and hash. Hashes that share 1000 bytes can be in any order."""

    jobs: tuple[Job, ...]
    next: str | None
    """An opaque token for the next page; None on the last page. A page that is not the last one can be empty."""


class JobWatch(Protocol):
    """Notices changes of the status and the output number of one job, from the moment that it is opened."""

    def wait(self, seconds: float) -> None:
        """Return once the job may have changed since the last `wait`, after `seconds`, or once `stop` is called.

        A change by a process that dies before it can tell is not noticed.
        """

    def stop(self) -> None:
        """End the current `wait` and all later ones at once. Any thread or signal handler can call it."""


class JobStore(Protocol):
    """Jobs by hash, the segments of their output, and worker records. A hash can be any string."""

    publishes: bool
    """Whether the transact that changes a job also publishes the jobs that are then next (`next_to_publish`)."""

    def get(self, job_hash: str) -> Job:
        """Look up a job. Raises JobNotFound."""

    def require(self, job_hash: str) -> None:
        """Raises JobNotFound. The result can be cached for a minute, in which a deleted job seems to exist."""

    def watch(self, job_hash: str) -> AbstractContextManager[JobWatch]:
        """Watch a job, which need not exist. One thread can wait."""

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        """Apply `change` to the job, atomically with respect to all other writers. Returns the job as stored afterward.

        A change that is not `durable` can be undone by a power failure, along with all later writes. This suits records
        that `sweep` restores.
        """

    def record_publish(self, job: Job, at: datetime) -> None:
        """Record that the queue has a message for `job`. Has no effect if the stored job has changed since."""

    def query(
        self,
        *,
        status: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = 500,
    ) -> JobPage:
        """Return a page of the jobs that match all conditions, oldest first. `after` is an earlier page's `next`.

        A page of large jobs is shorter than `limit`, as are the results of the queries below.
        """

    def search(
        self, wanted: JobFilter, *, newest_first: bool = False, after: str | None = None, limit: int = 500
    ) -> JobPage:
        """Return a page of the jobs that meet all conditions.

        The time for a page does not grow with the number of jobs: after a limited number of jobs that meet only some
        of the conditions, the page ends, with fewer jobs than `limit` or none.
        """

    def counts(self, pool: str | None = None) -> Mapping[str, int]:
        """Return the number of jobs by status: of all jobs, or of the unfinished jobs of a pool.

        The numbers of finished jobs can be a minute old. Statuses that only external workers use can be missing.
        """

    def count(self, user_id: str, statuses: Collection[str], limit: int) -> int:
        """Return the number of jobs of a user that have one of the statuses (none: any), counted up to `limit`."""

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """RUNNING jobs whose leases have expired, or that their external workers should have reported on."""

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        """CREATED jobs of any pool with no record of being published: the oldest of each user and pool.

        Only those that were created before this time; if these are more than `limit`, a random choice of them.
        """

    def next_to_publish(self, user_id: str, pool: str, window: int) -> tuple[Job, ...]:
        """The user's oldest unpublished jobs that wait for the pool, as many as have a place in the user's window.

        Each published job of the user that waits for the pool takes a place (`fair_share`). A change that is made
        during the call may count or not; all earlier ones count.
        """

    def queued(self, user_id: str, pool: str, limit: int) -> tuple[Job, ...]:
        """Up to `limit` published jobs of the user that wait for the pool, in any order."""

    def jobs_ahead(self, job: Job, limit: int) -> int:
        """Number of jobs that are likely to start before `job`, which waits for a pool, counted up to `limit`.

        These are the published jobs that wait for the pool: the older ones, or all if `job` is unpublished; then also
        the unpublished jobs of its user that are older.
        """

    def with_lost_message(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """CREATED jobs whose messages count as lost, because of their age (`message_lost_at`)."""

    def backlog(self, pool: str, limit: int) -> int:
        """Number of jobs that wait for the pool or run on its workers, counted up to `limit`."""

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """Jobs whose output is due to be cleared."""

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        """Store a segment, replacing one with the same number, and transact its job, both in one step.

        Raises Invalid if the number exceeds 64 bits. Can raise TooLarge if the segment exceeds 3 MB.
        """

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        """Yield the segments with start <= number < end, ordered by number."""

    def clear_output(self, job_hash: str, change: JobChange | None = None) -> bool:
        """Delete all segments of this job and transact it, unless `change` returns None. Returns whether it did.

        Without a `change`, the job stays as it is. If the process dies in between, segments may be deleted while the
        job is unchanged. Segments that are stored after the version of the job that `change` accepted are kept.
        """

    def delete(self, job_hash: str, check: Callable[[Job], None]) -> None:
        """Delete a job and all segments of its output, unless `check` raises an error for the job as it is stored.

        If the process dies in between, segments may be deleted while the job is unchanged. Raises JobNotFound.
        """

    def record_usage(self, usage: StorageUsage) -> None:
        """Store how much the object store holds, replacing an earlier record."""

    def usage(self) -> StorageUsage | None:
        """Return the latest record of how much the object store holds; None if there is none."""

    def put_worker(self, worker: WorkerRecord) -> None:
        """Store a worker record, replacing an earlier one. Raises TooLarge."""

    def workers(self) -> Iterator[WorkerRecord]:
        """Yield all worker records, ordered by client id. Ids that share 1000 bytes can be in any order."""

    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        """Delete a worker record unless the worker was seen since. Returns whether it was deleted."""


class TokenStore(Protocol):
    """Records of access tokens, by id."""

    def add(self, record: TokenRecord) -> None:
        """Store a new record durably. Raises Conflict if there is one with this id."""

    def get(self, token_id: str) -> TokenRecord | None:
        """Look up a record; None if there is none."""

    def tokens(self) -> Iterator[TokenRecord]:
        """Yield all records, in any order."""

    def delete(self, token_id: str) -> bool:
        """Delete a record durably. Returns whether there was one."""


class GrantStore(Protocol):
    """Which users have which contents: records of a user, a content's hash, and its size in bytes."""

    def grant(self, user: str, sizes: Mapping[str, int]) -> None:
        """Record durably that the user has these contents, given as hash -> size. A content is recorded once.

        If the call fails, some of them may be recorded.
        """

    def granted(self, user: str, content_hashes: Collection[str]) -> frozenset[str]:
        """Return those of the contents that the user has."""

    def bytes_of(self, user: str) -> int:
        """Return the size of all contents that the user has, in bytes. The time does not grow with their number."""

    def forget(self, content_hash: str) -> None:
        """Delete the records of all users of a content, as when the content is deleted."""


class QuotaStore(Protocol):
    """Limits that administrators have set for users, by name, and the bytes that users have uploaded."""

    def limit_changes(self, user: str) -> Mapping[str, int | None]:
        """Return the limits that were set for a user; None: no limit."""

    def change_limits(self, user: str, changes: Mapping[str, int | None], removed: Collection[str]) -> None:
        """Set some limits of a user durably, and remove others."""

    def count_upload(self, user: str, day: str, size: int) -> None:
        """Count bytes that a user has uploaded on a day, `YYYY-MM-DD`.

        A crash or a lost response can make the count wrong by this size.
        """

    def uploaded(self, user: str, day: str) -> int:
        """Return the bytes that a user has uploaded on this day. Only the latest day of a user is kept."""


class Identity(msgspec.Struct, frozen=True):
    """An account that an identity provider vouches for."""

    address: str
    """The account's verified e-mail address, in lowercase."""
    domain: str | None
    """The domain that manages the account, in lowercase; None for a private account."""
    expires: datetime
    """Time until which the provider vouches for the account."""


class Identities(Protocol):
    """Verifies signed statements of an identity provider about who sends a request."""

    def of_id_token(self, token: str) -> Identity:
        """The account of an ID token. Raises Unauthorized, and Unavailable without the provider's certificates."""

    def of_assertion(self, assertion: str) -> Identity:
        """The account that an identity-aware proxy has signed in. Raises as `of_id_token`."""


class Delivery(Protocol):
    """A message held by one worker. Unless it is acked, it is redelivered to any worker.

    Once the message is published again or redelivered, this delivery is void: `ack` and `nack` have no effect.
    """

    job_hash: str

    def ack(self) -> None:
        """Settle the message: it is not delivered again."""

    def nack(self) -> None:
        """Redeliver the message immediately."""


class Subscription(Protocol):
    """Deliveries of one pool. No other worker gets them until they are acked or nacked, or the process dies."""

    def next(self, timeout: float) -> Delivery | None:
        """Wait for the next delivery. Returns None after `timeout` seconds, or once `close` is called."""

    def close(self) -> None:
        """Stop delivering, and wake a waiting `next`. Earlier deliveries can still be acked or nacked."""


class JobQueue(Protocol):
    """Messages that name a job to run. Delivery is at least once: duplicates and reordering are normal."""

    def publish(self, pool: str, job_hash: str) -> None:
        """Store a message. It is as durable as the job store's record that the job was published."""

    def subscribe(self, pool: str, slots: int) -> AbstractContextManager[Subscription]:
        """Receive up to `slots` of the pool's messages at once; all others stay available to other workers.

        The messages of a dead process are redelivered within about a minute.
        """


class WorkerFleet(Protocol):
    """The workers of the pools, where this program can add some. Workers leave by themselves when they are idle."""

    def ensure(self, pool: str, wanted: int) -> None:
        """Grow the pool to at least `wanted` workers, or to its maximum if that is less. Never shrinks it.

        The workers start after the call. Repeating a call changes nothing. It is called regularly for every pool, so
        an implementation can also complete here what an earlier call has begun. Raises Unavailable.
        """
