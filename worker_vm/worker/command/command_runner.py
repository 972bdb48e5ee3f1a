"""Run a job's command, and find out what its end means for the job (docs/protocol.md: What the worker does)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from cloud_executor.model.documents.executor_config import ExecutorConfig
from cloud_executor.model.jobs.job import OutputSegment, Status
from cloud_executor.model.jobs.pool import WorkerPool
from worker_vm.worker.attempt import Attempt, Interrupted, Interruption
from worker_vm.worker.command.output import OutputSender
from worker_vm.worker.command.output_files import OutputFiles
from worker_vm.worker.machine.faults import is_out_of_disk, raise_if_machine_fault, raise_if_shortage
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, Ending, Sandbox
from worker_vm.worker.sandbox.limits import Limits
from worker_vm.worker.sandbox.start_errors import hint_after_exit

EXIT_CODE_OF_SIGINT = 130


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command's end means for the job's document."""

    status: Status
    finish_time: datetime
    error: str | None
    ending: Ending | None
    """How the command ended; None if it was not started."""


@dataclass(frozen=True, slots=True)
class CommandRunner:
    """Runs the commands of jobs in a sandbox."""

    sandbox: Sandbox
    pool: WorkerPool
    put_output: Callable[[OutputSegment, int], None]
    origin_url: str
    clock: Callable[[], datetime]
    stopping: threading.Event

    def run(self, config: ExecutorConfig, files: OutputFiles, attempt: Attempt) -> CommandResult:
        """Run the command. Its output goes to the files, and to the server if the config asks for segments.

        Raises Interrupted if the job goes to another worker.
        """
        sender = self._sender(config, files.stdout, attempt)
        command = Command(
            config.cmd,
            config.args,
            files.folder,
            self.origin_url,
            files.stdout,
            files.stderr,
            limits=Limits.of(self.pool, config),
            env={**self.pool.env, **config.env},
            image=config.image,
        )
        try:
            ending, status, error = self._run(command, attempt, sender)
        except BaseException:
            if sender is not None:
                sender.abandon()
            raise
        finish_time = self.clock()
        unsent = None if sender is None else sender.finish()
        return CommandResult(status, finish_time, error or unsent, ending)

    def _run(
        self, command: Command, attempt: Attempt, sender: OutputSender | None
    ) -> tuple[Ending | None, Status, str | None]:
        """Run the command. Returns how it ended, if it was started, and what that means for the job."""
        try:
            ending = self.sandbox.run(command, attempt, None if sender is None else sender.written)
        except CommandNotStarted as error:
            raise_if_machine_fault(error)
            return None, Status.FAILED_TO_EXECUTE, str(error)
        ending = _within_disk(ending, command)
        raise_if_shortage(ending.output_error)
        reason = attempt.interruption
        if reason is Interruption.LOST or (reason is Interruption.RELEASED and ending.interrupted):
            raise Interrupted(reason)
        status, failure = _result(ending)
        return ending, status, None if failure is None else failure + hint_after_exit(command, ending)

    def _sender(self, config: ExecutorConfig, stdout: int, attempt: Attempt) -> OutputSender | None:
        if config.output_interval_ms is None and config.output_segment_lines is None:
            return None
        return OutputSender(
            stdout,
            lambda number, text: self.put_output(OutputSegment(attempt.job_hash, number, text), attempt.number),
            attempt,
            self.stopping,
            interval_seconds=None if config.output_interval_ms is None else config.output_interval_ms / 1000,
            segment_lines=config.output_segment_lines,
        )


def _within_disk(ending: Ending, command: Command) -> Ending:
    """The ending in which output that found no space is due to the job's limit, unless the machine has run out."""
    if not is_out_of_disk(ending.output_error) or not (command.folder.own_disk or ending.exceeded):
        return ending
    return replace(ending, output_error=None, exceeded=ending.exceeded or command.limits.disk_exceeded())


def _result(ending: Ending) -> tuple[Status, str | None]:
    if ending.interrupted:
        return Status.CANCELED, None
    if ending.output_error is not None:
        return Status.FAILED_TO_EXECUTE, f"The output of the command could not be written: {ending.output_error}."
    if ending.exceeded is not None:
        return Status.FAILED_TO_EXECUTE, ending.exceeded
    if ending.signal == signal.SIGINT or ending.exit_code == EXIT_CODE_OF_SIGINT:
        # Like WebGME's worker, assume that somebody interrupted the command by hand.
        return Status.CANCELED, None
    if ending.signal is not None:
        return Status.FAILED_TO_EXECUTE, f"The command was killed by signal {_signal_name(ending.signal)}."
    if ending.exit_code != 0:
        return Status.FAILED_TO_EXECUTE, f"The command exited with code {ending.exit_code}."
    return Status.SUCCESS, None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
