"""The contract of JobStore.counts (cloud_executor/ports.py), and the numbers that are made of it."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from job_documents import NOW, insert, new_job

from cloud_executor.jobs.stats import JobStats, PoolStats
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobStore

JOBS = [
    *(new_job(f"waiting {number}", 30 - number, pool="p") for number in range(3)),
    *(new_job(f"running {number}", status="RUNNING", pool="p") for number in range(2)),
    new_job("elsewhere", pool="q"),
    new_job("external"),
    *(new_job(f"ended {number}", status="SUCCESS", pool="p") for number in range(4)),
    new_job("failed", status="FAILED_TO_EXECUTE", pool="p"),
]


def test_counts_are_by_status(job_store: JobStore) -> None:
    assert job_store.counts() == {}
    assert job_store.counts("p") == {}


def test_jobs_are_counted(job_store: JobStore) -> None:
    insert(job_store, *JOBS)
    assert job_store.counts() == {"CREATED": 5, "RUNNING": 2, "SUCCESS": 4, "FAILED_TO_EXECUTE": 1}
    assert job_store.counts("p") == {"CREATED": 3, "RUNNING": 2}
    assert job_store.counts("q") == {"CREATED": 1}
    assert job_store.counts("none") == {}
    insert(job_store, new_job("waiting 0", status="CANCELED", pool="p"), new_job("new", pool="q"))
    assert job_store.counts()["CREATED"] == 5
    assert job_store.counts("p") == {"CREATED": 2, "RUNNING": 2}
    assert job_store.counts("q") == {"CREATED": 2}


def test_the_jobs_of_a_user_are_counted_up_to_a_limit(job_store: JobStore) -> None:
    assert job_store.count("ada", (), 5) == 0
    insert(job_store, *JOBS)
    insert(job_store, *(new_job(f"ada {number}", user_id="ada") for number in range(4)))
    insert(job_store, new_job("ada's", status="RUNNING", user_id="ada"), new_job("x", user_id="ada@example.org"))
    assert [job_store.count("ada", (), limit) for limit in (3, 5, 100)] == [3, 5, 5]
    assert [job_store.count("ada", ["CREATED"], limit) for limit in (3, 4, 100)] == [3, 4, 4]
    assert job_store.count("ada", ["CREATED", "RUNNING"], 100) == 5
    assert job_store.count("ada", ["SUCCESS"], 100) == 0
    assert job_store.count("ada@example.org", ["CREATED"], 100) == 1


def test_the_stats_describe_each_pool(
    job_store: JobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    insert(job_store, *JOBS)
    for worker in (
        WorkerRecord("a", NOW, pool="p", slots=4),
        WorkerRecord("b", NOW, pool="p", slots=2),
        WorkerRecord("c", NOW, pool="removed", slots=1),
        WorkerRecord("external", NOW),
    ):
        job_store.put_worker(worker)
    stats = JobStats(job_store, [WorkerPool("p"), WorkerPool("empty")], lambda: NOW + timedelta(seconds=5))
    stats.log_waiting()
    assert [(record.pool, record.seconds) for record in caplog.records if hasattr(record, "pool")] == [("p", 35.0)]
    found = stats.current()
    assert found.pools == {
        "p": PoolStats(waiting=3, running=2, slots=6, workers=2, oldest_waiting_seconds=35.0),
        "empty": PoolStats(waiting=0, running=0, slots=0, workers=0, oldest_waiting_seconds=None),
        "removed": PoolStats(waiting=0, running=0, slots=1, workers=1, oldest_waiting_seconds=None),
    }
    insert(job_store, new_job("later", pool="p"))
    assert stats.current() is found
    monkeypatch.setattr("cloud_executor.jobs.stats.FRESH_SECONDS", -1.0)
    assert stats.current().pools["p"].waiting == 4
