"""One attempt of this worker at a job, and whether it may continue."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from enum import IntEnum

from cloud_executor.clock import boot_seconds
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.model.blobs.metadata import BlobMetadata, ContentType
from cloud_executor.model.jobs.job import Job
from cloud_executor.process.time_jumps import TimeJumps

SAFE_LEASE_SHARE = 5 / 6
"""Share of the lease in which the command may run. The rest is for stopping it before another worker may start it."""

RESUME_LEASE_SHARE = 1 / 3
"""Share of the lease in which a worker that slept must renew it. Others do not take the job for a whole lease."""

CONFIRM_SECONDS = 20.0
"""Time in which a worker must renew its lease after a time jump that the sweep did not notice, in seconds."""

ARCHIVE_GRACE_SECONDS = 2.5
"""Time that a stopping worker spends on archiving the results of a command that has ended, in seconds."""

CANCEL_GRACE_SECONDS = 60.0
"""Time for which a canceled job's results are still looked for, in seconds."""


class Interruption(IntEnum):
    """Why an attempt ends early. The highest value takes precedence."""

    RELEASED = 1
    """The worker stops. Another worker will run the job."""
    CANCELED = 2
    """The job was canceled."""
    LOST = 3
    """The job belongs to another worker, or soon may."""


class Interrupted(Exception):
    """The attempt must not continue."""

    def __init__(self, reason: Interruption) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Attempt:
    """An attempt, safe for use by threads. Its descriptor becomes readable when the attempt is interrupted."""

    def __init__(
        self,
        job: Job,
        lease_seconds: float,
        claimed_at: float,
        time_jumps: TimeJumps | None = None,
        *,
        sweep_jumps: bool = True,
    ) -> None:
        """`claimed_at` is a time on the boot clock, before the job was claimed.

        `sweep_jumps`: the sweep notices the same jumps, because it runs on the same machine.
        """
        self.job = job
        self._time_jumps = time_jumps or TimeJumps()
        self._sweep_jumps = sweep_jumps
        self.claimed_at = claimed_at
        self.stored: dict[str, int] = {}
        """Size of each content that the attempt has stored, by hash, in bytes."""
        self._lock = threading.Lock()
        self._interruption: Interruption | None = None
        self._interrupted_at = 0.0
        self._readable, self._writable = os.pipe()
        self.lease_renewed_at(claimed_at, lease_seconds)

    @property
    def job_hash(self) -> str:
        return self.job.hash

    @property
    def number(self) -> int:
        return self.job.attempt

    def fields(self, action: str) -> dict[str, object]:
        """Fields that identify the attempt in a log record."""
        return log_fields(self.job, action) | {"worker_id": self.job.worker}

    def note_stored(self, metadata: BlobMetadata) -> None:
        """Note that the attempt has stored this blob. Safe for use by threads."""
        if metadata.content_type is ContentType.OBJECT:
            self.stored[metadata.content_hash] = int(metadata.size)
        else:
            self.stored[metadata.hash] = len(metadata.canonical)

    def lease_renewed_at(self, at: float, lease_seconds: float) -> None:
        """Note that the lease was claimed or renewed at this time on the boot clock, for this long."""
        self.lease_seconds = lease_seconds
        self._renewed_at = at
        self._safe_until = at + SAFE_LEASE_SHARE * lease_seconds
        self._resumed = False

    @property
    def elapsed_seconds(self) -> float:
        """Time since the job was claimed, in seconds."""
        return boot_seconds() - self.claimed_at

    @property
    def has_jumped(self) -> bool:
        """Whether time has jumped since the lease was renewed, so that nothing is known about it."""
        return self._time_jumps.last > self._renewed_at

    @property
    def seconds_left(self) -> float:
        """Time in which the job certainly belongs to this attempt, in seconds.

        After a sleep of a machine that runs the sweep too, the heartbeat gets some time to find out whether the job
        still belongs to it: the sweep waits for longer. Otherwise the lease may have expired, even if this machine's
        clocks do not show it, as when its VM was suspended: the heartbeat must soon renew it, or the job is given up.
        """
        jumped_at = self._time_jumps.last
        if jumped_at > self._renewed_at and not self._resumed:
            self._resumed = True
            if self._sweep_jumps:
                self._safe_until = max(self._safe_until, jumped_at + RESUME_LEASE_SHARE * self.lease_seconds)
            else:
                self._safe_until = min(self._safe_until, jumped_at + CONFIRM_SECONDS)
        return max(0.0, self._safe_until - boot_seconds())

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

    def raise_if_interrupted(self) -> None:
        """Raises Interrupted."""
        reason = self.interruption
        if reason is not None:
            raise Interrupted(reason)

    def wait(self, seconds: float) -> bool:
        """Wait between two retries. Raises Interrupted as soon as the attempt is interrupted; else returns False."""
        poll = select.poll()
        poll.register(self._readable, select.POLLIN)
        poll.poll(math.ceil(1000 * min(seconds, self.seconds_left)))
        self.raise_if_interrupted()
        return False

    def raise_if_archiving_must_stop(self) -> None:
        """Raises Interrupted if results must not be stored, or no longer need to be."""
        reason = self.interruption
        has_time = time.monotonic() < self._interrupted_at + ARCHIVE_GRACE_SECONDS
        if reason is Interruption.LOST or (reason is Interruption.RELEASED and not has_time):
            raise Interrupted(reason)

    @property
    def canceled_long_ago(self) -> bool:
        """Whether the job was canceled, and the time for finding its results is over."""
        grace_ends = self._interrupted_at + CANCEL_GRACE_SECONDS
        return self._interruption is Interruption.CANCELED and time.monotonic() > grace_ends

    def fileno(self) -> int:
        return self._readable

    def close(self) -> None:
        with self._lock:
            os.close(self._readable)
            os.close(self._writable)
            self._writable = -1
