"""Two workers that race for the same jobs."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from deployment import NewDeployment
from stack_process import PROJECT, environment

JOBS = 1000
JOBS_ON_EMULATORS = 300
SECONDS = 150.0


@pytest.mark.timeout(240)
def test_when_two_workers_race_for_many_jobs_one_worker_claims_and_finishes_each_job(
    deploy: NewDeployment, tmp_path: Path
) -> None:
    deployment = deploy()
    hashes = [f"{number:040x}" for number in range(JOBS_ON_EMULATORS if deployment.is_emulated else JOBS)]
    file = tmp_path / "hashes"
    file.write_text("\n".join(hashes))
    program = Path(__file__).with_name("race.py")
    with deployment.here() as here, ExitStack() as stack:
        deployment.create()
        with ThreadPoolExecutor(8) as threads:
            # No pool has this label, so nothing is published: no worker here would take a message.
            list(threads.map(lambda job_hash: here.jobs.clients.create(job_hash, ("race",)), hashes))
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(program), str(file), worker],
                    env=environment(**deployment.variables),
                    cwd=PROJECT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for worker in ("one", "other")
        ]
        for racer in racers:
            stack.callback(racer.kill)
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        with ThreadPoolExecutor(len(racers)) as threads:
            one, other = threads.map(lambda racer: racer.communicate(timeout=SECONDS)[0].split(), racers)
        assert sorted(one + other) == hashes
        assert one
        assert other
        winners = dict.fromkeys(one, "one") | dict.fromkeys(other, "other")
        jobs = {job.hash: (job.status, job.attempt, job.worker, job.error) for job in here.jobs.clients.jobs()}
    assert jobs == {found: ("SUCCESS", 1, winner, f"by {winner}") for found, winner in winners.items()}
