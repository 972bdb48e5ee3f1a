"""Facts about the last attempt in a job's document that WebGME's documents do not contain."""

from __future__ import annotations

import math
import resource
import sys
from pathlib import Path

import msgspec
import pytest
from worker_harness import Stack, config, until

from cloud_executor.model.jobs.job import Durations, Job, Status


def document(job: Job) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(job.document())
    return found


def test_a_job_that_ran_has_durations_of_its_steps(stack: Stack) -> None:
    found = document(stack.run(stack.add_script("sleep 0.3")))
    assert (found["exitCode"], found["attempt"]) == (0, 1)
    durations = found["durations"]
    assert isinstance(durations, dict)
    assert list(durations) == ["queued", "fetch", "run", "archive"]
    assert durations["run"] >= 0.3
    assert all(seconds >= 0 and round(seconds, 3) == seconds for seconds in durations.values())


def test_a_job_whose_source_is_missing_has_no_other_durations(stack: Stack) -> None:
    job = stack.run(stack.create("0" * 40))
    assert job.durations is not None
    assert (job.durations.run, job.durations.archive, job.exit_code) == (None, None, None)
    assert job.durations.queued is not None and job.durations.fetch is not None


def test_a_waiting_or_running_job_shows_only_known_facts(stack: Stack) -> None:
    ours = {"attempt", "exitCode", "durations", "peakMemoryMiB", "logs", "error"}
    job = stack.add_script("true")
    assert document(job).keys() & ours == set()
    assert document(stack.jobs.attempts.claim(job.hash, "w")).keys() & ours == {"attempt"}


@pytest.mark.parametrize(
    ("fields", "status", "exit_code", "error"),
    [
        ({"args": ["-c", "exit 3"]}, Status.FAILED_TO_EXECUTE, 3, "The command exited with code 3."),
        (
            {"args": ["-c", "kill -TERM $$"]},
            Status.FAILED_TO_EXECUTE,
            None,
            "The command was killed by signal SIGTERM.",
        ),
        ({"args": ["-c", "exit 130"]}, Status.CANCELED, 130, None),
        ({"cmd": "no-such"}, Status.FAILED_TO_EXECUTE, None, "The command 'no-such' was not found."),
        (
            {"args": ["-c", "trap 'exit 7' INT; while :; do sleep 0.1; done"], "timeout": 2},
            Status.FAILED_TO_EXECUTE,
            7,
            "The command ran longer than 2 seconds.",
        ),
    ],
)
def test_exit_codes_and_signals_are_distinguished(
    stack: Stack, fields: dict[str, object], status: Status, exit_code: int | None, error: str | None
) -> None:
    job = stack.run(stack.add({"executor_config.json": config("", **fields)}))
    assert (job.status, job.exit_code, job.error) == (status, exit_code, error)
    assert ("exitCode" in job.document()) == (exit_code is not None)


def test_a_canceled_job_has_its_exit_code_but_no_error(stack: Stack, tmp_path: Path) -> None:
    job = stack.add_script(f"trap 'exit 9' INT; touch {tmp_path}/ready; while :; do sleep 0.1; done")
    with stack.worker() as worker, worker.running():
        until((tmp_path / "ready").exists)
        stack.cancel(job)
    job = stack.get(job)
    assert (job.status, job.exit_code, job.error) == (Status.CANCELED, 9, None)


def test_the_last_attempt_counts(stack: Stack) -> None:
    job = stack.add_script("true")
    stack.jobs.attempts.release(job.hash, stack.jobs.attempts.claim(job.hash, "w").attempt)
    assert document(stack.run(job))["attempt"] == 2


def test_peak_memory_is_known_if_it_exceeds_the_workers(stack: Stack) -> None:
    own = math.ceil(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    wanted = own + 64
    job = stack.run(stack.add_script(f"{sys.executable} -c 'b\"x\" * ({wanted} << 20)'; true"))
    assert job.peak_memory_mib is not None
    assert wanted <= job.peak_memory_mib <= wanted + 64
    assert document(job)["peakMemoryMiB"] == job.peak_memory_mib
    assert stack.run(stack.add_script("true")).peak_memory_mib is None


def test_facts_are_stored_with_the_job(stack: Stack) -> None:
    job = stack.run(stack.add({"executor_config.json": config("exit 2")}))
    assert isinstance(stack.get(job).durations, Durations)
    assert stack.get(job) == job
