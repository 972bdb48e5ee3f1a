"""Machines with wrong clocks: leases are judged by the clock of the store, the same for all machines."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud_executor.backends.google.firestore.jobs import FirestoreJobStore
from cloud_executor.backends.sqlite.clock import open_boot_clock
from cloud_executor.composition import Jobs
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobStore

HOUR = timedelta(hours=1)
LONG, SHORT = timedelta(seconds=60), timedelta(milliseconds=300)
WAIT_SECONDS = 30


class NoQueue:
    """A queue whose messages nobody receives."""

    def publish(self, pool: str, job_hash: str) -> None:
        pass


def machine(store: JobStore, folder: Path, skew: timedelta, lease: timedelta) -> Jobs:
    """The use cases on a machine whose clock is wrong."""
    queue: Any = NoQueue()
    return Jobs(
        store,
        queue,
        [WorkerPool("pool")],
        JobOptions(lease=lease, refresh_period=lease / 5),
        clock=lambda: datetime.now(UTC) + skew,
        lease_clock=store.now if isinstance(store, FirestoreJobStore) else open_boot_clock(folder),
    )


@pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_wrong_clocks_neither_end_nor_extend_a_lease(job_store: JobStore, tmp_path: Path, skew: timedelta) -> None:
    worker, sweeper = (machine(job_store, tmp_path, error, LONG) for error in (skew, -skew))
    worker.clients.create("long", ())
    attempt = worker.attempts.claim("long", "w").attempt
    worker.attempts.record_worker(WorkerRecord("w", worker.attempts.lease_clock()))
    for jobs in (sweeper, worker):
        report = jobs.sweep.run()
        assert (report.returned, report.workers_forgotten) == (0, 0)
    assert worker.attempts.renew("long", attempt).status == Status.RUNNING

    worker, sweeper = (machine(job_store, tmp_path, error, SHORT) for error in (skew, -skew))
    worker.clients.create("short", ())
    worker.attempts.claim("short", "v")
    end = time.monotonic() + WAIT_SECONDS
    while sweeper.sweep.run().returned == 0:
        assert time.monotonic() < end, "the lease does not expire"
        time.sleep(0.05)
    assert worker.clients.get("short").status == Status.CREATED
    assert worker.clients.get("long").status == Status.RUNNING
