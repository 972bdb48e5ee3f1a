"""Workers that run only while there are jobs: `executor up --slots 0..4`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from local_stack.service import Service


class LocalFleet:
    """A WorkerFleet of worker processes with one slot each.

    `least` is the number of slots that each pool has anyway, and `most` the largest number. A worker that has been idle
    for too long ends by itself.
    """

    def __init__(self, least: int, most: int, new_worker: Callable[[str], Service]) -> None:
        self._least = least
        self._most = most
        self._new_worker = new_worker
        self._workers: dict[str, list[Service]] = {}
        self._closed = False
        self._lock = threading.Lock()

    def ensure(self, pool: str, wanted: int) -> None:
        with self._lock:
            workers = self._workers.setdefault(pool, [])
            while not self._closed and len(workers) < min(wanted, self._most) - self._least:
                worker = self._new_worker(pool)
                worker.start()
                workers.append(worker)

    def check(self) -> None:
        """Restart workers that were killed, and forget those that ended because they were idle."""
        with self._lock:
            for workers in self._workers.values():
                for worker in workers:
                    worker.check(starting=False)
                workers[:] = [worker for worker in workers if not worker.ended]

    def close(self) -> list[Service]:
        """Start no more workers. Returns those that run."""
        with self._lock:
            self._closed = True
            return [worker for workers in self._workers.values() for worker in workers]
