"""What a waiting job waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from embedded_jobs import OPTIONS, POOLS, Clock

from cloud_executor.composition import Jobs
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.jobs.pools import waiting
from cloud_executor.model.jobs.worker import WorkerRecord


class Fleet:
    def ensure(self, pool: str, wanted: int) -> None:
        """Start no worker."""


def test_a_waiting_job_says_how_many_jobs_are_ahead(jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.attempts.record_worker(WorkerRecord("w", clock(), pool="plain"))
    jobs.clients.create("running")
    jobs.attempts.claim("running", "w")
    for name in ("a", "b", "c"):
        clock.advance(timedelta())
        jobs.clients.create(name)
    jobs.clients.create("elsewhere", ("gpu",))
    jobs.clients.create("external", ("nobody",))

    def facts(name: str) -> dict[str, object]:
        return jobs.waiting_line.facts(jobs.clients.get(name))

    assert [facts(name) for name in "abc"] == [{"jobsAhead": count} for count in range(3)]
    assert facts("running") == facts("external") == {}
    monkeypatch.setattr(waiting, "MOST_AHEAD", 1)
    assert facts("c") == {"jobsAhead": 1}


@pytest.mark.parametrize(
    ("fleet", "worker", "reason"),
    [
        (None, None, "no worker"),
        (Fleet(), None, "machine starting"),
        (Fleet(), WorkerRecord("w", Clock().now, pool="special"), "machine starting"),
        (Fleet(), WorkerRecord("w", Clock().now - OPTIONS.worker_timeout, pool="plain"), "machine starting"),
        (Fleet(), WorkerRecord("w", Clock().now, pool="plain"), None),
        (None, WorkerRecord("w", Clock().now, pool="plain"), None),
    ],
)
def test_the_reason_is_that_the_pool_has_no_worker(
    jobs: Jobs, fleet: Any, worker: WorkerRecord | None, reason: str | None
) -> None:
    if worker is not None:
        jobs.store.put_worker(worker)
    jobs.clients.create("j")
    job = jobs.clients.get("j")
    found = replace(jobs, fleet=fleet).waiting_line.facts(job)
    assert found == {"jobsAhead": 0} | ({} if reason is None else {"waitingReason": reason})


@pytest.mark.parametrize("is_open", [True, False])
def test_an_external_worker_serves_the_pools_that_are_open_to_it(jobs: Jobs, is_open: bool) -> None:
    jobs.clients.create("j")
    pools = [replace(pool, external_workers=is_open) for pool in POOLS]
    jobs = replace(jobs, pools=pools)
    jobs.external_workers.check_in(CheckIn("external"))
    assert ("waitingReason" in jobs.waiting_line.facts(jobs.clients.get("j"))) is not is_open


def test_the_workers_are_read_every_few_seconds_only(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.clients.create("j")
    job, line = jobs.clients.get("j"), jobs.waiting_line
    assert "waitingReason" in line.facts(job)
    jobs.store.put_worker(WorkerRecord("w", jobs.clock(), pool="plain"))
    assert "waitingReason" in line.facts(job)
    monkeypatch.setattr(waiting, "FRESH_SECONDS", 0)
    assert "waitingReason" not in line.facts(job)
