"""Watch a command of the process sandbox while it runs: move its output, stop it if necessary, notice its end."""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox.command_output import CommandOutput
from worker_vm.worker.sandbox.interface import Command, Ending
from worker_vm.worker.sandbox.process.supervisor import CommandEnd, Supervisor
from worker_vm.worker.sandbox.process.supervisor_program import KILL_SECONDS
from worker_vm.worker.sandbox.stop_sequence import StopSequence

LONGEST_POLL_SECONDS = 3600.0
"""Longest wait in one call of `poll`, in seconds: its argument is limited."""

READ_BYTES = 64 * 1024

PIPE_BYTES = 1024 * 1024
"""Capacity of a pipe, in bytes, where the system allows it: the command rarely waits for the worker."""


class OutputPipe:
    """A pipe from which a command's output is moved to a file."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        """`write` is called with each chunk. Raises OSError."""
        self.source, self.target = os.pipe()
        """The worker's and the command's end; the caller closes the latter."""
        self.ended = False
        self._write = write
        os.set_blocking(self.source, False)
        if sys.platform == "linux":
            with suppress(OSError):
                fcntl.fcntl(self.source, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __enter__(self) -> OutputPipe:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.source)

    def pump(self) -> bool:
        """Move up to READ_BYTES of output. Returns whether there was any."""
        try:
            chunk = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self.ended = True
            return False
        self._write(chunk)
        return True

    def pump_all(self) -> None:
        """Move what the pipe holds, but no more, in case a process writes faster than this."""
        for _ in range(PIPE_BYTES // READ_BYTES):
            if not self.pump():
                return

    def drain(self) -> None:
        """Move the rest of the output. The time is limited, in case a process still writes."""
        end = time.monotonic() + KILL_SECONDS
        while self.pump() and time.monotonic() < end:
            pass


class CommandWatch:
    """Watches one command from its start to its end."""

    def __init__(
        self,
        supervisor: Supervisor,
        command: Command,
        attempt: Attempt,
        output: CommandOutput,
        pipes: Sequence[OutputPipe],
    ) -> None:
        self._stop = StopSequence(command, attempt, KILL_SECONDS, lambda: supervisor.process.pid)
        self._limits = command.limits
        self._supervisor = supervisor
        self._attempt = attempt
        self._output = output
        self._pipes = pipes

    @property
    def interrupted(self) -> bool:
        return self._stop.interrupted

    def follow(self) -> None:
        """Wait until the command has ended, or has been killed and does not end."""
        # Check before each wait: a short command's end can arrive together with its start.
        while not self._has_ended():
            if signals := self._stop.signals(self._output):
                self._send(signals)
                return
            self._poll([self._attempt.fileno()], self._stop.seconds_to_next_check)

    def _send(self, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send each signal and wait that many seconds, until the command has ended."""
        for number, seconds in signals:
            self._supervisor.signal(number)
            end = time.monotonic() + seconds
            while not self._has_ended() and (remaining := end - time.monotonic()) > 0:
                self._poll([], remaining)
            if self._has_ended():
                return

    def wait_for_leftovers(self, seconds: float) -> None:
        """Give the processes that the command left running some time to end."""
        end = time.monotonic() + seconds
        while (
            not (self._supervisor.alone or self._supervisor.lost)
            and self._attempt.interruption is None
            and (remaining := end - time.monotonic()) > 0
        ):
            self._poll([self._attempt.fileno()], remaining)

    def ending(self, end: CommandEnd | None) -> Ending:
        code = -signal.SIGKILL if end is None or end.exit_code is None else end.exit_code
        return Ending(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            interrupted=self.interrupted,
            output_error=self._output.error,
            exceeded=self._limits.disk_exceeded()
            if code == -signal.SIGXFSZ
            else self._stop.exceeded or self._output.exceeded,
            peak_memory_mib=None if end is None else end.peak_memory_mib,
        )

    def _has_ended(self) -> bool:
        return self._supervisor.ended or self._supervisor.lost

    def _poll(self, descriptors: list[int], seconds: float) -> None:
        """Wait for the supervisor, the command's output, or one of the descriptors, and read the former two."""
        poll = select.poll()
        pipes = [pipe for pipe in self._pipes if not pipe.ended]
        for descriptor in (*descriptors, self._supervisor.fileno()):
            poll.register(descriptor, select.POLLIN)
        for pipe in pipes:
            poll.register(pipe.source, select.POLLIN)
        milliseconds = math.ceil(1000 * min(max(0.0, seconds), LONGEST_POLL_SECONDS))
        ready = {descriptor for descriptor, _ in poll.poll(milliseconds)}
        for pipe in pipes:
            if pipe.source in ready:
                pipe.pump_all()
        if self._supervisor.fileno() in ready:
            self._supervisor.receive()
