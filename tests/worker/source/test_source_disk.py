"""Sources must not exceed the job's disk limit."""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

import pytest
from worker_harness import Stack, config, zip_of

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import system_clock
from cloud_executor.model.jobs.job import Job, Status

DISK = 2**20
ERROR = "The source takes more than the disk limit of 1 MiB."
CONFIG = config("ls .. | grep zip; ls | wc -l")


class RemoteStore(FileObjectStore):
    """A store whose objects are not on the worker's disk. It counts the bytes that are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_bytes = 0

    def open(self, key: str, start: int = 0) -> BufferedReader:  # type: ignore[override] - as other stores do
        return _Counted(super().open(key, start), self)


class _Counted(BufferedReader):
    def __init__(self, file: object, store: RemoteStore) -> None:
        super().__init__(file)  # type: ignore[arg-type] - a FileIO
        self._store = store

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self._store.read_bytes += len(found)
        return found


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path, EXECUTOR_JOB_DISK="1")


@pytest.fixture
def store(stack: Stack) -> RemoteStore:
    return RemoteStore(stack.data / "blobs")


def run(stack: Stack, store: RemoteStore, job: Job) -> Job:
    with stack.worker(blobs=BlobStore(store, system_clock)) as worker:
        worker.run_next()
        assert worker.next(0) is None
    assert list(stack.work.iterdir()) == []
    return stack.get(job)


def source(packed: int = 0, unpacked: int = 0) -> bytes:
    """Create a zip with an incompressible file and a highly compressible file of these sizes."""
    return zip_of({"executor_config.json": CONFIG, "random": os.urandom(packed), "zeros": bytes(unpacked)})


def test_a_zip_that_is_too_large_is_not_fetched(stack: Stack, store: RemoteStore) -> None:
    job = run(stack, store, stack.add_zip(source(packed=DISK)))
    assert (job.status, job.error) == (Status.FAILED_CREATING_SOURCE_ZIP, ERROR)
    assert store.read_bytes == 0


@pytest.mark.parametrize(("packed", "unpacked"), [(0, DISK), (DISK * 2 // 5, DISK // 4)])
def test_a_zip_whose_contents_are_too_large_is_not_unpacked(
    stack: Stack, store: RemoteStore, packed: int, unpacked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.source.file_tree.FileTree.write_file", None)
    job = run(stack, store, stack.add_zip(source(packed, unpacked)))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, ERROR)


def test_a_zip_on_the_workers_own_disk_does_not_count(stack: Stack) -> None:
    assert stack.run(stack.add_zip(source(DISK * 2 // 5, DISK // 4))).error is None
    job = stack.run(stack.add_zip(source(unpacked=DISK)))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, ERROR)


def test_an_artifact_that_is_too_large_is_not_fetched(stack: Stack, store: RemoteStore) -> None:
    files = {"executor_config.json": CONFIG, "a": "x" * (DISK // 2), "b": "y" * (DISK // 2)}
    job = run(stack, store, stack.add_artifact(files))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, ERROR)
    assert store.read_bytes == 0


def test_a_fetched_zip_is_gone_when_the_command_runs(stack: Stack, store: RemoteStore) -> None:
    job = run(stack, store, stack.add_zip(source(packed=DISK // 4)))
    assert stack.results(job)["job_stdout.txt"] == b"3\n"
    assert store.read_bytes > DISK // 4
