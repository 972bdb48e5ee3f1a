"""A SqliteDatabase in several processes: forks, and the death of a writer."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from database_steps import TIMEOUT_SECONDS, assert_sound, numbers, put, queued

from cloud_executor.backends.sqlite.database import SqliteDatabase

SPAWN = multiprocessing.get_context("spawn")


def run_program(program: str, path: Path) -> None:
    """Run a program that forks in its own process, because the test process has threads."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program), str(path)]
    subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS)
    assert_sound(path)


def test_a_child_can_write_after_its_parent_has_closed_the_database(path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        from cloud_executor.backends.sqlite.database import SqliteDatabase

        database = SqliteDatabase(Path(sys.argv[1]))
        put = "INSERT INTO output (job_hash, number, text) VALUES (x'', ?, x'')"
        database.execute(put, (1,))
        to_parent, to_child = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            database.execute(put, (2,))
            os.write(to_parent[1], b"x")
            os.read(to_child[0], 1)
            database.execute(put, (3,))
            database.close()
            sys.exit(0)
        os.read(to_parent[0], 1)
        database.close()
        other = SqliteDatabase(Path(sys.argv[1]))
        other.execute(put, (4,))
        other.close()
        os.write(to_child[1], b"x")
        assert os.waitpid(pid, 0)[1] == 0
        assert database.rows("SELECT number FROM output ORDER BY number") == [(1,), (2,), (3,), (4,)]
        database.close()
    """
    run_program(program, path)


def test_a_fork_during_writes_harms_neither_process(path: Path) -> None:
    program = """
        import os, sys, threading
        from pathlib import Path
        from cloud_executor.backends.sqlite.database import SqliteDatabase

        database = SqliteDatabase(Path(sys.argv[1]))
        put = "INSERT INTO output (job_hash, number, text) VALUES (x'', ?, x'')"
        count = "SELECT count(*) FROM output"
        done = threading.Event()

        def keep_writing(first):
            number = first
            while not done.is_set():
                database.execute(put, (number,))
                database.rows(count)
                number += 1

        writers = [threading.Thread(target=keep_writing, args=(first,)) for first in (10**6, 2 * 10**6)]
        for writer in writers:
            writer.start()
        children = []
        for child in range(10):
            pid = os.fork()
            if pid == 0:
                for number in range(20):
                    database.execute(put, (1000 * child + number,))
                assert database.rows(count)[0][0] >= 20
                database.close()
                sys.exit(0)
            children.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        done.set()
        for writer in writers:
            writer.join()
        assert codes == [0] * 10, codes
        assert database.rows("SELECT count(*) FROM output WHERE number < 1000000") == [(200,)]
        database.close()
    """
    run_program(program, path)


def lead_forever(path: Path, leading: threading.Event) -> None:
    database = SqliteDatabase(path)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO output (job_hash, number, text) VALUES (x'', 1, x'')")
        leading.set()
        time.sleep(10 * TIMEOUT_SECONDS)

    database.write(work)


def test_the_turn_of_a_killed_process_ends_immediately(database: SqliteDatabase, path: Path) -> None:
    put(database, 0)
    leading = SPAWN.Event()
    process = SPAWN.Process(target=lead_forever, args=(path, leading))
    process.start()
    with ThreadPoolExecutor(1) as pool:
        assert leading.wait(TIMEOUT_SECONDS)
        waiting = pool.submit(put, database, 2)
        queued(database, 1)
        process.kill()
        process.join()
        waiting.result(TIMEOUT_SECONDS)
    assert numbers(database) == [0, 2]
    database.close()
    assert_sound(path)
