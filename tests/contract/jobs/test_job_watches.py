"""The contract of JobStore.watch (cloud_executor/ports.py)."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from contract_backends import TIMEOUT_SECONDS, JobBackend, in_processes
from job_documents import NOW, existing, insert, new_job, odd_strings

from cloud_executor.jobs.waits import Waits
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, OutputSegment
from cloud_executor.ports import JobStore


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firestore is read at intervals."""
    monkeypatch.setattr("cloud_executor.backends.google.firestore.watch.FIRST_LOOK_SECONDS", 0.05)


def start(backend: JobBackend, job_hash: str) -> None:
    with backend.open() as store:
        store.transact(job_hash, lambda job: msgspec.structs.replace(existing(job), status="RUNNING"))


def start_in_a_process(_number: int, backend: JobBackend, job_hash: str) -> None:
    start(backend, job_hash)


def runs(_: Job, job: Job) -> bool:
    return job.status == "RUNNING"


@odd_strings
def test_a_wait_ends_soon_after_a_change_by_another_store(
    job_backend: JobBackend, job_store: JobStore, string: str
) -> None:
    insert(job_store, new_job(string))
    started = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(Waits(lambda: 1).until, job_store, string, 2 * TIMEOUT_SECONDS, runs)
        start(job_backend, string)
        job, could_wait = wait.result()
    assert (job.status, could_wait) == ("RUNNING", True)
    assert time.monotonic() - started < TIMEOUT_SECONDS


def test_a_wait_ends_soon_after_a_change_by_another_process(job_backend: JobBackend, job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    started = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(Waits(lambda: 1).until, job_store, "a", 2 * TIMEOUT_SECONDS, runs)
        in_processes(1, start_in_a_process, job_backend, "a")
        assert wait.result()[0].status == "RUNNING"
    assert time.monotonic() - started < TIMEOUT_SECONDS


def test_a_watch_notices_output(job_store: JobStore) -> None:
    insert(job_store, new_job("a", status="RUNNING"))
    started = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(
            Waits(lambda: 1).until, job_store, "a", 2 * TIMEOUT_SECONDS, lambda _, job: job.output_number == 4
        )
        job_store.put_output(
            OutputSegment("a", 4, "text"), lambda job: transitions.receive_output(existing(job), 4, None, NOW, None)
        )
        assert wait.result()[0].output_number == 4
    assert time.monotonic() - started < TIMEOUT_SECONDS


def test_a_watch_that_is_stopped_waits_no_more(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    with job_store.watch("a") as watch:
        started = time.monotonic()
        stopper = threading.Timer(0.1, watch.stop)
        stopper.start()
        for _ in range(3):
            watch.wait(TIMEOUT_SECONDS)
        stopper.join()
        watch.wait(TIMEOUT_SECONDS)
        assert time.monotonic() - started < TIMEOUT_SECONDS
