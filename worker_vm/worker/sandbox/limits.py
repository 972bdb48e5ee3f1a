"""How much of the machine one command may use."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from cloud_executor.model.executor_config import ExecutorConfig
from cloud_executor.model.pool import WorkerPool

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """None: as much as there is. A sandbox that cannot hold a command to one of them says so in its own docstring."""

    cpus: float | None = None
    memory_mib: int | None = None
    processes: int | None = None
    """at once, threads included"""
    disk_mib: int | None = None
    """of the attempt's folder, and of any one file"""
    seconds: float | None = None
    """how long it may run"""

    @classmethod
    def of(cls, pool: WorkerPool, config: ExecutorConfig) -> Limits:
        """What the job asks for, or else what the pool gives it."""
        timeout = pool.timeout_of(config)
        return cls(
            cpus=config.cpus or pool.cpus,
            memory_mib=config.memory_mib or pool.memory_mib,
            processes=pool.processes,
            disk_mib=pool.disk_mib,
            seconds=None if timeout is None else timeout.total_seconds(),
        )

    def disk_exceeded(self) -> str:
        """The sentence for the owner of a job that was ended for it."""
        return f"The command used more than {self.disk_mib} MiB of disk."

    def memory_exceeded(self) -> str:
        return f"The command used more than {self.memory_mib} MiB of memory."

    def time_exceeded(self) -> str:
        return f"The command ran longer than {self.seconds:.12g} seconds."


class TimeLimit:
    """The time of a command, which starts now."""

    def __init__(self, limits: Limits) -> None:
        self._end = math.inf if limits.seconds is None else time.monotonic() + limits.seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())
