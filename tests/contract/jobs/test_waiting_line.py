"""`JobStore`: which jobs are published next, and how many are ahead of a job."""

from __future__ import annotations

import pytest
from job_documents import NOW, SECOND, existing, hashes, insert, new_job

from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import JobStore


def held(job_hash: str, age_seconds: float = 0, **fields: object) -> Job:
    return new_job(job_hash, age_seconds, **{"pool": "p", **fields})


def queued(job_hash: str, age_seconds: float = 0, **fields: object) -> Job:
    return held(job_hash, age_seconds, published_at=NOW, publishes=1, **fields)


def next_to_publish(store: JobStore, window: int, user_id: str = "guest", pool: str = "p") -> list[str]:
    return hashes(store.next_to_publish(user_id, pool, window))


def test_the_oldest_jobs_of_a_user_and_pool_are_next(job_store: JobStore) -> None:
    insert(
        job_store,
        held("b", 20),
        held("a", 30),
        held("d", 10),
        held("c", 10),
        held("other user", 50, user_id="ada"),
        held("other pool", 50, pool="p2"),
        held("no pool", 50, pool=None),
        held("running", 50, status=Status.RUNNING),
        held("done", 50, status=Status.SUCCESS),
    )
    assert [next_to_publish(job_store, window) for window in (1, 2, 3, 9)] == [
        ["a"],
        ["a", "b"],
        ["a", "b", "c"],
        ["a", "b", "c", "d"],
    ]
    assert next_to_publish(job_store, 9, "ada") == ["other user"]
    assert next_to_publish(job_store, 9, pool="p2") == ["other pool"]
    assert next_to_publish(job_store, 9, "eve") == next_to_publish(job_store, 9, pool="p3") == []


def test_published_jobs_of_the_same_user_and_pool_take_places(job_store: JobStore) -> None:
    insert(
        job_store,
        queued("a", 30),
        queued("b", 30),
        held("c", 20),
        held("d", 10),
        held("e"),
        queued("other user", user_id="ada"),
        queued("other pool", pool="p2"),
        queued("running", status=Status.RUNNING),
        queued("canceled", status=Status.CANCELED),
    )
    assert [next_to_publish(job_store, window) for window in (1, 2, 3, 5, 9)] == [
        [],
        [],
        ["c"],
        ["c", "d", "e"],
        ["c", "d", "e"],
    ]
    job_store.transact("a", lambda job: transitions.claim(existing(job), "w", NOW, SECOND))
    assert next_to_publish(job_store, 2) == ["c"]


def test_the_queued_jobs_of_a_user_and_pool_are_found(job_store: JobStore) -> None:
    insert(
        job_store,
        queued("a", 30),
        queued("b", 20),
        held("c", 10),
        queued("other user", user_id="ada"),
        queued("other pool", pool="p2"),
        queued("running", status=Status.RUNNING),
    )
    assert sorted(hashes(job_store.queued("guest", "p", 9))) == ["a", "b"]
    assert len(job_store.queued("guest", "p", 1)) == 1
    assert job_store.queued("ada", "p", 9) == (job_store.get("other user"),)
    assert job_store.queued("eve", "p", 9) == ()


@pytest.mark.parametrize("user", ["guest", "ada@example.org", "a\ud83d", "x" * 2000])
@pytest.mark.parametrize("pool", ["p", "a-long-name-of-a-pool"])
def test_a_job_that_is_recorded_as_published_takes_a_place(job_store: JobStore, user: str, pool: str) -> None:
    insert(job_store, *(held(name, user_id=user, pool=pool) for name in ("a", "b" * 2000)))
    (first,) = job_store.next_to_publish(user, pool, 1)
    assert first == job_store.get("a")
    job_store.record_publish(first, NOW)
    assert next_to_publish(job_store, 1, user, pool) == []
    assert next_to_publish(job_store, 2, user, pool) == ["b" * 2000]


def test_unpublished_returns_the_oldest_job_of_each_user_and_pool(job_store: JobStore) -> None:
    insert(
        job_store,
        held("a", 30),
        held("b", 40),
        held("c", 20, user_id="ada"),
        held("d", 20, pool="p2"),
        held("young", 5, user_id="eve"),
        *(held(f"more {number}", 50, user_id="bob") for number in range(5)),
    )
    before = NOW - 10 * SECOND
    assert sorted(hashes(job_store.unpublished(before, 9))) == ["b", "c", "d", "more 0"]
    # Each has its turn.
    found = set()
    for _ in range(200):
        found.update(hashes(job_store.unpublished(before, 1)))
        if len(found) == 4:
            return
    raise AssertionError(found)


def test_jobs_ahead_are_published_or_older_ones_of_the_same_user(job_store: JobStore) -> None:
    mine, last = held("mine", 20), held("last", 5)
    insert(
        job_store,
        queued("a", 60),
        queued("b", 40, user_id="ada"),
        queued("c", 30),
        held("oldest", 25),
        mine,
        last,
        held("another user's", 50, user_id="ada"),
        queued("other pool", 70, pool="p2"),
        queued("running", 70, status=Status.RUNNING),
    )
    assert [job_store.jobs_ahead(job, 100) for job in (mine, last)] == [4, 5]
    assert [job_store.jobs_ahead(job_store.get(name), 100) for name in "abc"] == [0, 1, 2]
    assert [job_store.jobs_ahead(last, limit) for limit in (1, 3, 5)] == [1, 3, 5]
