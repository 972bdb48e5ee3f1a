"""The index of jobs by term in SQLite, and the queries of lists.

Each term of a job is a row of `job_terms`. The rows repeat the fields by which lists select and order jobs, so that no
query sorts, or reads a job that it skips because of its status or time.
"""

from __future__ import annotations

import sqlite3

from cloud_executor.backends.job_records import InvalidPage, encode_string, position_after
from cloud_executor.backends.job_terms import leading_term, terms_of
from cloud_executor.backends.sqlite.database import Value
from cloud_executor.model.jobs.job import Job
from cloud_executor.model.jobs.job_filter import JobFilter


def index_terms(connection: sqlite3.Connection, stored: Job | None, changed: Job | None) -> None:
    """Index the job as it is changed; None: it is deleted."""
    old = {} if stored is None else _rows(stored)
    new = {} if changed is None else _rows(changed)
    connection.executemany(
        "DELETE FROM job_terms WHERE term = ? AND create_time = ? AND hash = ?", old.keys() - new.keys()
    )
    connection.executemany(
        "INSERT OR REPLACE INTO job_terms (term, create_time, hash, status) VALUES (?, ?, ?, ?)",
        [(*key, status) for key, status in new.items() if old.get(key) != status],
    )


def search_queries(wanted: JobFilter, newest_first: bool, after: str | None) -> list[tuple[str, list[Value]]]:
    """The queries whose rows (create_time, hash, body), merged, contain all wanted jobs in order. Raises InvalidPage.

    There is one for each status: no index has the rows of several statuses in order.
    """
    term = leading_term(wanted)
    if term is None:
        table, source = "jobs", "jobs"
        conditions = _times(wanted, newest_first, after, table)
        if wanted.user_id is not None:
            conditions.append(("jobs.user_id = ?", [encode_string(wanted.user_id)]))
    else:
        # CROSS JOIN keeps the order of the tables.
        table, source = "job_terms", "job_terms CROSS JOIN jobs ON jobs.hash = job_terms.hash"
        conditions = _times(wanted, newest_first, after, table)
        conditions.append(("job_terms.term = ?", [_encoded(*term)]))
    direction = "DESC" if newest_first else "ASC"
    queries: list[tuple[str, list[Value]]] = []
    for status in dict.fromkeys(wanted.statuses) or (None,):
        found = [*conditions]
        if status is not None:
            found.append((f"{table}.status = ?", [encode_string(status)]))
        where = f"WHERE {' AND '.join(condition for condition, _ in found)}" if found else ""
        query = (
            f"SELECT {table}.create_time, {table}.hash, jobs.body FROM {source} {where}"  # noqa: S608 - only constants
            f" ORDER BY {table}.create_time {direction}, {table}.hash {direction}"
        )
        queries.append((query, [value for _, values in found for value in values]))
    return queries


def count_query(pool: str | None) -> tuple[str, list[Value]]:
    """The query for the number of jobs by status, of all jobs or of the unfinished jobs of a pool."""
    if pool is None:
        return "SELECT status, count(*) FROM jobs GROUP BY status", []
    return "SELECT status, count(*) FROM job_terms WHERE term = ? GROUP BY status", [_encoded("pool", pool)]


def _times(wanted: JobFilter, newest_first: bool, after: str | None, table: str) -> list[tuple[str, list[Value]]]:
    """Conditions for the time, up to one in each direction, so that an index serves both."""
    time, position = f"{table}.create_time", f"({table}.create_time, {table}.hash)"
    last = None if after is None else _create_time_and_hash(after)
    earliest = None if wanted.created_from is None else encode_string(wanted.created_from)
    before = None if wanted.created_before is None else encode_string(wanted.created_before)
    conditions: list[tuple[str, list[Value]]] = []
    if last is not None and not newest_first and (earliest is None or earliest <= last[0]):
        conditions.append((f"{position} > (?, ?)", [*last]))
    elif earliest is not None:
        conditions.append((f"{time} >= ?", [earliest]))
    if last is not None and newest_first and (before is None or last[0] < before):
        conditions.append((f"{position} < (?, ?)", [*last]))
    elif before is not None:
        conditions.append((f"{time} < ?", [before]))
    return conditions


def _create_time_and_hash(page_token: str) -> tuple[bytes, bytes]:
    """Creation time and hash of the last job on the page before. Raises InvalidPage."""
    create_time, separator, job_hash = position_after(page_token).partition(b"\0")
    if not separator:
        raise InvalidPage
    return create_time, job_hash


def _rows(job: Job) -> dict[tuple[bytes, bytes, bytes], bytes]:
    """The status in each row of the job, by its key."""
    create_time, job_hash, status = map(encode_string, (job.create_time, job.hash, job.status))
    return {(_encoded(*term), create_time, job_hash): status for term in terms_of(job)}


def _encoded(kind: str, value: str) -> bytes:
    return encode_string(f"{kind}:{value}")
