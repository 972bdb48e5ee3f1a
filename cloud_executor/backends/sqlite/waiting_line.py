"""The waiting line of each user and pool in SQLite: the jobs in the queue, and those that wait for a place there.

Two partial indexes have one entry for each job of these two kinds, so the number of other jobs does not matter.
"""

from __future__ import annotations

import sqlite3

from cloud_executor.backends.job_records import JOB, decode_record, encode_string
from cloud_executor.backends.sqlite.database import Value
from cloud_executor.model.jobs.fair_share import free_places, is_held, limited_window
from cloud_executor.model.jobs.job import Job, Status

_COUNT_QUEUED = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs INDEXED BY jobs_queued
        WHERE waits_for = ? AND user_id = ? AND message_lost_at IS NOT NULL AND hash IS NOT ? LIMIT ?
    )
"""

_SELECT_QUEUED = """
    SELECT body FROM jobs INDEXED BY jobs_queued
    WHERE waits_for = ? AND user_id = ? AND message_lost_at IS NOT NULL LIMIT ?
"""

_SELECT_HELD = """
    SELECT body FROM jobs INDEXED BY jobs_held
    WHERE user_id = ? AND waits_for = ? AND unpublished IS NOT NULL ORDER BY create_time, hash LIMIT ?
"""

_SELECT_FIRST_LINE = """
    SELECT user_id, waits_for, body FROM jobs INDEXED BY jobs_held
    WHERE unpublished IS NOT NULL ORDER BY user_id, waits_for, create_time, hash LIMIT 1
"""

_SELECT_NEXT_LINE = """
    SELECT user_id, waits_for, body FROM jobs INDEXED BY jobs_held
    WHERE unpublished IS NOT NULL AND (user_id, waits_for) > (?, ?)
    ORDER BY user_id, waits_for, create_time, hash LIMIT 1
"""

_COUNT_AHEAD_IN_QUEUE = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs INDEXED BY jobs_queued
        WHERE waits_for = ? AND message_lost_at IS NOT NULL AND (create_time, hash) < (?, ?) LIMIT ?
    )
"""

_COUNT_IN_QUEUE = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs INDEXED BY jobs_queued WHERE waits_for = ? AND message_lost_at IS NOT NULL LIMIT ?
    )
"""

_COUNT_AHEAD_IN_LINE = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs INDEXED BY jobs_held
        WHERE user_id = ? AND waits_for = ? AND unpublished IS NOT NULL AND (create_time, hash) < (?, ?) LIMIT ?
    )
"""


_COUNT_RUNNING = """
    SELECT count(*) FROM (SELECT 1 FROM jobs WHERE user_id = ? AND status = ? LIMIT ?)
"""


def has_place(connection: sqlite3.Connection, job: Job, window: int, running_limit: int | None) -> bool:
    """Whether the window of the job's user has a place for the job, which does not count itself."""
    window = _limited(connection, job.user_id, window, running_limit)
    return free_places(_queued(connection, job.user_id, str(job.pool), window, job.hash), window) > 0


def next_to_publish(
    connection: sqlite3.Connection, user_id: str, pool: str, window: int, running_limit: int | None = None
) -> tuple[Job, ...]:
    """The oldest jobs of the user that wait for a place, as many as there are places."""
    line = (encode_string(user_id), encode_string(pool))
    rows = connection.execute(_SELECT_HELD, (*line, 1)).fetchall()
    if not rows:
        return ()  # as usual
    window = _limited(connection, user_id, window, running_limit)
    places = free_places(_queued(connection, user_id, pool, window), window)
    if places > 1:
        rows = connection.execute(_SELECT_HELD, (*line, places)).fetchall()
    return tuple(_job(body) for (body,) in rows[:places])


def queued_jobs(connection: sqlite3.Connection, user_id: str, pool: str, limit: int) -> tuple[Job, ...]:
    """Jobs of the user in the pool's queue."""
    rows = connection.execute(_SELECT_QUEUED, (encode_string(pool), encode_string(user_id), limit)).fetchall()
    return tuple(_job(body) for (body,) in rows)


def first_of_each_line(connection: sqlite3.Connection) -> list[Job]:
    """The oldest job that waits for a place, of each user and pool."""
    jobs: list[Job] = []
    row = connection.execute(_SELECT_FIRST_LINE).fetchone()
    while row is not None:
        jobs.append(_job(row[2]))
        row = connection.execute(_SELECT_NEXT_LINE, row[:2]).fetchone()
    return jobs


def jobs_ahead(connection: sqlite3.Connection, job: Job, limit: int) -> int:
    """The number of jobs that are likely to start before this one, up to `limit`."""
    pool, user = encode_string(str(job.pool)), encode_string(job.user_id)
    position = (encode_string(job.create_time), encode_string(job.hash))
    if not is_held(job):
        return _count(connection, _COUNT_AHEAD_IN_QUEUE, (pool, *position, limit))
    queued = _count(connection, _COUNT_IN_QUEUE, (pool, limit))
    return min(limit, queued + _count(connection, _COUNT_AHEAD_IN_LINE, (user, pool, *position, limit)))


def _limited(connection: sqlite3.Connection, user_id: str, window: int, limit: int | None) -> int:
    """The window that the limit of the user's running jobs leaves."""
    if limit is None:
        return window
    values = (encode_string(user_id), encode_string(Status.RUNNING), limit)
    return limited_window(window, _count(connection, _COUNT_RUNNING, values), limit)


def _queued(connection: sqlite3.Connection, user_id: str, pool: str, limit: int, other_than: str | None = None) -> int:
    """The number of the user's jobs in the pool's queue, up to `limit`."""
    excluded = None if other_than is None else encode_string(other_than)
    return _count(connection, _COUNT_QUEUED, (encode_string(pool), encode_string(user_id), excluded, limit))


def _count(connection: sqlite3.Connection, query: str, values: tuple[Value, ...]) -> int:
    (count,) = connection.execute(query, values).fetchone()
    return int(count)


def _job(body: bytes) -> Job:
    return decode_record(JOB, body)
