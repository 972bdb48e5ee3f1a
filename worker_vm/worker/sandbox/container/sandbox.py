"""Run each command in its own container, which contains the job's folder and enforces the command's limits."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker.errors import ImageNotFound

from cloud_executor.errors import Unavailable
from worker_vm.worker.attempt import Attempt, Interrupted
from worker_vm.worker.retry import retry_while_unavailable
from worker_vm.worker.sandbox.command_output import CommandOutput
from worker_vm.worker.sandbox.container.engine import (
    KILLED,
    ContainerEngine,
    Isolation,
    job_user,
)
from worker_vm.worker.sandbox.container.output import ContainerOutput
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, Ending
from worker_vm.worker.sandbox.limits import MIB
from worker_vm.worker.sandbox.start_errors import why_not_started
from worker_vm.worker.sandbox.stop_sequence import StopSequence

logger = logging.getLogger(__name__)

KILL_SECONDS = 5
"""Time limit for the engine to end a killed container, in seconds."""

ENGINE_RETRY_SECONDS = 30.0
"""Time limit for retrying while the engine is unavailable, in seconds. A command that has started does not retry."""

MEMORY_SAMPLE_SECONDS = 1.0
"""Interval between two samples of memory usage, in seconds. The usage of shorter commands stays unknown."""

LONGEST_PULL_DELAY_SECONDS = 60.0
"""Longest delay before an image pull is retried, in seconds. It is long because registries limit pulls."""

_SIGNAL_CODES = range(129, 128 + signal.NSIG)

_NOT_STARTED_CODES = (1, 126, 127)
_NOT_STARTED = re.compile(
    rb"(?:\[FATAL tini \(\d+\)\] exec .* failed|[^\n]*exec /sbin/(?:docker|job)-init): ([^\n]*)\n", re.DOTALL
)
"""Error of the init process if it cannot start the command, or of the engine if it cannot start the init process."""
_ERRNO = {os.strerror(number).lower(): number for number in errno.errorcode}


class ContainerSandbox:
    """A Sandbox.

    If a signal ends the command, the container's init process exits with a code above 128, as shells do. A command that
    itself exits with such a code therefore counts as ended by a signal. Processes that a command leaves running end
    with it, immediately.
    """

    def __init__(
        self, engine: ContainerEngine, image: str, network: str, gpus: int, runtime: str | None = None
    ) -> None:
        """`image` is the default image. `gpus` is the machine's number of GPUs; each command gets all of them."""
        self._engine = engine
        self._image = image
        self._isolation = Isolation(network, *job_user(), gpus, runtime)
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._strays = False
        """Whether a failed call may have left a container behind."""

    def run(self, command: Command, attempt: Attempt, on_output: Callable[[bytes], None] | None) -> Ending:
        for folder in (command.folder.job, command.folder.home):
            self._hand_over(folder)
        try:
            with (
                self._container(command, attempt) as container,
                self._engine.attached(container) as connection,
                ContainerOutput(connection, CommandOutput(command, on_output)) as stream,
            ):
                watch = _ContainerWatch(self._engine, container, command, attempt, stream)
                self._engine.start(container)
                watch.follow()
                return self._ending(command, container, watch, stream)
        except Interrupted:
            return Ending(exit_code=None, signal=signal.SIGKILL, interrupted=True)

    def end_leftovers(self, folder: Path) -> None:
        self._remove_if(lambda of: of == folder)

    def end_strays(self, work: Path) -> None:
        """End containers whose attempt folders below this folder no longer exist. Raises Unavailable."""
        work = work.resolve()
        self._remove_if(lambda of: work in of.parents and not of.exists())

    def kill_all(self) -> None:
        """End all containers, for a worker that exits without waiting for its slots."""
        with self._lock:
            running = list(self._running)
        for container in running:
            self._remove(container)

    def _remove_if(self, condition: Callable[[Path], bool]) -> None:
        for container, folder in self._engine.containers().items():
            if condition(folder):
                logger.warning("removing a leftover container", extra={"action": "sweep", "container": container})
                self._remove(container)

    @contextmanager
    def _container(self, command: Command, attempt: Attempt) -> Iterator[str]:
        """Create a container that exists inside the block."""
        image = command.image or self._image
        try:
            container = self._create(image, command, attempt)
        except ImageNotFound:
            retry_while_unavailable(
                lambda: self._engine.pull(image, attempt.raise_if_interrupted),
                attempt,
                longest_delay_seconds=LONGEST_PULL_DELAY_SECONDS,
            )
            try:
                container = self._create(image, command, attempt)
            except ImageNotFound as error:  # another pull needed its space
                raise Unavailable(
                    "The worker's disk has no room for the images of its jobs; use smaller images, or a larger disk."
                ) from error
        with self._lock:
            self._running.add(container)
        try:
            yield container
        finally:
            self._remove(container)
            with self._lock:
                self._running.discard(container)

    def _create(self, image: str, command: Command, attempt: Attempt) -> str:
        """Create the container. Raises ImageNotFound, Interrupted, CommandNotStarted, Unavailable."""

        def create() -> str:
            try:
                if self._strays:
                    self._strays = False
                    self.end_strays(command.folder.root.parent)
                return self._engine.create(image, command, self._isolation)
            except Unavailable:
                # The engine may have created it nevertheless.
                self._strays = True
                raise

        return retry_while_unavailable(create, attempt, ENGINE_RETRY_SECONDS)

    def _remove(self, container: str) -> None:
        try:
            self._engine.remove(container)
        except Unavailable:
            # The next command removes it, or the next worker that starts on this machine.
            self._strays = True
            logger.exception("cannot remove the container", extra={"action": "remove", "container": container})

    def _hand_over(self, folder: Path) -> None:
        """Give the job's files to the user that its command runs as."""
        if os.geteuid() != 0:
            return
        owner = (self._isolation.user, self._isolation.group)
        os.chown(folder, *owner)
        # os.walk is recursive before Python 3.12, so it fails in deep trees.
        waiting = [str(folder)]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    os.chown(entry.path, *owner, follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)

    def _ending(self, command: Command, container: str, watch: _ContainerWatch, stream: ContainerOutput) -> Ending:
        """Raises CommandNotStarted, Unavailable."""
        code = watch.exit_code()
        number = code - 128 if code in _SIGNAL_CODES else None
        exceeded = watch.exceeded or stream.output.exceeded
        if number == signal.SIGXFSZ:
            exceeded = command.limits.disk_exceeded()
        elif exceeded is None and code != 0 and self._engine.was_out_of_memory(container):
            exceeded = command.limits.memory_exceeded()
        elif code in _NOT_STARTED_CODES and (match := _NOT_STARTED.fullmatch(stream.only_stderr() or b"")):
            os.ftruncate(command.stderr, 0)
            reason = match[1].decode("utf-8", "replace").lower()
            raise CommandNotStarted(why_not_started(command, OSError(_ERRNO.get(reason, 0), reason)))
        return Ending(
            exit_code=code if number is None else None,
            signal=number,
            interrupted=watch.interrupted,
            output_error=stream.output.error,
            exceeded=exceeded,
            peak_memory_mib=math.ceil(watch.peak_bytes / MIB) or None,
        )


