"""A VM that was suspended: its worker renews the leases of its jobs, or gives the jobs up, before anything else.

The sweep runs elsewhere and was not suspended. The boot clock may or may not have advanced meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from worker_harness import Stack, until

from cloud_executor.clock import boot_seconds
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.jobs.job import Job
from cloud_executor.process.time_jumps import TimeJumps
from worker_vm.worker import attempt as module
from worker_vm.worker.attempt import CONFIRM_SECONDS, SAFE_LEASE_SHARE, Attempt, Interruption
from worker_vm.worker.heartbeat import Heartbeat

LEASE_SECONDS = 300.0


@dataclass
class Clocks:
    boot: float = 1000.0
    wall: float = 1_800_000_000.0

    def pause(self, boot: float, wall: float) -> None:
        """Pass time in which no program runs."""
        self.boot += boot
        self.wall += wall


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    found = Clocks()
    monkeypatch.setattr(module, "boot_seconds", lambda: found.boot)
    return found


@pytest.fixture
def jumps(clocks: Clocks) -> Iterator[TimeJumps]:
    found = TimeJumps(timedelta(hours=1), lambda: clocks.boot, lambda: clocks.wall)
    with found.watched():
        yield found


def attempt_of(clocks: Clocks, jumps: TimeJumps, *, sweep_jumps: bool = False) -> Attempt:
    job = Job(hash="j", create_time="", secret="")
    return Attempt(job, LEASE_SECONDS, clocks.boot, jumps, sweep_jumps=sweep_jumps)


def test_a_job_is_given_up_at_once_if_its_lease_has_certainly_expired(clocks: Clocks, jumps: TimeJumps) -> None:
    attempt = attempt_of(clocks, jumps)
    clocks.pause(7200, 7200)
    assert attempt.interruption is Interruption.LOST
    attempt.close()


def test_the_sweep_on_the_same_machine_lets_a_worker_renew_its_lease(clocks: Clocks, jumps: TimeJumps) -> None:
    attempt = attempt_of(clocks, jumps, sweep_jumps=True)
    clocks.pause(7200, 7200)
    assert attempt.interruption is None
    attempt.close()


@pytest.mark.parametrize("sweep_jumps", [True, False])
def test_a_jump_of_the_wall_clock_alone_shows_a_suspension(clocks: Clocks, jumps: TimeJumps, sweep_jumps: bool) -> None:
    attempt = attempt_of(clocks, jumps, sweep_jumps=sweep_jumps)
    assert not attempt.has_jumped
    clocks.pause(1, 3600)
    assert attempt.has_jumped
    safe = SAFE_LEASE_SHARE * LEASE_SECONDS
    assert attempt.seconds_left == (safe - 1 if sweep_jumps else CONFIRM_SECONDS)
    attempt.close()


def test_a_job_whose_lease_is_not_renewed_after_a_jump_is_given_up(clocks: Clocks, jumps: TimeJumps) -> None:
    attempt = attempt_of(clocks, jumps)
    clocks.pause(1, 3600)
    assert attempt.interruption is None
    clocks.pause(CONFIRM_SECONDS, CONFIRM_SECONDS)
    assert attempt.interruption is Interruption.LOST
    attempt.close()


def test_a_renewal_after_a_jump_makes_the_lease_safe_again(clocks: Clocks, jumps: TimeJumps) -> None:
    attempt = attempt_of(clocks, jumps)
    clocks.pause(1, 3600)
    assert attempt.seconds_left == CONFIRM_SECONDS
    clocks.pause(1, 1)
    attempt.lease_renewed_at(clocks.boot, LEASE_SECONDS)
    assert not attempt.has_jumped
    assert attempt.seconds_left == SAFE_LEASE_SHARE * LEASE_SECONDS
    attempt.close()


@pytest.mark.parametrize("taken", [False, True])
def test_the_heartbeat_renews_after_a_jump_and_finds_out_whether_the_job_was_taken(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    monkeypatch.setattr("worker_vm.worker.heartbeat.POLL_SECONDS", 0.01)
    wall = 1_800_000_000.0
    jumps = TimeJumps(timedelta(hours=1), boot_seconds, lambda: wall + boot_seconds())
    renewed = threading.Event()

    class Recording(Attempts):
        def renew(self, *arguments: Any, **named: Any) -> Job:
            job = super().renew(*arguments, **named)
            renewed.set()
            return job

    jobs = stack.jobs_with(Recording, JobOptions(lease=timedelta(hours=4)))
    heartbeat = Heartbeat(jobs.attempts, "worker", ())
    added = stack.add_script("true")
    lease_seconds = jobs.options.lease.total_seconds()
    attempt = Attempt(
        jobs.attempts.claim(added.hash, "worker"), lease_seconds, boot_seconds(), jumps, sweep_jumps=False
    )
    with jumps.watched(), heartbeat.keep(attempt):
        if taken:
            jobs.attempts.release(added.hash, attempt.number)
            jobs.attempts.claim(added.hash, "another worker")
        wall += 3600
        if taken:
            until(lambda: attempt.interruption is Interruption.LOST)
        else:
            assert renewed.wait(30)
            until(lambda: attempt.seconds_left > CONFIRM_SECONDS)
            assert attempt.interruption is None
    attempt.close()
