"""The sweep takes the jobs of vanished external workers back, with every JobStore."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from job_documents import NOW

from cloud_executor.composition import Jobs
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs.job import Status
from cloud_executor.ports import JobStore


def test_only_the_jobs_of_the_worker_that_vanished_are_taken_back(job_store: JobStore) -> None:
    now = NOW

    def clock() -> datetime:
        return now

    queue: Any = None  # no pool has the label
    jobs = Jobs(job_store, queue, (), clock=clock)
    # Two users may give their workers the same name.
    for user in ("ada", "eve"):
        for job in ("a", "b"):
            jobs.clients.create(job, ("x",), user)
        assert set(jobs.external_workers.check_in(CheckIn("w", 2, ("x",)), user).jobs_to_start) == {"a", "b"}
    now += jobs.options.worker_timeout + timedelta(seconds=1)
    jobs.external_workers.check_in(CheckIn("w", 0, ("x",), ("a", "b")), "eve")
    report = jobs.sweep.run()
    assert (report.returned, report.workers_forgotten) == (2, 1)
    statuses = {(user, job): job_store.get(key_of(user, job)).status for user in ("ada", "eve") for job in ("a", "b")}
    assert {user for (user, _), status in statuses.items() if status == Status.CREATED} == {"ada"}
    assert {user for (user, _), status in statuses.items() if status == Status.RUNNING} == {"eve"}
    assert [worker.client_id for worker in job_store.workers()] == [key_of("eve", "w")]
