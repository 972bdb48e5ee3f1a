"""Rules that all job stores share (cloud_executor/backends/job_records.py)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec
import pytest

from cloud_executor.backends.job_records import (
    JOB,
    InvalidPage,
    check_segment_number,
    decode_record,
    decode_string,
    encode_record,
    encode_string,
    lease_end,
    page_from,
    position_after,
    position_of,
    segment_numbers,
)
from cloud_executor.errors import Invalid
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.model.jobs.job_filter import EVERY_JOB, JobFilter

NOW = datetime(2026, 1, 31, tzinfo=UTC)
WAITING = Job(hash="job", create_time="2026-01-31T00:00:00.000Z", secret="secret", pool="pool")


def changed(**fields: object) -> Job:
    return msgspec.structs.replace(WAITING, **fields)


@pytest.mark.parametrize("string", ["", "plain", "é", "\ud83d", "\0", "\U0001f600 \udc00"])
def test_any_string_survives_encoding(string: str) -> None:
    assert decode_string(encode_string(string)) == string
    job = changed(error=string)
    assert decode_record(JOB, encode_record(job)) == job


def test_encoded_strings_sort_by_code_point() -> None:
    strings = ["", "\0", "a", "a\0", "b", "é", "\ud83d", "\uffff", "\U0001f600"]
    assert sorted(strings, key=encode_string) == sorted(strings) == strings


def test_a_lease_counts_only_while_the_job_runs() -> None:
    assert lease_end(changed(status=Status.RUNNING, lease_expires=NOW)) == NOW
    assert lease_end(changed(status=Status.RUNNING)) is None
    assert lease_end(changed(status=Status.SUCCESS, lease_expires=NOW)) is None


def test_a_page_token_is_the_position_of_the_last_job() -> None:
    jobs = tuple(changed(hash=job_hash) for job_hash in "abc")
    page = page_from(map(encode_record, jobs), EVERY_JOB, 2, 9, position_of)
    assert page.jobs == jobs[:2]
    assert page.next is not None
    assert position_after(page.next) == position_of(jobs[1])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_last_page_has_no_token(count: int) -> None:
    jobs = (WAITING,) * count
    page = page_from(map(encode_record, jobs), EVERY_JOB, 2, 9, position_of)
    assert (page.jobs, page.next) == (jobs, None)


def test_a_page_ends_after_the_jobs_that_may_be_read() -> None:
    records = [encode_record(changed(hash=f"{number}", tags=("t",) * (number == 3))) for number in range(6)]
    page = page_from(records, JobFilter(tag="t"), 1, 2, position_of)
    assert page.jobs == ()
    assert page.next is not None
    assert position_after(page.next) == position_of(changed(hash="1"))
    assert [job.hash for job in page_from(records, JobFilter(tag="t"), 1, 4, position_of).jobs] == ["3"]


@pytest.mark.parametrize("token", ["", "x", "é", "cGFnZQ==", base64.urlsafe_b64encode(b"other").decode()])
def test_an_invalid_page_token_is_rejected(token: str) -> None:
    with pytest.raises(InvalidPage, match="page token"):
        position_after(token)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (None, None, -(2**63), 2**63 - 1),
        (3, 9, 3, 8),
        (-(10**400), 10**400, -(2**63), 2**63 - 1),
    ],
)
def test_segment_numbers_are_limited_to_64_bits(start: int | None, end: int | None, first: int, last: int) -> None:
    numbers = segment_numbers(start, end)
    assert (numbers[0], numbers[-1]) == (first, last)


@pytest.mark.parametrize(("start", "end"), [(3, 3), (9, 3), (2**63, None), (None, -(2**63))])
def test_a_range_without_segment_numbers_is_empty(start: int | None, end: int | None) -> None:
    assert not segment_numbers(start, end)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_a_segment_number_of_more_than_64_bits_is_rejected(number: int) -> None:
    with pytest.raises(Invalid, match="64-bit"):
        check_segment_number(number)
