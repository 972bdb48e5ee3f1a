"""A worker shows that its sandbox works before it takes a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from containers.docker_engine import IMAGE

from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.settings import InvalidSetting
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox import check
from worker_vm.worker.sandbox.check import check_sandbox
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, Ending, Sandbox
from worker_vm.worker.work_folder import WorkFolder

PROCESS, CONTAINER = WorkerPool("small"), WorkerPool("big", image=IMAGE)


def test_a_sandbox_that_works_passes_and_leaves_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    work = tmp_path / "work"
    check_sandbox(sandbox, CONTAINER, WorkFolder(work), threading.Event())
    assert list(work.iterdir()) == []


def test_an_invalid_image_is_reported(containers: Callable[..., Sandbox], tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^The worker pool big cannot run jobs\. The image 'a b' could not be"):
        check_sandbox(containers("a b"), CONTAINER, WorkFolder(tmp_path / "work"), threading.Event())


class NotFound:
    """A sandbox in which the command does not exist."""

    def run(self, command: Command, *_: object) -> Ending:
        raise CommandNotStarted("The command 'true' was not found.")


def test_an_image_need_not_contain_the_command(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "work")
    check_sandbox(NotFound(), CONTAINER, work, threading.Event())  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="small"):
        check_sandbox(NotFound(), PROCESS, work, threading.Event())  # type: ignore[arg-type]


def test_a_stopping_worker_ends_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def run(self, command: Command, attempt: check.Attempt, _: object) -> Ending:
            while attempt.interruption is None:
                pass
            return Ending(None, None, interrupted=True)

    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    check_sandbox(Slow(), PROCESS, WorkFolder(tmp_path / "work"), stopping)  # type: ignore[arg-type]


class Interruptible(NotFound):
    """A sandbox that would stop a command whose attempt is interrupted."""

    def run(self, command: Command, attempt: Attempt, *_: object) -> Ending:  # type: ignore[override]
        assert attempt.interruption is None
        return super().run(command)


def test_the_check_has_time_on_a_machine_that_has_slept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot clock is then ahead of the monotonic clock, by more than the check may take."""
    slept = time.monotonic() + 10 * check.CHECK_SECONDS
    monkeypatch.setattr("worker_vm.worker.attempt.boot_seconds", lambda: slept)
    monkeypatch.setattr(check, "boot_seconds", lambda: slept, raising=False)
    check_sandbox(Interruptible(), CONTAINER, WorkFolder(tmp_path / "work"), threading.Event())  # type: ignore[arg-type]
