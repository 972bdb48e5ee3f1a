"""Jobs, their output and the workers in Firestore:

    jobs/{key of the hash}                            what queries need of the job, and in `body` the job itself
    jobs/{key of the hash}/output/{number}-{part}     a piece of a segment; `expireAt` is for a TTL policy
    workers/{key of the client id}

The indexes that the queries need are in firestore_indexes.json. A change of a job is an optimistic transaction: a read,
and an atomic commit on the condition that the job is still as it was read; whoever comes second begins anew. So a
process that dies in between holds no lock that others would have to wait for.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from cloud_executor.backends.google_faults import google_faults, with_google_faults
from cloud_executor.model.errors import Invalid, TooLarge, Unavailable
from cloud_executor.model.javascript import iso_time
from cloud_executor.model.job import Job, OutputSegment, Status, WorkerRecord, published
from cloud_executor.ports import JobChange, JobNotFound, JobPage

T = TypeVar("T")

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

PIECE_LENGTH = 250_000
"""characters in a piece of a segment: less than 1 MiB, also where each is four bytes long"""

SEGMENT_BYTES = 3_000_000
"""in a segment, which is stored by one commit together with its job: an emulator takes 4 MiB, the service 10 MiB"""

BODY_BYTES = 1_000_000
"""of a job: a document may be 1 MiB, with all that is beside it"""

OUTPUT_LIFETIME = timedelta(days=7)
"""when output expires by itself that nobody has cleared: it has to outlast every job"""

VERSIONS_KEPT = 1000
"""jobs of which the store remembers how it stored them last"""

JOBS_KNOWN = 10_000
"""jobs of which the store remembers that they are there"""

_NUMBERS = range(-(2**63), 2**63)
"""numbers of segments: those of an int64 field"""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_POSITION = b"page\0"
_LONGEST_POSITION = 1400
"""bytes, of the 1500 that an index holds of a value"""

_GONE = firestore.DELETE_FIELD

_JOB = msgspec.json.Decoder(Job)
_WORKER = msgspec.json.Decoder(WorkerRecord)

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

    @with_google_faults
    def get(self, job_hash: str) -> Job:
        snapshot = self._job(job_hash).get(**_REPEATED)
        if not snapshot.exists:
            raise JobNotFound
        with self._lock:
            self._known[_key(job_hash)] = None
            if len(self._known) > JOBS_KNOWN:
                self._known.popitem(last=False)
        return _decoded(_JOB, snapshot)

    def require(self, job_hash: str) -> None:
        with self._lock:
            known = _key(job_hash) in self._known
        if not known:
            self.get(job_hash)

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        """Every change is durable."""
        return self._transact(job_hash, change, ())

    @with_google_faults
    def note_published(self, job: Job, at: datetime) -> None:
        version = self._version(job)
        if version is None:
            self.transact(job.hash, lambda stored: published(job, at) if stored == job else None)
            return
        noted = published(job, at)
        if noted is None:
            return
        batch = self._client.batch()
        batch.update(self._job(job.hash), _fields(noted), self._client.write_option(last_update_time=version))
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
            query = query.where(filter=FieldFilter("status", "==", _key(status)))
        if user_id is not None:
            query = query.where(filter=FieldFilter("userId", "==", _key(user_id)))
        if after is not None:
            query = query.start_after({"position": _parse_position(after)})
        # One more than asked for tells whether there is a next page.
        jobs = _found(query, limit + 1)
        if len(jobs) <= limit:
            return JobPage(jobs, None)
        return JobPage(jobs[:limit], base64.urlsafe_b64encode(_POSITION + _position(jobs[limit - 1])).decode())

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("leaseExpires", "<=", now, limit)

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("unpublished", "<", iso_time(created_before), limit)

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("outputExpires", "<=", now, limit)

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        if segment.number not in _NUMBERS:
            raise Invalid("The number of an output segment must have 64 bits at most.")
        if len(segment.output.encode("utf-8", "surrogatepass")) > SEGMENT_BYTES:
            raise TooLarge(f"An output segment may have {SEGMENT_BYTES} bytes at most.")
        return self._transact(segment.job_hash, change, _pieces(segment))

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        first = _NUMBERS[0] if start is None else max(start, _NUMBERS[0])
        last = _NUMBERS[-1] if end is None else min(end - 1, _NUMBERS[-1])
        while first <= last:
            pieces = self._output_from(job_hash, first, last)
            for segment in _joined(job_hash, pieces):
                yield segment
                first = segment.number + 1
            if len(pieces) < PIECES_PER_READ:
                return
            # A segment of which some pieces are not here is read again whole: it may be replaced in between.
            first = max(first, pieces[-1].get("number"))

    @with_google_faults
    def clear_output(self, job_hash: str) -> None:
        pieces = self._output(job_hash).select(["__name__"]).limit(PIECES_PER_DELETE)
        while found := pieces.get(**_REPEATED):
            batch = self._client.batch()
            for snapshot in found:
                batch.delete(snapshot.reference)
            batch.commit(**_REPEATED)

    @with_google_faults
    def put_worker(self, worker: WorkerRecord) -> None:
        fields = {"order": _sorted_as(worker.client_id.encode("utf-8", "surrogatepass")), "body": _encoded(worker)}
        self._worker(worker.client_id).set(fields, **_REPEATED)

    def workers(self) -> Iterator[WorkerRecord]:
        query = self._client.collection("workers").order_by("order").limit(WORKERS_PER_READ)
        page: Any = query
        while found := _snapshots(page):
            for snapshot in found:
                yield _decoded(_WORKER, snapshot)
            page = query.start_after({"order": found[-1].get("order")})

    @with_google_faults
    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        reference = self._worker(client_id)
        snapshot = reference.get(**_REPEATED)
        if not snapshot.exists or _decoded(_WORKER, snapshot).last_seen >= seen_before:
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
        with google_faults():
            return firestore.Client(project=self._project, database=self._database)

    @property
    def _jobs(self) -> Any:  # noqa: ANN401 - the library's own types are incomplete
        return self._client.collection("jobs")

    def _job(self, job_hash: str) -> Any:  # noqa: ANN401 - as above
        return self._jobs.document(_key(job_hash))

    def _output(self, job_hash: str) -> Any:  # noqa: ANN401 - as above
        return self._job(job_hash).collection("output")

    def _worker(self, client_id: str) -> Any:  # noqa: ANN401 - as above
        return self._client.collection("workers").document(_key(client_id))

    def _due(self, field: str, relation: str, bound: object, limit: int) -> tuple[Job, ...]:
        return _found(self._jobs.where(filter=FieldFilter(field, relation, bound)).order_by(field), limit)

    def _output_from(self, job_hash: str, first: int, last: int) -> Sequence[Any]:
        output = self._output(job_hash)
        query = output.order_by("__name__").start_at({"__name__": output.document(_piece_id(first, 0))})
        query = query.end_at({"__name__": output.document(_piece_id(last, PIECES_PER_READ))})
        return _snapshots(query.limit(PIECES_PER_READ))

    # Transactions -------------------------------------------------------------------------------------------------

    @with_google_faults
    def _transact(self, job_hash: str, change: JobChange, pieces: Sequence[_Piece]) -> Job | None:
        reference = self._job(job_hash)
        attempts: dict[str, Job | None] = {}
        deadline = time.monotonic() + TRANSACT_SECONDS
        delay = FIRST_DELAY_SECONDS
        while True:
            snapshot = reference.get(**_REPEATED)
            mark = snapshot.get("mark") if snapshot.exists else None
            if mark in attempts:
                # Of a commit that seemed to fail, but was done.
                return attempts[mark]
            stored = _decoded(_JOB, snapshot) if snapshot.exists else None
            changed = change(stored)
            if changed is None and not pieces:
                return stored
            mark = secrets.token_hex(8)
            attempts[mark] = stored if changed is None else changed
            batch = self._client.batch()
            if snapshot.exists:
                fields = {} if changed is None else _fields(changed)
                unchanged = self._client.write_option(last_update_time=snapshot.update_time)
                batch.update(reference, {**fields, "mark": mark}, unchanged)
            elif changed is not None:
                fields = {name: value for name, value in _fields(changed).items() if value is not _GONE}
                batch.create(reference, {**fields, "mark": mark})
            for piece in pieces:
                batch.set(reference.collection("output").document(piece.id), self._expiring(piece, snapshot.read_time))
            try:
                (written, *_) = batch.commit(**_ONCE)
            except (*_OVERTAKEN, *_PASSING, exceptions.NotFound) as error:
                if time.monotonic() + delay >= deadline:
                    raise Unavailable from error
            else:
                if changed is not None:
                    self._remember(changed, written.update_time)
                return attempts[mark]
            # Those that were overtaken at the same time must not meet again.
            time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - nothing to guess
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _expiring(self, piece: _Piece, now: datetime) -> dict[str, object]:
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


class _Piece(NamedTuple):
    """A part of a segment: one document."""

    id: str
    fields: dict[str, object]


def _key(text: str) -> str:
    """A name for a document, and a value that an index holds whole, for any text: itself where that is possible."""
    if _PLAIN.fullmatch(text):
        return text
    return f"~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _sorted_as(text: bytes) -> bytes:
    """A value that an index holds whole, different for different texts, and in their order but for very long ones."""
    if len(text) <= _LONGEST_POSITION:
        return text
    digest = hashlib.sha256(text).digest()
    return text[: _LONGEST_POSITION - len(digest)] + digest


def _position(job: Job) -> bytes:
    """Its place in the list of all jobs."""
    return _sorted_as(f"{job.create_time}\0{job.hash}".encode("utf-8", "surrogatepass"))


def _parse_position(after: str) -> bytes:
    """What is in a page's `next`. Raises Invalid."""
    try:
        position = base64.b64decode(after, altchars="-_", validate=True)
    except ValueError:
        position = b""
    if not position.startswith(_POSITION) or len(position) > len(_POSITION) + _LONGEST_POSITION:
        raise Invalid("This is not the start of a page.")
    return position.removeprefix(_POSITION)


