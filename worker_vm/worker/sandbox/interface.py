"""The interface of sandboxes: run a command, and leave nothing of it behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox.limits import Limits
from worker_vm.worker.work_folder import AttemptFolder

JOB_USER_NAME = "job"
"""Name of the user that a command runs as, where the system has none."""

COMMON_ENVIRONMENT: Mapping[str, str] = {"SHELL": "/bin/sh", "PYTHONUNBUFFERED": "1"}
"""Variables that every sandbox gives to a command."""


class CommandNotStarted(Exception):
    """The command could not be started. The message is a sentence for the job's owner."""


class ImageMissing(CommandNotStarted):
    """The image of the command's container does not exist, or the worker may not read it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run in the folder of a job."""

    program: str
    """Name that is looked up in PATH, or path relative to the folder."""
    args: tuple[str, ...]
    folder: AttemptFolder
    origin_url: str
    """URL at which the command reaches the server; its ORIGIN_URL."""
    stdout: int
    """Descriptor of the file for standard output."""
    stderr: int
    """Descriptor of the file for standard error."""
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that the operator and the job add to the environment."""
    image: str | None = None
    """Image of the command's container; None for the pool's image."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: with an exit code, or by a signal."""

    exit_code: int | None
    signal: int | None
    interrupted: bool
    """Whether the sandbox stopped it because its attempt was interrupted."""
    output_error: str | None = None
    """Why the command's output could not be written; the command was then stopped."""
    exceeded: str | None = None
    """The limit that the command exceeded, as a sentence for the job's owner."""
    peak_memory_mib: int | None = None
    """Peak memory, in MiB; None if unknown."""


class Sandbox(Protocol):
    """Runs commands within their limits. Safe for use by threads."""

    def run(self, command: Command, attempt: Attempt, on_output: Callable[[bytes], None] | None) -> Ending:
        """Run a command until it ends, or until the attempt is interrupted, which stops it (see stop_sequence.py).

        When this returns, nothing that the command started is running. `on_output` is called with each chunk of output
        after it is written to `stdout`. Raises CommandNotStarted, and Unavailable if the sandbox itself does not work.
        """

    def end_leftovers(self, folder: Path) -> None:
        """End the processes that a dead worker's command left running in this attempt's folder."""

    def kill_all(self) -> None:
        """End all commands and everything they started, for a worker that exits without waiting for its slots."""
