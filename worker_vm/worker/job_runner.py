"""Run the job of a delivery, step by step:

    claim    own the job, under a lease that the heartbeat renews            cloud_executor/jobs/
    fetch    find the source                                                 source/fetch.py
    unzip    fill a new folder with it                                       source/
    config   read executor_config.json; check that this pool can run it      source/config.py
    run      run the command; send its output meanwhile                      command/, sandbox/
    archive  store the results                                               results/
    finish   record the outcome, once                                        cloud_executor/jobs/
    ack      complete the delivery                                           queue

A step that fails raises JobFailed, and the attempt ends with that status. Interrupted means that the job was canceled,
or that another worker will run it; in the latter case nothing is recorded, and the job and its delivery are given back.
WrongPool means that the job is handed over to another pool. Unavailable means that a service has been unavailable for
longer than a step retries; the job is not at fault, so the attempt counts as lost and the job runs again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from cloud_executor.access.grants import Grants
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import boot_seconds
from cloud_executor.errors import CloudExecutorError, Unavailable, os_reason
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.log_fields import log_fields
from cloud_executor.json_logging import logged_with
from cloud_executor.model.blobs.metadata import ArtifactFile
from cloud_executor.model.documents.executor_config import ExecutorConfig
from cloud_executor.model.jobs.job import Durations, Job, NotClaimable, Outcome, StaleAttempt, Status
from cloud_executor.model.jobs.transitions import MIN_BLAME
from cloud_executor.ports import Delivery, JobNotFound
from cloud_executor.process.time_jumps import TimeJumps
from worker_vm.worker.attempt import Attempt, Interrupted, Interruption
from worker_vm.worker.command.command_runner import CommandRunner
from worker_vm.worker.command.output_files import STDERR_FILE, STDOUT_FILE, open_output_files
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.machine.faults import MachineFault, MachineFaults, raise_if_machine_fault
from worker_vm.worker.results.store_results import store_results
from worker_vm.worker.retry import RETRY_SECONDS, retry_while_unavailable
from worker_vm.worker.sandbox.interface import Ending
from worker_vm.worker.source.config import read_config
from worker_vm.worker.source.fetch import fetch_source, unpack_source
from worker_vm.worker.work_folder import AttemptFolder, WorkFolder

logger = logging.getLogger(__name__)

GIVE_BACK_SECONDS = 1.0
"""Time limit for giving back a job or completing a delivery, in seconds. If it fails, the lease expires instead."""

LOGS = {STDOUT_FILE: "stdout", STDERR_FILE: "stderr"}
"""Output file -> key in the job's `logs`."""

_NOT_BEGUN = frozenset(
    {
        Status.FAILED_TO_GET_SOURCE_METADATA,
        Status.FAILED_SOURCE_COULD_NOT_BE_OBTAINED,
        Status.FAILED_CREATING_SOURCE_ZIP,
    }
)
"""Statuses of jobs that have neither a start time nor a finish time."""


class WrongPool(Exception):
    """The job belongs to another pool, or, if `pool` is None, to external workers."""

    def __init__(self, pool: str | None) -> None:
        super().__init__(pool)
        self.pool = pool


