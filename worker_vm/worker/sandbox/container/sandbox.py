"""A container for each command: of the machine it sees the job's folder, and uses no more than its limits."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from docker.errors import ImageNotFound

from cloud_executor.errors import Unavailable
from worker_vm.worker.attempt import Attempt, Interrupted, Interruption
from worker_vm.worker.retry import retry_while_unavailable
from worker_vm.worker.sandbox.container.engine import (
    KILLED,
    ContainerEngine,
    Isolation,
    job_user,
)
from worker_vm.worker.sandbox.container.output import ContainerOutput
from worker_vm.worker.sandbox.disk_usage import SCAN_SECONDS, DiskUsage
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, Ending
from worker_vm.worker.sandbox.limits import MIB, TimeLimit
from worker_vm.worker.sandbox.process.command_watch import INTERRUPT_SECONDS, TERMINATE_SECONDS
from worker_vm.worker.sandbox.start_errors import why_not_started

logger = logging.getLogger(__name__)

KILL_SECONDS = 5
"""how long the engine may take to end what was killed"""

ENGINE_RETRY_SECONDS = 30.0
"""how long a command waits for an engine that is away; it does not wait once it was started"""

MEMORY_SAMPLE_SECONDS = 1.0
"""between two looks at what a command has; a shorter one is not seen by any"""

LONGEST_PULL_DELAY_SECONDS = 60.0
"""between two pulls of an image at the most: a registry counts them"""

_POLITELY = ((signal.SIGINT, INTERRUPT_SECONDS), (signal.SIGTERM, TERMINATE_SECONDS))
_KILL = ((signal.SIGKILL, KILL_SECONDS),)

_SIGNALS = range(129, 128 + signal.NSIG)

_NOT_STARTED_CODES = (1, 126, 127)
_NOT_STARTED = re.compile(
    rb"(?:\[FATAL tini \(\d+\)\] exec .* failed|[^\n]*exec /sbin/docker-init): ([^\n]*)\n", re.DOTALL
)
"""what the init process says of a command that it cannot start, and the engine of an init process that it cannot"""
_ERRNO = {os.strerror(number).lower(): number for number in errno.errorcode}


class ContainerSandbox:
    """A Sandbox.

    The init process of a container tells of a signal that ended the command by an exit code above 128, as shells do: a
    command that exits with such a code itself counts as ended by a signal. What a command leaves running ends with it,
    at once.
    """

    def __init__(self, engine: ContainerEngine, image: str, network: str, gpus: int) -> None:
        """`image`: of the commands that do not want another. `gpus`: of the machine; each command gets all of them."""
        self._engine = engine
        self._image = image
        self._isolation = Isolation(network, *job_user(), gpus)
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._strays = False
        """whether a container may be left of a call that failed"""

    def run(self, command: Command, attempt: Attempt, on_output: Callable[[bytes], None] | None) -> Ending:
        self._hand_over(command.folder.job)
        try:
            with (
                self._container(command, attempt) as container,
                self._engine.attached(container) as connection,
                ContainerOutput(connection, command.stdout, command.stderr, on_output) as output,
            ):
                run = _ContainerRun(self._engine, container, command, attempt, output)
                self._engine.start(container)
                run.follow()
                return self._ending(command, container, run, output)
        except Interrupted:
            return Ending(exit_code=None, signal=signal.SIGKILL, interrupted=True)

    def end_leftovers(self, folder: Path) -> None:
        self._remove_if(lambda of: of == folder)

    def end_strays(self, work: Path) -> None:
        """End the containers of attempts whose folders in this work folder are gone. Raises Unavailable."""
        work = work.resolve()
        self._remove_if(lambda of: of.parent == work and not of.exists())

    def kill_all(self) -> None:
        """End all containers, for a worker that ends without waiting for its slots."""
        with self._lock:
            running = list(self._running)
        for container in running:
            self._remove(container)

    def _remove_if(self, condition: Callable[[Path], bool]) -> None:
        for container, folder in self._engine.containers().items():
            if condition(folder):
                logger.warning("leftover container removed", extra={"action": "sweep", "container": container})
                self._remove(container)

    @contextmanager
    def _container(self, command: Command, attempt: Attempt) -> Iterator[str]:
        """A container, while this lasts."""
        image = command.image or self._image
        try:
            container = self._create(image, command, attempt)
        except ImageNotFound:
            retry_while_unavailable(lambda: self._engine.pull(image, attempt.raise_if_interrupted), attempt, longest_delay_seconds=LONGEST_PULL_DELAY_SECONDS)
            container = self._create(image, command, attempt)
        with self._lock:
            self._running.add(container)
        try:
            yield container
        finally:
            self._remove(container)
            with self._lock:
                self._running.discard(container)

    def _create(self, image: str, command: Command, attempt: Attempt) -> str:
        """Make the container. Raises ImageNotFound, Interrupted, CommandNotStarted, Unavailable."""

        def create() -> str:
            try:
                if self._strays:
                    self._strays = False
                    self.end_strays(command.folder.root.parent)
                return self._engine.create(image, command, self._isolation)
            except Unavailable:
                # It may have been made all the same.
                self._strays = True
                raise

        return retry_while_unavailable(create, attempt, ENGINE_RETRY_SECONDS)

    def _remove(self, container: str) -> None:
        try:
            self._engine.remove(container)
        except Unavailable:
            # The next command does it, or the next start of a worker here.
            self._strays = True
            logger.exception("container was not removed", extra={"action": "remove", "container": container})

    def _hand_over(self, folder: Path) -> None:
        """Give the job's files to the user that its command runs as."""
        if os.geteuid() != 0:
            return
        owner = (self._isolation.user, self._isolation.group)
        os.chown(folder, *owner)
        for top, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(top, name), *owner, follow_symlinks=False)

    def _ending(self, command: Command, container: str, run: _ContainerRun, output: ContainerOutput) -> Ending:
        """Raises CommandNotStarted, Unavailable."""
        code = run.exit_code()
        number = code - 128 if code in _SIGNALS else None
        exceeded = run.exceeded
        if number == signal.SIGXFSZ:
            exceeded = command.limits.disk_exceeded()
        elif exceeded is None and code != 0 and self._engine.was_out_of_memory(container):
            exceeded = command.limits.memory_exceeded()
        elif code in _NOT_STARTED_CODES and (said := _NOT_STARTED.fullmatch(output.only_stderr() or b"")):
            os.ftruncate(command.stderr, 0)
            reason = said[1].decode("utf-8", "replace").lower()
            raise CommandNotStarted(why_not_started(command, OSError(_ERRNO.get(reason, 0), reason)))
        return Ending(
            exit_code=code if number is None else None,
            signal=number,
            interrupted=run.interrupted,
            output_error=output.error,
            exceeded=exceeded,
            peak_memory_mib=math.ceil(run.peak_bytes / MIB) or None,
        )


