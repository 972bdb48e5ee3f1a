"""Waiting for a job: long polls where the server supports them, otherwise polls at growing intervals."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cloud_executor.client.errors import ServerError, WaitTimeout
from cloud_executor.client.job_info import JobInfo, OutputSegment
from cloud_executor.client.transport import OUTAGE_SECONDS, Transport, json_of, path_segment
from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable

FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 1.0

LONG_POLL_SECONDS = 25
"""Longest time, in seconds, that a server holds back its response while nothing changes."""

WAITING_POLL_SECONDS = 10
"""The same while jobs are ahead of the job, in seconds: their number changes, which ends no long poll."""

POLL_READ_SECONDS = 15.0
"""Read timeout of a poll, in seconds, in addition to the time that it may wait on the server.

It is far below the longest outage, so that a lost response does not end the wait.
"""


def watch(
    transport: Transport,
    job_hash: str,
    timeout_seconds: float | None = None,
    longest_poll_seconds: int = LONG_POLL_SECONDS,
    known: JobInfo | None = None,
) -> Iterator[JobInfo]:
    """Yield the job after every poll until it has finished. The first poll waits for a change of `known`.

    Raises NotFound, WaitTimeout, and Unavailable if the server cannot be reached for a minute.
    """
    started = last_seen = time.monotonic()
    pauses = delays(FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS, factor=1.5)
    while True:
        left = None if timeout_seconds is None else started + timeout_seconds - time.monotonic()
        asked = time.monotonic()
        waited = False
        try:
            job, granted = _poll(
                transport,
                job_hash,
                known,
                longest_poll_seconds if left is None else min(longest_poll_seconds, int(left)),
            )
        except Unavailable:
            if time.monotonic() - last_seen > OUTAGE_SECONDS:
                raise
        else:
            last_seen = time.monotonic()
            yield job
            if job.finished:
                return
            # A response that came at once although nothing has changed must not start a busy loop.
            changed = known is None or _state(job) != _state(known)
            waited = granted > 0 and (changed or last_seen - asked >= min(granted, 1.0))
            known = job
        pause = 0.0 if waited else next(pauses)
        if timeout_seconds is not None:
            left = started + timeout_seconds - time.monotonic()
            if left <= 0:
                raise WaitTimeout
            pause = min(pause, left)
        if pause:
            time.sleep(pause)


def follow(
    transport: Transport,
    job_hash: str,
    longest_poll_seconds: int = LONG_POLL_SECONDS,
    known: JobInfo | None = None,
) -> Iterator[tuple[JobInfo, list[OutputSegment]]]:
    """Like `watch`, with the output segments that are new since the last poll, each once and in order."""
    start = 0
    if known is not None and known.output_number is not None:
        known = None  # it has output already, for which the first poll must not wait
    for job in watch(transport, job_hash, None, longest_poll_seconds, known):
        segments: list[OutputSegment] = []
        if job.output_number is None:
            start = 0  # its output was deleted, and the next run numbers its segments again
        elif job.output_number >= start:
            segments = output_segments(transport, job_hash, start)
            start = max((segment.number + 1 for segment in segments), default=start)
        yield job, segments


def output_segments(
    transport: Transport, job_hash: str, start: int | None = None, end: int | None = None
) -> list[OutputSegment]:
    """Return the segments with start <= number < end. Raises NotFound."""
    query = {name: str(bound) for name, bound in (("start", start), ("end", end)) if bound is not None}
    response = transport.request("GET", f"/rest/executor/output/{path_segment(job_hash)}", query=query)
    try:
        return [OutputSegment(found["outputNumber"], found["output"]) for found in json_of(response)]
    except (KeyError, TypeError) as error:
        raise ServerError from error


def info_path(job_hash: str) -> str:
    return f"/rest/executor/info/{path_segment(job_hash)}"


def _poll(transport: Transport, job_hash: str, known: JobInfo | None, seconds: int) -> tuple[JobInfo, float]:
    """Return the job, and the number of seconds that the server was willing to wait; 0 if it does not wait."""
    query: dict[str, str] = {}
    if known is not None and known.waiting_note is not None:
        seconds = min(seconds, WAITING_POLL_SECONDS)
    if known is not None and seconds > 0:
        number = "null" if known.output_number is None else str(known.output_number)
        query = {"wait": str(seconds), "status": known.status, "outputNumber": number}
    response = transport.request(
        "GET",
        info_path(job_hash),
        query=query or None,
        read_seconds=POLL_READ_SECONDS + (seconds if query else 0),
        patient=False,
    )
    try:
        granted = float(response.headers.get("x-executor-wait", 0))
    except ValueError:
        granted = 0.0
    return JobInfo.from_wire(json_of(response)), granted


def _state(job: JobInfo) -> tuple[str, int | None]:
    return job.status, job.output_number
