"""A worker publishes the next job of the user whose job it begins, if the job store does not."""

from __future__ import annotations

from dataclasses import replace

from worker_harness import Stack, until

from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.jobs.options import JobOptions


def test_the_next_job_is_published_while_a_job_runs(stack: Stack) -> None:
    store = SqliteJobStore(SqliteDatabase(stack.data / "executor.sqlite"))
    stack.jobs = replace(stack.jobs, store=store, options=JobOptions(queue_window=1))
    running = stack.add_script("until test -e go; do sleep 0.01; done")
    following = stack.add_script("true")
    assert stack.get(following).published_at is None
    with stack.worker() as worker, worker.running():
        until(lambda: stack.get(following).published_at is not None)
        until(lambda: list(stack.work.glob("*/job")))
        (folder,) = stack.work.glob("*/job")
        (folder / "go").touch()
    assert stack.get(running).status == "SUCCESS"