class _ContainerRun:
    """A command in a container, from its start to its end."""

    def __init__(
        self, engine: ContainerEngine, container: str, command: Command, attempt: Attempt, output: ContainerOutput
    ) -> None:
        self.interrupted = False
        self.exceeded: str | None = None
        self.peak_bytes = 0
        """of memory, as far as it was looked at"""
        self._engine = engine
        self._container = container
        self._attempt = attempt
        self._output = output
        self._limits = command.limits
        self._disk = DiskUsage(command.folder.root, command.limits)
        self._time = TimeLimit(command.limits)
        self._look_at = 0.0
        self._signaled = False

    def follow(self) -> None:
        """Until the container's output has ended, which its init process holds, or it was killed and does not end."""
        while not (signals := self._signals()):
            seconds = min(self._attempt.seconds_left, self._time.seconds_left, SCAN_SECONDS)
            if self._output.fileno() in _readable([self._output.fileno(), self._attempt.fileno()], seconds):
                return
            self._look_at_memory()
        self._signaled = True
        for number, seconds in signals:
            self._engine.kill(self._container, number)
            if _readable([self._output.fileno()], seconds):
                return

    def _look_at_memory(self) -> None:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + MEMORY_SAMPLE_SECONDS
            self.peak_bytes = max(self.peak_bytes, self._engine.memory_bytes(self._container) or 0)

    def exit_code(self) -> int:
        """Raises Unavailable."""
        code = self._engine.exit_code(self._container, KILL_SECONDS)
        if code is None and not self._signaled:
            # It runs on: the connection was lost, and with it what else there was to be read.
            raise Unavailable("The container engine has dropped the command's output; try again.")
        if code is None:
            self._engine.kill(self._container, signal.SIGKILL)
            code = self._engine.exit_code(self._container, KILL_SECONDS)
        return KILLED if code is None else code

    def _signals(self) -> Sequence[tuple[signal.Signals, float]]:
        """What to send to the command, and how long to wait after each; empty: let it run."""
        reason = self._attempt.interruption
        if reason is not None:
            self.interrupted = True
            return _KILL if reason is Interruption.LOST else (*_POLITELY, *_KILL)
        if self._time.seconds_left == 0:
            self.exceeded = self._limits.time_exceeded()
            return (*_POLITELY, *_KILL)
        if exceeded := self._disk.exceeded():
            self.exceeded = exceeded
            return _KILL
        return _KILL if self._output.error is not None else ()


def _readable(descriptors: list[int], seconds: float) -> set[int]:
    """Which of them are, after that time at the latest."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(math.ceil(1000 * seconds))}
