"""Jobs, their output, and worker records in SQLite."""

from __future__ import annotations

import heapq
import random
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Protocol

from cloud_executor.backends.job_records import (
    JOB,
    USAGE,
    WORKER,
    check_segment_number,
    decode_record,
    decode_string,
    encode_record,
    encode_string,
    lease_end,
    page_from,
    position_of,
    publish_recorded,
    read_jobs,
    segment_numbers,
)
from cloud_executor.backends.os_errors import os_errors
from cloud_executor.backends.sqlite.database import SqliteDatabase, Value
from cloud_executor.backends.sqlite.job_index import count_query, index_terms, search_queries
from cloud_executor.backends.sqlite.quotas import limits_of
from cloud_executor.backends.sqlite.schema import encode_time
from cloud_executor.backends.sqlite.waiting_line import (
    first_of_each_line,
    has_place,
    jobs_ahead,
    next_to_publish,
    queued_jobs,
)
from cloud_executor.backends.sqlite.wake import Listener, WakeFolder
from cloud_executor.model.access.quota import Limits
from cloud_executor.model.blobs.usage import StorageUsage
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW, is_held, leaves_window, stops_running
from cloud_executor.model.jobs.job import Job, OutputSegment, Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.transitions import message_lost_at, record_publish
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobChange, JobNotFound, JobPage, JobWatch

OUTPUT_BYTES_PER_READ = 1 << 20
"""Amount of output after which a read ends, in bytes: a segment can be a few bytes or several megabytes."""

JOBS_PER_PAGE = 5000
"""Number of jobs after which a page of a list ends, although more may match."""

WORKERS_PER_READ = 500

USAGE_ROW = 1
"""Id of the only row of `usage`."""


class Outbox(Protocol):
    """A queue in the same database, so that storing and publishing a job can share a transaction."""

    def add(self, connection: sqlite3.Connection, pool: str, job_hash: str) -> datetime:
        """Publish within the caller's transaction. Returns the time of publishing."""

    def call(self, pool: str) -> None:
        """Wake the pool's subscribers, after the commit."""


