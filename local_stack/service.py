"""A program of the stack, started again when it ends."""

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
"""who has lived so long ended by accident"""

MAX_QUICK_ENDS = 5
"""in a row; then starting it again is of no use"""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0

_REFUSED = 2
"""exit code of a program that has said why it cannot be started"""


class ServiceFailed(Exception):
    """A program of the stack ends again and again."""


class ServiceRefused(Exception):
    """A program of the stack does not start; it has said why."""


class Service:
    """`start` it, `look_after` it now and then, and at the end `stop` and `wait_until`.

    It is in a session of its own: a Ctrl-C on the terminal reaches the supervisor alone, which stops all in order.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        log_level: int,
        file_descriptors: Sequence[int] = (),
    ) -> None:
        self._name = name
        self._command = [sys.executable, "-P", str(Path(child.__file__)), str(log_level), module, *arguments]
        self._environment = environment
        self._file_descriptors = file_descriptors
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._quick_ends = 0
        self._pauses = delays(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._start_again_at = 0.0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            # Standard output is for the line that says where the stack is.
            stdout=sys.stderr,
            pass_fds=self._file_descriptors,
            start_new_session=True,
        )

    def look_after(self, *, starting: bool) -> None:
        """Start it again if it has ended. Raises ServiceFailed, and while `starting` ServiceRefused."""
        if self._process is None:
            if time.monotonic() >= self._start_again_at:
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._forget()
        if starting and code == _REFUSED:
            raise ServiceRefused
        if time.monotonic() - self._started >= STABLE_SECONDS:
            self._quick_ends = 0
            self._pauses = delays(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._quick_ends += 1
        if self._quick_ends == MAX_QUICK_ENDS:
            raise ServiceFailed(
                f"The {self._name} ended {MAX_QUICK_ENDS} times soon after its start, so everything is stopped; "
                "its messages say why."
            )
        pause = next(self._pauses)
        self._start_again_at = time.monotonic() + pause
        logger.warning(
            "a program of the stack ended and is started again",
            extra={"action": "restart", "program": self._name, "ending": _ending(code), "pause_seconds": pause},
        )

    def stop(self) -> None:
        """Tell it to stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_until(self, end: float) -> None:
        """Wait for its end, up to a moment of the monotonic clock; then end it by force."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.error("a program of the stack is killed", extra={"action": "kill", "program": self._name})
            self._process.kill()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        """It has ended; what it started and left in its group ends too."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
