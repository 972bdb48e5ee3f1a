"""One attempt of this worker at a job, and whether it may go on."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from enum import IntEnum

from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.model.job import Job

PROVEN_SHARE = 5 / 6
"""of a lease: what is left of it after that is the time to stop the command in, before another worker may start it"""

ARCHIVE_GRACE_SECONDS = 2.5
"""how long a stopping worker goes on archiving the results of a command that has ended"""


class Interruption(IntEnum):
    """Why an attempt ends before its time; the greater one counts."""

    RELEASED = 1
    """the worker stops: another one is to run the job"""
    CANCELED = 2
    """somebody canceled the job"""
    LOST = 3
    """the job belongs to another worker, or may soon"""


class Interrupted(Exception):
    """The attempt must not go on."""

    def __init__(self, reason: Interruption) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Attempt:
    """Safe for use by threads. Its descriptor becomes readable once it is interrupted, for a poll."""

    def __init__(self, job: Job, lease_seconds: float, claimed_at: float) -> None:
        """`claimed_at`: on the monotonic clock, before the job was claimed."""
        self.job = job
        self._lease_seconds = lease_seconds
        self._claimed_at = claimed_at
        self._lock = threading.Lock()
        self._interruption: Interruption | None = None
        self._interrupted_at = 0.0
        self._readable, self._writable = os.pipe()
        self.proven(claimed_at)

    @property
    def job_hash(self) -> str:
        return self.job.hash

    @property
    def number(self) -> int:
        return self.job.attempt

    def fields(self, action: str) -> dict[str, object]:
        """What a log line says of it."""
        return log_fields(self.job, action) | {"worker_id": self.job.worker}

    def proven(self, at: float) -> None:
        """Note that the job was still ours then, on the monotonic clock."""
        self._proven_until = at + PROVEN_SHARE * self._lease_seconds

    @property
    def seconds(self) -> float:
        """How long ago the job was claimed."""
        return time.monotonic() - self._claimed_at

    @property
    def seconds_left(self) -> float:
        """How long the job is ours for certain."""
        return max(0.0, self._proven_until - time.monotonic())

    @property
    def interruption(self) -> Interruption | None:
        if self._interruption is not Interruption.LOST and self.seconds_left == 0:
            self.interrupt(Interruption.LOST)
        return self._interruption

    def interrupt(self, reason: Interruption) -> None:
        with self._lock:
            if self._interruption is None and self._writable >= 0:
                self._interrupted_at = time.monotonic()
                os.write(self._writable, b"\0")
            self._interruption = max(reason, self._interruption or reason)

    def check(self) -> None:
        """Raises Interrupted."""
        reason = self.interruption
        if reason is not None:
            raise Interrupted(reason)

    def wait(self, seconds: float) -> bool:
        """Wait so long, for `persist`. Raises Interrupted as soon as the attempt is."""
        poll = select.poll()
        poll.register(self._readable, select.POLLIN)
        poll.poll(math.ceil(1000 * min(seconds, self.seconds_left)))
        self.check()
        return False

    def check_archiving(self) -> None:
        """Raises Interrupted if results must not, or need not, be stored any more."""
        reason = self.interruption
        patient = time.monotonic() < self._interrupted_at + ARCHIVE_GRACE_SECONDS
        if reason is Interruption.LOST or (reason is Interruption.RELEASED and not patient):
            raise Interrupted(reason)

    def fileno(self) -> int:
        return self._readable

    def close(self) -> None:
        with self._lock:
            os.close(self._readable)
            os.close(self._writable)
            self._writable = -1
