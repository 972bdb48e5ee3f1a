"""How much of the machine one command may use."""

from __future__ import annotations

from dataclasses import dataclass

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

    def disk_exceeded(self) -> str:
        """The sentence for the owner of a job that was ended for it."""
        return f"The command used more than {self.disk_mib} MiB of disk."

    def memory_exceeded(self) -> str:
        return f"The command used more than {self.memory_mib} MiB of memory."
