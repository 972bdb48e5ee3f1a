"""What a slot does with a delivery:

    claim    the job is ours, under a lease that the heartbeat extends      (executor)
    fetch    find the source                                                source.py
    unzip    fill a folder of its own with it                               source.py, unzip.py
    config   read executor_config.json, and whether this pool can run it    config.py
    run      the command, sending output on the way                         run_command.py, output.py, sandbox/
    archive  store the results                                              archive.py
    finish   record the outcome, once                                       (executor)
    ack      only then is the delivery done                                 (queue)

A step that fails says so by JobFailed; the attempt ends with that status. Interrupted means that the job was canceled,
or that it goes to another worker: then nothing is recorded, and the job and its delivery are given back.
WrongPool means that it is handed over to another pool. Unavailable means that a service has been away for longer
than a step waits: that is no fault of the job, which counts the attempt as lost and is run again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from cloud_executor.blobs.store import BlobStore
from cloud_executor.errors import CloudExecutorError, Unavailable, os_reason
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.json_logging import logged_with
from cloud_executor.model.executor_config import ExecutorConfig
from cloud_executor.model.job import Durations, Job, NotClaimable, Outcome, StaleAttempt, Status
from cloud_executor.ports import Delivery, JobNotFound
from worker_vm.worker.attempt import Attempt, Interrupted, Interruption
from worker_vm.worker.command.command_runner import CommandRunner
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.results.archive import archive
from worker_vm.worker.retry import RETRY_SECONDS, retry_while_unavailable
from worker_vm.worker.sandbox.interface import Ending
from worker_vm.worker.source.config import read_config
from worker_vm.worker.source.fetch import fetch_source, unpack_source
from worker_vm.worker.work_folder import AttemptFolder, WorkFolder

logger = logging.getLogger(__name__)

GIVE_BACK_SECONDS = 1.0
"""how long a job or a delivery that is given back waits for the storage: if that fails, the lease's end does it"""


_NEVER_BEGUN = frozenset(
    {
        Status.FAILED_TO_GET_SOURCE_METADATA,
        Status.FAILED_SOURCE_COULD_NOT_BE_OBTAINED,
        Status.FAILED_CREATING_SOURCE_ZIP,
    }
)
"""statuses of jobs that have no times"""


class WrongPool(Exception):
    """The job is for another pool, or (None) for external workers."""

    def __init__(self, pool: str | None) -> None:
        super().__init__(pool)
        self.pool = pool


