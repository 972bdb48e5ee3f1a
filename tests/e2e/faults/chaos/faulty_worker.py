"""A worker whose own environment is faulty: `faulty_worker.py FAULT VALUE LOG WORKER-OPTION...`.

It writes one line to LOG for each fault.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import system_clock
from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.ports import JobQueue, JobStore, ObjectStore
from cloud_executor.settings import Settings
from worker_vm.worker import main as worker
from worker_vm.worker.sandbox.process.supervisor import Supervisor

STEP_SECONDS = 4.0
"""Interval between steps of the clock, in seconds."""

STREAMS = ("subscribe", "watch")
"""Calls that only open a stream of further calls."""


class Faults:
    def __init__(self, fault: str, value: float, log: Path) -> None:
        self._fault = fault
        self._value = value
        self._log = log
        self._calls = 0
        self._open_jobs = worker.open_jobs
        self._open_blobs = worker.open_blobs

    def install(self) -> None:
        worker.open_jobs = self.open_jobs
        worker.open_blobs = self.open_blobs
        if self._fault == "fork":
            _wrap(Supervisor, "start", self._fork)

    def open_jobs(self, settings: Settings) -> Jobs:
        jobs = self._open_jobs(settings)
        self._wrap_calls(jobs.store, JobStore)
        self._wrap_calls(jobs.queue, JobQueue)
        return replace(jobs, clock=self._clock) if self._fault in ("skew", "steps") else jobs

    def open_blobs(self, settings: Settings) -> BlobStore:
        blobs = self._open_blobs(settings)
        self._wrap_calls(blobs.objects, ObjectStore)
        return blobs

    def _wrap_calls(self, backend: object, port: type) -> None:
        action = {"latency": self._latency, "lost replies": self._lose_reply}.get(self._fault)
        for name in vars(port):
            if action is not None and not name.startswith("_") and name not in STREAMS:
                _wrap(type(backend), name, action)

    def _note(self) -> None:
        with self._log.open("a") as log:
            log.write("fault\n")

    def _clock(self) -> Any:
        self._note()
        sign = -1 if self._fault == "steps" and int(time.monotonic() / STEP_SECONDS) % 2 else 1
        return system_clock() + sign * timedelta(seconds=self._value)

    def _latency(self, call: Callable[[], Any]) -> Any:
        self._note()
        time.sleep(self._value)
        return call()

    def _lose_reply(self, call: Callable[[], Any]) -> Any:
        self._calls += 1
        result = call()
        if self._calls % self._value == 0:
            self._note()
            raise Unavailable
        return result

    def _fork(self, call: Callable[[], Any]) -> Any:
        self._calls += 1
        if self._calls % self._value == 0:
            self._note()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return call()


def _wrap(owner: type, name: str, action: Callable[[Callable[[], Any]], Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        return action(lambda: original(*arguments, **named))

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    fault, value, log = sys.argv[1:4]
    del sys.argv[1:4]
    Faults(fault, float(value), Path(log)).install()
    worker.main()
