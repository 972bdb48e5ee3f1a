"""A worker whose machine is preempted: it gets a signal and has a few seconds to stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployment import PUBSUB, NewDeployment
from fleet import fleet
from script_jobs import create_script
from stack_process import processes_of, until
from worker_machine import machine_file, unit_command, written_files

SLOTS = 3


@pytest.mark.timeout(120)
def test_a_worker_releases_its_jobs_in_time_even_if_no_message_can_be_sent(
    emulated: NewDeployment, tmp_path: Path
) -> None:
    deployment = emulated()
    seconds = float(unit_command(written_files(machine_file(deployment.variables)), "ExecStop")[-2])
    with deployment.here() as here:
        deployment.create()
        script = "trap '' INT TERM; while :; do sleep 60; done # {}"
        jobs = [create_script(here, script.format(number)) for number in range(SLOTS)]
        with fleet(deployment, 1, SLOTS, tmp_path / "workers.log") as (worker,):
            until(lambda: all(here.jobs.clients.get(job_hash).start_time for job_hash in jobs))
            worker.proxies.by_variable[PUBSUB].stall()
            worker.process.terminate()
            assert worker.process.wait(seconds) == 0
        for job_hash in jobs:
            job = here.jobs.clients.get(job_hash)
            assert (job.status, job.lost_attempts, job.published_at) == ("CREATED", 0, None)
        with deployment.swept():
            until(lambda: all(here.jobs.clients.get(job_hash).published_at for job_hash in jobs))
    until(lambda: not processes_of(deployment.work))
