"""Fair share: a user with one job does not wait for all jobs of another user, even if processes die."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deployment import WORKER, Here, NewDeployment
from script_jobs import zip_of
from stack_process import WAIT_SECONDS, until

from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs.job import Job, Status

WINDOW = 2
JOBS = 12
ENDS_WITHIN_SECONDS = 120.0


def create(here: Here, user: str, number: int = 0) -> str:
    """Create a job of this user, and return its key."""
    source = here.blobs.create_file("job.zip", [zip_of(f"sleep 0.2; echo {number} >result.txt", {})]).hash
    here.jobs.clients.create(source, user_id=user)
    return key_of(user, source)


def claiming_users(log: Path) -> list[str]:
    """The user of each claim of the workers, in order."""
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [record["user"] for record in records if record["message"] == "job claimed"]


@pytest.mark.timeout(300)
def test_a_users_job_starts_before_most_of_the_jobs_that_another_user_created_earlier(
    deploy: NewDeployment, tmp_path: Path
) -> None:
    deployment = deploy(EXECUTOR_LEASE="6", EXECUTOR_QUEUE_WINDOW=str(WINDOW))
    log = tmp_path / "workers.log"
    with deployment.here() as here:
        deployment.create()
        many = [create(here, "ada", number) for number in range(JOBS)]
        # A process that dies after each of its claims: on Google Cloud, nobody publishes the next jobs.
        for job_hash in many[:WINDOW]:
            here.jobs.attempts.claim(job_hash, "dead")
        single = create(here, "eve")

        def jobs() -> dict[str, Job]:
            return {job_hash: here.jobs.clients.get(job_hash) for job_hash in (*many, single)}

        with deployment.swept():
            worker = deployment.start(*WORKER, "--slots", "1", log=log)
            try:
                until(lambda: any(job.worker not in (None, "dead") for job in jobs().values()), ENDS_WITHIN_SECONDS)
                worker.kill()
                worker.wait(WAIT_SECONDS)
                worker = deployment.start(*WORKER, "--slots", "1", log=log)
                until(lambda: all(job.finished for job in jobs().values()), ENDS_WITHIN_SECONDS)
            finally:
                worker.kill()
                worker.wait(WAIT_SECONDS)
        assert {job.status for job in jobs().values()} == {Status.SUCCESS}
    users = claiming_users(log)
    assert users.index("eve") <= JOBS // 2, users
