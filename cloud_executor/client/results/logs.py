"""Where a job's standard output and error are stored."""

from __future__ import annotations

from typing import Literal

from cloud_executor.client.job_info import JobInfo

Log = Literal["stdout", "stderr"]

FILES: dict[Log, str] = {"stdout": "job_stdout.txt", "stderr": "job_stderr.txt"}
"""Result files with the job's output."""


def log_places(job: JobInfo, log: Log) -> list[tuple[str, str | None]]:
    """The blobs, each with a file in it or None, that may hold the whole output of the last attempt."""
    own: list[tuple[str, str | None]] = [(job.logs[log], None)] if log in job.logs else []
    # WebGME's workers store the output only among the results.
    return own + [(result_hash, FILES[log]) for result_hash in job.result_hashes.values()]
