"""A machine that runs out of a resource does not fail jobs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from worker_harness import Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.model.jobs.job import Status
from cloud_executor.ports import Delivery
from worker_vm.worker.sandbox.interface import Ending
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.worker import Worker

FAULTS: list[Callable[[], Exception]] = [
    lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    lambda: OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    lambda: OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    lambda: OSError(errno.ENFILE, os.strerror(errno.ENFILE)),
    lambda: OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    lambda: OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
]
SHORTAGES = {
    "worker_vm.worker.source.file_tree.FileTree._make_folder": FAULTS,
    "worker_vm.worker.sandbox.process.supervisor.Supervisor.start": FAULTS,
    "worker_vm.worker.work_folder._make": FAULTS,
    "worker_vm.worker.results.archive.store_file": FAULTS,
    "worker_vm.worker.job_runner.read_config": [MemoryError, lambda: RuntimeError("can't start new thread"), *FAULTS],
}


@pytest.mark.parametrize(
    ("place", "fault"), [(place, fault) for place, faults in SHORTAGES.items() for fault in faults]
)
def test_a_job_runs_again_after_a_shortage(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, place: str, fault: Callable[[], Exception]
) -> None:
    job = stack.add_script("echo x; head -c 20000 /dev/zero > large")
    with stack.worker() as worker:
        with monkeypatch.context() as patched:

            def fail(*arguments: object, **named: object) -> None:
                raise fault()

            patched.setattr(place, fail)
            worker.run_next()
        assert (stack.get(job).status, stack.get(job).lost_attempts) == (Status.CREATED, 1)
        sentence = worker.runner.faults.current
        assert sentence is not None and sentence.startswith("The worker's machine has run out of ")
        worker.run_next()
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.SUCCESS, 2)
    assert stack.results(job)["job_stdout.txt"] == b"x\n"


def test_a_shortage_does_not_use_up_the_retries(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    job = stack.add({"executor_config.json": json.dumps({"cmd": "true", "resultArtifacts": [], "retries": 0})})
    for _ in range(3):
        with stack.worker() as worker, monkeypatch.context() as patched:
            patched.setattr("worker_vm.worker.sandbox.process.supervisor.Supervisor.start", out_of_disk)
            worker.run_next()
        assert stack.get(job).status == Status.CREATED
    with stack.worker() as worker:
        worker.run_next()
    assert (stack.get(job).status, stack.get(job).lost_attempts) == (Status.SUCCESS, 3)


def out_of_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_job_that_ends_by_itself_is_no_fault(stack: Stack) -> None:
    job = stack.add({"executor_config.json": "{}"})
    with stack.worker() as worker:
        worker.run_next()
        assert worker.runner.faults.current is None
    assert stack.get(job).status == Status.FAILED_EXECUTOR_CONFIG


def test_a_worker_takes_no_job_for_a_while_after_a_shortage(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.machine.faults.PAUSE_SECONDS", 6.0)
    runner = runner_of(stack, stack.jobs)
    with WorkerThread(runner, queue=stack.jobs.queue) as worker:
        with monkeypatch.context() as patched:

            def fail(*arguments: object, **named: object) -> None:
                raise FAULTS[0]()

            patched.setattr("worker_vm.worker.work_folder._make", fail)
            job = stack.add_script("echo x")
            reason = until(worker.worker.unhealthy_reason)
            assert reason == "The worker's machine has run out of disk space."
        assert stack.get(job).attempt == 1
        # The messages are there for other workers.
        with stack.jobs.queue.subscribe("default", 1) as other:
            delivery = until(lambda: other.next(1))
            delivery.nack()
        assert runner.faults.current is not None, "the test was too slow"
        until(lambda: stack.get(job).finished)
        assert worker.worker.unhealthy_reason() is None
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.SUCCESS, 2)


def test_output_that_cannot_be_written_is_a_fault(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    job = stack.add_script("echo x")

    class FullDisk(ProcessSandbox):
        def run(self, *arguments: Any, **named: Any) -> Ending:
            return Ending(None, 9, interrupted=False, output_error="no space left on device")

    with stack.worker(sandbox=FullDisk()) as worker:
        worker.run_next()
        assert worker.runner.faults.current == "The worker's machine has run out of disk space."
    assert (stack.get(job).status, stack.get(job).lost_attempts) == (Status.CREATED, 1)


def test_a_job_that_the_worker_cannot_begin_is_given_back_at_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = stack.add_script("echo x")
    with stack.worker() as worker:
        with monkeypatch.context() as patched:

            def fail(*arguments: object, **named: object) -> None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            patched.setattr("worker_vm.worker.job_runner.Attempt", fail)
            with pytest.raises(OSError, match="Too many open files"):
                worker.run_next()
        found = stack.get(job)
        assert (found.status, found.lost_attempts, found.lease_expires) == (Status.CREATED, 1, None)
        worker.run_next()
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.SUCCESS, 2)


class Delivered(Delivery):
    """A delivery that records what becomes of it."""

    def __init__(self, job_hash: str) -> None:
        self.job_hash = job_hash
        self.settled: list[str] = []

    def ack(self) -> None:
        self.settled.append("ack")

    def nack(self) -> None:
        self.settled.append("nack")


def test_a_delivery_that_arrives_after_a_shortage_goes_to_another_worker(stack: Stack) -> None:
    """The slot polled before the fault, which another slot had."""
    runner = runner_of(stack, stack.jobs)
    worker = Worker(stack.jobs.queue, "default", 2, runner, runner.heartbeat, runner.worker_id)
    job = stack.add_script("echo x")
    runner.faults.note_cause(FAULTS[0]())
    delivered = Delivered(job.hash)
    worker._handle(1, delivered)
    assert delivered.settled == ["nack"]
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.CREATED, 0)
