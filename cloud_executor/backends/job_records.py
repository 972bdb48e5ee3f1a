"""What all job stores do the same way: encode records, select jobs for their indexes, and page through lists."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

import msgspec

from cloud_executor.errors import Invalid
from cloud_executor.model.blobs.usage import StorageUsage
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.model.jobs.transitions import record_publish
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import JobChange, JobPage

T = TypeVar("T")

SEGMENT_NUMBERS = range(-(2**63), 2**63)
"""Numbers that an output segment can have: 64-bit integers, the largest that the databases store."""

JOB = msgspec.json.Decoder(Job)
WORKER = msgspec.json.Decoder(WorkerRecord)
USAGE = msgspec.json.Decoder(StorageUsage)

JOB_BYTES_PER_READ = 8 * 2**20
"""Approximate size of the jobs that one query returns, in bytes: a job can have a megabyte, and more in SQLite."""

_PAGE_MARK = b"page\0"


class InvalidPage(Invalid):
    """after must be a page token from an earlier response."""


# Encoding -------------------------------------------------------------------------------------------------------------


def encode_string(string: str) -> bytes:
    """The UTF-8 of a string, lone surrogates included: JSON from clients can hold them, strict UTF-8 cannot.

    The bytes sort like the code points of the strings.
    """
    return string.encode("utf-8", "surrogatepass")


def decode_string(data: bytes) -> str:
    """The inverse of `encode_string`."""
    return data.decode("utf-8", "surrogatepass")


def encode_record(record: msgspec.Struct) -> bytes:
    """The JSON of a job or worker, encoded as by `encode_string`."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return encode_string(json.dumps(msgspec.to_builtins(record), ensure_ascii=False))


def decode_record(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """The inverse of `encode_record`; the decoder is JOB or WORKER."""
    try:
        return decoder.decode(data)
    except UnicodeDecodeError:
        return msgspec.convert(json.loads(decode_string(data)), decoder.type)


# Jobs -----------------------------------------------------------------------------------------------------------------


def awaits_own_worker(job: Job) -> bool:
    """Whether the job waits, or runs on one of our workers: with a pool, it is part of that pool's backlog."""
    return job.status == Status.CREATED or (job.running and job.lease_expires is not None)


def lease_end(job: Job) -> datetime | None:
    """Time at which a worker that runs the job has lost it unless it is heard of; None if there is none."""
    return (job.lease_expires or job.start_by) if job.running else None


def publish_recorded(job: Job, at: datetime) -> JobChange:
    """The change that records that `job` is published, unless the stored job has changed since."""
    return lambda stored: record_publish(job, at) if stored == job else None


# Pages ----------------------------------------------------------------------------------------------------------------


def position_of(job: Job) -> bytes:
    """The job's position in lists, which are ordered by creation time and hash."""
    return encode_string(f"{job.create_time}\0{job.hash}")


def read_jobs(records: Iterable[bytes]) -> tuple[Job, ...]:
    """Decode jobs until they have JOB_BYTES_PER_READ."""
    jobs: list[Job] = []
    size = 0
    for record in records:
        jobs.append(decode_record(JOB, record))
        size += len(record)
        if size >= JOB_BYTES_PER_READ:
            break
    return tuple(jobs)


def page_from(
    records: Iterable[bytes], wanted: JobFilter, limit: int, most_read: int, position: Callable[[Job], bytes]
) -> JobPage:
    """A page of up to `limit` of the jobs in `records` that match.

    It ends early after `most_read` records, or JOB_BYTES_PER_READ.
    """
    jobs: list[Job] = []
    last: Job | None = None
    size = 0
    for count, record in enumerate(records):
        if last is not None and (len(jobs) == limit or count >= most_read or size >= JOB_BYTES_PER_READ):
            token = base64.urlsafe_b64encode(_PAGE_MARK + position(last)).decode()
            return JobPage(tuple(jobs), token)
        last = decode_record(JOB, record)
        size += len(record)
        if wanted.matches(last):
            jobs.append(last)
    return JobPage(tuple(jobs), None)


def position_after(token: str) -> bytes:
    """The position of the last job on the page whose `next` is this token. Raises InvalidPage."""
    try:
        data = base64.b64decode(token, altchars="-_", validate=True)
    except ValueError:
        raise InvalidPage from None
    if not data.startswith(_PAGE_MARK):
        raise InvalidPage
    return data.removeprefix(_PAGE_MARK)


# Output ---------------------------------------------------------------------------------------------------------------


def check_segment_number(number: int) -> None:
    """Raises Invalid."""
    if number not in SEGMENT_NUMBERS:
        raise Invalid("The number of an output segment must be a 64-bit integer.")


def segment_numbers(start: int | None, end: int | None) -> range:
    """The segment numbers with start <= number < end; None leaves a bound open."""
    return range(
        SEGMENT_NUMBERS.start if start is None else max(start, SEGMENT_NUMBERS.start),
        SEGMENT_NUMBERS.stop if end is None else min(end, SEGMENT_NUMBERS.stop),
    )
