"""Jobs, their output and the workers in Firestore:

    jobs/{key of the hash}                            what queries need of the job, and in `body` the job itself
    jobs/{key of the hash}/output/{number}-{part}     a piece of a segment; `expireAt` is for a TTL policy
    workers/{key of the client id}

The indexes that the queries need are in indexes.json. A change of a job is an optimistic transaction: a read,
and an atomic commit on the condition that the job is still as it was read; whoever comes second begins anew. So a
process that dies in between holds no lock that others would have to wait for.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from cloud_executor.backends.google.errors import google_errors, with_google_errors
from cloud_executor.backends.google.firestore.documents import (
    GONE,
    JOB,
    NUMBERS,
    WORKER,
    Piece,
    decoded,
    job_fields,
    joined,
    key,
    page_after,
    parse_position,
    piece_id,
    pieces_of,
    worker_fields,
)
from cloud_executor.delays import delays
from cloud_executor.errors import Invalid, TooLarge, Unavailable
from cloud_executor.model.javascript import iso_time
from cloud_executor.model.job import Job, OutputSegment
from cloud_executor.model.transitions import record_publish
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobChange, JobNotFound, JobPage

CALL_SECONDS = 10.0
"""the deadline of a call, its repetitions included"""

TRANSACT_SECONDS = 20.0
"""how long a change is tried anew while others change the same job"""

FIRST_DELAY_SECONDS = 0.01
LONGEST_DELAY_SECONDS = 1.0

WORKERS_PER_READ = 300
PIECES_PER_DELETE = 300
PIECES_PER_READ = 20
"""more than a segment can have"""

SEGMENT_BYTES = 3_000_000
"""in a segment, which is stored by one commit together with its job: an emulator takes 4 MiB, the service 10 MiB"""

OUTPUT_LIFETIME = timedelta(days=7)
"""when output expires by itself that nobody has cleared: it has to outlast every job"""

VERSIONS_KEPT = 1000
"""jobs of which the store remembers how it stored them last"""

JOBS_KNOWN = 10_000
"""jobs of which the store remembers that they are there"""

_PASSING = (exceptions.ServiceUnavailable, exceptions.InternalServerError, exceptions.DeadlineExceeded)
"""errors after which a call is repeated; it may have been done all the same"""

_OVERTAKEN = (exceptions.Conflict, exceptions.FailedPrecondition)
"""errors of a commit before which somebody else changed the job, or still does"""

_RETRY = Retry(
    predicate=if_exception_type(*_PASSING, exceptions.Aborted), initial=0.05, maximum=1.0, timeout=CALL_SECONDS
)
_REPEATED: dict[str, Any] = {"retry": _RETRY, "timeout": CALL_SECONDS}
_ONCE: dict[str, Any] = {"retry": None, "timeout": CALL_SECONDS}


class FirestoreJobStore:
    """A JobStore in a database of Cloud Firestore (native mode).

    Jobs of one moment whose hashes agree in more than a thousand bytes come in an order of its own. `output_lifetime`
    None: output that is not cleared stays for ever.
    """

    def __init__(self, project: str | None, database: str, output_lifetime: timedelta | None = OUTPUT_LIFETIME) -> None:
        self._project = project
        self._database = database
        self._output_lifetime = output_lifetime
        self._lock = threading.Lock()
        self._versions: OrderedDict[str, tuple[Job, Any]] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    @with_google_errors
    def get(self, job_hash: str) -> Job:
        snapshot = self._job(job_hash).get(**_REPEATED)
        if not snapshot.exists:
            raise JobNotFound
        with self._lock:
            self._known[key(job_hash)] = None
            if len(self._known) > JOBS_KNOWN:
                self._known.popitem(last=False)
        return decoded(JOB, snapshot)

    def require(self, job_hash: str) -> None:
        with self._lock:
            known = key(job_hash) in self._known
        if not known:
            self.get(job_hash)

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        """Every change is durable."""
        return self._transact(job_hash, change, ())

    @with_google_errors
    def record_publish(self, job: Job, at: datetime) -> None:
        version = self._version(job)
        if version is None:
            self.transact(job.hash, lambda stored: record_publish(job, at) if stored == job else None)
            return
        noted = record_publish(job, at)
        if noted is None:
            return
        batch = self._client.batch()
        batch.update(self._job(job.hash), job_fields(noted), self._client.write_option(last_update_time=version))
        try:
            batch.commit(**_REPEATED)
        except (*_OVERTAKEN, exceptions.NotFound):
            return

    def query(
        self,
        *,
        status: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = 500,
    ) -> JobPage:
        query = self._jobs.order_by("position")
        if status is not None:
            query = query.where(filter=FieldFilter("status", "==", key(status)))
        if user_id is not None:
            query = query.where(filter=FieldFilter("userId", "==", key(user_id)))
        if after is not None:
            query = query.start_after({"position": parse_position(after)})
        # One more than asked for tells whether there is a next page.
        jobs = _found(query, limit + 1)
        if len(jobs) <= limit:
            return JobPage(jobs, None)
        return JobPage(jobs[:limit], page_after(jobs[limit - 1]))

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("leaseExpires", "<=", now, limit)

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("unpublished", "<", iso_time(created_before), limit)

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("outputExpires", "<=", now, limit)

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        if segment.number not in NUMBERS:
            raise Invalid("The number of an output segment must have 64 bits at most.")
        if len(segment.output.encode("utf-8", "surrogatepass")) > SEGMENT_BYTES:
            raise TooLarge(f"An output segment may have {SEGMENT_BYTES} bytes at most.")
        return self._transact(segment.job_hash, change, pieces_of(segment))

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        first = NUMBERS[0] if start is None else max(start, NUMBERS[0])
        last = NUMBERS[-1] if end is None else min(end - 1, NUMBERS[-1])
        while first <= last:
            pieces = self._output_from(job_hash, first, last)
            for segment in joined(job_hash, pieces):
                yield segment
                first = segment.number + 1
            if len(pieces) < PIECES_PER_READ:
                return
            # A segment of which some pieces are not here is read again whole: it may be replaced in between.
            first = max(first, pieces[-1].get("number"))

    @with_google_errors
    def clear_output(self, job_hash: str) -> None:
        pieces = self._output(job_hash).select(["__name__"]).limit(PIECES_PER_DELETE)
        while found := pieces.get(**_REPEATED):
            batch = self._client.batch()
            for snapshot in found:
                batch.delete(snapshot.reference)
            batch.commit(**_REPEATED)

    @with_google_errors
    def put_worker(self, worker: WorkerRecord) -> None:
        self._worker(worker.client_id).set(worker_fields(worker), **_REPEATED)

    def workers(self) -> Iterator[WorkerRecord]:
        query = self._client.collection("workers").order_by("order").limit(WORKERS_PER_READ)
        page: Any = query
        while found := _snapshots(page):
            for snapshot in found:
                yield decoded(WORKER, snapshot)
            page = query.start_after({"order": found[-1].get("order")})

    @with_google_errors
    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        reference = self._worker(client_id)
        snapshot = reference.get(**_REPEATED)
        if not snapshot.exists or decoded(WORKER, snapshot).last_seen >= seen_before:
            return False
        unless_seen = self._client.write_option(last_update_time=snapshot.update_time)
        try:
            reference.delete(option=unless_seen, **_REPEATED)
        except (*_OVERTAKEN, exceptions.NotFound):
            return False
        return True

    # Documents ----------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> firestore.Client:
        with self._lock:
            return self._opened

    @cached_property
    def _opened(self) -> firestore.Client:
        with google_errors():
            return firestore.Client(project=self._project, database=self._database)

    @property
    def _jobs(self) -> Any:  # noqa: ANN401 - the library's own types are incomplete
        return self._client.collection("jobs")

    def _job(self, job_hash: str) -> Any:  # noqa: ANN401 - as above
        return self._jobs.document(key(job_hash))

    def _output(self, job_hash: str) -> Any:  # noqa: ANN401 - as above
        return self._job(job_hash).collection("output")

    def _worker(self, client_id: str) -> Any:  # noqa: ANN401 - as above
        return self._client.collection("workers").document(key(client_id))

    def _due(self, field: str, relation: str, bound: object, limit: int) -> tuple[Job, ...]:
        return _found(self._jobs.where(filter=FieldFilter(field, relation, bound)).order_by(field), limit)

    def _output_from(self, job_hash: str, first: int, last: int) -> Sequence[Any]:
        output = self._output(job_hash)
        query = output.order_by("__name__").start_at({"__name__": output.document(piece_id(first, 0))})
        query = query.end_at({"__name__": output.document(piece_id(last, PIECES_PER_READ))})
        return _snapshots(query.limit(PIECES_PER_READ))

    # Transactions -------------------------------------------------------------------------------------------------

    @with_google_errors
    def _transact(self, job_hash: str, change: JobChange, pieces: Sequence[Piece]) -> Job | None:
        reference = self._job(job_hash)
        attempts: dict[str, Job | None] = {}
        deadline = time.monotonic() + TRANSACT_SECONDS
        retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, jitter=True)
        while True:
            snapshot = reference.get(**_REPEATED)
            mark = snapshot.get("mark") if snapshot.exists else None
            if mark in attempts:
                # Of a commit that seemed to fail, but was done.
                return attempts[mark]
            stored = decoded(JOB, snapshot) if snapshot.exists else None
            changed = change(stored)
            if changed is None and not pieces:
                return stored
            mark = secrets.token_hex(8)
            attempts[mark] = stored if changed is None else changed
            batch = self._client.batch()
            if snapshot.exists:
                fields = {} if changed is None else job_fields(changed)
                unchanged = self._client.write_option(last_update_time=snapshot.update_time)
                batch.update(reference, {**fields, "mark": mark}, unchanged)
            elif changed is not None:
                fields = {name: value for name, value in job_fields(changed).items() if value is not GONE}
                batch.create(reference, {**fields, "mark": mark})
            for piece in pieces:
                batch.set(reference.collection("output").document(piece.id), self._expiring(piece, snapshot.read_time))
            try:
                (written, *_) = batch.commit(**_ONCE)
            except (*_OVERTAKEN, *_PASSING, exceptions.NotFound) as error:
                delay = next(retry_delays)
                if time.monotonic() + delay >= deadline:
                    raise Unavailable from error
                time.sleep(delay)
            else:
                if changed is not None:
                    self._remember(changed, written.update_time)
                return attempts[mark]

    def _expiring(self, piece: Piece, now: datetime) -> dict[str, object]:
        if self._output_lifetime is None:
            return piece.fields
        return {**piece.fields, "expireAt": now + self._output_lifetime}

    def _remember(self, job: Job, version: object) -> None:
        with self._lock:
            self._versions[job.hash] = job, version
            self._versions.move_to_end(job.hash)
            if len(self._versions) > VERSIONS_KEPT:
                self._versions.popitem(last=False)

    def _version(self, job: Job) -> Any:  # noqa: ANN401 - a time stamp of the library's own
        """When this store stored the job, if that is what it stored of it last."""
        with self._lock:
            remembered, version = self._versions.pop(job.hash, (None, None))
        return version if remembered == job else None


def _snapshots(query: Any) -> list[Any]:  # noqa: ANN401 - the library's own types are incomplete
    with google_errors():
        return list(query.get(**_REPEATED))


def _found(query: Any, limit: int) -> tuple[Job, ...]:  # noqa: ANN401 - as above
    return tuple(decoded(JOB, snapshot) for snapshot in _snapshots(query.limit(limit)))