class _ContainerWatch:
    """Watches a command in a container from its start to its end."""

    def __init__(
        self, engine: ContainerEngine, container: str, command: Command, attempt: Attempt, stream: ContainerOutput
    ) -> None:
        self.peak_bytes = 0
        """Peak memory in the samples so far, in bytes."""
        self._engine = engine
        self._container = container
        self._attempt = attempt
        self._stream = stream
        self._stop = StopSequence(command, attempt, KILL_SECONDS, self._root)
        self._sample_at = 0.0
        self._signaled = False
        self._init: int | None = None
        """The container's init process; 0 if it is not visible here, None if it is not looked up yet."""

    @property
    def interrupted(self) -> bool:
        return self._stop.interrupted

    @property
    def exceeded(self) -> str | None:
        return self._stop.exceeded

    def follow(self) -> None:
        """Wait until the init process closes the output, or the container has been killed and does not end."""
        while not (signals := self._stop.signals(self._stream.output)):
            seconds = self._stop.seconds_to_next_check
            if self._stream.fileno() in _readable([self._stream.fileno(), self._attempt.fileno()], seconds):
                return
            self._sample_memory()
        self._signaled = True
        for number, seconds in signals:
            self._engine.kill(self._container, number)
            if _readable([self._stream.fileno()], seconds):
                return

    def _root(self) -> int | None:
        """The container's init process; None if it is not visible here."""
        if self._init is None:
            with suppress(Unavailable):
                self._init = self._engine.init_process(self._container)
        return self._init or None

    def _sample_memory(self) -> None:
        if time.monotonic() >= self._sample_at:
            self._sample_at = time.monotonic() + MEMORY_SAMPLE_SECONDS
            self.peak_bytes = max(self.peak_bytes, self._engine.memory_bytes(self._container) or 0)

    def exit_code(self) -> int:
        """Raises Unavailable."""
        code = self._engine.exit_code(self._container, KILL_SECONDS)
        if code is None and not self._signaled:
            # The container still runs: the connection broke, and the rest of the output is lost.
            raise Unavailable("The connection to the container engine broke while the command ran; try again.")
        if code is None:
            self._engine.kill(self._container, signal.SIGKILL)
            code = self._engine.exit_code(self._container, KILL_SECONDS)
        return KILLED if code is None else code


def _readable(descriptors: list[int], seconds: float) -> set[int]:
    """Wait until a descriptor is readable, up to this time; return those that are."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(math.ceil(1000 * seconds))}
