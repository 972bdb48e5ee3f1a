"""What the tests of a SqliteDatabase do with it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cloud_executor.backends.sqlite.database import SqliteDatabase

TIMEOUT_SECONDS = 30


def put(database: SqliteDatabase, number: int, text: bytes = b"") -> None:
    database.execute("INSERT OR REPLACE INTO output (job_hash, number, text) VALUES (x'', ?, ?)", (number, text))


def numbers(database: SqliteDatabase) -> list[int]:
    return [number for (number,) in database.rows("SELECT number FROM output ORDER BY number")]


def assert_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def queued(database: SqliteDatabase, count: int) -> None:
    """Wait until this number of writes are queued."""
    pause = threading.Event()
    for _ in range(TIMEOUT_SECONDS * 100):
        if len(database._pending) == count:
            return
        pause.wait(0.01)
    pytest.fail("The writes were not queued in time.")
