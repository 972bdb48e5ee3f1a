"""Transactions, migrations, errors, and forks of a SqliteDatabase."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from database_steps import TIMEOUT_SECONDS, assert_sound, numbers, put, queued

from cloud_executor.backends.sqlite import database as sqlite
from cloud_executor.backends.sqlite.database import DamagedDatabase, NewerDatabase, SqliteDatabase
from cloud_executor.backends.sqlite.schema import MIGRATIONS
from cloud_executor.errors import StorageFull, Unavailable

SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def other_writer(path: Path) -> Iterator[None]:
    """Hold the lock as another process does during its turn."""
    with path.with_name(path.name + "-lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_only_the_user_can_enter_the_folder_of_a_new_database(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "new" / "data.sqlite")
    database.execute("UPDATE output SET number = 1")
    database.close()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


# Writes ---------------------------------------------------------------------------------------------------------------


def test_a_write_returns_the_result_of_its_work(database: SqliteDatabase) -> None:
    assert database.write(lambda connection: connection.execute("SELECT 5").fetchone()) == (5,)
    assert database.execute("UPDATE output SET number = 1") == 0


def test_a_write_that_raises_stores_nothing(database: SqliteDatabase) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO output (job_hash, number, text) VALUES (x'', 1, x'')")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.write(work)
    assert numbers(database) == []
    put(database, 2)
    assert numbers(database) == [2]


def test_a_write_is_visible_to_other_connections(database: SqliteDatabase, path: Path) -> None:
    put(database, 1)
    other = SqliteDatabase(path)
    assert numbers(other) == [1]
    put(other, 2)
    assert numbers(database) == [1, 2]
    other.close()


def test_queued_writes_share_a_commit(database: SqliteDatabase, path: Path) -> None:
    put(database, 0)
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size
    put(database, 0, b"x")
    commit_size = log.stat().st_size - size
    assert commit_size > 0
    size = log.stat().st_size
    with ThreadPoolExecutor(10) as pool:
        with other_writer(path):
            writes = [pool.submit(put, database, 0, b"%d" % number) for number in range(10)]
            queued(database, 10)
        for write in writes:
            write.result()
    # All writes change the same page, and each commit logs it once.
    assert log.stat().st_size - size == commit_size


def test_a_write_that_raises_does_not_affect_others_in_its_commit(database: SqliteDatabase, path: Path) -> None:
    class Rejected(Exception):
        pass

    def rejected(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM output")
        raise Rejected

    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM output")
        connection.execute("no statement")

    put(database, 0)
    with ThreadPoolExecutor(6) as pool:
        with other_writer(path):
            good = [pool.submit(put, database, 1), pool.submit(put, database, 2)]
            queued(database, 2)
            bad: Future[None] = pool.submit(database.write, rejected)
            worse: Future[None] = pool.submit(database.write, wrong)
            queued(database, 4)
            good += [pool.submit(put, database, 3), pool.submit(put, database, 4)]
            queued(database, 6)
        for write in good:
            write.result()
        with pytest.raises(Rejected):
            bad.result()
        with pytest.raises(sqlite3.OperationalError):
            worse.result()
    assert numbers(database) == [0, 1, 2, 3, 4]


def test_writes_work_again_after_an_interrupted_leader(database: SqliteDatabase, path: Path) -> None:
    def interrupted(_: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    put(database, 0)
    with ThreadPoolExecutor(2) as pool:
        with other_writer(path):
            leader: Future[None] = pool.submit(database.write, interrupted)
            queued(database, 1)
            follower = pool.submit(put, database, 1)
            queued(database, 2)
        with pytest.raises(KeyboardInterrupt):
            leader.result()
        with pytest.raises(Unavailable):
            follower.result()
    put(database, 2)
    assert numbers(database) == [0, 2]


def test_a_commit_waits_for_the_disk_if_any_of_its_writes_is_durable(database: SqliteDatabase, path: Path) -> None:
    def synchronous(connection: sqlite3.Connection) -> int:
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
        assert isinstance(level, int)
        return level

    normal, full = 1, 2
    assert database.write(synchronous) == full
    assert database.write(synchronous, durable=False) == normal
    assert database.write(synchronous) == full
    with ThreadPoolExecutor(3) as pool:
        with other_writer(path):
            writes = [pool.submit(database.write, synchronous, durable=number == 1) for number in range(3)]
            queued(database, 3)
        assert [write.result() for write in writes] == [full] * 3


def test_many_threads_can_write_and_read(database: SqliteDatabase) -> None:
    def write_and_read(number: int) -> bool:
        put(database, number)
        return number in numbers(database)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(200)))
    assert numbers(database) == list(range(200))


def write_in_a_process(path: Path, start: Barrier, first: int) -> None:
    database = SqliteDatabase(path)
    start.wait(TIMEOUT_SECONDS)
    for number in range(first, first + 50):
        put(database, number)
    database.close()


def test_processes_that_open_the_file_concurrently_all_find_it_migrated(path: Path) -> None:
    start = SPAWN.Barrier(4)
    processes = [SPAWN.Process(target=write_in_a_process, args=(path, start, 100 * number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_SECONDS)
    assert [process.exitcode for process in processes] == [0] * 4
    database = SqliteDatabase(path)
    assert len(numbers(database)) == 200
    database.close()
    assert_sound(path)


# Opening --------------------------------------------------------------------------------------------------------------


def test_the_file_is_opened_on_first_use(path: Path) -> None:
    database = SqliteDatabase(path)
    assert not path.parent.exists()
    database.close()
    assert not path.parent.exists()


def test_a_closed_database_reopens_on_the_next_use(database: SqliteDatabase) -> None:
    put(database, 1)
    before = os.listdir("/proc/self/fd")
    numbers(database)
    assert os.listdir("/proc/self/fd") == before
    database.close()
    assert len(os.listdir("/proc/self/fd")) < len(before)
    put(database, 2)
    assert numbers(database) == [1, 2]


def test_a_newer_database_is_rejected_and_left_unchanged(database: SqliteDatabase, path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(NewerDatabase, match=r"written by a newer version .* use that version"):
            numbers(database)
        with pytest.raises(NewerDatabase):
            put(database, 1)
    assert path.read_bytes() == before


def test_an_older_database_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = SqliteDatabase(path)
    put(old, 1)
    old.close()
    step = ("CREATE TABLE later (number INTEGER)", "INSERT INTO later SELECT number FROM output")
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, step))
    for _ in range(2):
        new = SqliteDatabase(path)
        assert new.rows("SELECT number FROM later") == [(1,)]
        new.close()


def test_a_failed_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE later (number INTEGER)", "no statement")))
        with pytest.raises(sqlite3.OperationalError):
            put(SqliteDatabase(path), 1)
    database = SqliteDatabase(path)
    assert database.rows("SELECT name FROM sqlite_master WHERE name = 'later'") == []
    put(database, 1)
    database.close()


def test_the_journal_is_a_write_ahead_log(database: SqliteDatabase) -> None:
    assert database.rows("PRAGMA journal_mode") == [("wal",)]


# Errors ---------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_a_database_is_damaged(database: SqliteDatabase, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DamagedDatabase):
        numbers(database)
    with pytest.raises(DamagedDatabase):
        put(database, 1)


def test_a_folder_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = SqliteDatabase(tmp_path / "file" / "database")
    with pytest.raises(Unavailable):
        numbers(database)


def test_a_database_that_another_program_keeps_locked_is_unavailable(
    database: SqliteDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.05)
    put(database, 1)
    database.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            put(database, 2)
        assert numbers(database) == [1]
    put(database, 3)
    assert numbers(database) == [1, 3]


def test_a_full_disk_is_reported_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "database"
    database = SqliteDatabase(path)
    put(database, 0, bytes(1000))
    with pytest.raises(StorageFull):
        put(database, 1, bytes(40 << 20))
    with pytest.raises(StorageFull):
        for number in range(2, 1000):
            put(database, number, bytes(50_000))
    stored = numbers(database)
    assert stored[0] == 0
    assert 1 not in stored
    assert stored[1:] == list(range(2, 2 + len(stored) - 1))
    with pytest.raises(StorageFull):
        put(database, 1000, bytes(50_000))
    # Existing and new connections can still read.
    other = SqliteDatabase(path)
    assert numbers(other) == stored
    other.close()
    database.close()
    assert_sound(path)


def test_a_full_disk_fails_all_writes_of_the_commit(small_disk: Path) -> None:
    path = small_disk / "database"
    database = SqliteDatabase(path)
    put(database, 0)
    with ThreadPoolExecutor(3) as pool:
        with other_writer(path):
            small = pool.submit(put, database, 1)
            queued(database, 1)
            large = pool.submit(put, database, 2, bytes(40 << 20))
            queued(database, 2)
        for write in (small, large):
            with pytest.raises(StorageFull):
                write.result()
    assert numbers(database) == [0]
    put(database, 3)
    assert numbers(database) == [0, 3]
    database.close()
    assert_sound(path)


def test_a_read_only_disk_is_unavailable_until_it_is_writable(small_disk: Path) -> None:
    database = SqliteDatabase(small_disk / "database")
    put(database, 1)
    database.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for store in (database, SqliteDatabase(small_disk / "database")):
        with pytest.raises(Unavailable):
            put(store, 2)
        store.close()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    put(database, 3)
    assert numbers(database) == [1, 3]
    database.close()
