"""A database for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_executor.backends.sqlite.database import SqliteDatabase


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "executor.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    yield database
    database.close()
