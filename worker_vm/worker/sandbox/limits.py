"""The limits of a command."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from cloud_executor.model.documents.executor_config import ExecutorConfig
from cloud_executor.model.jobs.pool import WorkerPool

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a command; None means no limit. If a sandbox cannot enforce all of them, its docstring says so."""

    cpus: float | None = None
    """Number of cores."""
    memory_mib: int | None = None
    processes: int | None = None
    """Number of processes and threads at one time."""
    disk_mib: int | None = None
    """Size of the attempt's folder, and of any single file, in MiB."""
    seconds: float | None = None
    """Running time, in seconds."""

    @classmethod
    def of(cls, pool: WorkerPool, config: ExecutorConfig) -> Limits:
        """The limits that the job asks for; for others, the pool's."""
        timeout = pool.timeout_of(config)
        return cls(
            cpus=config.cpus or pool.cpus,
            memory_mib=config.memory_mib or pool.memory_mib,
            processes=pool.processes,
            disk_mib=pool.disk_mib,
            seconds=None if timeout is None else timeout.total_seconds(),
        )

    def disk_exceeded(self) -> str:
        """The error of a job whose command exceeded this limit, as a sentence for the job's owner."""
        return f"The command used more than {self.disk_mib} MiB of disk."

    def memory_exceeded(self) -> str:
        return f"The command used more than {self.memory_mib} MiB of memory."

    def time_exceeded(self) -> str:
        return f"The command ran longer than {self.seconds:.12g} seconds."


class TimeLimit:
    """The time limit of a command that starts now."""

    def __init__(self, limits: Limits) -> None:
        self._end = math.inf if limits.seconds is None else time.monotonic() + limits.seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())
