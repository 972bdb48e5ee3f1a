"""The contract of JobStore.search (cloud_executor/ports.py)."""

from __future__ import annotations

import itertools
from datetime import timedelta

import msgspec
import pytest
from job_documents import NOW, existing, insert, new_job, odd_strings

from cloud_executor.backends.job_terms import PREFIX_LENGTHS
from cloud_executor.errors import Invalid
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, Outcome, Status
from cloud_executor.model.jobs.job_filter import EVERY_JOB, JobFilter
from cloud_executor.ports import JobStore


def found(store: JobStore, wanted: JobFilter, *, newest_first: bool = False, limit: int = 500) -> list[str]:
    """The hashes of all pages."""
    hashes: list[str] = []
    after: str | None = None
    while True:
        page = store.search(wanted, newest_first=newest_first, after=after, limit=limit)
        assert len(page.jobs) <= limit
        hashes += [job.hash for job in page.jobs]
        if page.next is None:
            return hashes
        after = page.next


def ago(seconds: float) -> str:
    return iso_time(NOW - timedelta(seconds=seconds))


JOBS = [
    new_job(
        f"job {number:02}",
        30 - number // 2,
        status=("CREATED", "RUNNING", "SUCCESS", "FAILED_TO_EXECUTE")[number % 4],
        labels=(("gpu",), ("gpu", "big"), ())[number % 3],
        tags=(("red",), ("red", "blue"))[number % 2],
        name=(None, "sweep-1", "sweep-12", "sweeper", "other")[number % 5],
        worker=(None, "w1", "w2")[number % 3],
        pool=("default", None)[number % 2],
    )
    for number in range(24)
]

CONDITIONS: dict[str, tuple[object, ...]] = {
    "statuses": ((), ("RUNNING",), ("SUCCESS", "CREATED")),
    "label": (None, "gpu", "gp"),
    "tag": (None, "blue"),
    "name_prefix": (None, "sweep", "sweep-1", ""),
    "worker": (None, "w1"),
    "created_from": (None, ago(25)),
    "created_before": (None, ago(21)),
}


def combinations() -> list[JobFilter]:
    """All pairs of conditions, and one with all of them."""
    filters = [EVERY_JOB]
    for (first, firsts), (second, seconds) in itertools.combinations(CONDITIONS.items(), 2):
        for one, other in itertools.product(firsts, seconds):
            filters.append(JobFilter(**{first: one, second: other}))  # type: ignore[arg-type]
    filters.append(JobFilter(**{name: values[1] for name, values in CONDITIONS.items()}))  # type: ignore[arg-type]
    return list(dict.fromkeys(filters))


def test_a_search_finds_the_jobs_that_meet_all_conditions_in_order(job_store: JobStore) -> None:
    insert(job_store, *JOBS)
    for number, wanted in enumerate(combinations()):
        expected = [job.hash for job in JOBS if wanted.matches(job)]
        if number % 2:
            assert found(job_store, wanted) == expected, wanted
        else:
            assert found(job_store, wanted, newest_first=True) == expected[::-1], wanted


@pytest.mark.parametrize("limit", [1, 3, 24])
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    "wanted",
    [
        EVERY_JOB,
        JobFilter(statuses=("RUNNING", "SUCCESS"), created_from=ago(28)),
        JobFilter(label="gpu", worker="w1", created_before=ago(20)),
        JobFilter(tag="red", statuses=("CREATED", "RUNNING", "FAILED_TO_EXECUTE")),
    ],
    ids=range(4),
)
def test_pages_contain_each_job_once(job_store: JobStore, wanted: JobFilter, newest_first: bool, limit: int) -> None:
    insert(job_store, *JOBS)
    expected = [job.hash for job in JOBS if wanted.matches(job)]
    assert found(job_store, wanted, newest_first=newest_first, limit=limit) == expected[:: -1 if newest_first else 1]


