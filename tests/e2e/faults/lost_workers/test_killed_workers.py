"""A worker that is killed at each step of a job's life."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest
from deployment import WORKER, Deployment, Here, NewDeployment
from dying_worker import STEPS
from fleet import assert_nothing_is_left
from script_jobs import create_script, result_of
from stack_process import WAIT_SECONDS, until

DIES_WITHIN_SECONDS = 60.0
ENDS_WITHIN_SECONDS = 120.0

SCRIPT = "sha256sum < input.txt > result.txt; sleep 1; echo {step}"

HANDED_OVER = "handed over"
AFTER_THE_OUTCOME = "before the ack"
ATTEMPTS_AND_LOSSES = {HANDED_OVER: (2, 0), AFTER_THE_OUTCOME: (1, 0)}
"""Attempts and lost attempts of a job by the step at which its worker died; (2, 1) for all other steps."""

POOLS = '[{"name": "small", "memoryMiB": 100}, {"name": "large", "memoryMiB": 200}]'


@pytest.mark.timeout(300)
def test_a_job_whose_worker_is_killed_at_any_step_finishes_once_with_the_correct_result(
    deploy: NewDeployment, tmp_path: Path
) -> None:
    deployment = deploy(EXECUTOR_LEASE="6", EXECUTOR_POOLS=POOLS)
    log = tmp_path / "workers.log"
    with deployment.here() as here:
        deployment.create()
        jobs = {step: _killed_at(step, deployment, here, log) for step in STEPS}
        recorded = here.jobs.clients.get(jobs[AFTER_THE_OUTCOME])
        with deployment.swept():
            survivors = [
                deployment.start(*WORKER, "--pool", pool, "--slots", "4", log=log) for pool in ("small", "large")
            ]
            try:
                until(
                    lambda: all(here.jobs.clients.get(job_hash).finished for job_hash in jobs.values()),
                    ENDS_WITHIN_SECONDS,
                )
            finally:
                for survivor in survivors:
                    survivor.terminate()
                assert [survivor.wait(WAIT_SECONDS) for survivor in survivors] == [0, 0]
        ended = {step: here.jobs.clients.get(job_hash) for step, job_hash in jobs.items()}
        assert {step: (job.status, job.attempt, job.lost_attempts) for step, job in ended.items()} == {
            step: ("SUCCESS", *ATTEMPTS_AND_LOSSES.get(step, (2, 1))) for step in STEPS
        }
        assert ended[AFTER_THE_OUTCOME] == recorded
        for step, job in ended.items():
            assert result_of(here, job).split()[0] == hashlib.sha256(step.encode()).hexdigest()
    assert_nothing_is_left(deployment)


def _killed_at(step: str, deployment: Deployment, here: Here, log: Path) -> str:
    """Create a job and let its worker die at this step; return the job's hash."""
    fields = {"resources": {"memoryMiB": 200}} if step == HANDED_OVER else {}
    job_hash = create_script(here, SCRIPT.format(step=step), {"input.txt": step.encode()}, **fields)
    worker = deployment.start(str(Path(__file__).with_name("dying_worker.py")), step, "--slots", "1", log=log)
    try:
        assert worker.wait(DIES_WITHIN_SECONDS) == -signal.SIGKILL, log.read_text()
    finally:
        worker.kill()
    return job_hash
