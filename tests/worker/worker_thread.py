"""A complete worker with its slots, in a thread of the test."""

from __future__ import annotations

import threading

from worker_harness import Stack

from cloud_executor.clock import system_clock
from cloud_executor.composition import Jobs
from cloud_executor.ports import JobQueue
from cloud_executor.settings import DEFAULT_POOL
from worker_vm.worker.command.command_runner import CommandRunner
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.work_folder import WorkFolder
from worker_vm.worker.worker import STOP_SECONDS, Departure, Worker


def runner_of(stack: Stack, jobs: Jobs, kind: type[JobRunner] = JobRunner) -> JobRunner:
    stopping = threading.Event()
    commands = CommandRunner(ProcessSandbox(), jobs.pools[0], jobs.attempts.put_output, "", system_clock, stopping)
    heartbeat = Heartbeat(jobs.attempts, "worker", ())
    return kind(jobs.attempts, stack.blobs, commands, WorkFolder(stack.work), heartbeat, "worker", stopping)


class WorkerThread:
    """Runs a worker inside the block. `ended` then contains the result of its `run`."""

    def __init__(
        self,
        runner: JobRunner,
        *,
        queue: JobQueue,
        slots: int = 1,
        departure: Departure | None = None,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.ended: list[bool] = []
        self.worker = Worker(queue, DEFAULT_POOL, slots, runner, runner.heartbeat, "worker", departure, stop_seconds)
        self._stopping = runner.stopping
        self._thread = threading.Thread(target=lambda: self.ended.append(self.worker.run()))

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def __enter__(self) -> WorkerThread:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
