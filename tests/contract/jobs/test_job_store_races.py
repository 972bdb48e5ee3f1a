"""The contract of every JobStore for concurrent changes and crashes (cloud_executor/ports.py)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import msgspec
import pytest
from contract_backends import PROCESSES, TIMEOUT_SECONDS, JobBackend, in_process, in_processes
from job_documents import NOW, SECOND, count_up, count_up_in_a_process, every_job, existing, insert, new_job

from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, NotClaimable, OutputSegment, Status
from cloud_executor.ports import JobStore

# Races ----------------------------------------------------------------------------------------------------------------


def test_concurrent_changes_from_threads_are_all_kept(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: job_store.transact("a", count_up), range(80)))
    assert job_store.get("a").lost_attempts == 80


def test_concurrent_changes_from_processes_are_all_kept(job_backend: JobBackend, job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    in_processes(3, count_up_in_a_process, job_backend, PROCESSES.Barrier(3), 30)
    assert job_store.get("a").lost_attempts == 90


def claim(store: JobStore, job_hash: str, worker: str) -> bool:
    try:
        store.transact(job_hash, lambda job: transitions.claim(existing(job), worker, NOW, SECOND))
    except NotClaimable:
        return False
    return True


def test_exactly_one_of_several_threads_that_claim_a_job_wins(job_store: JobStore) -> None:
    start = threading.Barrier(8)
    rounds = range(20)
    insert(job_store, *(new_job(str(turn)) for turn in rounds))

    def race(number: int) -> set[int]:
        won = set()
        for turn in rounds:
            start.wait(TIMEOUT_SECONDS)
            if claim(job_store, str(turn), str(number)):
                won.add(turn)
        return won

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert sorted(turn for wins in won for turn in wins) == list(rounds)
    for turn in rounds:
        job = job_store.get(str(turn))
        assert (job.attempt, job.status) == (1, Status.RUNNING)
        assert turn in won[int(job.worker or "")]


def create_in_a_process(number: int, backend: JobBackend, start: Barrier, rounds: int) -> None:
    with backend.open() as store:
        for turn in range(rounds):
            start.wait(TIMEOUT_SECONDS)
            secret = f"of {number}"

            def change(job: Job | None, secret: str = secret) -> Job | None:
                return new_job("x", secret=secret) if job is None else None

            stored = store.transact(f"job {turn}", change)
            assert stored is not None
            store.put_output(OutputSegment(f"seen {turn}", number, stored.secret), lambda _: None)


def test_exactly_one_of_several_processes_that_create_a_job_wins(job_backend: JobBackend, job_store: JobStore) -> None:
    in_processes(3, create_in_a_process, job_backend, PROCESSES.Barrier(3), 20)
    for turn in range(20):
        secret = job_store.get(f"job {turn}").secret
        assert [segment.output for segment in job_store.output(f"seen {turn}")] == [secret] * 3


def test_readers_never_see_a_partial_change(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    done = threading.Event()

    def change(job: Job | None) -> Job:
        number = existing(job).attempt + 1
        return msgspec.structs.replace(existing(job), attempt=number, lost_attempts=number, worker=str(number))

    def read() -> int:
        seen = 0
        while not done.is_set():
            job = job_store.get("a")
            assert job.attempt == job.lost_attempts >= seen
            assert job.worker in (None, str(job.attempt))
            seen = job.attempt
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for _ in range(40):
                job_store.transact("a", change)
        finally:
            done.set()
    assert all(0 <= reader.result() <= 40 for reader in readers)


# Crashes --------------------------------------------------------------------------------------------------------------


def stall_in_a_transaction(backend: JobBackend, stalled: Event, with_output: bool) -> None:
    def change(job: Job | None) -> Job | None:
        stalled.set()
        threading.Event().wait()
        return job

    with backend.open() as store:
        if with_output:
            store.put_output(OutputSegment("a", 0, "output"), change)
        store.transact("a", change)


@pytest.mark.parametrize("with_output", [False, True])
def test_a_process_killed_in_a_transaction_leaves_the_store_unchanged(
    job_backend: JobBackend, job_store: JobStore, with_output: bool
) -> None:
    insert(job_store, new_job("a"))
    stalled = PROCESSES.Event()
    with in_process(stall_in_a_transaction, job_backend, stalled, with_output):
        assert stalled.wait(TIMEOUT_SECONDS)
        assert job_store.get("a") == new_job("a")
    assert list(job_store.output("a")) == []
    job_store.transact("a", count_up)
    assert job_store.get("a") == new_job("a", lost_attempts=1)


def write_and_acknowledge(backend: JobBackend, log: Path) -> None:
    def insert_durably_or_not(store: JobStore, number: int) -> None:
        store.transact(f"job {number}", lambda _: new_job(f"job {number}"), durable=number % 2 == 0)

    with backend.open() as store, log.open("a") as acknowledged:
        for number in range(100_000):
            insert_durably_or_not(store, number)
            store.put_output(OutputSegment(f"job {number}", 0, "x" * 5000), count_up)
            acknowledged.write(f"{number}\n")
            acknowledged.flush()


def test_a_process_killed_at_any_moment_leaves_only_whole_changes_and_all_that_it_acknowledged(
    job_backend: JobBackend, job_store: JobStore, tmp_path: Path
) -> None:
    log = tmp_path / "acknowledged"
    log.touch()
    pause = threading.Event()
    with in_process(write_and_acknowledge, job_backend, log):
        for _ in range(TIMEOUT_SECONDS * 100):
            if log.read_text().count("\n") >= 40:
                break
            pause.wait(0.01)
    acknowledged = len(log.read_text().splitlines())
    assert acknowledged >= 40
    stored = every_job(job_store, limit=500)
    assert acknowledged <= len(stored) <= acknowledged + 1
    for job_hash in stored:
        # The segment and the count are stored together.
        assert len(list(job_store.output(job_hash))) == job_store.get(job_hash).lost_attempts
    assert [job_store.get(f"job {number}").lost_attempts for number in range(acknowledged)] == [1] * acknowledged
