"""The contract of every JobStore (cloud_executor/ports.py): queries of clients and of the sweep."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from job_documents import NOW, SECOND, every_job, existing, hashes, insert, new_job

from cloud_executor.errors import Invalid
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, JobUpdate
from cloud_executor.ports import JobStore


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