def _fields(job: Job) -> dict[str, object]:
    """What is stored of a job; _GONE: nothing, so that no index has it."""
    waits = job.status == Status.CREATED and job.pool is not None and job.published_at is None
    leased = job.status == Status.RUNNING and job.lease_expires is not None
    body = _encoded(job)
    if len(body if isinstance(body, bytes) else body.encode()) > BODY_BYTES:
        raise TooLarge(f"All that is known of a job may be {BODY_BYTES} bytes at most.")
    return {
        "body": body,
        "position": _position(job),
        "status": _key(job.status),
        "userId": _key(job.user_id),
        "leaseExpires": job.lease_expires if leased else _GONE,
        "unpublished": job.create_time if waits else _GONE,
        "outputExpires": _GONE if job.output_expires is None else job.output_expires,
    }


def _pieces(segment: OutputSegment) -> list[_Piece]:
    """Documents that replace those of a former segment of this number, though it may have had more of them."""
    texts = [segment.output[start : start + PIECE_LENGTH] for start in range(0, len(segment.output), PIECE_LENGTH)]
    return [
        _Piece(
            _piece_id(segment.number, part),
            {"number": segment.number, "part": part, "parts": len(texts or [""]), "text": _storable(text)},
        )
        for part, text in enumerate(texts or [""])
    ]


