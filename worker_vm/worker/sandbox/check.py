"""Show that a sandbox works, before the worker takes a job."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import closing

from cloud_executor.clock import boot_seconds
from cloud_executor.errors import CloudExecutorError, Unavailable
from cloud_executor.model.jobs.job import Job
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.settings import InvalidSetting
from worker_vm.worker.attempt import Attempt, Interruption
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, ImageMissing, Sandbox
from worker_vm.worker.work_folder import WorkFolder

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1800.0
"""Time limit of the check, in seconds. It may have to pull an image."""

PAUSE_SECONDS = 60.0
"""Pause after a failed check, in seconds."""


def wait_for_sandbox(
    check: Callable[[], None], report: Callable[[str | None], None], stopping: threading.Event
) -> None:
    """Repeat the check until it succeeds or the worker must stop. Reports each failure, as a sentence, and its end."""
    while not stopping.is_set():
        try:
            check()
        except CloudExecutorError as error:
            report(str(error))
            logger.error("no command can be started", extra={"action": "check", "reason": str(error)}, exc_info=True)
            stopping.wait(PAUSE_SECONDS)
        else:
            report(None)
            return


def check_sandbox(sandbox: Sandbox, pool: WorkerPool, work: WorkFolder, stopping: threading.Event) -> None:
    """Start a command that does nothing. Raises InvalidSetting, and Unavailable if the sandbox does not work."""
    attempt = Attempt(Job(hash="check", create_time="", secret=""), CHECK_SECONDS, boot_seconds())

    def interrupt_when_stopping() -> None:
        stopping.wait()
        attempt.interrupt(Interruption.RELEASED)

    threading.Thread(target=interrupt_when_stopping, name="check", daemon=True).start()
    with closing(attempt), work.attempt() as folder:
        output = os.open(folder.root / "check", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            ending = sandbox.run(Command("true", (), folder, "", output, output), attempt, None)
            if ending.interrupted and not stopping.is_set():
                raise Unavailable("The sandbox did not start a command in time; try again.")
        except ImageMissing as error:
            raise InvalidSetting(f"The worker pool {pool.name} cannot run jobs. {error}") from error
        except CommandNotStarted as error:
            # An image need not contain this command: trying to start it has shown that its container starts.
            if pool.image is None:
                raise InvalidSetting(f"The worker pool {pool.name} cannot run jobs. {error}") from error
        finally:
            os.close(output)
