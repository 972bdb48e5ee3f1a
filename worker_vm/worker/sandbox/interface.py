"""The port: run one command, and leave nothing of it behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox.limits import Limits
from worker_vm.worker.work_folder import AttemptFolder


class CommandNotStarted(Exception):
    """The command could not be started; the text is a sentence for the owner of the job."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run in the folder of a job."""

    program: str
    """a name looked up in PATH, or a path relative to the folder"""
    args: tuple[str, ...]
    folder: AttemptFolder
    origin_url: str
    """where the command reaches the server: its ORIGIN_URL"""
    stdout: int
    """a descriptor of the file for its standard output"""
    stderr: int
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    """what the job adds to its environment"""
    image: str | None = None
    """what its container is made of, where it does not want that of all"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: with an exit code, or by a signal."""

    exit_code: int | None
    signal: int | None
    interrupted: bool
    """whether that was after it had been interrupted by us"""
    output_error: str | None = None
    """why its output could not be written, so that it was stopped"""
    exceeded: str | None = None
    """the limit that ended it, in a sentence for the owner of the job"""
    peak_memory_mib: int | None = None
    """the most that it had at once, as far as that can be known"""


class Sandbox(Protocol):
    """Runs commands, each within its limits. Safe for use by threads."""

    def run(self, command: Command, attempt: Attempt, on_output: Callable[[bytes], None] | None) -> Ending:
        """Run a command to its end, or until the attempt is interrupted: then it is asked to end, and soon forced.

        When this returns nothing runs any more of what the command has started. `on_output` hears each
        piece of output once it was written to `stdout`. Raises CommandNotStarted, and Unavailable if the sandbox itself
        does not work at the moment.
        """

    def end_leftovers(self, folder: Path) -> None:
        """End what a dead worker's command left running that worked in this attempt's folder."""

    def kill_all(self) -> None:
        """End all commands and what they started, for a worker that ends without waiting for their slots."""
