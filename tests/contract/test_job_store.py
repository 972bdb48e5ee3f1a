"""What every JobStore promises (cloud_executor/ports.py)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import msgspec
import pytest
from contract_backends import PATIENCE_SECONDS, SPAWN, JobBackend, in_process, in_processes

from cloud_executor.errors import Conflict, Invalid
from cloud_executor.model import transitions
from cloud_executor.model.javascript import iso_time
from cloud_executor.model.job import Durations, Job, JobUpdate, NotClaimable, OutputSegment, Status
from cloud_executor.model.worker import WorkerRecord
from cloud_executor.ports import JobNotFound, JobStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

ODD_TEXTS = {
    "empty": "",
    "NUL": "a\0b",
    "path": "../../etc/passwd",
    "slashes": "a/b//c/",
    "dots": "..",
    "quotes": "'; DROP TABLE jobs; --\"`",
    "percent": "50%_[a-z]*",
    "line breaks": "a\r\nb\u2028",
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469",
    "composed": "e\u0301",
    "lone surrogate": "\ud83d",
    "surrogates apart": "\ud83d\ude00",
    "very long": "long/" * 20_000,
}
odd_texts = pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())


def new_job(job_hash: str, age_seconds: float = 0, **fields: object) -> Job:
    created = iso_time(NOW - timedelta(seconds=age_seconds))
    return msgspec.structs.replace(Job(hash=job_hash, create_time=created, secret="hush"), **fields)


def insert(store: JobStore, *jobs: Job) -> None:
    def insert_one(job: Job) -> None:
        store.transact(job.hash, lambda _: job)

    for job in jobs:
        insert_one(job)


def hashes(jobs: tuple[Job, ...]) -> list[str]:
    return [job.hash for job in jobs]


def every_job(store: JobStore, *, limit: int, **filters: str) -> list[str]:
    """The hashes that page after page gives."""
    found: list[str] = []
    after: str | None = None
    while True:
        page = store.query(after=after, limit=limit, **filters)
        assert len(page.jobs) <= limit
        found += hashes(page.jobs)
        if page.next is None:
            return found
        after = page.next


@odd_texts
def test_a_job_that_is_there_can_be_required(job_store: JobStore, text: str) -> None:
    for _ in range(2):
        with pytest.raises(JobNotFound):
            job_store.require(text)
    insert(job_store, new_job(text))
    job_store.require(text)
    job_store.require(text)


# get and transact -----------------------------------------------------------------------------------------------------


def test_get_of_a_missing_job_is_not_found(job_store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        job_store.get("missing")


def test_transact_shows_the_change_none_where_there_is_no_job(job_store: JobStore) -> None:
    shown: list[Job | None] = []

    def change(stored: Job | None) -> Job | None:
        shown.append(stored)
        return None

    assert job_store.transact("missing", change) is None
    assert set(shown) == {None}
    with pytest.raises(JobNotFound):
        job_store.get("missing")


def test_transact_stores_and_returns_what_the_change_makes(job_store: JobStore) -> None:
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


def test_a_change_to_none_leaves_the_job_and_returns_it(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    assert job_store.transact("a", lambda _: None) == new_job("a")
    assert job_store.get("a") == new_job("a")


def test_a_change_that_raises_leaves_the_job(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))

    class Refused(Conflict):
        pass

    def refuse(_: Job | None) -> Job | None:
        raise Refused

    with pytest.raises(Refused):
        job_store.transact("a", refuse)
    with pytest.raises(Refused):
        job_store.transact("missing", refuse)
    assert job_store.get("a") == new_job("a")


def test_a_change_that_is_not_durable_holds_for_everyone_at_once(job_backend: JobBackend, job_store: JobStore) -> None:
    assert job_store.transact("a", lambda _: new_job("a"), durable=False) == new_job("a")
    assert job_store.transact("a", count_up, durable=False) == new_job("a", lost_attempts=1)
    assert job_store.transact("a", lambda _: None, durable=False) == new_job("a", lost_attempts=1)
    assert job_store.get("a") == new_job("a", lost_attempts=1)
    in_processes(1, count_up_in_a_process, job_backend, SPAWN.Barrier(1), 2)
    assert job_store.get("a") == new_job("a", lost_attempts=3)


@pytest.mark.parametrize("remembered", [True, False])
def test_a_publish_is_noted_on_the_job_that_was_published(
    job_backend: JobBackend, job_store: JobStore, remembered: bool
) -> None:
    stored = existing(job_store.transact("a", lambda _: new_job("a", 20, pool="p")))
    with job_backend.open() as other:
        (job_store if remembered else other).record_publish(stored, NOW)
    assert job_store.get("a") == new_job("a", 20, pool="p", published_at=NOW)
    assert job_store.unpublished(NOW, 9) == ()


@pytest.mark.parametrize("remembered", [True, False])
def test_a_publish_is_not_noted_on_a_job_that_was_changed_since(
    job_backend: JobBackend, job_store: JobStore, remembered: bool
) -> None:
    stored = existing(job_store.transact("a", lambda _: new_job("a", 20, pool="p")))
    made_anew = msgspec.structs.replace(stored, secret="another")
    with job_backend.open() as other:
        other.transact("a", lambda _: made_anew)
        (job_store if remembered else other).record_publish(stored, NOW)
    assert job_store.get("a") == made_anew
    assert job_store.unpublished(NOW, 9) == (made_anew,)
    job_store.record_publish(new_job("missing", pool="p"), NOW)
    assert hashes(job_store.query().jobs) == ["a"]


def test_a_change_of_one_job_leaves_the_others(job_store: JobStore) -> None:
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
        status="any text",
        labels=("gpu", "big"),
        result_hashes={"all": "1" * 40, "": "2" * 40},
        start_time="2026-01-31T12:00:01.000Z",
        finish_time="2026-01-31T12:00:02.000Z",
        worker="a worker",
        output_number=-3,
        cancel_requested=True,
        error="It broke.",
        exit_code=3,
        durations=Durations(queued=1.5, fetch=0.001, run=10.0),
        peak_memory_mib=64,
        pool="default",
        later_pools=("large",),
        attempt=7,
        lost_attempts=2,
        retries=0,
        lease_expires=NOW + timedelta(microseconds=1),
        published_at=NOW - timedelta(days=1, microseconds=3),
        output_expires=NOW + timedelta(days=9, microseconds=999_999),
        trace="3" * 32,
    )
    defaults = {name: getattr(new_job("a"), name) for name in ("hash", "secret")}
    for name in Job.__struct_fields__:
        assert name in defaults or getattr(full, name) != getattr(new_job("a"), name)
    insert(job_store, full)
    assert job_store.get("a") == full
    # And every one can be taken away again.
    insert(job_store, new_job("a"))
    assert job_store.get("a") == new_job("a")


@odd_texts
def test_a_hash_may_be_any_text(job_store: JobStore, text: str) -> None:
    others = [new_job(text + "0"), new_job("1" + text), new_job("other")]
    insert(job_store, *others)
    with pytest.raises(JobNotFound):
        job_store.get(text)
    insert(job_store, new_job(text, age_seconds=1))
    assert job_store.get(text) == new_job(text, age_seconds=1)
    assert [job_store.get(other.hash) for other in others] == others
    assert every_job(job_store, limit=1) == [text, *sorted(other.hash for other in others)]


@odd_texts
def test_the_texts_of_a_job_may_be_any_text(job_store: JobStore, text: str) -> None:
    odd = new_job(
        "a", user_id=text, status=text, labels=(text, ""), worker=text, error=text, result_hashes={text: text}
    )
    insert(job_store, odd, new_job("b", user_id="somebody", status="else"))
    assert job_store.get("a") == odd
    assert hashes(job_store.query(status=text).jobs) == ["a"]
    assert hashes(job_store.query(user_id=text).jobs) == ["a"]


# query ----------------------------------------------------------------------------------------------------------------


def test_a_query_gives_the_oldest_first_and_those_of_one_moment_by_hash(job_store: JobStore) -> None:
    insert(job_store, new_job("b"), new_job("c"), new_job("a"), new_job("z", 0.001), new_job("y", -0.001))
    assert hashes(job_store.query().jobs) == ["z", "a", "b", "c", "y"]


def test_a_query_gives_the_jobs_for_which_all_that_is_given_holds(job_store: JobStore) -> None:
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


def test_a_query_follows_the_changes_of_a_job(job_store: JobStore) -> None:
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
def test_pages_give_every_job_once(job_store: JobStore, limit: int, filters: dict[str, str]) -> None:
    jobs = [new_job(f"job {number:02}", age_seconds=number // 3, user_id="me") for number in range(12)]
    insert(job_store, *jobs, new_job("not mine", user_id="you", status="RUNNING"))
    wanted = jobs if filters else [*jobs, job_store.get("not mine")]
    ordered = sorted(wanted, key=lambda job: (job.create_time, job.hash))
    assert every_job(job_store, limit=limit, **filters) == [job.hash for job in ordered]


def test_the_last_page_says_so(job_store: JobStore) -> None:
    insert(job_store, new_job("a"), new_job("b"))
    assert job_store.query(limit=1).next is not None
    assert job_store.query(limit=2).next is None
    assert job_store.query(limit=3).next is None
    assert job_store.query(status="no such").next is None


def test_pages_go_on_while_jobs_come_and_go(job_store: JobStore) -> None:
    insert(job_store, *(new_job(f"{number}", 10 - number) for number in range(6)))
    first = job_store.query(status="CREATED", limit=3)
    insert(job_store, new_job("2", 8, status="RUNNING"), new_job("4", 6, status="RUNNING"), new_job("new"))
    rest = job_store.query(status="CREATED", limit=10, after=first.next)
    assert hashes(first.jobs) == ["0", "1", "2"]
    assert hashes(rest.jobs) == ["3", "5", "new"]


@pytest.mark.parametrize(
    "after", ["", "0", "1", "-1", "no page", "\0", "é", "\ud83d", "AAAA", "MjAyNg==", "%%%", "a/b", "x" * 100_000]
)
def test_a_text_that_is_no_page_is_invalid(job_store: JobStore, after: str) -> None:
    insert(job_store, new_job("a"))
    with pytest.raises(Invalid):
        job_store.query(after=after)


# What a sweep asks ----------------------------------------------------------------------------------------------------


def test_expired_leases_are_those_of_running_jobs_that_ended(job_store: JobStore) -> None:
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


def test_a_renewed_lease_is_no_expired_one(job_store: JobStore) -> None:
    insert(job_store, new_job("a", status="RUNNING", attempt=1, lease_expires=NOW - SECOND))
    job_store.transact("a", lambda job: transitions.renew(existing(job), 1, NOW, SECOND))
    assert job_store.with_expired_lease(NOW, 10) == ()


def existing(job: Job | None) -> Job:
    assert job is not None
    return job


def test_unpublished_are_created_jobs_of_a_pool_without_a_publish(job_store: JobStore) -> None:
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


def test_expired_output_is_that_which_is_due(job_store: JobStore) -> None:
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


# Output ---------------------------------------------------------------------------------------------------------------


def put(store: JobStore, job_hash: str, *numbers: int, text: str = "") -> None:
    for number in numbers:
        store.put_output(OutputSegment(job_hash, number, text or f"text {number}"), lambda _: None)


def numbers_of(segments: Iterator[OutputSegment]) -> list[int]:
    return [segment.number for segment in segments]


def test_put_output_stores_the_segment_and_changes_the_job(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    segment = OutputSegment("a", 5, "some output")
    changed = job_store.put_output(segment, lambda job: transitions.receive_output(existing(job), 5, None, NOW, None))
    assert changed == new_job("a", output_number=5)
    assert job_store.get("a") == changed
    assert list(job_store.output("a")) == [segment]


def test_put_output_whose_change_raises_stores_nothing(job_store: JobStore) -> None:
    def refuse(_: Job | None) -> Job | None:
        raise JobNotFound

    insert(job_store, new_job("a"))
    put(job_store, "a", 1, text="before")
    for job_hash in ("a", "missing"):
        with pytest.raises(JobNotFound):
            job_store.put_output(OutputSegment(job_hash, 1, "after"), refuse)
    assert list(job_store.output("missing")) == []
    assert list(job_store.output("a")) == [OutputSegment("a", 1, "before")]


def test_a_segment_replaces_the_one_of_its_number(job_store: JobStore) -> None:
    put(job_store, "a", 0, 1, 2)
    put(job_store, "a", 1, text="anew")
    assert [segment.output for segment in job_store.output("a")] == ["text 0", "anew", "text 2"]


def test_output_comes_in_the_order_of_its_numbers(job_store: JobStore) -> None:
    put(job_store, "a", 10, 2, -1, 1, 0, 2**53, -(2**53), 100)
    assert numbers_of(job_store.output("a")) == [-(2**53), -1, 0, 1, 2, 10, 100, 2**53]


HUGE = 10**400


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [-2, -1, 0, 1, 2]),
        (0, None, [0, 1, 2]),
        (-1, None, [-1, 0, 1, 2]),
        (None, 0, [-2, -1]),
        (None, 2, [-2, -1, 0, 1]),
        (0, 2, [0, 1]),
        (1, 1, []),
        (2, 1, []),
        (3, None, []),
        (None, -2, []),
        (-HUGE, HUGE, [-2, -1, 0, 1, 2]),
        (HUGE, None, []),
        (None, -HUGE, []),
        (HUGE, HUGE + 1, []),
    ],
)
def test_a_range_of_output_is_half_open(
    job_store: JobStore, start: int | None, end: int | None, expected: list[int]
) -> None:
    put(job_store, "a", -2, -1, 0, 1, 2)
    assert numbers_of(job_store.output("a", start, end)) == expected


@odd_texts
def test_output_may_be_any_text_of_any_job(job_store: JobStore, text: str) -> None:
    put(job_store, text, 0, text=text or "x")
    put(job_store, text + "x", 1, text="other")
    assert list(job_store.output(text)) == [OutputSegment(text, 0, text or "x")]


def test_empty_output_is_kept(job_store: JobStore) -> None:
    job_store.put_output(OutputSegment("a", 0, ""), lambda _: None)
    assert list(job_store.output("a")) == [OutputSegment("a", 0, "")]


def test_output_may_be_many_segments(job_store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(job_store, "a", number, text="x" * 1000), range(3000)))
    assert numbers_of(job_store.output("a")) == list(range(3000))
    assert numbers_of(job_store.output("a", 1234, 2345)) == list(range(1234, 2345))


def test_segments_may_be_long(job_store: JobStore) -> None:
    texts = [letter * (3_000_000 // len(letter.encode())) for letter in "abé\U0001f600"]
    for number, text in enumerate(texts):
        put(job_store, "a", number, text=text)
    assert [segment.output for segment in job_store.output("a")] == texts


def test_output_of_a_job_without_any_is_empty(job_store: JobStore) -> None:
    put(job_store, "a", 1)
    assert list(job_store.output("b")) == []


@pytest.mark.parametrize("other", ["abc", "a", "", "ab\0", "ab/", "AB", "ab "])
def test_clear_output_is_of_one_job_alone(job_store: JobStore, other: str) -> None:
    put(job_store, "ab", -1, 0, 1)
    put(job_store, other, 0)
    job_store.clear_output("ab")
    assert list(job_store.output("ab")) == []
    assert numbers_of(job_store.output(other)) == [0]


def test_clear_output_can_be_repeated(job_store: JobStore) -> None:
    put(job_store, "a", 0)
    job_store.clear_output("a")
    job_store.clear_output("a")
    job_store.clear_output("missing")
    put(job_store, "a", 1)
    assert numbers_of(job_store.output("a")) == [1]


def test_clear_output_leaves_the_job(job_store: JobStore) -> None:
    insert(job_store, new_job("a", output_number=0))
    put(job_store, "a", 0)
    job_store.clear_output("a")
    assert job_store.get("a") == new_job("a", output_number=0)


# Workers --------------------------------------------------------------------------------------------------------------


def test_workers_are_all_known_ones_by_client_id(job_store: JobStore) -> None:
    assert list(job_store.workers()) == []
    workers = [
        WorkerRecord("b", NOW, ("gpu", "big"), "someone"),
        WorkerRecord("a", NOW + timedelta(microseconds=1)),
        WorkerRecord("a b", NOW, pool="p", slots=4),
    ]
    for worker in workers:
        job_store.put_worker(worker)
    assert list(job_store.workers()) == [workers[1], workers[2], workers[0]]


def test_put_worker_replaces_what_was_known_of_it(job_store: JobStore) -> None:
    job_store.put_worker(WorkerRecord("a", NOW, ("gpu",), "someone"))
    job_store.put_worker(WorkerRecord("b", NOW))
    job_store.put_worker(WorkerRecord("a", NOW + SECOND))
    assert list(job_store.workers()) == [WorkerRecord("a", NOW + SECOND), WorkerRecord("b", NOW)]


@odd_texts
def test_a_client_id_may_be_any_text(job_store: JobStore, text: str) -> None:
    workers = [WorkerRecord(text, NOW, (text,), text), WorkerRecord(text + "x", NOW)]
    for worker in workers:
        job_store.put_worker(worker)
    assert sorted(job_store.workers(), key=lambda worker: worker.client_id) == workers
    assert job_store.delete_worker(text, NOW + SECOND)
    assert list(job_store.workers()) == workers[1:]


def test_workers_may_be_many(job_store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: job_store.put_worker(WorkerRecord(f"{number:04}", NOW)), range(1100)))
    assert [worker.client_id for worker in job_store.workers()] == [f"{number:04}" for number in range(1100)]


def test_delete_worker_spares_one_that_was_seen_since(job_store: JobStore) -> None:
    job_store.put_worker(WorkerRecord("a", NOW))
    job_store.put_worker(WorkerRecord("b", NOW))
    assert not job_store.delete_worker("a", NOW - SECOND)
    assert not job_store.delete_worker("a", NOW)
    assert not job_store.delete_worker("missing", NOW + SECOND)
    assert job_store.delete_worker("a", NOW + SECOND)
    assert not job_store.delete_worker("a", NOW + SECOND)
    assert list(job_store.workers()) == [WorkerRecord("b", NOW)]


# Races ----------------------------------------------------------------------------------------------------------------


def count_up(job: Job | None) -> Job:
    return msgspec.structs.replace(existing(job), lost_attempts=existing(job).lost_attempts + 1)


def test_no_change_of_many_threads_is_lost(job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: job_store.transact("a", count_up), range(200)))
    assert job_store.get("a").lost_attempts == 200


def count_up_in_a_process(_number: int, backend: JobBackend, start: Barrier, times: int) -> None:
    with backend.open() as store:
        start.wait(PATIENCE_SECONDS)
        for _ in range(times):
            store.transact("a", count_up)


def test_no_change_of_several_processes_is_lost(job_backend: JobBackend, job_store: JobStore) -> None:
    insert(job_store, new_job("a"))
    in_processes(3, count_up_in_a_process, job_backend, SPAWN.Barrier(3), 100)
    assert job_store.get("a").lost_attempts == 300


def claim(store: JobStore, job_hash: str, worker: str) -> bool:
    try:
        store.transact(job_hash, lambda job: transitions.claim(existing(job), worker, NOW, SECOND, 3))
    except NotClaimable:
        return False
    return True


def test_of_threads_that_claim_a_job_exactly_one_wins(job_store: JobStore) -> None:
    start = threading.Barrier(8)
    rounds = range(20)
    insert(job_store, *(new_job(str(turn)) for turn in rounds))

    def race(number: int) -> set[int]:
        won = set()
        for turn in rounds:
            start.wait(PATIENCE_SECONDS)
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
            start.wait(PATIENCE_SECONDS)
            secret = f"of {number}"

            def change(job: Job | None, secret: str = secret) -> Job | None:
                return new_job("x", secret=secret) if job is None else None

            stored = store.transact(f"job {turn}", change)
            assert stored is not None
            store.put_output(OutputSegment(f"seen {turn}", number, stored.secret), lambda _: None)


def test_of_processes_that_create_a_job_exactly_one_wins(job_backend: JobBackend, job_store: JobStore) -> None:
    in_processes(3, create_in_a_process, job_backend, SPAWN.Barrier(3), 20)
    for turn in range(20):
        secret = job_store.get(f"job {turn}").secret
        assert [segment.output for segment in job_store.output(f"seen {turn}")] == [secret] * 3


def test_readers_see_each_change_whole(job_store: JobStore) -> None:
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
            for _ in range(100):
                job_store.transact("a", change)
        finally:
            done.set()
    assert all(0 <= reader.result() <= 100 for reader in readers)


# Crashes --------------------------------------------------------------------------------------------------------------


def stall_in_a_transaction(backend: JobBackend, stalled: Event, with_output: bool) -> None:
    def change(job: Job | None) -> Job | None:
        stalled.set()
        threading.Event().wait()
        return job

    with backend.open() as store:
        if with_output:
            store.put_output(OutputSegment("a", 0, "text"), change)
        store.transact("a", change)


@pytest.mark.parametrize("with_output", [False, True])
def test_a_process_killed_in_a_transaction_leaves_the_store_as_it_was(
    job_backend: JobBackend, job_store: JobStore, with_output: bool
) -> None:
    insert(job_store, new_job("a"))
    stalled = SPAWN.Event()
    with in_process(stall_in_a_transaction, job_backend, stalled, with_output):
        assert stalled.wait(PATIENCE_SECONDS)
        assert job_store.get("a") == new_job("a")
    assert list(job_store.output("a")) == []
    job_store.transact("a", count_up)
    assert job_store.get("a") == new_job("a", lost_attempts=1)


def write_and_tell(backend: JobBackend, log: Path) -> None:
    def insert_durably_or_not(store: JobStore, number: int) -> None:
        store.transact(f"job {number}", lambda _: new_job(f"job {number}"), durable=number % 2 == 0)

    with backend.open() as store, log.open("a") as told:
        for number in range(100_000):
            insert_durably_or_not(store, number)
            store.put_output(OutputSegment(f"job {number}", 0, "x" * 5000), count_up)
            told.write(f"{number}\n")
            told.flush()


def test_a_process_killed_at_any_moment_leaves_whole_changes_and_all_that_it_told(
    job_backend: JobBackend, job_store: JobStore, tmp_path: Path
) -> None:
    log = tmp_path / "told"
    log.touch()
    pause = threading.Event()
    with in_process(write_and_tell, job_backend, log):
        for _ in range(PATIENCE_SECONDS * 100):
            if log.read_text().count("\n") >= 100:
                break
            pause.wait(0.01)
    told = len(log.read_text().splitlines())
    assert told >= 100
    stored = every_job(job_store, limit=500)
    assert told <= len(stored) <= told + 1
    for job_hash in stored:
        # The segment and the count come together.
        assert len(list(job_store.output(job_hash))) == job_store.get(job_hash).lost_attempts
    assert [job_store.get(f"job {number}").lost_attempts for number in range(told)] == [1] * told


# Through the transitions ----------------------------------------------------------------------------------------------


def test_a_jobs_life_shows_in_every_query(job_store: JobStore) -> None:
    """The queries agree with the model after each of its transitions."""
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
    job = step(transitions.claim(job, "w", NOW, SECOND, 3))
    assert shown() == ([], ["a"], [])
    job = step(transitions.receive_output(job, 0, None, NOW, SECOND))
    assert shown() == ([], ["a"], [])
    job = step(transitions.lose(job, NOW, 3))
    assert shown() == (["a"], [], [])
    job = step(transitions.claim(job, "w", NOW, None, 3))
    assert shown() == ([], [], [])
    job = step(transitions.update(job, JobUpdate(status="SUCCESS"), NOW, SECOND))
    assert shown() == ([], [], ["a"])
    assert hashes(job_store.query(status="SUCCESS", user_id="me").jobs) == ["a"]
    step(transitions.expire_output(job, later))
    assert shown() == ([], [], [])
