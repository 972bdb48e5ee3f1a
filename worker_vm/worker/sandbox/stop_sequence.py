"""When and how a sandbox stops a command that still runs: SIGINT, then SIGTERM, then SIGKILL."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from worker_vm.worker.attempt import Attempt, Interruption
from worker_vm.worker.sandbox.command_output import CommandOutput
from worker_vm.worker.sandbox.disk_usage import SCAN_SECONDS, DiskUsage
from worker_vm.worker.sandbox.interface import Command
from worker_vm.worker.sandbox.limits import TimeLimit

INTERRUPT_SECONDS = 2.0
"""Time that a command has to end after SIGINT, in seconds."""

TERMINATE_SECONDS = 1.0
"""Time that a command has to end after SIGTERM, before it is killed, in seconds."""

Signals = Sequence[tuple[signal.Signals, float]]
"""Signals to send one after the other, each with the time to wait for the command's end, in seconds."""


class StopSequence:
    """Decides whether one command must stop. Its time limit starts now."""

    def __init__(self, command: Command, attempt: Attempt, kill_seconds: float, root: Callable[[], int | None]) -> None:
        """`kill_seconds` is the time to wait after SIGKILL.

        `root` returns the process whose descendants are the command's, or None.
        """
        self.interrupted = False
        """Whether the command was stopped because its attempt was interrupted."""
        self.exceeded: str | None = None
        """The limit that the command exceeded, as a sentence for the job's owner."""
        self._attempt = attempt
        self._limits = command.limits
        self._disk = DiskUsage(command.folder.root, command.limits, root)
        self._time = TimeLimit(command.limits)
        self._kill = ((signal.SIGKILL, kill_seconds),)
        self._ask_then_kill = (
            (signal.SIGINT, INTERRUPT_SECONDS),
            (signal.SIGTERM, TERMINATE_SECONDS),
            *self._kill,
        )

    @property
    def seconds_to_next_check(self) -> float:
        """Longest time to wait before the next call of `signals`, in seconds."""
        return min(self._attempt.seconds_left, self._time.seconds_left, SCAN_SECONDS)

    def signals(self, output: CommandOutput) -> Signals:
        """The signals that stop the command; empty if it may continue."""
        reason = self._attempt.interruption
        if reason is not None:
            self.interrupted = True
            return self._kill if reason is Interruption.LOST else self._ask_then_kill
        if self._time.seconds_left == 0:
            self.exceeded = self._limits.time_exceeded()
            return self._ask_then_kill
        if exceeded := self._disk.exceeded():
            self.exceeded = exceeded
            return self._kill
        return self._kill if output.stopped else ()