class SqliteJobStore:
    """A JobStore in the embedded database.

    With an outbox, the commit that stores a waiting job also publishes it, and records that, if its user's window has a
    place. The commit that takes a job out of the window publishes the next one.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        outbox: Outbox | None = None,
        queue_window: int = DEFAULT_WINDOW,
        limits: Limits | None = None,
    ) -> None:
        """`limits` are those of users for whom an administrator has set no others; None: users have no limits."""
        self.publishes = outbox is not None
        self._database = database
        self._outbox = outbox
        self._window = queue_window
        self._limits = limits
        # Usually empty, so that a change costs little: only waiting requests have pipes in it.
        self._wake = WakeFolder(database.folder / "wake" / "jobs")

    def get(self, job_hash: str) -> Job:
        job = self._database.read(lambda connection: _find(connection, job_hash))
        if job is None:
            raise JobNotFound
        return job

    def require(self, job_hash: str) -> None:
        self.get(job_hash)

    @contextmanager
    def watch(self, job_hash: str) -> Iterator[JobWatch]:
        with os_errors():
            listener = self._wake.listen(job_hash)
        try:
            yield _Watch(listener)
        finally:
            listener.close()

    def transact(self, job_hash: str, change: JobChange, *, durable: bool = True) -> Job | None:
        published_to: list[str] = []

        def work(connection: sqlite3.Connection) -> tuple[Job | None, bool]:
            before: Job | None = None

            def changed(stored: Job | None) -> Job | None:
                nonlocal before
                before = stored
                return self._publish(connection, change(stored), published_to)

            job, is_news = _transact(connection, job_hash, changed)
            # Without a limit, the end of a run frees no place.
            if before is not None and (leaves_window(before, job) or self._frees_slot(connection, before, job)):
                self._publish_next(connection, before, published_to)
            return job, is_news

        job, is_news = self._database.write(work, durable=durable)
        if is_news:
            self._call_watches(job_hash)
        if self._outbox is not None:
            for pool in dict.fromkeys(published_to):
                self._outbox.call(pool)
        return job

    def _publish(self, connection: sqlite3.Connection, job: Job | None, published_to: list[str]) -> Job | None:
        """Publish the job if its user's window has a place for it, and add its pool to `published_to`."""
        if self._outbox is None or job is None or job.pool is None or not is_held(job):
            return job
        if not has_place(connection, job, self._window, self._running_limit(connection, job.user_id)):
            return job
        published_to.append(job.pool)
        return record_publish(job, self._outbox.add(connection, job.pool, job.hash))

    def _publish_next(self, connection: sqlite3.Connection, left: Job, published_to: list[str]) -> None:
        """Publish the next jobs of the user of the job that has left the window, and add its pool to `published_to`."""
        pool, outbox = str(left.pool), self._outbox
        if outbox is None:
            return
        limit = self._running_limit(connection, left.user_id)
        for job in next_to_publish(connection, left.user_id, pool, self._window, limit):
            published = record_publish(job, outbox.add(connection, pool, job.hash))
            if published is not None:
                _store(connection, job.hash, job, published)
                published_to.append(pool)

    def _frees_slot(self, connection: sqlite3.Connection, before: Job, after: Job | None) -> bool:
        return stops_running(before, after) and self._running_limit(connection, before.user_id) is not None

    def _running_limit(self, connection: sqlite3.Connection, user_id: str) -> int | None:
        """The maximum number of running jobs of a user."""
        return None if self._limits is None else limits_of(connection, user_id, self._limits).jobs_running

    def record_publish(self, job: Job, at: datetime) -> None:
        self.transact(job.hash, publish_recorded(job, at), durable=False)

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
        queries = search_queries(wanted, newest_first, after)

        def work(connection: sqlite3.Connection) -> JobPage:
            with ExitStack() as opened:
                rows = [opened.enter_context(closing(connection.execute(query, values))) for query, values in queries]
                merged = heapq.merge(*rows, key=lambda row: row[:2], reverse=newest_first)
                return page_from((row[2] for row in merged), wanted, limit, JOBS_PER_PAGE, position_of)

        return self._database.read(work)

    def counts(self, pool: str | None = None) -> Mapping[str, int]:
        query, values = count_query(pool)
        return {decode_string(status): count for status, count in self._database.rows(query, values)}

    def count(self, user_id: str, statuses: Collection[str], limit: int) -> int:
        condition, values = "user_id = ?", [encode_string(user_id)]
        if statuses:
            condition += f" AND status IN ({', '.join('?' * len(statuses))})"
            values += map(encode_string, statuses)
        query = f"SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE {condition} LIMIT ?)"  # noqa: S608 - only constants
        ((count,),) = self._database.rows(query, [*values, limit])
        return int(count)

    def with_expired_lease(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("lease_expires", "<=", encode_time(now), limit)

    def unpublished(self, created_before: datetime, limit: int) -> tuple[Job, ...]:
        bound = iso_time(created_before)
        found = [job for job in self._database.read(first_of_each_line) if job.create_time < bound]
        return tuple(random.sample(found, limit) if len(found) > limit else found)

    def next_to_publish(self, user_id: str, pool: str, window: int) -> tuple[Job, ...]:
        return self._database.read(lambda connection: next_to_publish(connection, user_id, pool, window))

    def queued(self, user_id: str, pool: str, limit: int) -> tuple[Job, ...]:
        return self._database.read(lambda connection: queued_jobs(connection, user_id, pool, limit))

    def jobs_ahead(self, job: Job, limit: int) -> int:
        return self._database.read(lambda connection: jobs_ahead(connection, job, limit))

    def with_lost_message(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("message_lost_at", "<=", encode_time(now), limit)

    def backlog(self, pool: str, limit: int) -> int:
        # The index skips finished jobs. Few jobs wait or run on one machine, so `pool` needs no column of its own.
        query = """
            SELECT COUNT(*) FROM (
                SELECT json_extract(CAST(body AS TEXT), '$.leaseExpires') AS lease FROM jobs
                WHERE status IN (?, ?) AND (status = ? OR lease IS NOT NULL)
                AND json_extract(CAST(body AS TEXT), '$.pool') = CAST(? AS TEXT) LIMIT ?
            )
        """
        created, running = encode_string(Status.CREATED), encode_string(Status.RUNNING)
        ((count,),) = self._database.rows(query, (created, running, created, encode_string(pool), limit))
        return int(count)

    def with_expired_output(self, now: datetime, limit: int) -> tuple[Job, ...]:
        return self._due("output_expires", "<=", encode_time(now), limit)

    def put_output(self, segment: OutputSegment, change: JobChange) -> Job | None:
        check_segment_number(segment.number)
        row = (encode_string(segment.job_hash), segment.number, encode_string(segment.output))

        def work(connection: sqlite3.Connection) -> tuple[Job | None, bool]:
            connection.execute("INSERT OR REPLACE INTO output (job_hash, number, text) VALUES (?, ?, ?)", row)
            return _transact(connection, segment.job_hash, change)

        job, is_news = self._database.write(work)
        if is_news:
            self._call_watches(segment.job_hash)
        return job

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> Iterator[OutputSegment]:
        numbers = segment_numbers(start, end)
        while numbers:
            segments = self._read_output(job_hash, numbers)
            if not segments:
                return
            yield from segments
            numbers = range(segments[-1].number + 1, numbers.stop)

    def clear_output(self, job_hash: str, change: JobChange | None = None) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            changed = None if change is None else change(_find(connection, job_hash))
            if change is not None and changed is None:
                return False
            connection.execute("DELETE FROM output WHERE job_hash = ?", (encode_string(job_hash),))
            _transact(connection, job_hash, lambda _: changed)
            return True

        return self._database.write(work)

    def delete(self, job_hash: str, check: Callable[[Job], None]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            job = _find(connection, job_hash)
            if job is None:
                raise JobNotFound
            check(job)
            index_terms(connection, job, None)
            connection.execute("DELETE FROM output WHERE job_hash = ?", (encode_string(job_hash),))
            connection.execute("DELETE FROM jobs WHERE hash = ?", (encode_string(job_hash),))

        self._database.write(work)
        self._call_watches(job_hash)

    def record_usage(self, usage: StorageUsage) -> None:
        row = (USAGE_ROW, encode_record(usage))
        self._database.execute("INSERT OR REPLACE INTO usage (id, body) VALUES (?, ?)", row, durable=False)

    def usage(self) -> StorageUsage | None:
        rows = self._database.rows("SELECT body FROM usage WHERE id = ?", (USAGE_ROW,))
        return decode_record(USAGE, rows[0][0]) if rows else None

    def put_worker(self, worker: WorkerRecord) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO workers (client_id, last_seen, body) VALUES (?, ?, ?)",
            (encode_string(worker.client_id), encode_time(worker.last_seen), encode_record(worker)),
            durable=False,
        )

    def workers(self) -> Iterator[WorkerRecord]:
        query = "SELECT client_id, body FROM workers ORDER BY client_id LIMIT ?"
        after: tuple[bytes, ...] = ()
        while rows := self._database.rows(query, (*after, WORKERS_PER_READ)):
            for _, body in rows:
                yield decode_record(WORKER, body)
            query = "SELECT client_id, body FROM workers WHERE client_id > ? ORDER BY client_id LIMIT ?"
            after = (rows[-1][0],)

    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        deleted = self._database.execute(
            "DELETE FROM workers WHERE client_id = ? AND last_seen < ?",
            (encode_string(client_id), encode_time(seen_before)),
        )
        return deleted > 0

    def _call_watches(self, job_hash: str) -> None:
        # The change is stored: at worst, waiting requests notice it when their time is up.
        with suppress(OSError):
            self._wake.call(job_hash)

    def _due(self, column: str, relation: str, bound: Value, limit: int) -> tuple[Job, ...]:
        query = f"SELECT body FROM jobs WHERE {column} {relation} ? ORDER BY {column} LIMIT ?"  # noqa: S608 - constants

        def work(connection: sqlite3.Connection) -> tuple[Job, ...]:
            with closing(connection.execute(query, (bound, limit))) as rows:
                return read_jobs(body for (body,) in rows)

        return self._database.read(work)

    def _read_output(self, job_hash: str, numbers: range) -> list[OutputSegment]:
        """The first segments with these numbers, up to about OUTPUT_BYTES_PER_READ."""
        query = "SELECT number, text FROM output WHERE job_hash = ? AND number BETWEEN ? AND ? ORDER BY number"

        def work(connection: sqlite3.Connection) -> list[OutputSegment]:
            segments: list[OutputSegment] = []
            size = 0
            with closing(connection.execute(query, (encode_string(job_hash), numbers[0], numbers[-1]))) as rows:
                for number, text in rows:
                    segments.append(OutputSegment(job_hash, number, decode_string(text)))
                    size += len(text)
                    if size >= OUTPUT_BYTES_PER_READ:
                        break
            return segments

        return self._database.read(work)


class _Watch:
    """A JobWatch that hears the calls of the processes that change the job."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._stopped = False

    def wait(self, seconds: float) -> None:
        if not self._stopped:
            self._listener.wait(seconds)
            # The caller reads the job after this.
            self._listener.clear()

    def stop(self) -> None:
        self._stopped = True
        self._listener.call()


def _find(connection: sqlite3.Connection, job_hash: str) -> Job | None:
    row = connection.execute("SELECT body FROM jobs WHERE hash = ?", (encode_string(job_hash),)).fetchone()
    return None if row is None else decode_record(JOB, row[0])


def _transact(connection: sqlite3.Connection, job_hash: str, change: JobChange) -> tuple[Job | None, bool]:
    """The job as it is stored then, and whether watches have to notice the change."""
    stored = _find(connection, job_hash)
    changed = change(stored)
    if changed is None:
        return stored, False
    _store(connection, job_hash, stored, changed)
    is_news = stored is None or (stored.status, stored.output_number) != (changed.status, changed.output_number)
    return changed, is_news


def _store(connection: sqlite3.Connection, job_hash: str, stored: Job | None, changed: Job) -> None:
    """Replace the stored job by the changed one."""
    index_terms(connection, stored, changed)
    columns = _columns(changed)
    if stored is None:
        names = ", ".join(columns)
        statement = f"INSERT INTO jobs ({names}, hash) VALUES ({', '.join('?' * (len(columns) + 1))})"  # noqa: S608 - as above
    else:
        # Update only the columns that change: naming a column updates its indexes even if its value stays the same.
        before = _columns(stored)
        columns = {name: value for name, value in columns.items() if value != before[name]}
        if not columns:
            return
        assignments = ", ".join(f"{name} = ?" for name in columns)
        statement = f"UPDATE jobs SET {assignments} WHERE hash = ?"  # noqa: S608 - as above
    connection.execute(statement, (*columns.values(), encode_string(job_hash)))


def _columns(job: Job) -> dict[str, Value]:
    """All columns of a job's row except its hash."""
    lease_expires, lost_at = lease_end(job), message_lost_at(job)
    return {
        "user_id": encode_string(job.user_id),
        "create_time": encode_string(job.create_time),
        "status": encode_string(job.status),
        "waits_for": encode_string(job.pool) if job.pool is not None and job.status == Status.CREATED else None,
        "unpublished": encode_string(job.create_time) if is_held(job) else None,
        "lease_expires": None if lease_expires is None else encode_time(lease_expires),
        "message_lost_at": None if lost_at is None else encode_time(lost_at),
        "output_expires": None if job.output_expires is None else encode_time(job.output_expires),
        "body": encode_record(job),
    }
