"""A damaged job database: `executor up` says so in one sentence, and the documented repair brings back what is left."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from requirement import lacking
from stack_process import PROJECT, StackProcess, run

from cloud_executor.backends.sqlite.database import DamagedDatabase
from cloud_executor.composition import Jobs, open_jobs
from cloud_executor.settings import Settings

JOBS = 100
PAGE_BYTES = 4096
SENTENCE = (
    "Error: The job database executor.sqlite is damaged; "
    "stop the server and repair it as docs/operations.md describes.\n"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with jobs."""
    folder = tmp_path / "data"
    jobs = jobs_in(folder)
    for number in range(JOBS):
        jobs.clients.create(f"{number:040x}", ("nobody",))
    close(jobs)
    return folder


def jobs_in(folder: Path) -> Jobs:
    return open_jobs(Settings.from_env({"EXECUTOR_DATA": str(folder)}))


def close(jobs: Jobs) -> None:
    jobs.store._database.close()  # type: ignore[attr-defined]


def overwrite(file: Path, page: int) -> None:
    with file.open("r+b") as opened:
        opened.seek((page - 1) * PAGE_BYTES)
        opened.write(b"\xa5" * PAGE_BYTES)


def repair(folder: Path) -> None:
    """Run the commands that the documentation shows."""
    if shutil.which("sqlite3") is None:
        lacking("sqlite3", "The repair needs the program sqlite3.")
    _, _, section = (PROJECT / "docs" / "operations.md").read_text().partition("\n## A damaged database\n")
    found = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    assert found is not None
    subprocess.run(["sh", "-ec", found[1]], cwd=folder, check=True, capture_output=True, timeout=30)


def test_a_file_that_is_not_a_database_stops_executor_up_with_one_sentence(data: Path) -> None:
    database = data / "executor.sqlite"
    overwrite(database, 1)
    failed = run("up", "--port", "0", "--data", data)
    assert (failed.returncode, failed.stderr.decode()) == (2, SENTENCE)
    # What the documentation says if nothing can be recovered.
    database.unlink()
    stack = StackProcess(data, "--slots", "0")
    try:
        assert not list(stack.client.jobs())
    finally:
        stack.close()


def test_the_documented_repair_brings_back_the_jobs_that_can_be_read(data: Path) -> None:
    database = data / "executor.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        (last_leaf,) = connection.execute(
            "SELECT max(pageno) FROM dbstat WHERE name = 'jobs' AND pagetype = 'leaf'"
        ).fetchone()
        (index,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs_of_all'").fetchone()
    overwrite(database, last_leaf)
    overwrite(database, index)
    damaged = jobs_in(data)
    with pytest.raises(DamagedDatabase):
        list(damaged.clients.jobs())
    close(damaged)
    repair(data)
    repaired = jobs_in(data)
    found = {job.hash for job in repaired.clients.jobs()}
    assert JOBS // 2 < len(found) < JOBS
    for number in range(JOBS):
        repaired.clients.create(f"{number:040x}", ("nobody",))
    assert len(list(repaired.clients.jobs())) == JOBS
    close(repaired)