def test_a_page_ends_after_a_limited_number_of_jobs(job_store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in ("sqlite", "google.firestore"):
        monkeypatch.setattr(f"cloud_executor.backends.{backend}.jobs.JOBS_PER_PAGE", 4)
    insert(job_store, *(new_job(f"{number}", 20 - number, tags=("a",), labels=("x",)) for number in range(9)))
    insert(job_store, new_job("9", 1, tags=("a",), labels=("y",)))
    wanted = JobFilter(tag="a", label="y")
    page = job_store.search(wanted, limit=3)
    assert page.jobs == ()
    assert page.next is not None
    assert found(job_store, wanted, limit=3) == ["9"]
    # Only jobs that do not match are limited.
    assert len(job_store.search(JobFilter(tag="a"), limit=10).jobs) >= 4


def test_a_search_reflects_changes_of_a_job(job_store: JobStore) -> None:
    def lists() -> dict[str, list[str]]:
        filters = {
            "gpu": JobFilter(label="gpu"),
            "created": JobFilter(tag="t", statuses=("CREATED",)),
            "finished": JobFilter(tag="t", statuses=("SUCCESS",)),
            "w": JobFilter(worker="w"),
            "p": JobFilter(pool="p"),
        }
        return {name: hashes for name, wanted in filters.items() if (hashes := found(job_store, wanted))}

    def step(change: Job) -> Job:
        return existing(job_store.transact("a", lambda _: change))

    created = transitions.create(
        None, "a", user_id="me", labels=("gpu",), pools=("p",), secret="s", now=NOW, tags=("t",)
    )
    job = step(existing(created))
    assert lists() == {"gpu": ["a"], "created": ["a"], "p": ["a"]}
    job = step(transitions.claim(job, "w", NOW, timedelta(seconds=9)))
    assert lists() == {"gpu": ["a"], "w": ["a"], "p": ["a"]}
    job = step(transitions.release(job, 1, NOW))
    assert lists() == {"gpu": ["a"], "created": ["a"], "p": ["a"]}
    job = step(transitions.claim(job, "w", NOW, timedelta(seconds=9)))
    job = step(transitions.finish(job, 2, Outcome(Status.SUCCESS), NOW, None))
    assert lists() == {"gpu": ["a"], "finished": ["a"], "w": ["a"]}
    step(msgspec.structs.replace(job, labels=(), tags=("other",), create_time=ago(99)))
    assert lists() == {"w": ["a"]}


@odd_strings
def test_conditions_can_be_any_string(job_store: JobStore, string: str) -> None:
    odd = new_job("a", labels=(string,), tags=(string,), worker=string, name=string, status=string, pool=string)
    insert(job_store, odd, new_job("b", name="name", tags=("tag",)))
    for wanted in (
        JobFilter(label=string),
        JobFilter(tag=string),
        JobFilter(worker=string),
        JobFilter(pool=string),
        JobFilter(name_prefix=string, statuses=(string, "other")),
    ):
        assert found(job_store, wanted) == ["a"]


def test_a_name_is_found_by_each_of_its_beginnings(job_store: JobStore) -> None:
    name = "".join(chr(ord("a") + number % 26) for number in range(max(PREFIX_LENGTHS) + 9))
    insert(job_store, new_job("whole", 2, name=name), *(new_job(f"{n}", 1, name=name[:n]) for n in range(1, 9)))
    for length in range(1, len(name) + 1):
        shorter = [f"{number}" for number in range(1, 9) if number >= length]
        assert found(job_store, JobFilter(name_prefix=name[:length])) == ["whole", *shorter]
    assert found(job_store, JobFilter(name_prefix=f"{name}x")) == []


@pytest.mark.parametrize("after", ["", "x", "AAAA", "x" * 100_000])
def test_an_invalid_cursor_is_rejected(job_store: JobStore, after: str) -> None:
    insert(job_store, new_job("a", tags=("t",)))
    for wanted in (EVERY_JOB, JobFilter(tag="t", statuses=("CREATED", "RUNNING"))):
        with pytest.raises(Invalid):
            job_store.search(wanted, newest_first=True, after=after)
