"""The contract of every JobStore (cloud_executor/ports.py)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

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

from cloud_executor.errors import Conflict, Invalid
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import DOCUMENT_FIELDS, Durations, Job, JobUpdate
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


# query ----------------------------------------------------------------------------------------------------------------


def test_a_query_orders_jobs_by_creation_time_then_hash(job_store: JobStore) -> None:
    insert(job_store, new_job("b"), new_job("c"), new_job("a"), new_job("z", 0.001), new_job("y", -0.001))
    assert hashes(job_store.query().jobs) == ["z", "a", "b", "c", "y"]


def test_a_query_returns_the_jobs_that_match_all_filters(job_store: JobStore) -> None:
    insert(
        job_store,
        new_job("a", 9, user_id="me", status="SUCCESS"),
        new_job("b", 8, user_id="me", status="CREATED"),
        new_job("c", 7, user_id="you", status="SUCCESS"),
        new_job("d", 6, user_id="me", status="SUCCESS"),
    )
    assert hashes(job_store.query().jobs) == ["a", "b", "c", "d"]
    assert hashes(job_store.query(status="SUCCESS").jobs) == ["a", "c", "d"]
    assert hashes(job_store.query(user_id="me").jobs) == ["a", "b", "d"]
    assert hashes(job_store.query(status="SUCCESS", user_id="me").jobs) == ["a", "d"]
    assert job_store.query(status="SUCC") == job_store.query(user_id="m") == job_store.query(status="")
    assert job_store.query(status="SUCC").jobs == ()


def test_a_query_reflects_changes_of_a_job(job_store: JobStore) -> None:
    insert(job_store, new_job("a", user_id="me"), new_job("b"))
    insert(job_store, new_job("a", -5, user_id="you", status="RUNNING"))
    assert hashes(job_store.query().jobs) == ["b", "a"]
    assert hashes(job_store.query(status="CREATED").jobs) == ["b"]
    assert hashes(job_store.query(status="RUNNING").jobs) == ["a"]
    assert hashes(job_store.query(user_id="me").jobs) == []
    assert hashes(job_store.query(user_id="you", status="RUNNING").jobs) == ["a"]


@pytest.mark.parametrize(
    "filters", [{}, {"status": "CREATED"}, {"user_id": "me"}, {"user_id": "me", "status": "CREATED"}]
)
@pytest.mark.parametrize("limit", [1, 3, 4, 11, 12, 13])
def test_pages_return_every_job_once(job_store: JobStore, limit: int, filters: dict[str, str]) -> None:
    jobs = [new_job(f"job {number:02}", age_seconds=number // 3, user_id="me") for number in range(12)]
    insert(job_store, *jobs, new_job("not mine", user_id="you", status="RUNNING"))
    wanted = jobs if filters else [*jobs, job_store.get("not mine")]
    ordered = sorted(wanted, key=lambda job: (job.create_time, job.hash))
    assert every_job(job_store, limit=limit, **filters) == [job.hash for job in ordered]


def test_pages_of_large_jobs_are_shorter(job_store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [new_job(f"job {number:02}", 20 - number, worker="x" * 200) for number in range(12)]
    insert(job_store, *jobs)
    monkeypatch.setattr("cloud_executor.backends.job_records.JOB_BYTES_PER_READ", 1000)
    page = job_store.query()
    assert 1 <= len(page.jobs) <= 4
    assert page.next is not None
    assert every_job(job_store, limit=500) == [job.hash for job in jobs]
    monkeypatch.setattr("cloud_executor.backends.job_records.JOB_BYTES_PER_READ", 1)
    assert every_job(job_store, limit=500) == [job.hash for job in jobs]


def test_the_last_page_has_no_next_page(job_store: JobStore) -> None:
    insert(job_store, new_job("a"), new_job("b"))
    assert job_store.query(limit=1).next is not None
    assert job_store.query(limit=2).next is None
    assert job_store.query(limit=3).next is None
    assert job_store.query(status="no such").next is None


def test_paging_continues_while_jobs_are_added_and_changed(job_store: JobStore) -> None:
    insert(job_store, *(new_job(f"{number}", 10 - number) for number in range(6)))
    first = job_store.query(status="CREATED", limit=3)
    insert(job_store, new_job("2", 8, status="RUNNING"), new_job("4", 6, status="RUNNING"), new_job("new"))
    rest = job_store.query(status="CREATED", limit=10, after=first.next)
    assert hashes(first.jobs) == ["0", "1", "2"]
    assert hashes(rest.jobs) == ["3", "5", "new"]


@pytest.mark.parametrize(
    "after", ["", "0", "1", "-1", "not a page", "\0", "é", "\ud83d", "AAAA", "MjAyNg==", "%%%", "a/b", "x" * 100_000]
)
def test_an_invalid_page_cursor_is_rejected(job_store: JobStore, after: str) -> None:
    insert(job_store, new_job("a"))
    with pytest.raises(Invalid):
        job_store.query(after=after)


# Queries of a sweep ---------------------------------------------------------------------------------------------------


def test_with_expired_lease_returns_running_jobs_whose_lease_has_expired(job_store: JobStore) -> None:
    def running(job_hash: str, lease_expires: datetime | None) -> Job:
        return new_job(job_hash, status="RUNNING", lease_expires=lease_expires)

    insert(
        job_store,
        running("ended", NOW - SECOND),
        running("ended long ago", NOW - timedelta(days=400)),
        running("alive", NOW + SECOND),
        running("external", None),
        new_job("finished", status="SUCCESS", lease_expires=NOW - SECOND),
        new_job("waiting"),
    )
    assert set(hashes(job_store.with_expired_lease(NOW, 10))) == {"ended", "ended long ago"}
    assert job_store.with_expired_lease(NOW, 10)[0].status == "RUNNING"
    assert set(hashes(job_store.with_expired_lease(NOW + 2 * SECOND, 10))) == {"ended", "ended long ago", "alive"}
    assert len(job_store.with_expired_lease(NOW, 1)) == 1


def test_a_renewed_lease_has_not_expired(job_store: JobStore) -> None:
    insert(job_store, new_job("a", status="RUNNING", attempt=1, lease_expires=NOW - SECOND))
    job_store.transact("a", lambda job: transitions.renew(existing(job), 1, NOW, SECOND))
    assert job_store.with_expired_lease(NOW, 10) == ()


def test_unpublished_returns_created_jobs_of_a_pool_that_were_not_published(job_store: JobStore) -> None:
    insert(
        job_store,
        new_job("forgotten", 20, pool="default"),
        new_job("forgotten too", 30, pool="other"),
        new_job("published", 20, pool="default", published_at=NOW),
        new_job("external", 20),
        new_job("young", 5, pool="default"),
        new_job("running", 20, pool="default", status="RUNNING"),
        new_job("canceled", 20, pool="default", status="CANCELED"),
    )
    before = NOW - 10 * SECOND
    assert set(hashes(job_store.unpublished(before, 10))) == {"forgotten", "forgotten too"}
    assert len(job_store.unpublished(before, 1)) == 1
    job_store.transact("forgotten", lambda job: transitions.record_publish(existing(job), NOW))
    assert hashes(job_store.unpublished(before, 10)) == ["forgotten too"]


def test_a_job_whose_external_worker_did_not_report_has_expired(job_store: JobStore) -> None:
    insert(
        job_store,
        new_job("unheard", status="RUNNING", start_by=NOW - SECOND),
        new_job("young", status="RUNNING", start_by=NOW + SECOND),
        new_job("finished", status="SUCCESS", start_by=NOW - SECOND),
    )
    assert hashes(job_store.with_expired_lease(NOW, 10)) == ["unheard"]


def test_with_lost_message_returns_jobs_that_were_published_long_ago(job_store: JobStore) -> None:
    hour = transitions.MESSAGE_LIFETIME
    insert(
        job_store,
        new_job("lost", pool="default", published_at=NOW - hour, publishes=1),
        new_job("young", pool="default", published_at=NOW - hour + SECOND, publishes=1),
        new_job("published twice", pool="default", published_at=NOW - hour, publishes=2),
        new_job("lost twice", pool="default", published_at=NOW - 2 * hour, publishes=2),
        new_job("unpublished", pool="default"),
        new_job("external", published_at=NOW - hour),
        new_job("running", pool="default", status="RUNNING", published_at=NOW - hour),
    )
    assert set(hashes(job_store.with_lost_message(NOW, 10))) == {"lost", "lost twice"}
    assert len(job_store.with_lost_message(NOW, 1)) == 1
    job_store.transact("lost", lambda job: transitions.lose_message(existing(job), NOW))
    assert hashes(job_store.with_lost_message(NOW, 10)) == ["lost twice"]


def test_with_expired_output_returns_jobs_whose_output_has_expired(job_store: JobStore) -> None:
    def finished(job_hash: str, output_expires: datetime | None) -> Job:
        return new_job(job_hash, status="SUCCESS", output_number=3, output_expires=output_expires)

    insert(
        job_store,
        finished("due", NOW - SECOND),
        finished("due long ago", NOW - timedelta(days=400)),
        finished("not yet", NOW + SECOND),
        finished("never", None),
    )
    assert set(hashes(job_store.with_expired_output(NOW, 10))) == {"due", "due long ago"}
    assert len(job_store.with_expired_output(NOW, 1)) == 1
    job_store.transact("due", lambda job: transitions.expire_output(existing(job), NOW))
    assert hashes(job_store.with_expired_output(NOW, 10)) == ["due long ago"]


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
        list(pool.map(lambda number: job_store.put_worker(WorkerRecord(f"{number:04}", NOW)), range(1100)))
    assert [worker.client_id for worker in job_store.workers()] == [f"{number:04}" for number in range(1100)]


def test_delete_worker_keeps_a_worker_that_was_seen_since(job_store: JobStore) -> None:
    job_store.put_worker(WorkerRecord("a", NOW))
    job_store.put_worker(WorkerRecord("b", NOW))
    assert not job_store.delete_worker("a", NOW - SECOND)
    assert not job_store.delete_worker("a", NOW)
    assert not job_store.delete_worker("missing", NOW + SECOND)
    assert job_store.delete_worker("a", NOW + SECOND)
    assert not job_store.delete_worker("a", NOW + SECOND)
    assert list(job_store.workers()) == [WorkerRecord("b", NOW)]


# Through the transitions ----------------------------------------------------------------------------------------------


def test_queries_agree_with_the_model_after_each_transition(job_store: JobStore) -> None:
    later = NOW + timedelta(minutes=1)

    def step(change: Job | None) -> Job:
        return existing(job_store.transact("a", lambda _: change))

    def shown() -> tuple[list[str], list[str], list[str]]:
        return (
            hashes(job_store.unpublished(later, 9)),
            hashes(job_store.with_expired_lease(later, 9)),
            hashes(job_store.with_expired_output(later, 9)),
        )

    job = step(transitions.create(None, "a", user_id="me", labels=(), pools=("p",), secret="s", now=NOW))
    assert shown() == (["a"], [], [])
    job = step(transitions.record_publish(job, NOW))
    assert shown() == ([], [], [])
    job = step(transitions.claim(job, "w", NOW, SECOND))
    assert shown() == ([], ["a"], [])
    job = step(transitions.receive_output(job, 0, None, NOW, SECOND))
    assert shown() == ([], ["a"], [])
    job = step(transitions.lose(job, NOW, 3))
    assert shown() == (["a"], [], [])
    job = step(transitions.claim(job, "w", NOW, None))
    assert shown() == ([], [], [])
    job = step(transitions.update(job, JobUpdate(status="SUCCESS"), NOW, SECOND, None))
    assert shown() == ([], [], ["a"])
    assert hashes(job_store.query(status="SUCCESS", user_id="me").jobs) == ["a"]
    step(transitions.expire_output(job, later))
    assert shown() == ([], [], [])
