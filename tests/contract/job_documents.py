"""Jobs for the contract suites of a JobStore, and helpers that store, change, and list them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier

import msgspec
import pytest
from contract_backends import TIMEOUT_SECONDS, JobBackend

from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import Job
from cloud_executor.ports import JobStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

ODD_STRINGS = {
    "empty": "",
    "NUL": "a\0b",
    "path": "../../etc/passwd",
    "slashes": "a/b//c/",
    "dots": "..",
    "quotes": "'; DROP TABLE jobs; --\"`",
    "percent": "50%_[a-z]*",
    "line breaks": "a\r\nb\u2028",
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469",
    "composed": "e\u0301",
    "lone surrogate": "\ud83d",
    "surrogates apart": "\ud83d\ude00",
    "very long": "long/" * 20_000,
}
odd_strings = pytest.mark.parametrize("string", ODD_STRINGS.values(), ids=ODD_STRINGS.keys())


def new_job(job_hash: str, age_seconds: float = 0, **fields: object) -> Job:
    created = iso_time(NOW - timedelta(seconds=age_seconds))
    return msgspec.structs.replace(Job(hash=job_hash, create_time=created, secret="hush"), **fields)


def insert(store: JobStore, *jobs: Job) -> None:
    def insert_one(job: Job) -> None:
        store.transact(job.hash, lambda _: job)

    for job in jobs:
        insert_one(job)


def hashes(jobs: tuple[Job, ...]) -> list[str]:
    return [job.hash for job in jobs]


def every_job(store: JobStore, *, limit: int, **filters: str) -> list[str]:
    """The hashes of all pages."""
    found: list[str] = []
    after: str | None = None
    while True:
        page = store.query(after=after, limit=limit, **filters)
        assert len(page.jobs) <= limit
        found += hashes(page.jobs)
        if page.next is None:
            return found
        after = page.next


def existing(job: Job | None) -> Job:
    assert job is not None
    return job


def count_up(job: Job | None) -> Job:
    return msgspec.structs.replace(existing(job), lost_attempts=existing(job).lost_attempts + 1)


def count_up_in_a_process(_number: int, backend: JobBackend, start: Barrier, times: int) -> None:
    with backend.open() as store:
        start.wait(TIMEOUT_SECONDS)
        for _ in range(times):
            store.transact("a", count_up)
