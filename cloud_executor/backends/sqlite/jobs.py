"""Jobs, their output and the workers in SQLite."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from cloud_executor.backends.sqlite.database import SqliteDatabase, Value
from cloud_executor.backends.sqlite.schema import loaded_text, stored_moment, stored_text
from cloud_executor.errors import Invalid
from cloud_executor.model.javascript import iso_time
from cloud_executor.model.job import Job, OutputSegment, Status
from cloud_executor.model.transitions import record_publish
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobChange, JobNotFound, JobPage

T = TypeVar("T")

OUTPUT_BYTES_PER_READ = 1 << 20
"""output is read until it is this much: a segment may be short or megabytes long"""

WORKERS_PER_READ = 500

_NUMBERS = range(-(2**63), 2**63)
"""the integers that SQLite has"""

_POSITION = b"page\0"

_JOB = msgspec.json.Decoder(Job)
_WORKER = msgspec.json.Decoder(WorkerRecord)


class Outbox(Protocol):
    """A queue in the same database, to which a job goes in the transaction that stores it."""

    def add(self, connection: sqlite3.Connection, pool: str, job_hash: str) -> datetime:
        """Publish within the caller's transaction; the time of it."""

    def call(self, pool: str) -> None:
        """Once that is committed: tell those who wait."""


class SqliteJobStore:
    """A JobStore in the embedded database.

    With an outbox, a job that has to be published is so by the same commit, and comes back with a note of it.
    """

    def __init__(self, database: SqliteDatabase, outbox: Outbox | None = None) -> None:
        self._database = database
        self._outbox = outbox

    def get(self, job_hash: str) -> Job:
        job = self._database.read(lambda connection: _find(connection, job_hash))
        if job is None:
            raise JobNotFound
        return job

    def require(self, job_hash: str) -> None:
        self.get(job_hash)

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        called: list[str] = []

        def work(connection: sqlite3.Connection) -> Job | None:
            return _transact(connection, job_hash, lambda stored: self._publish(connection, change(stored), called))

        job = self._database.write(work, durable=durable)
        if self._outbox is not None:
            for pool in called:
                self._outbox.call(pool)
        return job

    def _publish(self, connection: sqlite3.Connection, job: Job | None, called: list[str]) -> Job | None:
        """The job, published if it has to be; then its pool is to be called."""
        if self._outbox is None or job is None or job.pool is None or not _waits(job):
            return job
        called.append(job.pool)
        return record_publish(job, self._outbox.add(connection, job.pool, job.hash))

    def record_publish(self, job: Job, at: datetime) -> None:
        self.transact(job.hash, lambda stored: record_publish(job, at) if stored == job else None, durable=False)

    def query(
        self,
        *,
        status: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = 500,
    ) -> JobPage:
        conditions: list[str] = []
        values: list[Value] = []
        if status is not None:
            conditions.append("status = ?")
            values.append(stored_text(status))
        if user_id is not None:
            conditions.append("user_id = ?")
            values.append(stored_text(user_id))
        if after is not None:
            conditions.append("(create_time, hash) > (?, ?)")
            values.extend(_position(after))
        # One more than asked for tells whether there is a next page.
        jobs = self._select(conditions, values, "create_time, hash", limit + 1)
        if len(jobs) <= limit:
            return JobPage(jobs, None)
        return JobPage(jobs[:limit], _page_after(jobs[limit - 1]))

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._select(["lease_expires <= ?"], [stored_moment(now)], "lease_expires", limit)

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        oldest = stored_text(iso_time(created_before))
        return self._select(["unpublished < ?"], [oldest], "unpublished", limit)

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._select(["output_expires <= ?"], [stored_moment(now)], "output_expires", limit)

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        if segment.number not in _NUMBERS:
            raise Invalid("The number of an output segment must have 64 bits at most.")
        row = (stored_text(segment.job_hash), segment.number, stored_text(segment.output))

        def work(connection: sqlite3.Connection) -> Job | None:
            connection.execute("INSERT OR REPLACE INTO output (job_hash, number, text) VALUES (?, ?, ?)", row)
            return _transact(connection, segment.job_hash, change)

        return self._database.write(work)

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        first = _NUMBERS[0] if start is None else max(start, _NUMBERS[0])
        last = _NUMBERS[-1] if end is None else min(end - 1, _NUMBERS[-1])
        while first <= last:
            segments = self._output_from(job_hash, first, last)
            if not segments:
                return
            yield from segments
            first = segments[-1].number + 1

    def clear_output(self, job_hash: str) -> None:
        self._database.execute("DELETE FROM output WHERE job_hash = ?", (stored_text(job_hash),))

    def put_worker(self, worker: WorkerRecord) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO workers (client_id, last_seen, body) VALUES (?, ?, ?)",
            (stored_text(worker.client_id), stored_moment(worker.last_seen), _encode(worker)),
            durable=False,
        )

    def workers(self) -> Iterator[WorkerRecord]:
        query = "SELECT client_id, body FROM workers ORDER BY client_id LIMIT ?"
        after: tuple[bytes, ...] = ()
        while rows := self._database.rows(query, (*after, WORKERS_PER_READ)):
            for _, body in rows:
                yield _decode(_WORKER, body)
            query = "SELECT client_id, body FROM workers WHERE client_id > ? ORDER BY client_id LIMIT ?"
            after = (rows[-1][0],)

    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        deleted = self._database.execute(
            "DELETE FROM workers WHERE client_id = ? AND last_seen < ?",
            (stored_text(client_id), stored_moment(seen_before)),
        )
        return deleted > 0

    def _select(self, conditions: Sequence[str], values: Sequence[Value], order: str, limit: int) -> tuple[Job, ...]:
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        # All of this text is written in this file.
        query = f"SELECT body FROM jobs {where} ORDER BY {order} LIMIT ?"  # noqa: S608 - its names are ours
        return tuple(_decode(_JOB, body) for (body,) in self._database.rows(query, (*values, limit)))

    def _output_from(self, job_hash: str, first: int, last: int) -> list[OutputSegment]:
        """The next segments, about as many as are worth one read."""
        query = "SELECT number, text FROM output WHERE job_hash = ? AND number BETWEEN ? AND ? ORDER BY number"

        def work(connection: sqlite3.Connection) -> list[OutputSegment]:
            segments: list[OutputSegment] = []
            size = 0
            with closing(connection.execute(query, (stored_text(job_hash), first, last))) as rows:
                for number, text in rows:
                    segments.append(OutputSegment(job_hash, number, loaded_text(text)))
                    size += len(text)
                    if size >= OUTPUT_BYTES_PER_READ:
                        break
            return segments

        return self._database.read(work)