@dataclass(slots=True)
class _Progress:
    """What is known about an attempt so far."""

    start_time: datetime | None = None
    finish_time: datetime | None = None
    result_hashes: dict[str, str] | None = None
    logs: dict[str, str] | None = None
    warnings: tuple[str, ...] = ()
    ending: Ending | None = None
    durations: dict[str, float] = field(default_factory=dict)

    def logs_are_stored(self, stored: Mapping[str, ArtifactFile]) -> None:
        self.logs = {LOGS[name]: file.content_hash for name, file in stored.items()}

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.durations[part] = round(time.monotonic() - start, 3)


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Runs jobs, in the threads of all slots."""

    attempts: Attempts
    blobs: BlobStore
    commands: CommandRunner
    work: WorkFolder
    heartbeat: Heartbeat
    worker_id: str
    stopping: threading.Event
    label_jobs: Callable[[], Mapping[str, str]] = dict
    """Returns label -> hash of the blob whose job gives a worker that label."""
    time_jumps: TimeJumps | None = None
    """Watched while the worker runs; None: no jump is noticed."""
    sweep_jumps: bool = True
    """Whether the sweep notices the same jumps, because it runs on the same machine."""
    faults: MachineFaults = field(default_factory=MachineFaults)
    grants: Grants | None = None
    """Records that the job's user has the results; None in tests."""

    def run(self, delivery: Delivery) -> None:
        """Run the job of a delivery, and complete the delivery.

        Raises Unavailable if the job cannot be claimed for a long time; the delivery is then given back.
        """
        attempt = self._claim(delivery)
        if attempt is None:
            return
        # Removing the files comes last: nobody waits for it.
        with (
            logged_with(trace=attempt.job.trace),
            closing(attempt),
            ExitStack() as folders,
            self.heartbeat.keep(attempt),
        ):
            self.attempts.follow(attempt.job)
            try:
                outcome = self._outcome(attempt, folders)
                self._finish(attempt, outcome)
            except Interrupted as interrupted:
                logger.info("job given back", extra=attempt.fields("release") | {"reason": interrupted.reason.name})
                self._let_go(attempt, delivery, "release", self.attempts.release)
            except WrongPool as found:
                logger.info("job handed over", extra=attempt.fields("hand_over") | {"pool": found.pool})
                hand_over = partial(self.attempts.hand_over, pool=found.pool)
                self._let_go(attempt, delivery, "hand_over", hand_over, RETRY_SECONDS)
            except (StaleAttempt, JobNotFound):
                logger.warning("job belongs to another worker", extra=attempt.fields("finish"))
                self._close_delivery(delivery.ack)
            except Unavailable as error:
                blame = 1.0
                if isinstance(error, MachineFault):
                    self.faults.note(error)
                    blame = MIN_BLAME
                logger.exception("job abandoned because a service is unavailable", extra=attempt.fields("abandon"))
                # Another attempt begins, unless too many attempts have been lost.
                self._let_go(
                    attempt, delivery, "abandon", partial(self.attempts.abandon, cause=str(error), blame=blame)
                )
            else:
                self._close_delivery(delivery.ack)

    def _claim(self, delivery: Delivery) -> Attempt | None:
        token = secrets.token_hex(8)

        def claim() -> Attempt:
            before, lease = boot_seconds(), self.heartbeat.lease
            with self.heartbeat.measured():
                job = self.attempts.claim(delivery.job_hash, self.worker_id, self.commands.pool.name, token, lease)
            try:
                return Attempt(job, lease.total_seconds(), before, self.time_jumps, sweep_jumps=self.sweep_jumps)
            except OSError as error:
                self._return_at_once(job, delivery, error)
                raise

        try:
            # Keep the delivery meanwhile: giving it back counts as a delivery, and no other worker could do better.
            attempt = retry_while_unavailable(claim, self.stopping)
        except (NotClaimable, JobNotFound):
            # Another worker or pool has the job, or it is finished. If its worker is lost, it is published again.
            self._close_delivery(delivery.ack)
            return None
        except Unavailable:
            self._close_delivery(delivery.nack)
            raise
        logger.info("job claimed", extra=attempt.fields("claim"))
        return attempt

    def _return_at_once(self, job: Job, delivery: Delivery, error: OSError) -> None:
        """Give up a job that was claimed although this machine lacks what an attempt needs, such as descriptors."""
        cause = f"The worker could not begin: {os_reason(error)}."
        try:
            self.attempts.abandon(job.hash, job.attempt, cause, MIN_BLAME)
        except (CloudExecutorError, OSError):
            # Another worker gets the job when the lease expires.
            logger.warning("cannot give the job back", extra=log_fields(job, "abandon"), exc_info=True)
        else:
            self._close_delivery(delivery.ack)

    def _outcome(self, attempt: Attempt, folders: ExitStack) -> Outcome:
        progress = _Progress(durations={"queued": self._seconds_queued(attempt.job)})
        try:
            status, error = self._perform(attempt, folders, progress)
        except JobFailed as failure:
            _raise_if_given_back(attempt)
            raise_if_machine_fault(failure)
            status, error = failure.status, str(failure)
        except Interrupted as interrupted:
            if interrupted.reason is not Interruption.CANCELED:
                raise
            status, error = Status.CANCELED, None
        except (CloudExecutorError, WrongPool):
            raise
        except Exception as fault:
            raise_if_machine_fault(fault)
            logger.exception("job failed because of an internal error", extra=attempt.fields("run"))
            status, error = Status.FAILED_TO_EXECUTE, "Internal error in the worker; details are in the worker's log."
        if status not in _NOT_BEGUN and progress.finish_time is None:
            progress.finish_time = self.attempts.clock()
        ending = progress.ending
        return Outcome(
            status,
            progress.start_time,
            progress.finish_time,
            progress.result_hashes,
            error,
            exit_code=ending.exit_code if ending else None,
            durations=Durations(**progress.durations),
            peak_memory_mib=ending.peak_memory_mib if ending else None,
            logs=progress.logs,
            warnings=progress.warnings,
        )

    def _seconds_queued(self, job: Job) -> float:
        waited = self.attempts.clock() - datetime.fromisoformat(job.create_time)
        return round(max(0.0, waited.total_seconds()), 3)

    def _perform(self, attempt: Attempt, folders: ExitStack, progress: _Progress) -> tuple[Status, str | None]:
        """Do the steps up to the outcome.

        Raises JobFailed, Interrupted, WrongPool, StaleAttempt, JobNotFound, Unavailable.
        """
        if not self.heartbeat.labels.issuperset(attempt.job.labels):
            # The pool has a label job for a missing label, but it failed on this worker.
            raise WrongPool(None)
        with progress.timed("fetch"):
            folder = self.fetch(attempt, folders)
        progress.start_time = self.attempts.clock()
        config = read_config(folder)
        self._check_pool(attempt, config)
        job = retry_while_unavailable(
            lambda: self.attempts.start(attempt.job_hash, attempt.number, config.retries), attempt
        )
        if job.cancel_requested:
            attempt.interrupt(Interruption.CANCELED)
        attempt.raise_if_interrupted()
        with open_output_files(folder) as files:
            with progress.timed("run"):
                command = self.commands.run(config, files, attempt)
            progress.finish_time, progress.ending = command.finish_time, command.ending
            with progress.timed("archive"):
                blobs = replace(self.blobs, on_stored=attempt.note_stored)
                results = store_results(blobs, config.result_artifacts, files, attempt, progress.logs_are_stored)
        progress.result_hashes = results.hashes
        progress.warnings = results.warnings
        if results.failure is None:
            return command.status, command.error
        _raise_if_given_back(attempt)
        status = results.failure.status if command.status == Status.SUCCESS else command.status
        return status, " ".join(filter(None, (command.error, str(results.failure))))

    def fetch(self, attempt: Attempt, folders: ExitStack) -> AttemptFolder:
        """Return a folder that contains the source. Raises JobFailed, Interrupted, Unavailable."""
        source = fetch_source(self.blobs, attempt)
        attempt.raise_if_interrupted()
        try:
            folder = folders.enter_context(self.work.attempt())
        except OSError as error:
            message = f"The worker could not create a folder for the job: {os_reason(error)}."
            raise JobFailed(Status.FAILED_CREATING_SOURCE_ZIP, message) from error
        try:
            unpack_source(self.blobs, source, folder, attempt, self.commands.pool.disk_mib)
        except JobFailed as failure:
            if folder.is_full(failure.__cause__):
                raise JobFailed(failure.status, str(failure)) from None
            raise
        return folder

    def _check_pool(self, attempt: Attempt, config: ExecutorConfig) -> None:
        """Raises WrongPool if this pool cannot run the job but a later one may, and JobFailed if there is none."""
        reason = self.commands.pool.refusal(config)
        if reason is None:
            return
        if attempt.job.later_pools:
            raise WrongPool(attempt.job.later_pools[0])
        raise JobFailed(Status.FAILED_EXECUTOR_CONFIG, reason)

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        """Raises StaleAttempt, JobNotFound, Unavailable."""

        def finish() -> Job:
            # First, so that the user of a finished job has its results. A repeated attempt records them again.
            if self.grants is not None:
                self.grants.add(attempt.job.user_id, attempt.stored)
            return self.attempts.finish(attempt.job_hash, attempt.number, outcome)

        try:
            retry_while_unavailable(finish, self.stopping)
        except (StaleAttempt, JobNotFound, Unavailable):
            raise
        except CloudExecutorError as error:
            # The job must not run again: its next outcome could not be stored either.
            logger.exception("outcome cannot be stored", extra=attempt.fields("finish"))
            outcome = replace(
                outcome,
                status=Status.FAILED_TO_SAVE_ARTIFACT,
                result_hashes=None,
                error=f"The outcome of the job could not be stored: {error}",
            )
            retry_while_unavailable(finish, self.stopping)
        fields = {"status": outcome.status, "seconds": round(attempt.elapsed_seconds, 3)}
        logger.info("job finished", extra=attempt.fields("finish") | fields)

    def _let_go(
        self,
        attempt: Attempt,
        delivery: Delivery,
        action: str,
        change: Callable[[str, int], None],
        retry_seconds: float = GIVE_BACK_SECONDS,
    ) -> None:
        """Give up the unfinished job with this change, and then complete its delivery."""
        try:
            retry_while_unavailable(lambda: change(attempt.job_hash, attempt.number), self.stopping, retry_seconds)
        except (StaleAttempt, JobNotFound):
            logger.warning("job belongs to another worker", extra=attempt.fields(action))
        except Unavailable:
            # Another worker gets the job when the lease expires.
            logger.warning("cannot give the job back", extra=attempt.fields(action), exc_info=True)
            self._close_delivery(delivery.nack)
            return
        self._close_delivery(delivery.ack)

    def _close_delivery(self, action: Callable[[], None]) -> None:
        """Ack or nack the delivery. If that fails, the queue delivers the message again, which is harmless."""
        try:
            retry_while_unavailable(action, self.stopping, GIVE_BACK_SECONDS)
        except Unavailable:
            logger.warning("cannot ack or nack the delivery", extra={"action": "settle"}, exc_info=True)


def _raise_if_given_back(attempt: Attempt) -> None:
    """Raises Interrupted if the failure may be due to the worker's own stop: another worker will try again."""
    if attempt.interruption in (Interruption.LOST, Interruption.RELEASED):
        attempt.raise_if_interrupted()
