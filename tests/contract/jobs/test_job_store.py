"""The contract of every JobStore (cloud_executor/ports.py)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest
from contract_backends import PROCESSES, JobBackend, in_processes
from job_documents import (
    NOW,
    SECOND,
    count_up,
    count_up_in_a_process,
    every_job,
    existing,
    hashes,
    insert,
    new_job,
    odd_strings,
)

from cloud_executor.errors import Conflict
from cloud_executor.model.jobs.job import DOCUMENT_FIELDS, Durations, Job
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobStore


@odd_strings
def test_require_raises_unless_the_job_exists(job_store: JobStore, string: str) -> None:
    for _ in range(2):
        with pytest.raises(JobNotFound):
            job_store.require(string)
    insert(job_store, new_job(string))
    job_store.require(string)
    job_store.require(string)


# get and transact -----------------------------------------------------------------------------------------------------


def test_get_of_a_missing_job_is_not_found(job_store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        job_store.get("missing")


def test_transact_passes_none_to_the_change_if_the_job_does_not_exist(job_store: JobStore) -> None:
    shown: list[Job | None] = []

    def change(stored: Job | None) -> Job | None:
        shown.append(stored)
        return None

    assert job_store.transact("missing", change) is None
    assert set(shown) == {None}
    with pytest.raises(JobNotFound):
        job_store.get("missing")


def test_transact_stores_and_returns_the_result_of_the_change(job_store: JobStore) -> None:
    made = new_job("a")
    assert job_store.transact("a", lambda _: made) == made
    assert job_store.get("a") == made
    shown: list[Job | None] = []

    def change(stored: Job | None) -> Job | None:
        shown.append(stored)
        assert stored is not None
        return msgspec.structs.replace(stored, status="RUNNING", attempt=stored.attempt + 1)

    changed = job_store.transact("a", change)
    assert set(shown) == {made}
    assert changed == msgspec.structs.replace(made, status="RUNNING", attempt=1)
    assert job_store.get("a") == changed


def test_a_change_that_returns_none_leaves_the_job_unchanged(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    assert job_store.transact("a", lambda _: None) == new_job("a")
    assert job_store.get("a") == new_job("a")


def test_a_change_that_raises_leaves_the_job_unchanged(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))

    class Rejected(Conflict):
        pass

    def reject(_: Job | None) -> Job | None:
        raise Rejected

    with pytest.raises(Rejected):
        job_store.transact("a", reject)
    with pytest.raises(Rejected):
        job_store.transact("missing", reject)
    assert job_store.get("a") == new_job("a")


def test_a_change_that_is_not_durable_is_visible_to_everyone_at_once(
    job_backend: JobBackend, job_store: JobStore
) -> None:
    assert job_store.transact("a", lambda _: new_job("a"), durable=False) == new_job("a")
    assert job_store.transact("a", count_up, durable=False) == new_job("a", lost_attempts=1)
    assert job_store.transact("a", lambda _: None, durable=False) == new_job("a", lost_attempts=1)
    assert job_store.get("a") == new_job("a", lost_attempts=1)
    in_processes(1, count_up_in_a_process, job_backend, PROCESSES.Barrier(1), 2)
    assert job_store.get("a") == new_job("a", lost_attempts=3)


@pytest.mark.parametrize("remembered", [True, False])
def test_note_published_records_the_publish_on_the_job(
    job_backend: JobBackend, job_store: JobStore, remembered: bool
) -> None:
    stored = existing(job_store.transact("a", lambda _: new_job("a", 20, pool="p")))
    with job_backend.open() as other:
        (job_store if remembered else other).record_publish(stored, NOW)
    assert job_store.get("a") == new_job("a", 20, pool="p", published_at=NOW, publishes=1)
    assert job_store.unpublished(NOW, 9) == ()


@pytest.mark.parametrize("remembered", [True, False])
def test_note_published_ignores_a_job_that_has_changed_since(
    job_backend: JobBackend, job_store: JobStore, remembered: bool
) -> None:
    stored = existing(job_store.transact("a", lambda _: new_job("a", 20, pool="p")))
    changed = msgspec.structs.replace(stored, secret="another")
    with job_backend.open() as other:
        other.transact("a", lambda _: changed)
        (job_store if remembered else other).record_publish(stored, NOW)
    assert job_store.get("a") == changed
    assert job_store.unpublished(NOW, 9) == (changed,)
    job_store.record_publish(new_job("missing", pool="p"), NOW)
    assert hashes(job_store.query().jobs) == ["a"]


def test_a_change_of_one_job_leaves_other_jobs_unchanged(job_store: JobStore) -> None:
    insert(job_store, new_job("a"), new_job("b"), new_job("ab"))
    insert(job_store, new_job("a", status="SUCCESS"))
    assert job_store.get("b") == new_job("b")
    assert job_store.get("ab") == new_job("ab")


def test_every_field_is_kept(job_store: JobStore) -> None:
    full = Job(
        hash="a",
        create_time="2026-01-31T12:00:00.123Z",
        secret="hush",
        user_id="someone",
        status="any string",
        labels=("gpu", "big"),
        name="a name",
        tags=("sweep", "b"),
        result_hashes={"all": "1" * 40, "": "2" * 40},
        result_super_set="4" * 40,
        start_time="2026-01-31T12:00:01.000Z",
        finish_time="2026-01-31T12:00:02.000Z",
        worker="a worker",
        output_number=-3,
        cancel_requested=True,
        error="It broke.",
        exit_code=3,
        durations=Durations(queued=1.5, fetch=0.001, run=10.0),
        peak_memory_mib=64,
        logs={"stdout": "a" * 40, "stderr": "b" * 40},
        warnings=("No file matches.", "Another."),
        pool="default",
        later_pools=("large",),
        attempt=7,
        lost_attempts=2,
        excused=0.75,
        claim_token="5" * 16,
        worker_token="6" * 16,
        dead_letters=2,
        publishes=3,
        start_by=NOW + timedelta(minutes=9),
        retries=0,
        lease_expires=NOW + timedelta(microseconds=1),
        published_at=NOW - timedelta(days=1, microseconds=3),
        output_expires=NOW + timedelta(days=9, microseconds=999_999),
        trace="3" * 32,
    )
    defaults = {name: getattr(new_job("a"), name) for name in ("hash", "secret")}
    for name in Job.__struct_fields__:
        assert name in defaults or getattr(full, name) != getattr(new_job("a"), name)
    waiting = msgspec.structs.replace(full, status="CREATED", pool=None)
    assert full.document().keys() | waiting.document().keys() == set(DOCUMENT_FIELDS)
    insert(job_store, full)
    assert job_store.get("a") == full
    # Every field can also be reset.
    insert(job_store, new_job("a"))
    assert job_store.get("a") == new_job("a")


@odd_strings
def test_a_hash_can_be_any_string(job_store: JobStore, string: str) -> None:
    others = [new_job(string + "0"), new_job("1" + string), new_job("other")]
    insert(job_store, *others)
    with pytest.raises(JobNotFound):
        job_store.get(string)
    insert(job_store, new_job(string, age_seconds=1))
    assert job_store.get(string) == new_job(string, age_seconds=1)
    assert [job_store.get(other.hash) for other in others] == others
    assert every_job(job_store, limit=1) == [string, *sorted(other.hash for other in others)]


@odd_strings
def test_the_fields_of_a_job_can_be_any_string(job_store: JobStore, string: str) -> None:
    odd = new_job(
        "a",
        user_id=string,
        status=string,
        labels=(string, ""),
        worker=string,
        error=string,
        result_hashes={string: string},
        result_super_set=string,
    )
    insert(job_store, odd, new_job("b", user_id="somebody", status="else"))
    assert job_store.get("a") == odd
    assert hashes(job_store.query(status=string).jobs) == ["a"]
    assert hashes(job_store.query(user_id=string).jobs) == ["a"]


# Workers --------------------------------------------------------------------------------------------------------------


def test_workers_returns_all_known_workers_ordered_by_client_id(job_store: JobStore) -> None:
    assert list(job_store.workers()) == []
    workers = [
        WorkerRecord("b", NOW, ("gpu", "big"), "someone"),
        WorkerRecord("a", NOW + timedelta(microseconds=1)),
        WorkerRecord("a b", NOW, pool="p", slots=4),
    ]
    for worker in workers:
        job_store.put_worker(worker)
    assert list(job_store.workers()) == [workers[1], workers[2], workers[0]]


def test_put_worker_replaces_an_existing_record(job_store: JobStore) -> None:
    job_store.put_worker(WorkerRecord("a", NOW, ("gpu",), "someone"))
    job_store.put_worker(WorkerRecord("b", NOW))
    job_store.put_worker(WorkerRecord("a", NOW + SECOND))
    assert list(job_store.workers()) == [WorkerRecord("a", NOW + SECOND), WorkerRecord("b", NOW)]


@odd_strings
def test_a_client_id_can_be_any_string(job_store: JobStore, string: str) -> None:
    workers = [WorkerRecord(string, NOW, (string,), string), WorkerRecord(string + "x", NOW)]
    for worker in workers:
        job_store.put_worker(worker)
    assert sorted(job_store.workers(), key=lambda worker: worker.client_id) == workers
    assert job_store.delete_worker(string, NOW + SECOND)
    assert list(job_store.workers()) == workers[1:]


def test_there_can_be_many_workers(job_store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: job_store.put_worker(WorkerRecord(f"{number:04}", NOW)), range(650)))
    assert [worker.client_id for worker in job_store.workers()] == [f"{number:04}" for number in range(650)]


def test_delete_worker_keeps_a_worker_that_was_seen_since(job_store: JobStore) -> None:
    job_store.put_worker(WorkerRecord("a", NOW))
    job_store.put_worker(WorkerRecord("b", NOW))
    assert not job_store.delete_worker("a", NOW - SECOND)
    assert not job_store.delete_worker("a", NOW)
    assert not job_store.delete_worker("missing", NOW + SECOND)
    assert job_store.delete_worker("a", NOW + SECOND)
    assert not job_store.delete_worker("a", NOW + SECOND)
    assert list(job_store.workers()) == [WorkerRecord("b", NOW)]
