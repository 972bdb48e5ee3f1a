"""The slots of a worker: only the worker's end ends them, and they cannot prevent it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from worker_harness import Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.errors import Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import Delivery
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.sandbox.interface import Command
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.work_folder import WorkFolder


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("a fault")])
def test_a_slot_survives_errors(stack: Stack, error: Exception) -> None:
    left = 2

    class Faulty(Attempts):
        def claim(self, *arguments: Any, **named: Any) -> Job:
            nonlocal left
            if left:
                left -= 1
                raise error
            return super().claim(*arguments, **named)

    jobs = stack.jobs_with(Faulty)
    with WorkerThread(runner_of(stack, jobs), queue=jobs.queue) as worker:
        until(lambda: stack.jobs.clients.workers())
        jobs = [stack.add_script(f"echo {number}") for number in range(3)]
        finished = until(lambda: [job for job in jobs if stack.get(job).finished])
        assert {stack.get(job).status for job in finished} == {Status.SUCCESS}
    assert worker.ended == [True]


def test_a_slot_that_does_not_end_does_not_block_the_worker(stack: Stack) -> None:
    stuck, let_go = threading.Event(), threading.Event()

    class Stuck(JobRunner):
        def run(self, delivery: Delivery) -> None:
            stuck.set()
            let_go.wait(30)

    stack.add_script("echo x")
    with WorkerThread(runner_of(stack, stack.jobs, Stuck), queue=stack.jobs.queue, stop_seconds=0.1) as worker:
        assert stuck.wait(30)
    assert worker.ended == [False]
    let_go.set()


def test_kill_all_leaves_no_process(stack: Stack) -> None:
    """A worker calls it when it cannot wait for its slots."""
    job = stack.add_script("trap '' INT TERM; (setsid sleep 60 &); touch ready; sleep 60")
    with stack.worker() as worker, worker.running():
        until(lambda: list(stack.work.glob("*/job/ready")))
        sandbox = worker.runner.commands.sandbox
        assert isinstance(sandbox, ProcessSandbox)
        sandbox.kill_all()
    assert stack.get(job).error == "The command was killed by signal SIGKILL."


def test_jobs_leave_no_descriptors_or_threads(stack: Stack) -> None:
    def held() -> list[str]:
        """Open pipes, processes, and attempt folders, but not database files."""
        targets = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                targets.append(os.readlink(descriptor))
        return sorted(name for name in targets if name.startswith(("pipe:", "anon_inode:", str(stack.work))))

    with stack.worker() as worker:
        before = held()
        for script in ("echo x", "exit 3", "kill -9 $$", "sleep 60 & true"):
            for segments in ({}, {"outputInterval": 10}):
                stack.add_script(script, **segments)
                worker.run_next()
        assert held() == before
        assert not [thread for thread in threading.enumerate() if thread.name == "output"]


def test_output_that_cannot_be_written_stops_the_command(stack: Stack) -> None:
    job = stack.jobs.attempts.claim(stack.add_script("unused").hash, "worker")
    attempt = Attempt(job, 30, 1e9)
    device = os.open("/dev/full", os.O_WRONLY)
    try:
        with WorkFolder(stack.work).attempt() as folder:
            command = Command("sh", ("-c", "echo x; sleep 60"), folder, "", device, device)
            ending = ProcessSandbox().run(command, attempt, lambda chunk: None)
    finally:
        os.close(device)
        attempt.close()
    assert (ending.output_error, ending.interrupted) == ("no space left on device", False)
