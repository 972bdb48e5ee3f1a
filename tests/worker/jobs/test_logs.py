"""The logs of a job: its whole output, whatever its artifacts contain."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from worker_harness import Stack, config, until

from cloud_executor.model.jobs.job import Job, Status


def logs(stack: Stack, job: Job) -> tuple[bytes, bytes]:
    found: Any = job.document()["logs"]
    assert list(found) == ["stdout", "stderr"]
    return stack.content(found["stdout"]), stack.content(found["stderr"])


@pytest.mark.parametrize("artifacts", [[], [{"name": "none", "resultPatterns": ["no such file"]}], None])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, Status.SUCCESS),
        ({"args": ["-c", "echo out; echo err >&2; exit 2"]}, Status.FAILED_TO_EXECUTE),
        ({"args": ["-c", "echo out; echo err >&2; kill -9 $$"]}, Status.FAILED_TO_EXECUTE),
        ({"args": ["-c", "echo out; echo err >&2; sleep 60"], "timeout": 2}, Status.FAILED_TO_EXECUTE),
        ({"args": ["-c", "echo out; echo err >&2; exit 130"]}, Status.CANCELED),
    ],
)
def test_a_command_that_ended_has_logs(
    stack: Stack, fields: dict[str, object], status: Status, artifacts: list[dict[str, Any]] | None
) -> None:
    job = stack.run(stack.add({"executor_config.json": config("echo out; echo err >&2", artifacts, **fields)}))
    assert job.status == status
    assert logs(stack, job) == (b"out\n", b"err\n")


def test_a_canceled_job_has_logs(stack: Stack, tmp_path: Path) -> None:
    script = f"trap 'echo bye; exit 1' INT; echo err >&2; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    job = stack.add_script(script, [])
    with stack.worker() as worker, worker.running():
        until((tmp_path / "ready").exists)
        stack.cancel(job)
    assert stack.get(job).status == Status.CANCELED
    assert logs(stack, stack.get(job)) == (b"bye\n", b"err\n")


def test_a_command_that_cannot_be_started_has_empty_logs(stack: Stack) -> None:
    assert logs(stack, stack.run(stack.add({"executor_config.json": config("", cmd="no-such")}))) == (b"", b"")


def test_a_job_without_a_command_has_no_logs(stack: Stack) -> None:
    assert "logs" not in stack.run(stack.add({"executor_config.json": "{}"})).document()


@pytest.mark.parametrize("script", ["rm -rf ../* 2> /dev/null", "rm -rf ../job; ln -s /etc ../job"])
def test_a_command_that_deletes_everything_has_logs(stack: Stack, script: str) -> None:
    assert logs(stack, stack.run(stack.add_script(f"echo out; echo err >&2; {script}"))) == (b"out\n", b"err\n")


def test_large_logs_are_whole_and_stored_once(stack: Stack) -> None:
    job = stack.run(stack.add_script("yes | head -c 3000000"))
    assert logs(stack, job) == (b"y\n" * 1_500_000, b"")
    assert job.logs is not None and job.result_hashes is not None
    results = stack.blobs.metadata(job.result_hashes["all"]).metadata.files
    assert results["job_stdout.txt"].content_hash == job.logs["stdout"]
    assert results["job_stderr.txt"].content_hash == job.logs["stderr"]


def test_the_logs_of_a_job_that_is_created_again_are_gone(stack: Stack) -> None:
    job = stack.run(stack.add_script("exit 130"))
    assert job.logs is not None
    assert "logs" not in stack.create(job.hash).document()


def test_a_log_that_cannot_be_stored_is_a_warning(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("worker_vm.worker.results.logs.store_file", fail)
    job = stack.run(stack.add_script("echo out", []))
    assert (job.status, job.logs) == (Status.SUCCESS, {})
    assert job.warnings == tuple(
        f"The log {name} was not stored: input/output error." for name in ("job_stdout.txt", "job_stderr.txt")
    )
