"""Run label jobs: a worker gets a label if the command of the label's job exits with 0 (docs/protocol.md: Labels).

Label jobs run before the worker takes its first delivery, in the same sandbox as other jobs. The server does not know
about them. A label job that fails is not retried: jobs that need its label are handed over to external workers.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta

from cloud_executor.clock import boot_seconds
from cloud_executor.errors import CloudExecutorError, Invalid
from cloud_executor.model.jobs.job import Job, Status
from worker_vm.worker.attempt import Attempt, Interrupted, Interruption
from worker_vm.worker.command.output_files import open_output_files
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.source.config import read_config

logger = logging.getLogger(__name__)

LONGEST = timedelta(minutes=10)
"""Time limit for the command of a label job that does not set its own."""

POLL_SECONDS = 0.1
"""Interval between two checks of whether the label job has ended, in seconds."""


def acquire_labels(runner: JobRunner) -> Iterator[str]:
    """Run the label jobs; yield each label as the worker gets it."""
    for label, source in runner.label_jobs().items():
        if label in runner.heartbeat.labels or runner.stopping.is_set():
            continue
        fields = {"action": "label_job", "label": label, "worker_id": runner.worker_id}
        try:
            error = _error_of(runner, source)
        except (JobFailed, CloudExecutorError, Interrupted) as failure:
            error = str(failure)
        except Exception:
            logger.exception("label not acquired", extra=fields)
            continue
        if error is None:
            logger.info("label acquired", extra=fields)
            yield label
        else:
            logger.warning("label not acquired", extra=fields | {"reason": error})


def _error_of(runner: JobRunner, source: str) -> str | None:
    """Run the job; return the error, or None on success. Raises JobFailed, Interrupted, Unavailable."""
    attempt = Attempt(Job(hash=source, create_time="", secret=""), math.inf, boot_seconds())
    with closing(attempt), _interrupted_by(runner.stopping, attempt), ExitStack() as folders:
        folder = runner.fetch(attempt, folders)
        config = read_config(folder)
        refusal = runner.commands.pool.refusal(config)
        if refusal is not None:
            raise Invalid(refusal)
        timeout = runner.commands.pool.timeout_of(config) or LONGEST
        silent = replace(config, timeout=timeout, output_interval_ms=None, output_segment_lines=None)
        with open_output_files(folder) as files:
            result = runner.commands.run(silent, files, attempt)
        return None if result.status == Status.SUCCESS else result.error or result.status


@contextmanager
def _interrupted_by(stopping: threading.Event, attempt: Attempt) -> Iterator[None]:
    """Interrupt the attempt if the worker stops while the block runs."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if stopping.wait(POLL_SECONDS):
                attempt.interrupt(Interruption.RELEASED)
                return

    thread = threading.Thread(target=watch, name="label job", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
