"""Requests for workers: when jobs wait, how many, and what errors do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from embedded_jobs import POOLS, Clock, finish

from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.pools.fleet import FleetRequests
from cloud_executor.model.jobs.pool import WorkerPool


class Fleet:
    """Records each request; `block` keeps it waiting."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[tuple[str, int]] = []
        self.block = threading.Event()
        self.block.set()
        self._error = error

    def ensure(self, pool: str, wanted: int) -> None:
        self.requests.append((pool, wanted))
        assert self.block.wait(30)
        if self._error is not None:
            raise self._error


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FleetRequests.__init__, "__defaults__", (0.01, *FleetRequests.__init__.__defaults__[1:]))


def test_a_new_job_requests_a_worker_and_does_not_wait_for_it(jobs: Jobs) -> None:
    fleet = Fleet()
    fleet.block.clear()
    replace(jobs, fleet=fleet).clients.create("a")
    until(lambda: fleet.requests)
    assert fleet.requests == [("plain", 1)]
    fleet.block.set()


def test_jobs_that_are_created_meanwhile_share_the_next_request(jobs: Jobs) -> None:
    fleet = Fleet()
    fleet.block.clear()
    growing = replace(jobs, fleet=fleet, pools=[WorkerPool("plain", slots=2)])
    growing.clients.create("first")
    until(lambda: fleet.requests)
    for number in range(6):
        growing.clients.create(str(number))
    fleet.block.set()
    until(lambda: len(fleet.requests) > 1)
    assert fleet.requests == [("plain", 1), ("plain", 4)]
    until(lambda: all(thread.name != "fleet" for thread in threading.enumerate()))
    assert len(fleet.requests) == 2


def test_jobs_without_a_pool_request_nothing(jobs: Jobs) -> None:
    fleet = Fleet()
    growing = replace(jobs, fleet=fleet)
    growing.clients.create("a", ("nobody-has-this",))
    growing.clients.create("b", ("gpu",))
    until(lambda: fleet.requests)
    assert fleet.requests == [("special", 1)]


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("a bug")])
def test_a_request_that_fails_does_not_fail_the_create_or_the_sweep(jobs: Jobs, error: Exception) -> None:
    fleet = Fleet(error)
    growing = replace(jobs, fleet=fleet)
    assert growing.clients.create("a")[1]
    until(lambda: fleet.requests)
    until(lambda: all(thread.name != "fleet" for thread in threading.enumerate()))
    growing.sweep.run()
    assert fleet.requests[1:] == [("plain", 1), ("special", 0)]


def test_a_create_succeeds_if_no_thread_can_be_started(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet()
    growing = replace(jobs, fleet=fleet)

    actual = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "fleet":  # servers of other tests may start threads of their own meanwhile
            raise RuntimeError("can't start new thread")
        actual(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        assert growing.clients.create("a")[1]
    growing.clients.create("b")
    until(lambda: fleet.requests)
    assert fleet.requests == [("plain", 1)]  # the number of slots is unknown, so one worker at a time


def test_the_sweep_requests_workers_for_the_jobs_that_wait_or_run(jobs: Jobs, clock: Clock) -> None:
    fleet = Fleet()
    growing = replace(jobs, fleet=fleet, pools=[replace(pool, slots=1) for pool in POOLS])
    for name in ("a", "b", "c"):
        jobs.clients.create(name)
    finish(jobs, "a")
    jobs.attempts.claim("b", "w")
    growing.sweep.run()
    assert fleet.requests == [("plain", 2), ("special", 0)]
