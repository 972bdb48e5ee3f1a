"""The status of a job: one line that changes on a terminal, or one line per change elsewhere."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TextIO

import click

from cloud_executor.client.job_info import JobInfo


class StatusLine:
    """Call `show` after every poll, and `close` before writing anything else to the stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._overwrites = stream.isatty()
        self._started = time.monotonic()
        self._shown = ""

    def show(self, job: JobInfo) -> None:
        status = _describe(job)
        if self._overwrites:
            line = f"{status} ({time.monotonic() - self._started:.0f} s)"
            self._write("\r" + line[: shutil.get_terminal_size().columns - 1].ljust(len(self._shown)))
            self._shown = line
        elif status != self._shown:
            self._write(f"{status}\n")
            self._shown = status

    def close(self) -> None:
        if self._overwrites and self._shown:
            self._write("\n")
            self._shown = ""

    def _write(self, output: str) -> None:
        with suppress(OSError):  # the terminal may be closed
            click.echo(output, file=self._stream, nl=False)


def _describe(job: JobInfo) -> str:
    if job.finished:
        return job.status
    if job.cancel_requested:
        return f"{job.status}, canceling"
    return f"{job.status} on {job.worker}" if job.worker else f"{job.status}, waiting for a worker"
