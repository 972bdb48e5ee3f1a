"""Short storms; `make soak` runs long ones."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from storm import FAULTS_EXCEEDED, MOMENTS, run_round

JOBS = 80
STORM_SECONDS = 10.0

CONTAINER_JOBS = 24
CONTAINER_STORM_SECONDS = 6.0


@pytest.mark.timeout(300)
def test_each_job_has_one_outcome_despite_faults_of_workers_messages_and_server(
    backends: Callable[[], Mapping[str, str]], tmp_path: Path
) -> None:
    report = run_round(tmp_path, (), _seed(), JOBS, STORM_SECONDS, backends=backends())
    assert report.jobs == JOBS
    assert report.done.total() > FAULTS_EXCEEDED


@pytest.mark.timeout(300)
def test_each_job_in_a_container_has_one_outcome_and_no_container_is_left(engine_address: str, tmp_path: Path) -> None:
    report = run_round(tmp_path, (), _seed(), CONTAINER_JOBS, CONTAINER_STORM_SECONDS, engine_address)
    assert report.jobs == CONTAINER_JOBS
    assert all(report.done[moment] for moment in MOMENTS)
    assert report.done.total() > FAULTS_EXCEEDED


def _seed() -> int:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")  # noqa: T201 - pytest shows it if the test fails
    return seed
