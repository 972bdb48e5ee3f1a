"""How a job is doing, for whoever watches: a line that changes on a terminal, a line a change elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

import click

from cloud_executor.client.job_info import JobInfo


class StatusLine:
    """`show` it at every look, `close` it before anything else is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._started = time.monotonic()
        self._shown = ""

    def show(self, job: JobInfo) -> None:
        text = _text(job)
        if self._moves:
            line = f"{text} ({time.monotonic() - self._started:.0f} s)"
            self._write("\r" + line[: shutil.get_terminal_size().columns - 1].ljust(len(self._shown)))
            self._shown = line
        elif text != self._shown:
            self._write(f"{text}\n")
            self._shown = text

    def close(self) -> None:
        if self._moves and self._shown:
            self._write("\n")
        self._shown = ""

    def _write(self, text: str) -> None:
        click.echo(text, file=self._stream, nl=False)


def _text(job: JobInfo) -> str:
    if job.finished:
        return job.status
    if job.cancel_requested:
        return f"{job.status}, being canceled"
    return f"{job.status} on {job.worker}" if job.worker else f"{job.status}, waits for a worker"
