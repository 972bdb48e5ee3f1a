"""The index of jobs by term in SQLite, and the plans of the queries of lists."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from explained_database import ExplainedDatabase

from cloud_executor.backends.job_records import encode_record, encode_string
from cloud_executor.backends.sqlite import database as sqlite
from cloud_executor.backends.sqlite import jobs
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.backends.sqlite.schema import MIGRATIONS
from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.model.jobs.job_filter import EVERY_JOB, JobFilter
from cloud_executor.ports import JobPage

BEFORE_TERMS = 2
"""Version of the database that had no terms."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ExplainedDatabase]:
    database = ExplainedDatabase(tmp_path / "database")
    yield database
    database.close()


def insert(store: SqliteJobStore, job: Job) -> None:
    store.transact(job.hash, lambda _: job)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    ("wanted", "index", "equal"),
    [
        (EVERY_JOB, "jobs USING INDEX jobs_of_all", ""),
        (JobFilter(statuses=("RUNNING",)), "jobs USING INDEX jobs_of_status", "status=? AND "),
        (JobFilter(statuses=("RUNNING", "CREATED")), "jobs USING INDEX jobs_of_status", "status=? AND "),
        (JobFilter(label="a", user_id="guest"), "job_terms USING PRIMARY KEY", "term=? AND "),
        (JobFilter(name_prefix="ab", worker="w", user_id="guest"), "job_terms USING PRIMARY KEY", "term=? AND "),
        (
            JobFilter(tag="t", user_id="guest", statuses=("SUCCESS", "CREATED")),
            "job_terms USING COVERING INDEX job_terms_of_status",
            "term=? AND status=? AND ",
        ),
    ],
    ids=range(6),
)
def test_a_search_reads_only_the_rows_of_its_index(
    database: ExplainedDatabase, wanted: JobFilter, index: str, equal: str, newest_first: bool
) -> None:
    store = SqliteJobStore(database)
    for number in range(3):
        insert(store, Job(hash=str(number), create_time=str(number), secret=""))
    after = store.search(EVERY_JOB, newest_first=newest_first, limit=1).next
    bounds = {
        "none": ("", JobFilter(), None),
        "page": ("(create_time,hash)<(?,?)" if newest_first else "(create_time,hash)>(?,?)", JobFilter(), after),
        "times": ("create_time>? AND create_time<?", JobFilter(created_from="0", created_before="3"), None),
    }
    for bound, times, page in bounds.values():
        database.plans.clear()
        limited = {"created_from": times.created_from, "created_before": times.created_before}
        store.search(
            JobFilter(**{**{name: getattr(wanted, name) for name in wanted.__struct_fields__}, **limited}),
            newest_first=newest_first,
            after=page,
        )
        assert len(database.plans) == max(1, len(wanted.statuses))
        for first, *rest in database.plans:
            condition = f"{equal}{bound}" if bound else equal.removesuffix(" AND ")
            assert first == (f"SEARCH {index} ({condition})" if condition else f"SCAN {index}")
            # No step sorts.
            assert rest in ([], ["SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (hash=?)"])


def test_a_page_within_two_times_is_read_from_both_sides(database: ExplainedDatabase) -> None:
    store = SqliteJobStore(database)
    for number in range(9):
        insert(store, Job(hash=str(number), create_time=str(number), secret=""))
    wanted = JobFilter(created_from="2", created_before="7")
    for newest_first, comparison in ((False, ">(?,?) AND create_time<?)"), (True, "create_time>? AND (create_time")):
        page = store.search(wanted, newest_first=newest_first, limit=2)
        database.plans.clear()
        store.search(wanted, newest_first=newest_first, after=page.next)
        ((plan,),) = database.plans
        assert comparison in plan


def test_a_change_of_the_lease_leaves_the_terms_unchanged(database: ExplainedDatabase) -> None:
    store = SqliteJobStore(database)
    job = Job(hash="a", create_time="1", secret="", labels=("l",), name="name", worker="w", tags=("t",))
    insert(store, job)

    def changes() -> int:
        (total,) = database.rows("SELECT count(*) FROM job_terms")[0]
        return int(total)

    assert changes() == 7  # label, tag, worker, and the prefixes of the name with up to 4 characters
    insert(store, Job(hash="a", create_time="1", secret="", labels=(), status=Status.SUCCESS))
    assert changes() == 0


def test_jobs_of_earlier_versions_have_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [
        Job(hash="odd", create_time="1", secret="", labels=("\ud83d", 'a"b'), worker="w \ud83d"),
        Job(hash="plain", create_time="2", secret="", labels=("gpu", "gpu"), pool="p", status=Status.RUNNING),
        Job(hash="finished", create_time="3", secret="", pool="p", status=Status.SUCCESS),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", MIGRATIONS[:BEFORE_TERMS])
        old = SqliteDatabase(tmp_path / "database")

        def fill(connection: sqlite3.Connection) -> None:
            for job in jobs:
                values = [*map(encode_string, (job.hash, job.user_id, job.create_time, job.status)), encode_record(job)]
                connection.execute(
                    "INSERT INTO jobs (hash, user_id, create_time, status, body) VALUES (?, ?, ?, ?, ?)", values
                )

        old.write(fill)
        old.close()
    database = SqliteDatabase(tmp_path / "database")
    store = SqliteJobStore(database)
    migrated = database.rows("SELECT term, create_time, hash, status FROM job_terms ORDER BY term, hash")
    assert migrated
    database.execute("DELETE FROM job_terms")
    for job in jobs:
        database.execute("DELETE FROM jobs WHERE hash = ?", (encode_string(job.hash),))
        insert(store, job)
    assert database.rows("SELECT term, create_time, hash, status FROM job_terms ORDER BY term, hash") == migrated
    database.close()


@pytest.mark.parametrize(("owner", "reader"), [("alice", "bob"), ("alice", "guest"), ("guest", "alice")])
def test_a_page_token_never_names_the_job_of_another_user(
    database: ExplainedDatabase, monkeypatch: pytest.MonkeyPatch, owner: str, reader: str
) -> None:
    monkeypatch.setattr(jobs, "JOBS_PER_PAGE", 1)
    store = SqliteJobStore(database)
    for number in range(3):
        insert(
            store,
            Job(
                hash=key_of(owner, str(number)),
                create_time=str(number),
                secret="",
                user_id=owner,
                name="a",
                tags=("t",),
                labels=("l",),
                worker="w",
            ),
        )
    for condition in ({"name_prefix": "a"}, {"tag": "t"}, {"label": "l"}, {"worker": "w"}):
        assert store.search(JobFilter(user_id=reader, **condition)) == JobPage((), None)
        assert len(store.search(JobFilter(user_id=owner, **condition), limit=1).jobs) == 1