@dataclass(slots=True)
class _Progress:
    """What is known of an attempt so far."""

    start_time: datetime | None = None
    finish_time: datetime | None = None
    result_hashes: dict[str, str] | None = None
    ending: Ending | None = None
    durations: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.durations[part] = round(time.monotonic() - start, 3)


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Runs jobs; used by the threads of all slots."""

    attempts: Attempts
    blobs: BlobStore
    commands: CommandRunner
    work: WorkFolder
    heartbeat: Heartbeat
    worker_id: str
    stopping: threading.Event
    label_jobs: Callable[[], Mapping[str, str]] = dict
    """Returns label -> hash of the blob whose job gives a worker that label."""

    def run(self, delivery: Delivery) -> None:
        """Take a delivery to its end. Raises Unavailable if the job cannot be claimed, and is given back."""
        attempt = self._claim(delivery)
        if attempt is None:
            return
        # The files go last: nobody has to wait for that.
        with (
            logged_with(trace=attempt.job.trace),
            closing(attempt),
            ExitStack() as folders,
            self.heartbeat.keep(attempt),
        ):
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
                logger.exception("job abandoned for want of what it needs", extra=attempt.fields("abandon"))
                # Another attempt begins, unless too many were lost.
                self._let_go(attempt, delivery, "abandon", partial(self.attempts.abandon, cause=str(error)))
            else:
                self._close_delivery(delivery.ack)

    def _claim(self, delivery: Delivery) -> Attempt | None:
        before = time.monotonic()
        try:
            job = self.attempts.claim(delivery.job_hash, self.worker_id, self.commands.pool.name)
        except (NotClaimable, JobNotFound):
            # Somebody else's, of another pool, or finished. Should its worker be lost, it is published anew.
            self._close_delivery(delivery.ack)
            return None
        except Unavailable:
            self._close_delivery(delivery.nack)
            raise
        attempt = Attempt(job, self.attempts.options.lease.total_seconds(), before)
        logger.info("job claimed", extra=attempt.fields("claim"))
        return attempt

    def _outcome(self, attempt: Attempt, folders: ExitStack) -> Outcome:
        progress = _Progress(durations={"queued": self._seconds_queued(attempt.job)})
        try:
            status, error = self._perform(attempt, folders, progress)
        except JobFailed as failure:
            _raise_if_given_back(attempt)
            status, error = failure.status, str(failure)
        except Interrupted as interrupted:
            if interrupted.reason is not Interruption.CANCELED:
                raise
            status, error = Status.CANCELED, None
        except (CloudExecutorError, WrongPool):
            raise
        except Exception:
            logger.exception("job failed through a fault of the worker", extra=attempt.fields("run"))
            status, error = (
                Status.FAILED_TO_EXECUTE,
                "Something went wrong in the worker; the operator finds it in the log.",
            )
        if status not in _NEVER_BEGUN and progress.finish_time is None:
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
        )

    def _seconds_queued(self, job: Job) -> float:
        waited = self.attempts.clock() - datetime.fromisoformat(job.create_time)
        return round(max(0.0, waited.total_seconds()), 3)

    def _perform(self, attempt: Attempt, folders: ExitStack, progress: _Progress) -> tuple[Status, str | None]:
        """The steps up to the outcome.

        Raises JobFailed, Interrupted, WrongPool, StaleAttempt, JobNotFound, Unavailable.
        """
        if not self.heartbeat.labels.issuperset(attempt.job.labels):
            # This worker could not get a label that its pool gives by a label job.
            raise WrongPool(None)
        with progress.timed("fetch"):
            folder = self.fetch(attempt, folders)
        progress.start_time = self.attempts.clock()
        config = read_config(folder)
        self._check_pool(attempt, config)
        job = retry_while_unavailable(lambda: self.attempts.start(attempt.job_hash, attempt.number, config.retries), attempt)
        if job.cancel_requested:
            attempt.interrupt(Interruption.CANCELED)
        attempt.raise_if_interrupted()
        with progress.timed("run"):
            command = self.commands.run(config, folder, attempt)
        progress.finish_time, progress.ending = command.finish_time, command.ending
        with progress.timed("archive"):
            results = archive(self.blobs, config.result_artifacts, folder.job, attempt)
        progress.result_hashes = results.hashes
        if results.failure is None:
            return command.status, command.error
        _raise_if_given_back(attempt)
        status = results.failure.status if command.status == Status.SUCCESS else command.status
        return status, " ".join(filter(None, (command.error, str(results.failure))))

    def fetch(self, attempt: Attempt, folders: ExitStack) -> AttemptFolder:
        """A folder with the source in it. Raises JobFailed, Interrupted, Unavailable."""
        source = fetch_source(self.blobs, attempt)
        attempt.raise_if_interrupted()
        try:
            folder = folders.enter_context(self.work.attempt())
        except OSError as error:
            message = f"The worker could not make a folder for the job: {os_reason(error)}."
            raise JobFailed(Status.FAILED_CREATING_SOURCE_ZIP, message) from error
        unpack_source(self.blobs, source, folder, attempt, self.commands.pool.disk_mib)
        return folder

    def _check_pool(self, attempt: Attempt, config: ExecutorConfig) -> None:
        """Raises WrongPool if another pool may do what this one cannot, and JobFailed if there is none."""
        reason = self.commands.pool.refusal(config)
        if reason is None:
            return
        if attempt.job.later_pools:
            raise WrongPool(attempt.job.later_pools[0])
        raise JobFailed(Status.FAILED_EXECUTOR_CONFIG, reason)

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        retry_while_unavailable(lambda: self.attempts.finish(attempt.job_hash, attempt.number, outcome), self.stopping)
        said = {"status": outcome.status, "seconds": round(attempt.elapsed_seconds, 3)}
        logger.info("job finished", extra=attempt.fields("finish") | said)

    def _let_go(
        self,
        attempt: Attempt,
        delivery: Delivery,
        action: str,
        change: Callable[[str, int], None],
        retry_seconds: float = GIVE_BACK_SECONDS,
    ) -> None:
        """Let go of the job unfinished, by this change of it, and then of its delivery."""
        try:
            retry_while_unavailable(lambda: change(attempt.job_hash, attempt.number), self.stopping, retry_seconds)
        except (StaleAttempt, JobNotFound):
            logger.warning("job belongs to another worker", extra=attempt.fields(action))
        except Unavailable:
            # The end of the lease brings the job to another worker.
            logger.warning("job was not given back", extra=attempt.fields(action), exc_info=True)
            self._close_delivery(delivery.nack)
            return
        self._close_delivery(delivery.ack)

    def _close_delivery(self, action: Callable[[], None]) -> None:
        """Ack or nack. If that fails the message comes again, which is harmless."""
        try:
            retry_while_unavailable(action, self.stopping, GIVE_BACK_SECONDS)
        except Unavailable:
            logger.warning("delivery was not settled", extra={"action": "settle"}, exc_info=True)


def _raise_if_given_back(attempt: Attempt) -> None:
    """Raises Interrupted if a failure may come from the worker's own end: another worker tries again."""
    if attempt.interruption in (Interruption.LOST, Interruption.RELEASED):
        attempt.raise_if_interrupted()
