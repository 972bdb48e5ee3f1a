"""Commands as processes of this machine, each in a session of its own, with a clean environment. No other isolation.

Only the disk and time limits are enforced, and no command leaves a core file.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox.command_output import CommandOutput
from worker_vm.worker.sandbox.interface import (
    COMMON_ENVIRONMENT,
    JOB_USER_NAME,
    Command,
    CommandNotStarted,
    Ending,
)
from worker_vm.worker.sandbox.limits import MIB
from worker_vm.worker.sandbox.process.command_watch import CommandWatch, OutputPipe
from worker_vm.worker.sandbox.process.leftovers import MARK, kill_processes_of
from worker_vm.worker.sandbox.process.supervisor import CommandEnd, Supervisor, idle_supervisors
from worker_vm.worker.sandbox.program_file import ProgramFile
from worker_vm.worker.sandbox.start_errors import why_not_started

logger = logging.getLogger(__name__)

LEFTOVER_SECONDS = 1.0
"""Time that processes left by a command have to end, in seconds: for example `tee` at the end of a pipeline."""

KILL_ALL_SECONDS = 0.3
"""Time limit of `kill_all`, in seconds: the worker that calls it is already late."""


class ProcessSandbox:
    """A Sandbox. Each command has a supervisor, which ends everything that the command started, and nothing else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Supervisor] = set()

    def run(self, command: Command, attempt: Attempt, on_output: Callable[[bytes], None] | None) -> Ending:
        with ExitStack() as stack:
            output = CommandOutput(command, on_output)
            with ExitStack() as targets:
                pipes = []
                for write in (output.write_stdout, output.write_stderr):
                    pipes.append(stack.enter_context(OutputPipe(write)))
                    targets.callback(os.close, pipes[-1].target)
                supervisor = stack.enter_context(self._started(command, [pipe.target for pipe in pipes]))
            run = CommandWatch(supervisor, command, attempt, output, pipes)
            try:
                run.follow()
                if not run.interrupted:
                    run.wait_for_leftovers(LEFTOVER_SECONDS)
            finally:
                end = _end(supervisor, command.folder.root)
            for pipe in pipes:
                pipe.drain()
            return run.ending(end)

    def end_leftovers(self, folder: Path) -> None:
        kill_processes_of(folder)

    def kill_all(self) -> None:
        deadline = time.monotonic() + KILL_ALL_SECONDS
        with self._lock:
            running = list(self._running)
            for supervisor in running:
                supervisor.hang_up()
        for supervisor in running:
            with suppress(subprocess.TimeoutExpired):
                supervisor.process.wait(max(0.0, deadline - time.monotonic()))

    @contextmanager
    def _started(self, command: Command, outputs: Sequence[int]) -> Iterator[Supervisor]:
        """Start the command with these descriptors for standard output and standard error; yield its supervisor.

        Raises CommandNotStarted, and Unavailable.
        """
        supervisor = idle_supervisors.take()
        with self._lock:
            self._running.add(supervisor)
        try:
            _start(supervisor, command, outputs)
            yield supervisor
        finally:
            with self._lock:
                self._running.remove(supervisor)
            idle_supervisors.put(supervisor)


def _start(supervisor: Supervisor, command: Command, outputs: Sequence[int]) -> None:
    """Raises CommandNotStarted, and Unavailable."""
    env = _environment(command)
    stdout, stderr = outputs
    file_bytes = None if command.limits.disk_mib is None else command.limits.disk_mib * MIB

    def start(*args: str) -> None:
        supervisor.start(args, command.folder.job, env, stdout=stdout, stderr=stderr, file_bytes=file_bytes)

    program = command.program
    try:
        try:
            start(program, *command.args)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # Like execvp, run a script without `#!` with the shell.
            found = program if "/" in program else shutil.which(program, path=env["PATH"]) or program
            if ProgramFile(command.folder.job, found).is_binary:
                raise
            start("/bin/sh", "--", found, *command.args)
    except OSError as error:
        raise CommandNotStarted(why_not_started(command, error)) from error


def _environment(command: Command) -> dict[str, str]:
    """The environment of the command. Of the worker's own, it contains only the search path and the language."""
    user = _user_name()
    return {
        **COMMON_ENVIRONMENT,
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "USER": user,
        "LOGNAME": user,
        "HOME": str(command.folder.home),
        "TMPDIR": command.folder.short_temporary,
        **command.env,
        "ORIGIN_URL": command.origin_url,
        MARK: str(command.folder.root),
    }


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return JOB_USER_NAME


def _end(supervisor: Supervisor, folder: Path) -> CommandEnd | None:
    """End the command and everything that it started. None if its supervisor was lost."""
    end = supervisor.end()
    if end is None:
        logger.error("supervisor lost", extra={"action": "kill", "pid": supervisor.process.pid})
        kill_processes_of(folder)
    elif end.left:
        logger.error("processes do not end", extra={"action": "kill", "pids": end.left})
    return end
