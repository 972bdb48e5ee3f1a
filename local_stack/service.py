"""A process of the stack that is restarted when it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cloud_executor.delays import delays
from local_stack import child

logger = logging.getLogger(__name__)

STABLE_SECONDS = 10.0
"""Run time, in seconds, after which earlier failed starts no longer count."""

MAX_FAILED_STARTS = 5
"""Number of consecutive failed starts after which a stack that is not ready yet gives up."""

FIRST_PAUSE_SECONDS = 0.2
"""Pause before the first restart, in seconds. It grows with each failed start, up to the service's longest pause."""

_NOT_STARTED = 2
"""Exit code of a process that cannot start and has printed the reason."""


class ServiceFailed(Exception):
    """A process of the stack repeatedly fails to start."""


class ServiceNotStarted(Exception):
    """A process of the stack cannot start and has printed the reason."""


class Service:
    """Call `start`, then `check` periodically, and finally `stop` and `wait_until`.

    The process has its own session, so Ctrl-C on the terminal reaches only the supervisor, which then stops all
    processes in order.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        log_level: int,
        longest_pause_seconds: float,
        file_descriptors: Sequence[int] = (),
        may_end: bool = False,
    ) -> None:
        """`may_end`: the process is not restarted after it ends successfully."""
        self._name = name
        self._command = [sys.executable, "-P", str(Path(child.__file__)), str(log_level), module, *arguments]
        self._environment = environment
        self._file_descriptors = file_descriptors
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failed_starts = 0
        self._longest_pause_seconds = longest_pause_seconds
        self._pauses = delays(FIRST_PAUSE_SECONDS, longest_pause_seconds)
        self._restart_at = 0.0
        self._may_end = may_end
        self.ended = False
        """Whether the process ended successfully and will not be restarted."""

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            # Standard output is reserved for the line with the stack's address.
            stdout=sys.stderr,
            pass_fds=self._file_descriptors,
            start_new_session=True,
        )

    def check(self, *, starting: bool) -> None:
        """Restart the process if it has ended, after a pause.

        Raises ServiceNotStarted and ServiceFailed if `starting`, but never later: a job can kill its worker repeatedly.
        """
        if self.ended:
            return
        if self._process is None:
            if time.monotonic() >= self._restart_at:
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._clean_up()
        if self._may_end and code == 0:
            self.ended = True
            return
        if starting and code == _NOT_STARTED:
            raise ServiceNotStarted
        if time.monotonic() - self._started >= STABLE_SECONDS:
            self._failed_starts = 0
            self._pauses = delays(FIRST_PAUSE_SECONDS, self._longest_pause_seconds)
        self._failed_starts += 1
        if starting and self._failed_starts >= MAX_FAILED_STARTS:
            raise ServiceFailed(
                f"The {self._name} ended {MAX_FAILED_STARTS} times shortly after its start; stopping the stack. "
                "The messages above say why."
            )
        pause = next(self._pauses)
        self._restart_at = time.monotonic() + pause
        logger.warning(
            "restarting a process that ended",
            extra={"action": "restart", "program": self._name, "ending": _ending(code), "pause_seconds": pause},
        )

    def stop(self) -> None:
        """Ask the process to stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_until(self, end: float) -> None:
        """Wait for the end of the process until this time of the monotonic clock, and then kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.error("killing a process that did not stop in time", extra={"action": "kill", "program": self._name})
            self._process.kill()
            self._process.wait()
        self._clean_up()

    def _clean_up(self) -> None:
        """Kill what the ended process left in its process group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
