"""The fields of executor_config.json other than the command and its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from worker_harness import Stack, config, until, zip_of

from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.jobs.job import Job, Status

POOLS = """[
    {"name": "small", "labels": ["gpu"], "cpus": 1, "memoryMiB": 100, "maxTimeout": 60},
    {"name": "plain", "cpus": 8, "memoryMiB": 800},
    {"name": "large", "labels": ["gpu"], "cpus": 8, "memoryMiB": 800}
]"""


@pytest.fixture
def pools(tmp_path: Path) -> Stack:
    return Stack(tmp_path, EXECUTOR_POOLS=POOLS)


def add(pools: Stack, **fields: object) -> Job:
    """Create a job that needs a label."""
    return pools.add_zip(zip_of({"executor_config.json": config("echo ran", **fields)}), "gpu")


# Time -----------------------------------------------------------------------------------------------------------------


def test_a_command_that_exceeds_its_time_limit_fails_and_keeps_its_results(stack: Stack) -> None:
    job = stack.run(stack.add_script("echo partial; echo x > made; sleep 60", timeout=2))
    assert (job.status, job.error) == (Status.FAILED_TO_EXECUTE, "The command ran longer than 2 seconds.")
    results = stack.results(job)
    assert (results["job_stdout.txt"], results["made"]) == (b"partial\n", b"x\n")


def test_the_pools_time_limit_applies_to_jobs_without_one(tmp_path: Path) -> None:
    stack = Stack(tmp_path, EXECUTOR_POOLS='[{"name": "default", "timeout": 0.5}]')
    job = stack.run(stack.add_script("sleep 60"))
    assert (job.status, job.error) == (Status.FAILED_TO_EXECUTE, "The command ran longer than 0.5 seconds.")
    assert stack.run(stack.add_script("sleep 0.6", timeout=60)).status == Status.SUCCESS


# Environment ----------------------------------------------------------------------------------------------------------


def test_a_job_adds_to_its_environment_and_changes_it(stack: Stack) -> None:
    script = 'echo "$GREETING,$LANG,$ORIGIN_URL"; tool'
    files = {
        "executor_config.json": config(
            script, env={"GREETING": "hel=lo ü", "LANG": "xx", "PATH": "tools:/usr/bin:/bin"}
        ),
        "tools/tool": "#!/bin/sh\necho found",
    }
    job = stack.run(stack.add(files, {"tools/tool": 0o100755}))
    assert job.error is None
    assert stack.results(job)["job_stdout.txt"].decode() == "hel=lo ü,xx,http://origin.example:1\nfound\n"


# Resources ------------------------------------------------------------------------------------------------------------


def queued(stack: Stack, pool: str) -> list[str]:
    with stack.jobs.queue.subscribe(pool, 4) as subscription:
        return [delivery.job_hash for delivery in iter(lambda: subscription.next(0), None)]


@pytest.mark.parametrize("fields", [{"resources": {"cpus": 3}}, {"resources": {"memoryMiB": 101}}, {"timeout": 61}])
def test_a_job_that_its_pool_cannot_run_is_handed_to_the_next_pool_with_its_labels(
    pools: Stack, fields: dict[str, Any]
) -> None:
    job = pools.run(add(pools, **fields))
    assert (job.status, job.pool, job.start_time, job.lost_attempts) == (Status.CREATED, "large", None, 0)
    assert (queued(pools, "plain"), queued(pools, "large")) == ([], [job.hash])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"resources": {"cpus": 9}}, "executor_config.json: resources.cpus is 9, but the worker pool large allows"),
        ({"image": "any"}, "executor_config.json: the worker pool large does not allow the image any."),
    ],
)
def test_a_job_that_no_pool_can_run_fails_with_a_reason(pools: Stack, fields: dict[str, Any], sentence: str) -> None:
    with pools.program("--pool", "small"), pools.program("--pool", "large"):
        job = pools.finished(add(pools, **fields))
    assert job.status == Status.FAILED_EXECUTOR_CONFIG
    assert (job.error or "").startswith(sentence)
    assert job.result_hashes is None


def test_a_job_that_is_handed_over_runs_in_the_other_pool(pools: Stack) -> None:
    with pools.program("--pool", "small"), pools.program("--pool", "large") as large:
        job = pools.finished(add(pools, resources={"memoryMiB": 800}))
    assert (job.status, job.worker, job.attempt, job.pool) == (Status.SUCCESS, large.id, 2, "large")


def test_a_message_from_the_pool_that_a_job_has_left_is_acknowledged(pools: Stack) -> None:
    """The queue delivers it again if the worker dies before it acknowledges."""
    job = add(pools, resources={"cpus": 3})
    attempt = pools.jobs.attempts.claim(job.hash, "dead").attempt
    pools.jobs.attempts.hand_over(job.hash, attempt, "large")
    handed_over = pools.get(job)
    assert pools.run(job) == handed_over
    with pools.program("--pool", "large"):
        assert pools.finished(job).status == Status.SUCCESS


def test_a_job_that_is_lost_during_a_hand_over_stays_with_its_new_owner(pools: Stack) -> None:
    class TakenMeanwhile(Attempts):
        def hand_over(self, job_hash: str, attempt: int, pool: str | None) -> None:
            self.release(job_hash, attempt)
            self.claim(job_hash, "other")
            super().hand_over(job_hash, attempt, pool)

    jobs = pools.jobs_with(TakenMeanwhile)
    job = add(pools, resources={"cpus": 3})
    with pools.worker(jobs=jobs) as worker:
        worker.run_next()
        worker.run_next()  # drops the message that the release has published
        assert worker.next(0) is None
    assert (pools.get(job).status, pools.get(job).worker) == (Status.RUNNING, "other")


# Retries --------------------------------------------------------------------------------------------------------------


def test_a_job_without_retries_ends_with_its_first_lost_worker(tmp_path: Path) -> None:
    stack = Stack(tmp_path, EXECUTOR_LEASE="3")
    job = stack.add_script("touch ready; sleep 60", retries=0)
    with stack.program() as worker:
        until(lambda: list(stack.work.glob("*/job/ready")))
        worker.process.kill()
        worker.wait()

    def swept() -> Job | None:
        stack.jobs.sweep.run()
        return stack.get(job) if stack.get(job).finished else None

    ended: Job = until(swept)
    assert (ended.status, ended.attempt) == (Status.FAILED_TO_EXECUTE, 1)
    assert ended.error == "The worker that ran the job vanished once: the job may crash its machine."


def test_the_jobs_retries_are_recorded_when_it_starts(stack: Stack) -> None:
    assert stack.run(stack.add_script("true", retries=2)).retries == 2
    assert stack.run(stack.add_script("exit 1")).retries is None


# Invalid fields -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"timeout": "5"}, "executor_config.json: timeout must be a number."),
        ({"env": {"A": 1}}, "executor_config.json: env.A must be a string."),
        ({"env": {"ORIGIN_URL": ""}}, "executor_config.json: env must not set ORIGIN_URL: the worker sets it."),
        ({"resources": []}, "executor_config.json: resources must be a JSON object."),
        ({"retries": -1}, "executor_config.json: retries must be a whole number from 0 to 100."),
    ],
)
def test_an_invalid_field_is_named(stack: Stack, fields: dict[str, Any], error: str) -> None:
    job = stack.run(stack.add_script("true", **fields))
    assert (job.status, job.error) == (Status.FAILED_EXECUTOR_CONFIG, error)


def test_a_job_cannot_have_more_retries_than_its_pool_allows(stack: Stack) -> None:
    job = stack.run(stack.add_script("true", retries=4))
    assert (job.status, job.error) == (
        Status.FAILED_EXECUTOR_CONFIG,
        "executor_config.json: retries is 4, but the worker pool default allows at most 3.",
    )
