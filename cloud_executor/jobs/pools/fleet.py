"""Requests for workers: a pool grows as soon as jobs wait in it, rather than when an autoscaler notices them."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.ports import JobStore, WorkerFleet

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""Pause after a request for a pool, in seconds. Jobs that are created meanwhile share the next request."""

JOBS_COUNTED = 10_000
"""Largest backlog that is counted."""


@dataclass(slots=True)
class _State:
    lock: threading.Lock = field(default_factory=threading.Lock)
    requested: set[str] = field(default_factory=set)
    """Pools with a job that no request counts yet."""
    active: set[str] = field(default_factory=set)
    """Pools for which a thread is running."""


@dataclass(frozen=True, slots=True)
class FleetRequests:
    """Requests enough workers for the jobs of a pool. Safe for concurrent use.

    It wants as many workers as the waiting and running jobs fill, so a free slot is used before a worker is added.
    """

    fleet: WorkerFleet
    store: JobStore
    pools: Iterable[WorkerPool]
    pause_seconds: float = PAUSE_SECONDS
    _state: _State = field(default_factory=_State)

    def request(self, pool: str) -> None:
        """Request workers for the pool from a background thread. Never waits or fails.

        If the process dies first, or gets no processor time, the next sweep requests the workers.
        """
        with self._state.lock:
            self._state.requested.add(pool)
            if pool in self._state.active:
                return
            self._state.active.add(pool)
        try:
            threading.Thread(target=self._work, args=(pool,), name="fleet", daemon=True).start()
        except RuntimeError:  # no thread can be started
            with self._state.lock:
                self._state.active.discard(pool)
            _log_failure(pool)

    def request_all(self) -> None:
        """Request workers for every pool, in this thread. Errors are logged."""
        for pool in self.pools:
            self._ensure(pool)

    def _work(self, name: str) -> None:
        pause = threading.Event()
        while True:
            with self._state.lock:
                if name not in self._state.requested:
                    self._state.active.discard(name)
                    return
                self._state.requested.discard(name)
            for pool in self.pools:
                if pool.name == name:
                    self._ensure(pool)
            pause.wait(self.pause_seconds)

    def _ensure(self, pool: WorkerPool) -> None:
        # Nothing depends on the request: an autoscaler or the next sweep does the same later.
        try:
            backlog = self.store.backlog(pool.name, JOBS_COUNTED)
            self.fleet.ensure(pool.name, _workers_for(backlog, pool.slots))
        except Exception:
            _log_failure(pool.name)


def _workers_for(backlog: int, slots: int | None) -> int:
    """The number of workers that the jobs fill. Workers with an unknown number of slots are requested one at a time."""
    return min(backlog, 1) if slots is None else math.ceil(backlog / slots)


def _log_failure(pool: str) -> None:
    logger.warning("workers could not be requested", extra={"action": "request_workers", "pool": pool}, exc_info=True)