def _find(connection: sqlite3.Connection, job_hash: str) -> Job | None:
    row = connection.execute("SELECT body FROM jobs WHERE hash = ?", (stored_text(job_hash),)).fetchone()
    return None if row is None else _decode(_JOB, row[0])


def _transact(connection: sqlite3.Connection, job_hash: str, change: JobChange) -> Job | None:
    stored = _find(connection, job_hash)
    changed = change(stored)
    if changed is None:
        return stored
    columns = _columns(changed)
    if stored is None:
        names = ", ".join(columns)
        statement = f"INSERT INTO jobs ({names}, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - its names are ours
    else:
        # Naming a column costs its indexes, even if its value stays.
        before = _columns(stored)
        columns = {name: value for name, value in columns.items() if value != before[name]}
        if not columns:
            return changed
        assignments = ", ".join(f"{name} = ?" for name in columns)
        statement = f"UPDATE jobs SET {assignments} WHERE hash = ?"  # noqa: S608 - its names are ours
    connection.execute(statement, (*columns.values(), stored_text(job_hash)))
    return changed


def _columns(job: Job) -> dict[str, Value]:
    """What is stored of a job, beside its hash."""
    leased = job.lease_expires if job.status == Status.RUNNING else None
    return {
        "user_id": stored_text(job.user_id),
        "create_time": stored_text(job.create_time),
        "status": stored_text(job.status),
        "unpublished": stored_text(job.create_time) if _waits(job) else None,
        "lease_expires": None if leased is None else stored_moment(leased),
        "output_expires": None if job.output_expires is None else stored_moment(job.output_expires),
        "body": _encode(job),
    }


def _waits(job: Job) -> bool:
    """Whether it is still to be published."""
    return job.status == Status.CREATED and job.pool is not None and job.published_at is None


def _encode(value: msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A lone surrogate, which a client's JSON may hold and UTF-8 may not.
        return stored_text(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        return msgspec.convert(json.loads(loaded_text(body)), decoder.type)


def _page_after(job: Job) -> str:
    position = _POSITION + stored_text(job.create_time) + b"\0" + stored_text(job.hash)
    return base64.urlsafe_b64encode(position).decode()


def _position(after: str) -> tuple[bytes, bytes]:
    """What `_page_after` put in. Raises Invalid."""
    try:
        position = base64.b64decode(after, altchars="-_", validate=True)
    except ValueError:
        position = b""
    create_time, separator, job_hash = position.removeprefix(_POSITION).partition(b"\0")
    if not position.startswith(_POSITION) or not separator:
        raise Invalid("This is not the start of a page.")
    return create_time, job_hash
