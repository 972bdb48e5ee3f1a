"""A job store that is slow, rather than away, makes no worker lose its jobs."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from worker_harness import Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.jobs.job import Job, Status
from worker_vm.worker.heartbeat import Heartbeat

LEASE_SECONDS = 3.0


class Slow(Attempts):
    """Each call takes a third of a lease."""

    def claim(self, *arguments: Any, **named: Any) -> Job:
        time.sleep(LEASE_SECONDS / 3)
        return super().claim(*arguments, **named)

    def get(self, job_hash: str) -> Job:
        time.sleep(LEASE_SECONDS / 3)
        return super().get(job_hash)

    def renew(self, *arguments: Any, **named: Any) -> Job:
        time.sleep(LEASE_SECONDS / 3)
        return super().renew(*arguments, **named)


@pytest.mark.parametrize("slots", [1, 4])
def test_jobs_run_once_although_each_call_is_slow(stack: Stack, slots: int) -> None:
    jobs = stack.jobs_with(Slow, JobOptions(lease=timedelta(seconds=LEASE_SECONDS)))
    swept = threading.Event()

    def sweep() -> None:
        while not swept.wait(0.2):
            jobs.sweep.run()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        with WorkerThread(runner_of(stack, jobs), queue=jobs.queue, slots=slots):
            added = [stack.add_script(f"sleep {3 * LEASE_SECONDS}; echo {number}") for number in range(slots)]
            until(lambda: all(stack.get(job).finished for job in added), 60)
    finally:
        swept.set()
        sweeper.join()
    for job in added:
        found = stack.get(job)
        assert (found.status, found.attempt, found.lost_attempts) == (Status.SUCCESS, 1, 0)


def test_the_lease_grows_with_the_latency_and_shrinks_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = True

    class Recording(Attempts):
        def record_worker(self, worker: Any) -> None:
            time.sleep(0.3 if slow else 0)

    jobs = stack.jobs_with(Recording, JobOptions(lease=timedelta(seconds=1)))
    heartbeat = Heartbeat(jobs.attempts, "worker", ())
    assert heartbeat.lease == timedelta(seconds=1)
    heartbeat.record()
    assert timedelta(seconds=3) <= heartbeat.lease
    slow = False
    for _ in range(40):
        heartbeat.record()
    assert heartbeat.lease == timedelta(seconds=1)
