"""The contract of JobStore.delete."""

from __future__ import annotations

import pytest
from job_documents import existing, insert, new_job, odd_strings

from cloud_executor.errors import Conflict
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, NotFinished, OutputSegment, Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.ports import JobNotFound, JobStore


def finished(job_hash: str, **fields: object) -> Job:
    return new_job(job_hash, status=Status.SUCCESS, **fields)


@odd_strings
def test_a_deleted_job_leaves_nothing(job_store: JobStore, string: str) -> None:
    job = finished(string, labels=("l",), name="n", tags=("t",), worker="w")
    insert(job_store, job, finished("other", labels=("l",)))
    for number in (-1, 0, 7):
        job_store.put_output(OutputSegment(string, number, "x" * 1000), lambda stored: stored)
    job_store.put_output(OutputSegment("other", 0, "kept"), lambda stored: stored)
    job_store.delete(string, transitions.check_deletable)
    with pytest.raises(JobNotFound):
        job_store.get(string)
    with pytest.raises(JobNotFound):
        job_store.require(string)
    assert list(job_store.output(string)) == []
    for wanted in (JobFilter(), JobFilter(label="l"), JobFilter(tag="t"), JobFilter(worker="w")):
        assert string not in [found.hash for found in job_store.search(wanted).jobs]
    assert [segment.output for segment in job_store.output("other")] == ["kept"]
    with pytest.raises(JobNotFound):
        job_store.delete(string, transitions.check_deletable)
    insert(job_store, job)
    assert job_store.get(string) == job
    assert list(job_store.output(string)) == []


def test_a_check_can_keep_the_job(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    job_store.put_output(OutputSegment("a", 0, "kept"), lambda stored: stored)
    with pytest.raises(NotFinished):
        job_store.delete("a", transitions.check_deletable)
    assert job_store.get("a").status == Status.CREATED
    assert [segment.output for segment in job_store.output("a")] == ["kept"]


def test_a_job_that_changes_while_it_is_deleted_is_checked_again(job_store: JobStore) -> None:
    insert(job_store, finished("a"))
    calls: list[str] = []

    def check(job: Job) -> None:
        calls.append(job.status)
        transitions.check_deletable(job)
        if len(calls) == 1:
            raise Conflict

    with pytest.raises(Conflict):
        job_store.delete("a", check)
    job_store.transact("a", lambda job: new_job(existing(job).hash))
    with pytest.raises(NotFinished):
        job_store.delete("a", check)
    assert calls == [Status.SUCCESS, Status.CREATED]
