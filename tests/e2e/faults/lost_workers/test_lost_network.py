"""A worker that is cut off for longer than its lease but keeps running."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from deployment import NewDeployment
from fleet import assert_nothing_is_left, fleet
from script_jobs import create_script, result_of
from stack_process import until

ENDS_WITHIN_SECONDS = 60.0
QUIET_SECONDS = 4.0
"""Time during which a reconnected worker must not change the outcome, in seconds."""

SCRIPT = """
echo $$ >> {starts}
if [ "$(wc -l < {starts})" -eq 1 ]; then
    echo first > result.txt
    sleep 600
fi
kill -0 "$(head -n 1 {starts})" 2>/dev/null && echo overlap >> {starts}
echo second > result.txt
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_worker_without_network_stops_its_command_and_the_next_attempt_sets_the_outcome(
    emulated: NewDeployment, tmp_path: Path, fault: str
) -> None:
    deployment = emulated(EXECUTOR_LEASE="5")
    starts, done, log = tmp_path / "starts", tmp_path / "done", tmp_path / "workers.log"
    with deployment.here() as here:
        deployment.create()
        job_hash = create_script(here, SCRIPT.format(starts=shlex.quote(str(starts))))
        with fleet(deployment, 1, 1, log) as (isolated,):
            until(lambda: starts.exists() and here.jobs.clients.get(job_hash).start_time)
            (isolated.proxies.cut if fault == "cut" else isolated.proxies.stall)()
            with deployment.swept(), fleet(deployment, 1, 1, log) as (other,):
                until(lambda: here.jobs.clients.get(job_hash).finished, ENDS_WITHIN_SECONDS)
                job = here.jobs.clients.get(job_hash)
                assert (job.status, job.attempt, job.lost_attempts) == ("SUCCESS", 2, 1)
                assert result_of(here, job) == "second\n"
                assert len(starts.read_text().split()) == 2, "the first command must end before the second one starts"
                # Keep the other worker busy, so that the next job goes to the worker that was cut off.
                busy = create_script(here, f"until [ -e {shlex.quote(str(done))} ]; do sleep 0.1; done")
                until(lambda: here.jobs.clients.get(busy).start_time, ENDS_WITHIN_SECONDS)
                # Now everything arrives that the worker sent while it was stalled.
                isolated.proxies.restore()
                end = time.monotonic() + QUIET_SECONDS
                while time.monotonic() < end:
                    assert here.jobs.clients.get(job_hash) == job
                    time.sleep(0.2)
                again = create_script(here, "echo again > result.txt")
                until(lambda: here.jobs.clients.get(again).finished, ENDS_WITHIN_SECONDS)
                assert result_of(here, here.jobs.clients.get(again)) == "again\n"
                assert here.jobs.clients.get(again).worker != here.jobs.clients.get(busy).worker
                done.touch()
                until(lambda: here.jobs.clients.get(busy).finished)
                assert [isolated.stop(), other.stop()] == [0, 0]
            assert here.jobs.clients.get(job_hash) == job
    assert_nothing_is_left(deployment)
