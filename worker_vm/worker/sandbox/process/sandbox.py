"""Commands as processes of this machine, each in a session of its own, with a clean environment. No other wall.

Of the limits only those of disk and time hold, and no command leaves a core file.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, Ending
from worker_vm.worker.sandbox.limits import MIB, Limits
from worker_vm.worker.sandbox.process import descendants
from worker_vm.worker.sandbox.process.running_command import CommandRun, OutputPipe
from worker_vm.worker.sandbox.start_errors import why_not_started

logger = logging.getLogger(__name__)

LEFTOVER_SECONDS = 1.0
"""how long what a command left running has to end by itself, as the `tee` at the end of a shell's pipeline does"""

_RSS_PER_MIB = MIB if sys.platform == "darwin" else MIB // 1024
"""in the unit in which the system tells of memory"""

KILL_ALL_SECONDS = 0.3
"""how long a worker that is late already waits for what it killed"""


class ProcessSandbox:
    """A Sandbox. What it makes this process: the parent of all orphans below it."""

    def __init__(self) -> None:
        descendants.adopt_orphans()
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
            _limit(process.pid, command.limits)
            run = stack.enter_context(CommandRun(process, command, attempt, pipe))
            try:
                run.follow()
                if not run.interrupted:
                    run.wait_while(lambda: bool(self._left_by(process.pid, command.folder.root)), LEFTOVER_SECONDS)
            finally:
                peak = self._end(process, command.folder.root)
            if pipe is not None:
                pipe.drain()
            return run.ending(peak)

    def end_leftovers(self, folder: Path) -> None:
        descendants.end_everything_of(folder)

    def kill_all(self) -> None:
        end = time.monotonic() + KILL_ALL_SECONDS
        with self._lock:
            while left := self._everything():
                for pid in left:
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                if time.monotonic() >= end:
                    return
                time.sleep(descendants.LOOK_AGAIN_SECONDS)

    def _everything(self) -> list[int]:
        """Commands and orphans; a command is reaped by its slot, which would else not know how it ended."""
        own_session = os.getsid(0)
        return [
            pid
            for pid in descendants.children()
            if descendants.session_of(pid) not in (None, own_session) and (pid in self._running or not _reap(pid))
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

    def _end(self, process: subprocess.Popen[bytes], folder: Path) -> int | None:
        """Kill the command, if it runs, and everything that it started; the MiB of memory that it had at the most."""
        end = time.monotonic() + descendants.KILL_SECONDS
        # It was not reaped yet, so this number is still its group's.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        peak = _wait(process, end)
        if process.returncode is None:
            logger.error("process does not end", extra={"action": "kill", "pid": process.pid})
        # Only children are killed: their numbers stay theirs until we reap them. Grandchildren become children.
        while left := self._left_by(process.pid, folder):
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() >= end:
                logger.error("processes do not end", extra={"action": "kill", "pids": left})
                break
            time.sleep(descendants.LOOK_AGAIN_SECONDS)
        return peak

    def _left_by(self, session: int, folder: Path) -> list[int]:
        """The orphans of a command, after reaping those that have ended."""
        own_session = os.getsid(0)
        with self._lock:
            others = self._running.keys() - {session}
            left = []
            for pid in descendants.children():
                of_session = descendants.session_of(pid)
                if pid in self._running or of_session in (None, own_session) or _reap(pid):
                    continue
                if of_session == session or descendants.belongs_to(pid, folder):
                    left.append(pid)
                elif not others:
                    left.append(pid)  # it hides, but there is nobody else that it could be of
            return left


def _start(command: Command, stdout: int) -> subprocess.Popen[bytes]:
    """Raises CommandNotStarted."""
    program, env = command.program, _environment(command)
    args = [argument.encode() for argument in (program, *command.args)]
    try:
        try:
            return _spawn(args, command, env, stdout)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without `#!` is one for the shell, as `execvp` has always taken it.
            found = program if "/" in program else shutil.which(program, path=os.fsdecode(env["PATH"])) or program
            return _spawn([b"/bin/sh", b"--", os.fsencode(found), *args[1:]], command, env, stdout)
    except OSError as error:
        raise CommandNotStarted(why_not_started(command, error)) from error


def _spawn(args: list[bytes], command: Command, env: Mapping[str, str | bytes], stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        args,
        cwd=command.folder.job,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=command.stderr,
        start_new_session=True,
    )


def _environment(command: Command) -> dict[str, str | bytes]:
    """Nothing of the worker's own but where programs are, and the language."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(command.folder.job),
        "TMPDIR": str(command.folder.temporary),
        **{name: value.encode() for name, value in command.env.items()},
        "ORIGIN_URL": command.origin_url,
        descendants.MARK: str(command.folder.root),
    }


def _limit(pid: int, limits: Limits) -> None:
    """From its first moments on; what it has started before that is not held to this, but what its files take is."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if limits.disk_mib is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limits.disk_mib * MIB, limits.disk_mib * MIB))


def _wait(process: subprocess.Popen[bytes], end: float) -> int | None:
    """Reap the process, if it ends in time; the MiB of memory that it, or a process it waited for, had at the most.

    None: not known, or less than this program has. Before a process runs its program it is a copy of this one, and the
    kernel counts that too.
    """
    while process.returncode is None:
        try:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        except ChildProcessError:
            # On a system without descriptors of processes a thread waits too.
            process.wait(descendants.KILL_SECONDS)
            return None
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return math.ceil(usage.ru_maxrss / _RSS_PER_MIB) if usage.ru_maxrss > own else None
        if time.monotonic() >= end:
            return None
        time.sleep(descendants.LOOK_AGAIN_SECONDS)
    return None


def _reap(pid: int) -> bool:
    """Whether the child had ended, and is gone now."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
