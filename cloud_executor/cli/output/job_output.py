"""The standard output of a job on this command's standard output: while the job runs, and exactly once."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from cloud_executor.cli.output.messages import discard_output
from cloud_executor.client.client import Client
from cloud_executor.client.job_info import JobInfo, OutputSegment
from cloud_executor.client.results.logs import log_places
from cloud_executor.errors import NotFound


class JobOutput:
    """Writes segments as they arrive, and the rest from the job's log at the end.

    Segments are text, in which U+FFFD stands for bytes that are not UTF-8. On a terminal that is good enough. Into a
    file or a pipe, nothing is written from such a segment on, so that the log can complete the output byte for byte.
    """

    def __init__(self) -> None:
        self._is_exact = not sys.stdout.isatty()
        self._written = 0
        self._paused_at: int | None = None
        """Number of the first segment that was not written."""
        self._attempt = 0

    @property
    def began(self) -> bool:
        """Whether anything has been written."""
        return self._written > 0

    def add(self, job: JobInfo, segments: Iterable[OutputSegment]) -> None:
        if self._written and job.attempt != self._attempt:
            # The log contains only the last attempt's output, so it cannot complete what is written.
            self._is_exact = False
        self._attempt = job.attempt
        for segment in segments:
            if self._is_exact and not _is_exact(segment.output):
                self._paused_at = self._paused_at if self._paused_at is not None else segment.number
            if self._paused_at is None:
                encoded = segment.output.encode(errors="replace")
                self._written += len(encoded)
                write([encoded])

    def finish(self, client: Client, job: JobInfo) -> bool:
        """Write what is missing. Returns whether all output that is known is written."""
        if not self._is_exact and self.began:
            return True
        if self.began and "stdout" not in job.logs:
            if self._paused_at is not None:
                rest = client.output(job.hash, self._paused_at)
                write(segment.output.encode(errors="replace") for segment in rest)
            return True
        for blob_hash, path in log_places(job, "stdout"):
            if path is None and not self.began and not job.succeeded:
                continue  # of a failed job without results, the end of the output is shown
            try:
                write(client.chunks(blob_hash, path, self._written))
                return True
            except NotFound:
                continue
        return self.began


def write(chunks: Iterable[bytes]) -> None:
    """Write to standard output."""
    try:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        discard_output()


def _is_exact(text: str) -> bool:
    return "\ufffd" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
