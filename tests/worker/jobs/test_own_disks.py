"""A job that fills a disk of its own, and a disk that cannot be emptied."""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worker_harness import Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.model.jobs.job import Status
from worker_vm.worker.command.output_files import open_output_files
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.sandbox.interface import Command, Ending
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.source.file_tree import FileTree
from worker_vm.worker.work_folder import AttemptFolder, WorkFolder

LIMIT = "The command used more than 1 MiB of disk."


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path, EXECUTOR_JOB_DISK="1")


class WithDisks(WorkFolder):
    """Has disks that are folders, because only root can mount file systems."""

    def __init__(self, root: Path, disks: int) -> None:
        super().__init__(root)
        self._disks = [root / f"disk-{number}" for number in range(1, disks + 1)]
        for disk in self._disks:
            disk.mkdir(exist_ok=True)
        self._free = deque(self._disks)


class FullDisk(ProcessSandbox):
    """Finds no space for a command's output."""

    def __init__(self, exceeded: str | None) -> None:
        super().__init__()
        self._exceeded = exceeded

    def run(self, command: Command, *arguments: Any, **named: Any) -> Ending:
        reason = os.strerror(errno.ENOSPC).lower()
        return Ending(None, 9, interrupted=False, output_error=reason, exceeded=self._exceeded)


@pytest.mark.parametrize(
    ("disks", "exceeded", "status", "error"),
    [
        (2, None, Status.FAILED_TO_EXECUTE, LIMIT),
        (0, LIMIT, Status.FAILED_TO_EXECUTE, LIMIT),
        (0, None, Status.CREATED, None),
    ],
)
def test_output_without_space_is_up_to_the_job_if_the_job_used_up_its_disk(
    stack: Stack, disks: int, exceeded: str | None, status: str, error: str | None
) -> None:
    job = stack.add_script("echo x")
    with stack.worker(sandbox=FullDisk(exceeded), work=WithDisks(stack.work, disks)) as worker:
        worker.run_next()
        assert (worker.runner.faults.current is None) == (error is not None)
    assert (stack.get(job).status, stack.get(job).error) == (status, error)


@pytest.mark.parametrize(("code", "is_fault"), [(errno.ENOSPC, False), (errno.EMFILE, True)])
def test_a_source_that_fills_the_jobs_own_disk_fails_the_job(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, code: int, is_fault: bool
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileTree, "_make_folder", fail)
    job = stack.add_script("echo x")
    with stack.worker(work=WithDisks(stack.work, 1)) as worker:
        worker.run_next()
        assert (worker.runner.faults.current is not None) == is_fault
    assert stack.get(job).status == (Status.CREATED if is_fault else Status.FAILED_UNZIP)


def test_output_files_without_space_fail_the_job(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    # The only error that can be made without a file system that is full: the folder is not there.
    monkeypatch.setattr("worker_vm.worker.work_folder.NO_SPACE", {errno.ENOENT})
    for own_disk in (True, False):
        with (
            pytest.raises(JobFailed) as failed,
            open_output_files(AttemptFolder(stack.work / "missing", own_disk=own_disk)),
        ):
            pass
        assert (failed.value.__cause__ is None) == own_disk


def test_a_disk_that_cannot_be_emptied_stops_only_one_slot(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = WithDisks(stack.work, 2)
    runner = replace(runner_of(stack, stack.jobs), work=work)
    with WorkerThread(runner, queue=stack.jobs.queue, slots=2):
        with monkeypatch.context() as patched:
            patched.setattr(AttemptFolder, "remove", lambda folder: None)
            stack.add_script("echo first")
            until(lambda: work.lost_disks)
        jobs = [stack.add_script(f"sleep 0.1; echo {number}") for number in range(4)]
        until(lambda: all(stack.get(job).finished for job in jobs))
        assert runner.faults.current is None
    assert {(stack.get(job).status, stack.get(job).attempt) for job in jobs} == {(Status.SUCCESS, 1)}
    assert "one slot takes no more jobs until the worker starts again" in caplog.text


def test_a_worker_that_has_lost_all_disks_has_a_fault(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttemptFolder, "remove", lambda folder: None)
    runner = replace(runner_of(stack, stack.jobs), work=WithDisks(stack.work, 1))
    with WorkerThread(runner, queue=stack.jobs.queue):
        jobs = [stack.add_script(f"echo {number}") for number in range(2)]
        until(lambda: runner.faults.current)
        until(lambda: sorted(stack.get(job).status for job in jobs) == [Status.CREATED, Status.SUCCESS])
