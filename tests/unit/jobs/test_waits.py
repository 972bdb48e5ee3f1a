"""The waiting requests of a process. tests/contract/jobs/test_job_watches.py covers how they notice changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.composition import Jobs
from cloud_executor.jobs.waits import Waits
from cloud_executor.model.jobs.job import Job
from cloud_executor.ports import JobNotFound
from functions.transport import waits as process_waits

LONG_SECONDS = 60


def never(_: Job, __: Job) -> bool:
    return False


def noting(event: threading.Event) -> Callable[[Job, Job], bool]:
    """A condition that is never true, and sets the event once it is evaluated."""

    def is_over(_: Job, __: Job) -> bool:
        event.set()
        return False

    return is_over


def test_requests_beyond_the_limit_do_not_wait(jobs: Jobs) -> None:
    jobs.clients.create("job")
    waits = Waits(lambda: 1)
    begun = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(waits.until, jobs.store, "job", LONG_SECONDS, noting(begun))
        assert begun.wait(LONG_SECONDS)
        job, could_wait = waits.until(jobs.store, "job", LONG_SECONDS, never)
        assert (job.hash, could_wait) == ("job", False)
        # There is nothing to wait for, so the client need not pause.
        assert waits.until(jobs.store, "job", LONG_SECONDS, lambda _, __: True)[1]
        waits.stop()
        assert waiting.result()[1]


def test_a_wait_that_fails_frees_its_place(jobs: Jobs) -> None:
    jobs.clients.create("job")
    waits = Waits(lambda: 1)
    for _ in range(3):
        with pytest.raises(JobNotFound):
            waits.until(jobs.store, "missing", LONG_SECONDS, never)
        assert waits.until(jobs.store, "job", 0, never)[1]


def test_no_wait_begins_after_a_stop(jobs: Jobs) -> None:
    jobs.clients.create("job")
    waits = Waits(lambda: 1)
    waits.stop()
    assert not waits.until(jobs.store, "job", LONG_SECONDS, never)[1]


def test_a_wait_does_not_poll_the_database(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.clients.create("job")
    reads = []
    actual = SqliteDatabase.read

    def read(self: SqliteDatabase, work: Callable[..., object]) -> object:
        if threading.current_thread() is threading.main_thread():  # threads of earlier tests may still read
            reads.append(work)
        return actual(self, work)

    monkeypatch.setattr(SqliteDatabase, "read", read)
    Waits(lambda: 1).until(jobs.store, "job", 1.2, never)
    assert len(reads) == 2  # at the beginning and at the end


def test_a_wait_leaves_no_pipe(jobs: Jobs, tmp_path: Path) -> None:
    jobs.clients.create("job")
    Waits(lambda: 1).until(jobs.store, "job", 0.01, never)
    assert os.listdir(tmp_path / "wake" / "jobs") == []


@pytest.mark.parametrize(("threads", "limit"), [("16", 8), ("1", 0), ("3", 1)])
def test_half_of_a_processs_threads_can_wait(monkeypatch: pytest.MonkeyPatch, threads: str, limit: int) -> None:
    monkeypatch.setenv(process_waits.THREADS, threads)
    assert process_waits._half_of_the_threads() == limit
