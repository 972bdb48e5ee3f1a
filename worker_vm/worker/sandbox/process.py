"""Commands as processes of this machine, each in a session of its own, with a clean environment. No other wall."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from worker_vm.worker.attempt import Attempt
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.sandbox import processes
from worker_vm.worker.sandbox.command_run import CommandRun, OutputPipe
from worker_vm.worker.sandbox.port import Command, CommandNotStarted, Ending

logger = logging.getLogger(__name__)

LEFTOVER_SECONDS = 1.0
"""how long what a command left running has to end by itself, as the `tee` at the end of a shell's pipeline does"""

KILL_ALL_SECONDS = 0.3
"""how long a worker that is late already waits for what it killed"""


class ProcessSandbox:
    """A Sandbox. What it makes this process: the parent of all orphans below it."""

    def __init__(self) -> None:
        processes.adopt_orphans()
        self._lock = threading.Lock()
        self._running: dict[int, Path] = {}
        """the commands' processes, and the folders of their attempts"""

    def run(self, command: Command, attempt: Attempt, on_output: Callable[[bytes], None] | None) -> Ending:
        with ExitStack() as stack:
            pipe = None
            stdout = command.stdout
            if on_output is not None:
                source, stdout = os.pipe()
                pipe = stack.enter_context(OutputPipe(source, command.stdout, on_output))
            try:
                process = stack.enter_context(self._started(command, stdout))
            finally:
                if pipe is not None:
                    os.close(stdout)
            run = stack.enter_context(CommandRun(process, attempt, pipe))
            try:
                run.follow()
                if not run.interrupted:
                    run.wait_while(lambda: bool(self._left_by(process.pid, command.folder.root)), LEFTOVER_SECONDS)
            finally:
                self._end(process, command.folder.root)
            if pipe is not None:
                pipe.drain()
            return run.ending()

    def end_leftovers(self, folder: Path) -> None:
        processes.end_everything_of(folder)

    def kill_all(self) -> None:
        """Kill all commands and what they started, for a worker that ends without waiting for their slots."""
        end = time.monotonic() + KILL_ALL_SECONDS
        with self._lock:
            while left := self._everything():
                for pid in left:
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                if time.monotonic() >= end:
                    return
                time.sleep(processes.LOOK_AGAIN_SECONDS)

    def _everything(self) -> list[int]:
        """Commands and orphans; a command is reaped by its slot, which would else not know how it ended."""
        own_session = os.getsid(0)
        return [
            pid
            for pid in processes.children()
            if processes.session_of(pid) not in (None, own_session) and (pid in self._running or not _reap(pid))
        ]

    @contextmanager
    def _started(self, command: Command, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
        # Under the lock, so that nobody sees a child that is not yet known to be a command.
        with self._lock:
            process = _start(command, stdout)
            self._running[process.pid] = command.folder.root
        try:
            yield process
        finally:
            with self._lock:
                # Its number may already be that of another command.
                if self._running[process.pid] == command.folder.root:
                    del self._running[process.pid]

    def _end(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Kill the command, if it runs, and everything that it started."""
        end = time.monotonic() + processes.KILL_SECONDS
        # It was not reaped yet, so this number is still its group's.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(processes.KILL_SECONDS)
        except subprocess.TimeoutExpired:
            logger.error("process does not end", extra={"action": "kill", "pid": process.pid})
        # Only children are killed: their numbers stay theirs until we reap them. Grandchildren become children.
        while left := self._left_by(process.pid, folder):
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() >= end:
                logger.error("processes do not end", extra={"action": "kill", "pids": left})
                return
            time.sleep(processes.LOOK_AGAIN_SECONDS)

    def _left_by(self, session: int, folder: Path) -> list[int]:
        """The orphans of a command, after reaping those that have ended."""
        own_session = os.getsid(0)
        with self._lock:
            others = self._running.keys() - {session}
            left = []
            for pid in processes.children():
                of_session = processes.session_of(pid)
                if pid in self._running or of_session in (None, own_session) or _reap(pid):
                    continue
                if of_session == session or processes.belongs_to(pid, folder):
                    left.append(pid)
                elif not others:
                    left.append(pid)  # it hides, but there is nobody else that it could be of
            return left


def _start(command: Command, stdout: int) -> subprocess.Popen[bytes]:
    """Raises CommandNotStarted."""
    program = command.program
    args = [argument.encode() for argument in (program, *command.args)]
    try:
        try:
            return _spawn(args, command, stdout)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without `#!` is one for the shell, as `execvp` has always taken it.
            found = program if "/" in program else shutil.which(program) or program
            return _spawn([b"/bin/sh", b"--", os.fsencode(found), *args[1:]], command, stdout)
    except OSError as error:
        raise CommandNotStarted(_why_not_started(command, error)) from error


def _spawn(args: list[bytes], command: Command, stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        args,
        cwd=command.folder.job,
        env=_environment(command),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=command.stderr,
        start_new_session=True,
    )


def _environment(command: Command) -> dict[str, str]:
    """Nothing of the worker's own but where programs are, and the language."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(command.folder.job),
        "TMPDIR": str(command.folder.temporary),
        "ORIGIN_URL": command.origin_url,
        processes.MARK: str(command.folder.root),
    }


def _why_not_started(command: Command, error: OSError) -> str:
    name = quoted_name(command.program)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if "/" in command.program and os.path.lexists(command.folder.job / command.program):
            return f"The command {name} could not be started: its interpreter was not found."
        return f"The command {name} was not found."
    if isinstance(error, PermissionError):
        return f"The command {name} is not executable."
    return f"The command {name} could not be started: {(error.strerror or 'unknown fault').lower()}."


def _reap(pid: int) -> bool:
    """Whether the child had ended, and is gone now."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
