"""A temporarily unavailable storage does not fail jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from worker_harness import InProcessWorker, Stack, config

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import system_clock
from cloud_executor.errors import QuotaExceeded, StorageFull, Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.jobs.job import Job, Outcome, Status
from cloud_executor.ports import ObjectInfo
from worker_vm.worker.retry import retry_while_unavailable

FOR_EVER = 10**9
FETCH = ["read", "stat", "open"]
ARCHIVE = ["put", "put_all"]
SCRIPT = "echo ran; head -c 1100000 /dev/zero > large"
"""Leaves small results, which are put together, and a large one."""


class AwayStore(FileObjectStore):
    """Fails given calls a given number of times."""

    concurrency = 4

    def __init__(self, root: Path, calls: Collection[str], times: int, error: Exception) -> None:
        super().__init__(root)
        self.times = times
        self.refused = threading.Event()
        self._calls, self._error = calls, error

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        self._refuse("read")
        return super().read(key)

    def stat(self, key: str) -> ObjectInfo:
        self._refuse("stat")
        return super().stat(key)

    def open(self, key: str, start: int = 0) -> FileIO:
        self._refuse("open")
        return super().open(key, start)

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        self._refuse("put")
        super().put(key, chunks)

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        self._refuse("put_all")
        return super().put_all(objects)

    def _refuse(self, call: str) -> None:
        if call in self._calls and self.times:
            self.times -= 1
            self.refused.set()
            raise self._error


def away(
    stack: Stack, call: str, *, times: int = FOR_EVER, error: Exception | None = None
) -> tuple[AwayStore, BlobStore]:
    store = AwayStore(stack.data / "blobs", [call], times, error or Unavailable())
    return store, BlobStore(store, system_clock)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.retry.retry_while_unavailable.__defaults__", (0.2,))


def add(stack: Stack, **fields: object) -> Job:
    """Create a job whose source is an artifact and whose files are all results."""
    return stack.add_artifact({"executor_config.json": config(SCRIPT, **fields)})


@pytest.mark.parametrize("kind", ["artifact", "zip"])
@pytest.mark.parametrize("call", FETCH + ARCHIVE)
def test_a_storage_that_recovers_in_time_is_waited_for(stack: Stack, call: str, kind: str) -> None:
    _, blobs = away(stack, call, times=3)
    job = add(stack) if kind == "artifact" else stack.add_script(SCRIPT)
    with stack.worker(blobs=blobs) as worker:
        worker.run_next()
        assert worker.next(0) is None
    job = stack.get(job)
    assert (job.status, job.attempt, job.lost_attempts) == (Status.SUCCESS, 1, 0)
    assert stack.results(job)["job_stdout.txt"] == b"ran\n"


@pytest.mark.parametrize("call", FETCH + ARCHIVE)
def test_a_job_whose_retries_time_out_runs_again(stack: Stack, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    store, blobs = away(stack, call)
    job = add(stack)
    with stack.worker(blobs=blobs) as worker:
        worker.run_next()
        waiting = stack.get(job)
        assert (waiting.status, waiting.lost_attempts, waiting.error) == (Status.CREATED, 1, None)
        assert list(stack.work.iterdir()) == []
        store.times = 0
        worker.run_next()
        assert worker.next(0) is None
    job = stack.get(job)
    assert (job.status, job.attempt) == (Status.SUCCESS, 2)
    assert stack.results(job)["job_stdout.txt"] == b"ran\n"


@pytest.mark.parametrize(
    ("call", "error"),
    [("read", QuotaExceeded()), ("open", Unavailable()), ("put", Unavailable()), ("put_all", StorageFull())],
)
def test_a_job_that_times_out_too_often_reports_the_service(
    stack: Stack, call: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    _, blobs = away(stack, call, error=error)
    job = add(stack)
    attempts = stack.jobs.options.retries + 1
    with stack.worker(blobs=blobs) as worker:
        for _ in range(attempts):
            assert not stack.get(job).finished
            worker.run_next()
        assert worker.next(0) is None
    job = stack.get(job)
    assert (job.status, job.attempt) == (Status.FAILED_TO_EXECUTE, attempts)
    assert job.error == f"An attempt was lost {attempts} times, most recently for this reason: {error}"


def test_a_job_without_retries_ends_with_the_first_lost_attempt(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    _, blobs = away(stack, "put_all")
    job = add(stack, retries=0)
    with stack.worker(blobs=blobs) as worker:
        worker.run_next()
        assert worker.next(0) is None
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.FAILED_TO_EXECUTE, 1)


def test_an_attempt_whose_outcome_cannot_be_recorded_is_lost(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)

    class Unrecorded(Attempts):
        def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
            raise Unavailable

    jobs = stack.jobs_with(Unrecorded)
    job = add(stack)
    with stack.worker(jobs=jobs) as worker:
        worker.run_next()
        assert worker.next(0) is not None, "it was published again"
    assert (stack.get(job).status, stack.get(job).lost_attempts) == (Status.CREATED, 1)


def test_a_lost_attempt_that_cannot_be_recorded_ends_with_its_lease(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)

    class Unrecorded(Attempts):
        def abandon(self, job_hash: str, attempt: int, cause: str, blame: float = 1.0) -> None:
            raise Unavailable

    jobs = stack.jobs_with(Unrecorded)
    _, blobs = away(stack, "read")
    job = add(stack)
    with stack.worker(jobs=jobs, blobs=blobs) as worker:
        worker.run_next()
        delivery = worker.next()
        assert delivery is not None and delivery.job_hash == job.hash
    assert (stack.get(job).status, stack.get(job).lost_attempts) == (Status.RUNNING, 0)


def test_an_outage_of_minutes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("worker_vm.worker.retry.time", clock)

    class Sleeper:
        def wait(self, seconds: float) -> bool:
            clock.now += seconds
            return False

    def ends_at(seconds: float) -> bool:
        if clock.now < seconds:
            raise Unavailable
        return True

    assert retry_while_unavailable(lambda: ends_at(880), Sleeper())
    with pytest.raises(Unavailable):
        retry_while_unavailable(lambda: ends_at(880 + 920), Sleeper())
    assert clock.now < 880 + 910


# An interruption ends the wait for the storage ------------------------------------------------------------------------


def interrupted_while_waiting(
    stack: Stack, call: str, interrupt: Callable[[InProcessWorker, Job], None], monkeypatch: pytest.MonkeyPatch
) -> Job:
    monkeypatch.setattr("worker_vm.worker.heartbeat.POLL_SECONDS", 0.1)
    store, blobs = away(stack, call)
    job = add(stack)
    # It would retry for longer than the test waits for the thread.
    with stack.worker(blobs=blobs) as worker, worker.running():
        assert store.refused.wait(30)
        interrupt(worker, job)
    assert list(stack.work.iterdir()) == []
    return stack.get(job)


@pytest.mark.parametrize("call", FETCH + ARCHIVE)
def test_a_cancel_ends_the_wait(stack: Stack, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = interrupted_while_waiting(stack, call, lambda _, job: stack.cancel(job), monkeypatch)
    assert (job.status, job.error, job.result_hashes) == (Status.CANCELED, None, None)


@pytest.mark.parametrize("call", FETCH + ARCHIVE)
def test_a_stopping_worker_gives_the_job_back(stack: Stack, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = interrupted_while_waiting(stack, call, lambda worker, _: worker.heartbeat.release_all(), monkeypatch)
    assert (job.status, job.lost_attempts, job.error) == (Status.CREATED, 0, None)


@pytest.mark.parametrize("call", ["stat", "put_all"])
def test_a_job_of_another_worker_is_not_changed(stack: Stack, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_: InProcessWorker, job: Job) -> None:
        stack.jobs.attempts.release(job.hash, 1)
        stack.jobs.attempts.claim(job.hash, "another")

    job = interrupted_while_waiting(stack, call, taken, monkeypatch)
    assert (job.status, job.worker, job.lost_attempts) == (Status.RUNNING, "another", 0)