def _piece_id(number: int, part: int) -> str:
    """Sorts as the numbers do."""
    return f"{number - _NUMBERS[0]:020}-{part:02}"


def _joined(job_hash: str, pieces: Sequence[Any]) -> Iterator[OutputSegment]:
    """The segments of which all pieces are here. Pieces beyond a segment's end are of one that it replaced."""
    for number, group in itertools.groupby(pieces, lambda piece: int(piece.get("number"))):
        found = list(group)
        count = found[0].get("parts")
        if [piece.get("part") for piece in found[:count]] == list(range(count)):
            yield OutputSegment(job_hash, number, "".join(_loaded(piece.get("text")) for piece in found[:count]))


def _snapshots(query: Any) -> list[Any]:  # noqa: ANN401 - the library's own types are incomplete
    with google_faults():
        return list(query.get(**_REPEATED))


def _found(query: Any, limit: int) -> tuple[Job, ...]:  # noqa: ANN401 - as above
    return tuple(_decoded(_JOB, snapshot) for snapshot in _snapshots(query.limit(limit)))


def _encoded(value: msgspec.Struct) -> str | bytes:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # A lone surrogate, which a client's JSON may hold and UTF-8 may not.
        return _storable(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))


def _decoded(decoder: msgspec.json.Decoder[T], snapshot: Any) -> T:  # noqa: ANN401 - as above
    body = snapshot.get("body")
    if isinstance(body, str):
        return decoder.decode(body)
    return msgspec.convert(json.loads(_loaded(body)), decoder.type)


def _storable(text: str) -> str | bytes:
    """A text where it is one for Firestore too, else its bytes: it has lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _loaded(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")
