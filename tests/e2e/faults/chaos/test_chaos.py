"""The harness of `make chaos` notices a job that is lost, and one with two outcomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from scene import Fault, Scene, run_fault
from stack_process import until

from cloud_executor.model.jobs.job import Job
from docs.reliability_page import PAGE, RESULTS, reliability_page


def kill_one_worker(scene: Scene) -> None:
    scene.workers[0].kill()


@pytest.mark.timeout(300)
def test_a_run_notices_what_is_lost_and_doubled_and_nothing_else(tmp_path: Path) -> None:
    spoiled: list[str] = []

    def other_outcome(job: Job | None) -> Job:
        assert job is not None
        return replace(job, error="A second outcome.")

    def spoil(scene: Scene) -> None:
        jobs, store = sorted(scene.clients.begun), scene.here.jobs.store
        spoiled.extend(jobs[:2])
        store.delete(jobs[0], lambda _: None)
        store.transact(jobs[1], other_outcome)
        seen = len(scene.clients.history.looks)
        until(lambda: len(scene.clients.history.looks) > seen + len(jobs))

    row, findings = run_fault(Fault("worker killed", "", kill_one_worker), tmp_path, spoil=spoil)
    assert (row.injected, row.unwritten) == (1, 0)
    lost, doubled = spoiled
    assert findings.lost
    assert all(lost in sentence for sentence in findings.lost), findings
    assert findings.doubled == [f"The job {doubled} has several outcomes."]


def test_the_page_shows_the_recorded_results() -> None:
    assert PAGE.read_text() == reliability_page(json.loads(RESULTS.read_text())), "Run `make docs`."
