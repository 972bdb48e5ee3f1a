"""A command of the process sandbox while it runs: its output, its end, and how it is interrupted."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable, Sequence

from cloud_executor.errors import os_reason
from worker_vm.worker.attempt import Attempt, Interruption
from worker_vm.worker.sandbox.disk_usage import LOOK_SECONDS, DiskUsage
from worker_vm.worker.sandbox.interface import Command, Ending
from worker_vm.worker.sandbox.limits import TimeLimit
from worker_vm.worker.sandbox.process.supervisor import CommandEnd, Supervisor
from worker_vm.worker.sandbox.process.supervisor_program import KILL_SECONDS

INTERRUPT_SECONDS = 2.0
"""how long a command has to end after SIGINT"""

TERMINATE_SECONDS = 1.0
"""and after SIGTERM, before it is killed"""

LONGEST_POLL_SECONDS = 3600.0
"""after which one looks again; `poll` does not take any number"""

READ_BYTES = 64 * 1024

_POLITELY = ((signal.SIGINT, INTERRUPT_SECONDS), (signal.SIGTERM, TERMINATE_SECONDS))
_KILL = ((signal.SIGKILL, KILL_SECONDS),)


class OutputPipe:
    """What a command writes, on its way to a file."""

    def __init__(self, source: int, destination: int, on_output: Callable[[bytes], None]) -> None:
        os.set_blocking(source, False)
        self.source = source
        self.ended = False
        self.error: str | None = None
        self._destination = destination
        self._on_output = on_output

    def __enter__(self) -> OutputPipe:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.source)

    def pump(self) -> bool:
        """Move what is there, up to a bound; whether anything was."""
        try:
            chunk = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self.ended = True
            return False
        if self.error is None:
            try:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(self._destination, rest) :]
            except OSError as error:
                self.error = os_reason(error)
            else:
                self._on_output(chunk)
        return True

    def drain(self) -> None:
        """Move the rest; nobody writes any more, or else this ends by itself."""
        end = time.monotonic() + KILL_SECONDS
        while self.pump() and time.monotonic() < end:
            pass


class CommandRun:
    """A command from its start to its end."""

    def __init__(self, supervisor: Supervisor, command: Command, attempt: Attempt, pipe: OutputPipe | None) -> None:
        self.interrupted = False
        self._limits = command.limits
        self._exceeded: str | None = None
        self._disk = DiskUsage(command.folder.root, command.limits)
        self._time = TimeLimit(command.limits)
        self._supervisor = supervisor
        self._attempt = attempt
        self._pipe = pipe

    def follow(self) -> None:
        """Wait until the command has ended, or was killed and does not end."""
        while not (signals := self._signals()):
            seconds = min(self._attempt.seconds_left, self._time.seconds_left, LOOK_SECONDS)
            self._hear([self._attempt.fileno()], seconds)
            if self._has_ended():
                return
        for number, seconds in signals:
            self._supervisor.signal(number)
            end = time.monotonic() + seconds
            while (remaining := end - time.monotonic()) > 0:
                self._hear([], remaining)
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
            self._hear([self._attempt.fileno()], remaining)

    def ending(self, end: CommandEnd | None) -> Ending:
        code = -signal.SIGKILL if end is None or end.exit_code is None else end.exit_code
        return Ending(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            interrupted=self.interrupted,
            output_error=self._pipe.error if self._pipe is not None else None,
            exceeded=self._limits.disk_exceeded() if code == -signal.SIGXFSZ else self._exceeded,
            peak_memory_mib=None if end is None else end.peak_memory_mib,
        )

    def _signals(self) -> Sequence[tuple[signal.Signals, float]]:
        """What to send to the command, and how long to wait after each; empty: let it run."""
        reason = self._attempt.interruption
        if reason is not None:
            self.interrupted = True
            return _KILL if reason is Interruption.LOST else (*_POLITELY, *_KILL)
        if self._time.seconds_left == 0:
            self._exceeded = self._limits.time_exceeded()
            return (*_POLITELY, *_KILL)
        if exceeded := self._disk.exceeded():
            self._exceeded = exceeded
            return _KILL
        return _KILL if self._pipe is not None and self._pipe.error is not None else ()

    def _has_ended(self) -> bool:
        return self._supervisor.ended or self._supervisor.lost

    def _hear(self, descriptors: list[int], seconds: float) -> None:
        """Wait for the supervisor, the command's output, or one of the descriptors, and read the former two."""
        poll = select.poll()
        pipe = self._pipe if self._pipe is not None and not self._pipe.ended else None
        for descriptor in (*descriptors, self._supervisor.fileno()):
            poll.register(descriptor, select.POLLIN)
        if pipe is not None:
            poll.register(pipe.source, select.POLLIN)
        milliseconds = math.ceil(1000 * min(max(0.0, seconds), LONGEST_POLL_SECONDS))
        ready = {descriptor for descriptor, _ in poll.poll(milliseconds)}
        if pipe is not None and pipe.source in ready:
            pipe.pump()
        if self._supervisor.fileno() in ready:
            self._supervisor.receive()
