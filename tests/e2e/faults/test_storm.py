"""Short storms; `make soak` has long ones."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from storm import run_round

JOBS = 120
STORM_SECONDS = 12.0


@pytest.mark.timeout(300)
def test_each_job_has_one_outcome_whatever_happens_to_workers_messages_and_server(
    kind: tuple[str, ...], tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")  # noqa: T201 - which pytest shows if it fails
    report = run_round(tmp_path, kind, seed, JOBS, STORM_SECONDS)
    assert report.jobs == JOBS
    assert report.done.total() > 5
