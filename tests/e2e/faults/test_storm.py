"""Short storms; `make soak` has long ones."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from storm import FEWEST_FAULTS, MOMENTS, run_round

JOBS = 120
STORM_SECONDS = 12.0

CONTAINER_JOBS = 40
CONTAINER_STORM_SECONDS = 8.0


@pytest.mark.timeout(300)
def test_each_job_has_one_outcome_whatever_happens_to_workers_messages_and_server(
    kind: tuple[str, ...], tmp_path: Path
) -> None:
    report = run_round(tmp_path, kind, _seed(), JOBS, STORM_SECONDS)
    assert report.jobs == JOBS
    assert report.done.total() > FEWEST_FAULTS


@pytest.mark.timeout(300)
def test_the_same_in_containers_of_which_none_is_left(engine_address: str, tmp_path: Path) -> None:
    report = run_round(tmp_path, (), _seed(), CONTAINER_JOBS, CONTAINER_STORM_SECONDS, engine_address)
    assert report.jobs == CONTAINER_JOBS
    assert all(report.done[moment] for moment in MOMENTS)
    assert report.done.total() > FEWEST_FAULTS


def _seed() -> int:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")  # noqa: T201 - which pytest shows if it fails
    return seed
