"""Fixtures: the use cases of jobs on SQLite, and their clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_jobs import OPTIONS, POOLS, Clock

from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.backends.sqlite.queue import SqliteJobQueue
from cloud_executor.composition import Jobs


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(tmp_path: Path, clock: Clock) -> Iterator[Jobs]:
    database = SqliteDatabase(tmp_path / "executor.sqlite")
    queue = SqliteJobQueue(database, tmp_path / "wake", clock)
    yield Jobs(SqliteJobStore(database), queue, POOLS, OPTIONS, clock)
    database.close()
