"""Queries, output, and the outbox of a SqliteJobStore. tests/contract/ covers what all job stores have in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from explained_database import ExplainedDatabase

from cloud_executor.backends.job_records import encode_string
from cloud_executor.backends.sqlite import database as sqlite_database
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore, _columns
from cloud_executor.backends.sqlite.schema import MIGRATIONS
from cloud_executor.errors import Invalid
from cloud_executor.model.jobs.job import Job, OutputSegment

NOW = datetime(2026, 1, 31, tzinfo=UTC)

BEFORE_WAITING_LINES = 6
"""Version of the database that did not know which pool a job waits for."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ExplainedDatabase]:
    database = ExplainedDatabase(tmp_path / "database")
    yield database
    database.close()


def insert(store: SqliteJobStore, job: Job) -> None:
    store.transact(job.hash, lambda _: job)


def every_page(store: SqliteJobStore, *, status: str | None = None, user_id: str | None = None) -> None:
    after = store.query(status=status, user_id=user_id, limit=1).next
    assert after is not None
    store.query(status=status, user_id=user_id, after=after)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda store: every_page(store, status="CREATED"), "SEARCH jobs USING INDEX jobs_of_status"),
        (lambda store: every_page(store, user_id="guest"), "SEARCH jobs USING INDEX jobs_of_user"),
        (
            lambda store: every_page(store, user_id="guest", status="CREATED"),
            "SEARCH jobs USING INDEX jobs_of_user_and_status",
        ),
        (lambda store: store.with_expired_lease(NOW, 5), "SEARCH jobs USING INDEX jobs_leased"),
        (lambda store: store.with_lost_message(NOW, 5), "SEARCH jobs USING INDEX jobs_published"),
        (lambda store: store.with_expired_output(NOW, 5), "SEARCH jobs USING INDEX jobs_with_output"),
    ],
    ids=["status", "user", "user and status", "lease", "message", "output"],
)
def test_a_query_reads_only_the_rows_that_it_returns(
    database: ExplainedDatabase, use: Callable[[SqliteJobStore], object], expected: str
) -> None:
    store = SqliteJobStore(database)
    for number in range(3):
        insert(store, Job(hash=str(number), create_time=str(number), secret=""))
    database.plans.clear()
    use(store)
    assert database.plans
    for plan in database.plans:
        # A single step, without sorting.
        assert len(plan) == 1
        assert plan[0].startswith(expected + " ")


def test_the_waiting_line_is_read_from_its_indexes(database: ExplainedDatabase) -> None:
    store = SqliteJobStore(database)
    held = Job(hash="held", create_time="1", secret="", pool="p")
    insert(store, held)
    insert(store, msgspec.structs.replace(held, hash="another", user_id="ada"))
    database.plans.clear()
    store.unpublished(NOW, 5)
    store.next_to_publish("guest", "p", 3)
    store.jobs_ahead(held, 9)
    store.jobs_ahead(msgspec.structs.replace(held, published_at=NOW), 9)
    steps = {step for plan in database.plans for step in plan}
    assert not any("TEMP B-TREE" in step for step in steps)
    used = {index for index in ("jobs_held", "jobs_queued") for step in steps if f"INDEX {index}" in step}
    assert used == {"jobs_held", "jobs_queued"}
    assert all("jobs_held" in step or "jobs_queued" in step for step in steps if " jobs " in step)


def test_the_list_of_all_jobs_is_read_in_order(database: ExplainedDatabase) -> None:
    store = SqliteJobStore(database)
    for name in ("a", "b"):
        insert(store, Job(hash=name, create_time="", secret=""))
    every_page(store)
    first, second = database.plans
    assert first == ["SCAN jobs USING INDEX jobs_of_all"]
    assert len(second) == 1
    assert second[0].startswith("SEARCH jobs USING INDEX jobs_of_all (")


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_a_segment_number_of_more_than_64_bits_is_invalid(database: ExplainedDatabase, number: int) -> None:
    store = SqliteJobStore(database)
    with pytest.raises(Invalid):
        store.put_output(OutputSegment("a", number, ""), lambda _: None)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_the_largest_and_smallest_segment_numbers_are_stored(database: ExplainedDatabase, number: int) -> None:
    store = SqliteJobStore(database)
    store.put_output(OutputSegment("a", number, "text"), lambda _: None)
    assert list(store.output("a")) == [OutputSegment("a", number, "text")]


