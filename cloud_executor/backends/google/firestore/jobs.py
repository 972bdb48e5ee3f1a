"""Jobs, their output, and worker records in Firestore:

    jobs/{key of the hash}                            the fields that queries need, and the job itself in `body`
    jobs/{key of the hash}/output/{number}-{part}     a piece of an output segment; `expireAt` is for a TTL policy
    workers/{key of the client id}
    usage/blobs                                       how much the object store holds

indexes.json declares the indexes that the queries need. A change of a job is an optimistic transaction: a read, then an
atomic commit on the condition that the job is unchanged since the read. A transaction that loses the race is retried. A
process that dies in between holds no lock that others would have to wait for.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud.firestore_v1.base_query import FieldFilter

from cloud_executor.backends.google.errors import google_errors, with_google_errors
from cloud_executor.backends.google.firestore.calls import LOST_RACE as _LOST_RACE
from cloud_executor.backends.google.firestore.calls import ONCE as _ONCE
from cloud_executor.backends.google.firestore.calls import RETRIED as _RETRIED
from cloud_executor.backends.google.firestore.calls import TRANSIENT as _TRANSIENT
from cloud_executor.backends.google.firestore.clock import ServerClock
from cloud_executor.backends.google.firestore.database import open_database
from cloud_executor.backends.google.firestore.documents import (
    GONE,
    Piece,
    body_of,
    decoded,
    document_key,
    job_fields,
    joined,
    list_position,
    list_position_after,
    marks_of,
    piece_id,
    pieces_of,
    term_key,
)
from cloud_executor.backends.google.firestore.records import FirestoreRecords
from cloud_executor.backends.google.firestore.versions import StoredVersions
from cloud_executor.backends.google.firestore.waiting_line import WaitingLines
from cloud_executor.backends.google.firestore.watch import IntervalWatch
from cloud_executor.backends.job_records import (
    JOB,
    check_segment_number,
    encode_string,
    page_from,
    publish_recorded,
    read_jobs,
    segment_numbers,
)
from cloud_executor.backends.job_terms import is_served_by_index, leading_term
from cloud_executor.clock import system_clock
from cloud_executor.delays import delays
from cloud_executor.errors import TooLarge, Unavailable
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import FINISHED, Job, OutputSegment, Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.transitions import record_publish
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import JobChange, JobNotFound, JobPage, JobWatch

TRANSACT_SECONDS = 20.0
"""Time during which a change is retried while others change the same job, in seconds."""

FIRST_DELAY_SECONDS = 0.01
LONGEST_DELAY_SECONDS = 1.0

JOBS_PER_PAGE = 500
"""Number of documents after which a page of a list ends, although more may match: each is a billed read."""

PIECES_PER_DELETE = 300
PIECES_PER_READ = 20
"""Pieces read at once: more than a segment can have."""

SEGMENT_BYTES = 3_000_000
"""Largest output segment, in bytes. It is committed with its job: at most 4 MiB (emulator) or 10 MiB (service)."""

OUTPUT_LIFETIME = timedelta(days=7)
"""Time after which uncleared output expires. It must outlast every job."""

CLOCK_DOCUMENT = "~clock"
"""Id of a document that does not exist; reading it shows the time."""

MARKS_KEPT = 8
"""Number of changes that a job's document names: a lost response is recognized after up to as many other changes."""

KNOWN_SECONDS = 60.0
"""Time for which a job is known to exist, in seconds: an operator may delete it."""

COUNTED_SECONDS = 60.0
"""Time for which the number of finished jobs is kept, in seconds: counting a thousand jobs is a billed read."""

CONCURRENT_COUNTS = 8

JOBS_KNOWN = 10_000
"""Number of jobs that are remembered to exist."""


