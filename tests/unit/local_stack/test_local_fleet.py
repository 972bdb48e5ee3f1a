"""The fleet of worker processes on one machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from local_stack.fleet import LocalFleet
from local_stack.service import Service


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def fleet_of(module: str, least: int, most: int) -> LocalFleet:
    """A fleet whose workers are a module of the standard library: `http.server` keeps running, `this` ends at once."""

    def new_worker(pool: str) -> Service:
        options = ["0"] if module == "http.server" else []
        return Service(
            "worker", module, options, {}, log_level=logging.CRITICAL, longest_pause_seconds=0.2, may_end=True
        )

    return LocalFleet(least, most, new_worker)


def test_a_fleet_grows_to_what_is_wanted_within_its_bounds_and_replaces_killed_workers() -> None:
    fleet = fleet_of("http.server", 1, 3)
    try:
        for wanted, expected in ((0, 0), (1, 0), (2, 1), (2, 1), (1, 1), (9, 2)):
            fleet.ensure("p", wanted)
            assert len(fleet._workers["p"]) == expected
        killed, kept = fleet.close()
        first, other = killed.pid, kept.pid
        assert killed._process is not None
        killed._process.kill()

        def replaced() -> bool:
            fleet.check()
            return killed.pid not in (None, first)

        until(replaced)
        assert kept.pid == other
        fleet.ensure("q", 2)  # closed
        assert len(fleet.close()) == 2
    finally:
        for worker in fleet.close():
            worker.stop()
            worker.wait_until(time.monotonic() + 5)


def test_a_worker_that_ends_by_itself_is_forgotten_and_can_be_started_again() -> None:
    fleet = fleet_of("this", 0, 1)
    for _ in range(2):
        fleet.ensure("p", 1)
        (worker,) = fleet._workers["p"]

        def ended(worker: Service = worker) -> bool:
            fleet.check()
            return worker.ended

        until(ended)
        assert fleet._workers["p"] == []
