"""Supervisors of commands: child processes of the worker, each for one command at a time."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_executor.errors import Unavailable
from worker_vm.worker.sandbox.process import supervisor_program
from worker_vm.worker.sandbox.process.supervisor_program import KILL_SECONDS, Channel

START_SECONDS = 60.0
"""Time limit for a command to start, in seconds, including its supervisor on a busy machine."""

END_SECONDS = 2 * KILL_SECONDS
"""Time limit for a command to end after it is killed, in seconds. A supervisor that exceeds it has been stopped."""


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended."""

    exit_code: int | None
    """Exit code, or the negative number of the signal that ended the command; None if it could not be killed."""
    peak_memory_mib: int | None
    """Peak memory of the command or of a process that it waited for, in MiB; None if a supervisor has more."""
    left: Sequence[int]
    """Processes that could not be killed."""


class Supervisor:
    """A process that starts a command and ends everything the command started (see supervisor_program.py)."""

    def __init__(self) -> None:
        """Start the process. Raises Unavailable."""
        self._connection, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", supervisor_program.__file__],
                    cwd="/",
                    env={},  # The command can read it.
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError as error:
            self._connection.close()
            raise Unavailable("A supervisor for commands cannot be started; try again.") from error
        self._channel = Channel(self._connection)
        self.lost = False
        """Whether the process does not reply anymore. It is killed then, so the command is no longer below it."""
        self._hung_up = False
        self._forget()

    def _forget(self) -> None:
        self.pid: int | None = None
        """Process of the command."""
        self.ended = False
        """Whether the command has ended."""
        self.alone = False
        """Whether everything that the command started has ended, too."""
        self._errno: int | None = None
        self._end: CommandEnd | None = None

    def fileno(self) -> int:
        """A descriptor that is readable when `receive` does not wait."""
        return self._channel.fileno()

    def start(
        self,
        args: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        *,
        stdout: int,
        stderr: int,
        file_bytes: int | None,
    ) -> None:
        """Start a command in its own session. No file that it writes may exceed `file_bytes`.

        Raises OSError if the command cannot be started, and Unavailable.
        """
        self._forget()
        self._connection.settimeout(START_SECONDS)
        request = {"args": args, "cwd": str(cwd), "env": dict(env), "file_bytes": file_bytes}
        self._send(request, [stdout, stderr])
        while not self.lost and self.pid is None and self._errno is None:
            self.receive()
        if self._errno is not None:
            raise OSError(self._errno, os.strerror(self._errno))
        if self.pid is None:
            raise Unavailable("The supervisor of the command has ended; try again.")

    def signal(self, number: int) -> None:
        """Send a signal to the process group of the command."""
        self._send({"signal": number})

    def end(self) -> CommandEnd | None:
        """Kill the command and everything that it started. None: the supervisor is lost."""
        if not self.lost:
            self._connection.settimeout(END_SECONDS)
        self._send({"end": True})
        while not self.lost and self._end is None:
            self.receive()
        return self._end

    def receive(self) -> None:
        """Wait for messages, and note what they say."""
        try:
            messages = self._channel.receive()
        except (EOFError, OSError):
            self.close()  # It has ended, or was stopped.
            return
        for message in messages:
            self._note(message)

    def hang_up(self) -> None:
        """Make the process kill everything and exit, while another thread waits for the command."""
        self._hung_up = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Kill the process."""
        self.lost = True
        self._connection.close()
        self.process.kill()
        self.process.wait()

    def is_reusable(self) -> bool:
        """Whether the process waits for another command, with nothing left of the last one."""
        busy = self.pid is not None and (self._end is None or self._end.left)
        return not (busy or self.lost or self._hung_up) and self.process.poll() is None

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        # If the process has hung up, its last message says how the command ended.
        if not self.lost:
            with suppress(OSError):
                self._channel.send(message, descriptors)

    def _note(self, message: dict[str, Any]) -> None:
        if "pid" in message:
            self.pid = message["pid"]
        elif "errno" in message:
            self._errno = message["errno"]
        elif "state" in message:
            self.ended = True
            self.alone = message["state"] == "alone"
        else:
            self.ended = True
            self._end = CommandEnd(**message)


class _IdleSupervisors:
    """The supervisors of this process that wait for a command: starting one takes longer than most commands."""

    def __init__(self) -> None:
        self._supervisors: list[Supervisor] = []
        atexit.register(self.close)

    def take(self) -> Supervisor:
        """An idle supervisor, or a new one. Raises Unavailable."""
        with suppress(IndexError):
            while True:
                supervisor = self._supervisors.pop()
                if supervisor.is_reusable():
                    return supervisor
                supervisor.close()
        return Supervisor()

    def put(self, supervisor: Supervisor) -> None:
        if supervisor.is_reusable():
            self._supervisors.append(supervisor)
        elif not supervisor.lost:
            supervisor.close()

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self._supervisors.pop().close()


idle_supervisors = _IdleSupervisors()