class FirestoreJobStore(FirestoreRecords):
    """A JobStore in a Cloud Firestore database (native mode).

    Jobs that were created in the same millisecond, and whose hashes share their first thousand bytes, are listed in any
    order. If `output_lifetime` is None, output that is not cleared is kept forever.
    """

    publishes = False

    def __init__(self, project: str | None, database: str, output_lifetime: timedelta | None = OUTPUT_LIFETIME) -> None:
        self._output_lifetime = output_lifetime
        self._client = open_database(project, database)
        self._lock = threading.Lock()
        self._versions = StoredVersions()
        self._known: OrderedDict[str, float] = OrderedDict()
        """Time at which each job was last seen, on the monotonic clock."""
        self._clock = ServerClock()
        self._counts: dict[str, tuple[int, float]] = {}
        """Number of jobs of a status, and when it was counted, on the monotonic clock."""

    @with_google_errors
    def get(self, job_hash: str) -> Job:
        snapshot = self._read(self._job(job_hash))
        if not snapshot.exists:
            raise JobNotFound
        with self._lock:
            self._known[document_key(job_hash)] = time.monotonic()
            self._known.move_to_end(document_key(job_hash))
            if len(self._known) > JOBS_KNOWN:
                self._known.popitem(last=False)
        return decoded(JOB, snapshot)

    @with_google_errors
    def now(self) -> datetime:
        """The time of the database, which may be late by about the time of a call. Reads a document if necessary."""
        now = self._clock.now()
        if now is None:
            self._read(self._jobs.document(CLOCK_DOCUMENT))
            now = self._clock.now()
        return now or system_clock()

    def require(self, job_hash: str) -> None:
        with self._lock:
            seen_at = self._known.get(document_key(job_hash))
        if seen_at is None or time.monotonic() - seen_at > KNOWN_SECONDS:
            self.get(job_hash)

    @contextmanager
    def watch(self, job_hash: str) -> Iterator[JobWatch]:
        """The watch hears of nothing: it returns at intervals, and its owner then reads the job."""
        yield IntervalWatch()

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        """All changes are durable."""
        return self._transact(job_hash, change, ())

    @with_google_errors
    def record_publish(self, job: Job, at: datetime) -> None:
        version = self._versions.of(job)
        if version is None:
            self.transact(job.hash, publish_recorded(job, at))
            return
        recorded = record_publish(job, at)
        if recorded is None:
            return
        batch = self._client.get().batch()
        batch.update(
            self._job(job.hash), job_fields(recorded), self._client.get().write_option(last_update_time=version)
        )
        try:
            batch.commit(**_RETRIED)
        except (*_LOST_RACE, exceptions.NotFound):
            return

    def query(
        self,
        *,
        status: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = 500,
    ) -> JobPage:
        statuses = () if status is None else (status,)
        return self.search(JobFilter(statuses=statuses, user_id=user_id), after=after, limit=limit)

    def search(
        self, wanted: JobFilter, *, newest_first: bool = False, after: str | None = None, limit: int = 500
    ) -> JobPage:
        query = self._selected(wanted).order_by("position", direction="DESCENDING" if newest_first else "ASCENDING")
        if wanted.created_from is not None:
            query = query.where(filter=FieldFilter("position", ">=", encode_string(wanted.created_from)))
        if wanted.created_before is not None:
            query = query.where(filter=FieldFilter("position", "<", encode_string(wanted.created_before)))
        if after is not None:
            query = query.start_after({"position": list_position_after(after)})
        most_read = limit if is_served_by_index(wanted) else max(limit, JOBS_PER_PAGE)
        # The extra job shows whether there is a next page.
        with google_errors(), closing(query.limit(most_read + 1).stream(**_RETRIED)) as snapshots:
            return page_from(map(body_of, snapshots), wanted, limit, most_read, list_position)

    def counts(self, pool: str | None = None) -> Mapping[str, int]:
        statuses = list(Status) if pool is None else [Status.CREATED, Status.RUNNING]
        found = parallel_map(lambda status: self._count(status, pool), statuses, CONCURRENT_COUNTS)
        return {status: count for status, count in zip(statuses, found, strict=True) if count}

    @with_google_errors
    def _count(self, status: Status, pool: str | None) -> int:
        if status in FINISHED:
            count, counted_at = self._counts.get(status, (0, -COUNTED_SECONDS))
            if time.monotonic() - counted_at < COUNTED_SECONDS:
                return count
        # The order selects an index that exists.
        query = self._selected(JobFilter(statuses=(status,), pool=pool)).order_by("position")
        ((result,),) = query.count().get(**_RETRIED)
        count = int(result.value)
        if status in FINISHED:
            self._counts[status] = count, time.monotonic()
        return count

    @with_google_errors
    def count(self, user_id: str, statuses: Collection[str], limit: int) -> int:
        wanted = JobFilter(statuses=tuple(statuses), user_id=user_id)
        # The order selects an index that exists.
        ((result,),) = self._selected(wanted).order_by("position").limit(limit).count().get(**_RETRIED)
        return int(result.value)

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("leaseExpires", "<=", now, limit)

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        with google_errors():
            found = WaitingLines(self._jobs).first_of_each(limit)
        for snapshot in found:
            if isinstance(snapshot.get("unpublished"), str):
                self._transact(decoded(JOB, snapshot).hash, lambda job: job, ())  # stores the fields of this version
        jobs = (decoded(JOB, snapshot) for snapshot in found)
        return tuple(job for job in jobs if job.create_time < iso_time(created_before))

    @with_google_errors
    def next_to_publish(self, user_id: str, pool: str, window: int) -> tuple[Job, ...]:
        return tuple(map(self._remembered, WaitingLines(self._jobs).next_to_publish(user_id, pool, window)))

    @with_google_errors
    def queued(self, user_id: str, pool: str, limit: int) -> tuple[Job, ...]:
        return tuple(map(self._remembered, WaitingLines(self._jobs).queued(user_id, pool, limit)))

    @with_google_errors
    def jobs_ahead(self, job: Job, limit: int) -> int:
        return WaitingLines(self._jobs).ahead(job, limit)

    def with_lost_message(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("messageLostAt", "<=", now, limit)

    @with_google_errors
    def backlog(self, pool: str, limit: int) -> int:
        jobs = self._jobs.where(filter=FieldFilter("activePool", "==", document_key(pool))).limit(limit)
        ((count,),) = jobs.count().get(**_RETRIED)
        return int(count.value)

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("outputExpires", "<=", now, limit)

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        check_segment_number(segment.number)
        if len(encode_string(segment.output)) > SEGMENT_BYTES:
            raise TooLarge(f"An output segment can have up to {SEGMENT_BYTES} bytes; send smaller segments.")
        return self._transact(segment.job_hash, change, pieces_of(segment))

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        numbers = segment_numbers(start, end)
        while numbers:
            pieces = self._read_output(job_hash, numbers)
            first = numbers.start
            for segment in joined(job_hash, pieces):
                yield segment
                first = segment.number + 1
            if len(pieces) < PIECES_PER_READ:
                return
            # Read an incomplete segment again as a whole: it can be replaced between the reads.
            numbers = range(max(first, pieces[-1].get("number")), numbers.stop)

    @with_google_errors
    def clear_output(self, job_hash: str, change: JobChange | None = None) -> bool:
        job = self._read(self._job(job_hash))
        if change is not None and change(decoded(JOB, job) if job.exists else None) is None:
            return False
        self._delete_output(job_hash, job)
        if change is not None:
            self._transact(job_hash, change, ())
        return True

    @with_google_errors
    def delete(self, job_hash: str, check: Callable[[Job], None]) -> None:
        reference = self._job(job_hash)
        deadline = time.monotonic() + TRANSACT_SECONDS
        retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, jitter=True)
        tried = False
        while True:
            snapshot = self._read(reference)
            if not snapshot.exists:
                with self._lock:
                    self._known.pop(document_key(job_hash), None)
                if tried:  # an earlier call seemed to fail, but took effect
                    return
                raise JobNotFound
            check(decoded(JOB, snapshot))
            # First, because the output of a missing job would be that of the next job with this hash. Each new segment
            # changes the job, so the job is then read again.
            self._delete_output(job_hash, snapshot)
            tried = True
            unchanged = self._client.get().write_option(last_update_time=snapshot.update_time)
            try:
                reference.delete(option=unchanged, **_ONCE)
            except (*_LOST_RACE, *_TRANSIENT, exceptions.NotFound) as error:
                delay = next(retry_delays)
                if time.monotonic() + delay >= deadline:
                    raise Unavailable from error
                time.sleep(delay)
            else:
                with self._lock:
                    self._known.pop(document_key(job_hash), None)
                return

    def _delete_output(self, job_hash: str, job: Any) -> None:  # noqa: ANN401 - a document of the library
        """Delete the segments that were stored before the job was read."""
        pieces = self._output(job_hash).select(["__name__"]).order_by("__name__").limit(PIECES_PER_DELETE)
        page = pieces
        while found := page.get(**_RETRIED):
            batch = self._client.get().batch()
            for snapshot in found:
                # Keep a segment of a new run: the job may have been created again since it was read.
                if snapshot.update_time <= job.read_time:
                    batch.delete(snapshot.reference)
            batch.commit(**_RETRIED)
            page = pieces.start_after(found[-1])

    # Documents ----------------------------------------------------------------------------------------------------

    @property
    def _jobs(self) -> Any:  # noqa: ANN401 - the library's types are incomplete
        return self._client.get().collection("jobs")

    def _job(self, job_hash: str) -> Any:  # noqa: ANN401 - as above
        return self._jobs.document(document_key(job_hash))

    def _output(self, job_hash: str) -> Any:  # noqa: ANN401 - as above
        return self._job(job_hash).collection("output")

    def _read(self, reference: Any) -> Any:  # noqa: ANN401 - as above
        snapshot = reference.get(**_RETRIED)
        self._clock.note(snapshot.read_time)
        return snapshot

    def _selected(self, wanted: JobFilter) -> Any:  # noqa: ANN401 - as above
        """The jobs that meet the conditions that an index serves, apart from the time."""
        query, term = self._jobs, leading_term(wanted)
        if term is not None:
            query = query.where(filter=FieldFilter("terms", "array_contains", term_key(*term)))
        elif wanted.user_id is not None:
            query = query.where(filter=FieldFilter("userId", "==", document_key(wanted.user_id)))
        statuses = [document_key(status) for status in wanted.statuses]
        if len(statuses) == 1:
            query = query.where(filter=FieldFilter("status", "==", statuses[0]))
        elif statuses:
            query = query.where(filter=FieldFilter("status", "in", statuses))
        return query

    def _due(self, field: str, relation: str, bound: object, limit: int) -> tuple[Job, ...]:
        query = self._jobs.where(filter=FieldFilter(field, relation, bound)).order_by(field).limit(limit)
        with google_errors(), closing(query.stream(**_RETRIED)) as snapshots:
            return read_jobs(map(body_of, snapshots))

    def _read_output(self, job_hash: str, numbers: range) -> Sequence[Any]:
        """The first pieces of segments with these numbers, up to PIECES_PER_READ."""
        output = self._output(job_hash)
        query = output.order_by("__name__").start_at({"__name__": output.document(piece_id(numbers[0], 0))})
        query = query.end_at({"__name__": output.document(piece_id(numbers[-1], PIECES_PER_READ))})
        return _snapshots(query.limit(PIECES_PER_READ))

    # Transactions -------------------------------------------------------------------------------------------------

    @with_google_errors
    def _transact(self, job_hash: str, change: JobChange, pieces: Sequence[Piece]) -> Job | None:
        reference = self._job(job_hash)
        attempts: dict[str, Job | None] = {}
        deadline = time.monotonic() + TRANSACT_SECONDS
        retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, jitter=True)
        while True:
            snapshot = self._read(reference)
            marks = marks_of(snapshot)
            for mark in attempts.keys() & marks:
                # An earlier commit seemed to fail, but took effect. Others may have changed the job since.
                return attempts[mark]
            stored = decoded(JOB, snapshot) if snapshot.exists else None
            changed = change(stored)
            if changed is None and not pieces:
                return stored
            mark = secrets.token_hex(8)
            attempts[mark] = stored if changed is None else changed
            kept = [*marks, mark][-MARKS_KEPT:]
            batch = self._client.get().batch()
            if snapshot.exists:
                fields = {} if changed is None else job_fields(changed)
                unchanged = self._client.get().write_option(last_update_time=snapshot.update_time)
                batch.update(reference, {**fields, "marks": kept}, unchanged)
            elif changed is not None:
                fields = {name: value for name, value in job_fields(changed).items() if value is not GONE}
                batch.create(reference, {**fields, "marks": kept})
            for piece in pieces:
                batch.set(reference.collection("output").document(piece.id), self._expiring(piece, snapshot.read_time))
            try:
                (written, *_) = batch.commit(**_ONCE)
            except (*_LOST_RACE, *_TRANSIENT, exceptions.NotFound) as error:
                delay = next(retry_delays)
                if time.monotonic() + delay >= deadline:
                    raise Unavailable from error
                time.sleep(delay)
            else:
                if changed is not None:
                    self._versions.remember(changed, written.update_time)
                return attempts[mark]

    def _expiring(self, piece: Piece, now: datetime) -> dict[str, object]:
        if self._output_lifetime is None:
            return piece.fields
        return {**piece.fields, "expireAt": now + self._output_lifetime}

    def _remembered(self, snapshot: Any) -> Job:  # noqa: ANN401 - the library's types are incomplete
        job = decoded(JOB, snapshot)
        self._versions.remember(job, snapshot.update_time)
        return job


def _snapshots(query: Any) -> list[Any]:  # noqa: ANN401 - the library's types are incomplete
    with google_errors():
        return list(query.get(**_RETRIED))
