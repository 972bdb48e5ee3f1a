"""The user of a finished job has a grant of its results and logs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from worker_harness import ALL, Stack, config, zip_of

from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.grants import SqliteGrantStore
from cloud_executor.composition import open_grants
from cloud_executor.errors import Unavailable
from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.settings import Settings


@pytest.fixture
def store(stack: Stack) -> SqliteGrantStore:
    return SqliteGrantStore(SqliteDatabase(stack.data / "executor.sqlite"))


def create(stack: Stack, user: str) -> None:
    script = "echo result > small; head -c 3000000 /dev/zero > large; echo log"
    source = zip_of({"executor_config.json": config(script, ALL)})
    stack.jobs.clients.create(stack.blobs.create_file("source.zip", [source]).hash, (), user)


def run(stack: Stack, user: str) -> Job:
    create(stack, user)
    with stack.worker() as worker:
        delivery = worker.next()
        assert delivery is not None
        replace(worker.runner, grants=open_grants(Settings(data=stack.data))).run(delivery)
    (job,) = stack.jobs.clients.jobs(user_id=user)
    assert job.status == Status.SUCCESS, job.error
    return job


def contents_of(stack: Stack, job: Job) -> set[str]:
    """The result artifacts, and the contents of their files and of the logs."""
    assert job.result_hashes is not None
    artifacts = set(job.result_hashes.values())
    files = {
        entry.content_hash for artifact in artifacts for entry in stack.blobs.metadata(artifact).metadata.files.values()
    }
    logs = set((job.logs or {}).values())
    return artifacts | {stack.blobs.metadata(blob).metadata.content_hash for blob in files | logs}


def test_the_user_of_a_job_has_its_results(stack: Stack, store: SqliteGrantStore) -> None:
    job = run(stack, "ada")
    contents = contents_of(stack, job)
    assert len(contents) >= 4
    assert store.granted("ada", contents) == contents
    assert store.granted("bob", contents) == frozenset()
    assert store.bytes_of("ada") > 3_000_000


def test_a_guests_job_leaves_no_grants(stack: Stack, store: SqliteGrantStore) -> None:
    job = run(stack, "guest")
    assert store.granted("guest", contents_of(stack, job)) == frozenset()


def test_a_job_does_not_finish_without_its_grants(
    stack: Stack, store: SqliteGrantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service may be unavailable, or the worker may die, before the grants are recorded: the job runs again."""

    class Failing(SqliteGrantStore):
        def grant(self, user: str, sizes: object) -> None:
            raise Unavailable

    create(stack, "ada")
    grants = replace(open_grants(Settings(data=stack.data)), open_store=lambda: Failing(SqliteDatabase(Path("none"))))
    with stack.worker() as worker:
        delivery = worker.next()
        assert delivery is not None
        monkeypatch.setattr("worker_vm.worker.job_runner.retry_while_unavailable", lambda action, *_: action())
        replace(worker.runner, grants=grants).run(delivery)
    (job,) = stack.jobs.clients.jobs(user_id="ada")
    assert not job.finished
    assert job.hash == key_of("ada", job.id)
