"""The contract of every JobStore for the output of jobs (cloud_executor/ports.py)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from job_documents import NOW, existing, insert, new_job, odd_strings

from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import Job, OutputSegment
from cloud_executor.ports import JobNotFound, JobStore


def put(store: JobStore, job_hash: str, *numbers: int, output: str = "") -> None:
    for number in numbers:
        store.put_output(OutputSegment(job_hash, number, output or f"output {number}"), lambda _: None)


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
    def reject(_: Job | None) -> Job | None:
        raise JobNotFound

    insert(job_store, new_job("a"))
    put(job_store, "a", 1, output="before")
    for job_hash in ("a", "missing"):
        with pytest.raises(JobNotFound):
            job_store.put_output(OutputSegment(job_hash, 1, "after"), reject)
    assert list(job_store.output("missing")) == []
    assert list(job_store.output("a")) == [OutputSegment("a", 1, "before")]


def test_a_segment_replaces_an_earlier_one_with_the_same_number(job_store: JobStore) -> None:
    put(job_store, "a", 0, 1, 2)
    put(job_store, "a", 1, output="new")
    assert [segment.output for segment in job_store.output("a")] == ["output 0", "new", "output 2"]


def test_output_is_ordered_by_number(job_store: JobStore) -> None:
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


@odd_strings
def test_output_and_its_jobs_hash_can_be_any_string(job_store: JobStore, string: str) -> None:
    put(job_store, string, 0, output=string or "x")
    put(job_store, string + "x", 1, output="other")
    assert list(job_store.output(string)) == [OutputSegment(string, 0, string or "x")]


def test_empty_output_is_kept(job_store: JobStore) -> None:
    job_store.put_output(OutputSegment("a", 0, ""), lambda _: None)
    assert list(job_store.output("a")) == [OutputSegment("a", 0, "")]


def test_output_can_have_many_segments(job_store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(job_store, "a", number, output="x" * 2000), range(1200)))
    assert numbers_of(job_store.output("a")) == list(range(1200))
    assert numbers_of(job_store.output("a", 234, 1145)) == list(range(234, 1145))


def test_segments_can_be_long(job_store: JobStore) -> None:
    outputs = [letter * (3_000_000 // len(letter.encode())) for letter in "abé\U0001f600"]
    for number, output in enumerate(outputs):
        put(job_store, "a", number, output=output)
    assert [segment.output for segment in job_store.output("a")] == outputs


def test_a_job_without_segments_has_empty_output(job_store: JobStore) -> None:
    put(job_store, "a", 1)
    assert list(job_store.output("b")) == []


@pytest.mark.parametrize("other", ["abc", "a", "", "ab\0", "ab/", "AB", "ab "])
def test_clear_output_affects_only_one_job(job_store: JobStore, other: str) -> None:
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


def test_clear_output_leaves_the_job_unchanged(job_store: JobStore) -> None:
    insert(job_store, new_job("a", output_number=0))
    put(job_store, "a", 0)
    job_store.clear_output("a")
    assert job_store.get("a") == new_job("a", output_number=0)


def test_clear_output_changes_the_job_in_the_same_step(job_store: JobStore) -> None:
    insert(job_store, new_job("a", output_number=0))
    put(job_store, "a", 0)
    assert not job_store.clear_output("a", lambda _: None)
    assert numbers_of(job_store.output("a")) == [0]
    assert job_store.clear_output("a", lambda job: transitions.drop_output(existing(job)))
    assert list(job_store.output("a")) == []
    assert job_store.get("a") == new_job("a")
