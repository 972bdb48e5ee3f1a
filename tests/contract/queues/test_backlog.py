"""`JobStore.backlog`: how many jobs need workers of a pool."""

from __future__ import annotations

from job_documents import NOW, insert, new_job

from cloud_executor.model.jobs.job import Status
from cloud_executor.ports import JobStore


def test_the_backlog_counts_what_waits_for_the_pool_or_runs_on_its_workers(job_store: JobStore) -> None:
    insert(
        job_store,
        new_job("waits", pool="p"),
        new_job("waits\ud83d", pool="p"),
        new_job("runs", pool="p", status=Status.RUNNING, lease_expires=NOW),
        new_job("runs externally", pool="p", status=Status.RUNNING),
        new_job("done", pool="p", status=Status.SUCCESS, lease_expires=NOW),
        new_job("canceled", pool="p", status=Status.CANCELED),
        new_job("other", pool="q"),
        new_job("none"),
    )
    assert [job_store.backlog(pool, 100) for pool in ("p", "q", "r")] == [3, 1, 0]


def test_the_backlog_is_counted_up_to_the_limit(job_store: JobStore) -> None:
    insert(job_store, *(new_job(str(number), pool="p") for number in range(5)))
    assert [job_store.backlog("p", limit) for limit in (1, 4, 5, 6)] == [1, 4, 5, 5]


def test_the_backlog_shrinks_when_a_job_ends_or_moves(job_store: JobStore) -> None:
    insert(job_store, new_job("a", pool="p"), new_job("b", pool="p"))
    insert(job_store, new_job("a", pool="p", status=Status.FAILED_TO_EXECUTE), new_job("b", pool="q"))
    assert [job_store.backlog(pool, 100) for pool in ("p", "q")] == [0, 1]