def test_output_is_read_in_parts(database: ExplainedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteJobStore(database)
    for number in range(6):
        store.put_output(OutputSegment("a", number, "x" * 600_000), lambda _: None)
    reads = 0
    actual = database.read

    def count(work: Any) -> Any:
        nonlocal reads
        reads += 1
        return actual(work)

    monkeypatch.setattr(database, "read", count)
    segments = store.output("a")
    assert [next(segments).number, next(segments).number] == [0, 1]
    assert reads == 1
    assert [segment.number for segment in segments] == [2, 3, 4, 5]
    assert reads == 4


class RecordingOutbox:
    """An outbox that records its calls, and the number of stored jobs at each wake-up."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.added: list[tuple[str, str]] = []
        self.stored_at_call: list[int] = []

    def add(self, connection: sqlite3.Connection, pool: str, job_hash: str) -> datetime:
        assert connection.in_transaction
        self.added.append((pool, job_hash))
        return NOW

    def call(self, pool: str) -> None:
        self.stored_at_call += [row[0] for row in self._database.rows("SELECT count(*) FROM jobs")]


def waiting_job(pool: str | None = "pool") -> Job:
    return Job(hash="job", create_time="2026-01-31T00:00:00.000Z", secret="secret", pool=pool)


def test_a_new_job_is_published_by_the_commit_that_stores_it(database: ExplainedDatabase) -> None:
    outbox = RecordingOutbox(database)
    store = SqliteJobStore(database, outbox)
    job = store.transact("job", lambda stored: waiting_job())
    assert outbox.added == [("pool", "job")]
    assert job is not None
    assert job.published_at == NOW
    assert store.get("job") == job
    assert store.unpublished(datetime(2027, 1, 1, tzinfo=UTC), 5) == ()


def test_subscribers_are_woken_after_the_commit(database: ExplainedDatabase) -> None:
    outbox = RecordingOutbox(database)
    SqliteJobStore(database, outbox).transact("job", lambda stored: waiting_job())
    assert outbox.stored_at_call == [1]


def test_a_job_that_is_published_or_has_no_pool_is_not_published(database: ExplainedDatabase) -> None:
    outbox = RecordingOutbox(database)
    store = SqliteJobStore(database, outbox)
    store.transact("job", lambda stored: waiting_job(pool=None))
    store.transact("job", lambda stored: msgspec.structs.replace(waiting_job(), published_at=NOW))
    store.transact("job", lambda stored: None)
    assert outbox.added == []
    assert outbox.stored_at_call == []


def test_a_rejected_change_publishes_nothing(database: ExplainedDatabase) -> None:
    outbox = RecordingOutbox(database)

    def reject(stored: Job | None) -> Job:
        raise Invalid("No.")

    with pytest.raises(Invalid):
        SqliteJobStore(database, outbox).transact("job", reject)
    assert outbox.added == []
    assert outbox.stored_at_call == []


def test_the_waiting_jobs_of_an_earlier_version_are_published_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Job(hash="held", create_time="2026-01-31T00:00:00.000Z", secret="", pool="pool")
    jobs = [
        held,
        msgspec.structs.replace(held, hash="queued", published_at=NOW, publishes=1),
        msgspec.structs.replace(held, hash="odd \ud83d", user_id="ada", name="\ud83d"),
        msgspec.structs.replace(held, hash="external", pool=None),
        msgspec.structs.replace(held, hash="running", status="RUNNING"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_database, "MIGRATIONS", MIGRATIONS[:BEFORE_WAITING_LINES])
        old = SqliteDatabase(tmp_path / "old")

        def fill(connection: sqlite3.Connection) -> None:
            for job in jobs:
                columns = _columns(job)
                del columns["waits_for"]
                names, marks = ", ".join(columns), ", ".join("?" * len(columns))
                values = [*columns.values(), encode_string(job.hash)]
                connection.execute(f"INSERT INTO jobs ({names}, hash) VALUES ({marks}, ?)", values)  # noqa: S608 - names of columns in this file

        old.write(fill)
        old.close()
    database = SqliteDatabase(tmp_path / "old")
    store = SqliteJobStore(database)
    assert [job.hash for job in store.next_to_publish("guest", "pool", 9)] == ["held"]
    assert store.next_to_publish("guest", "pool", 1) == ()  # the window has one place
    assert [job.hash for job in store.next_to_publish("ada", "pool", 9)] == ["odd \ud83d"]
    assert {job.hash for job in store.unpublished(datetime(2027, 1, 1, tzinfo=UTC), 9)} == {"held", "odd \ud83d"}
    database.close()
