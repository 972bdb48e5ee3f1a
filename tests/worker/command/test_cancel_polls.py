"""How often a running job is read to notice a cancel."""

from __future__ import annotations

from datetime import timedelta

import pytest
from worker_harness import Stack, until

from cloud_executor.clock import boot_seconds
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.jobs.job import Job
from worker_vm.worker import heartbeat as module
from worker_vm.worker.attempt import Attempt, Interruption
from worker_vm.worker.heartbeat import Heartbeat

NEVER = 3600.0
LEASE = timedelta(hours=4)


@pytest.mark.parametrize(("age", "expected"), [(0, 1.0), (59, 1.0), (61, 5.0), (86400, 5.0)])
def test_a_job_is_read_every_second_for_a_minute_and_then_every_five(age: float, expected: float) -> None:
    attempt = Attempt(Job(hash="j", create_time="", secret=""), LEASE.total_seconds(), boot_seconds() - age)
    assert module._poll_seconds(attempt) == expected
    attempt.close()


@pytest.mark.parametrize(("early", "first", "later"), [(NEVER, 0.01, NEVER), (0.0, NEVER, 0.01)])
def test_a_cancel_is_noticed_at_either_interval(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, early: float, first: float, later: float
) -> None:
    for name, value in (("EARLY_SECONDS", early), ("POLL_SECONDS", first), ("LATER_POLL_SECONDS", later)):
        monkeypatch.setattr(module, name, value)
    jobs = stack.jobs_with(Attempts, JobOptions(lease=LEASE))
    heartbeat = Heartbeat(jobs.attempts, "worker", ())
    added = stack.add_script("true")
    attempt = Attempt(jobs.attempts.claim(added.hash, "worker"), LEASE.total_seconds(), boot_seconds())
    with heartbeat.keep(attempt):
        stack.cancel(added)
        until(lambda: attempt.interruption is Interruption.CANCELED)
    attempt.close()
