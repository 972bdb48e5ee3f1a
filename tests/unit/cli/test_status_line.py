"""The words in which `executor run` shows the status of a job."""

from __future__ import annotations

import io
from typing import Any

import pytest

from cloud_executor.cli.output.job_rows import job_details
from cloud_executor.cli.output.status_line import StatusLine, describe
from cloud_executor.client.job_info import JobInfo


def info(**fields: Any) -> JobInfo:
    return JobInfo.from_wire({"hash": "h", "status": "CREATED", **fields})


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({}, None),
        ({"jobsAhead": 0}, None),
        ({"jobsAhead": 1}, "1 job ahead"),
        ({"jobsAhead": 12}, "12 jobs ahead"),
        ({"jobsAhead": 1000}, "1000+ jobs ahead"),
        ({"jobsAhead": 12, "waitingReason": "machine starting"}, "a machine is starting"),
        ({"waitingReason": "no worker"}, "no worker is running"),
        ({"waitingReason": "some reason of a newer server"}, "some reason of a newer server"),
        ({"status": "RUNNING", "jobsAhead": 12}, None),
    ],
)
def test_a_waiting_job_says_what_it_waits_for(fields: dict[str, Any], note: str | None) -> None:
    job = info(**fields)
    assert job.waiting_note == note
    assert dict(job_details(job)).get("waiting") == note
    expected = f"{job.status}, waiting for a worker" if note is None else f"{job.status}, waiting: {note}"
    assert describe(job, with_note=True) == expected
    assert describe(job) == f"{job.status}, waiting for a worker"


def test_only_a_terminal_shows_the_jobs_ahead() -> None:
    stream = io.StringIO()
    line = StatusLine(stream)
    for count in (3, 2, 1):
        line.show(info(jobsAhead=count))
    line.close()
    assert stream.getvalue() == "CREATED, waiting for a worker\n"
