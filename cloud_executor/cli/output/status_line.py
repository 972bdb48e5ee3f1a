"""The status of a job: one line that changes on a terminal, or one line per change elsewhere."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from typing import TextIO

import click

from cloud_executor.client.job_info import JobInfo

TICK_SECONDS = 1.0
"""Interval, in seconds, at which the line on a terminal shows the elapsed time."""


class StatusLine:
    """Call `show` after every poll, `clear` before writing anything else to the terminal, and `close` at the end."""

    def __init__(self, stream: TextIO, started: float | None = None) -> None:
        """`started` is the beginning of the elapsed time, on the monotonic clock; None: now."""
        self._stream = stream
        self._overwrites = stream.isatty()
        self._started = time.monotonic() if started is None else started
        self._status = ""
        self._shown = ""
        self._lock = threading.RLock()
        self._closed = threading.Event()
        if self._overwrites:
            threading.Thread(target=self._tick, name="status line", daemon=True).start()

    def show(self, job: JobInfo, note: str = "") -> None:
        """`note` is added on a terminal, such as the number of jobs that wait."""
        with self._lock:
            status = describe(job)
            if self._overwrites:
                # Elsewhere, each new number of jobs ahead would be another line.
                status = describe(job, with_note=True)
                self._status = status + (f", {note}" if note else "")
                self._draw()
            elif status != self._shown:
                self._write(f"{status}\n")
                self._shown = status

    def clear(self) -> None:
        """Remove the line until the next `show`."""
        with self._lock:
            if self._overwrites and self._shown:
                self._write("\r" + " " * len(self._shown) + "\r")
                self._shown = ""
            self._status = ""

    def close(self) -> None:
        """Leave the line as it is, and write below it."""
        with self._lock:
            self._closed.set()
            if self._overwrites and self._shown:
                self._write("\n")
                self._shown = ""

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = f"{self._status} ({_duration(time.monotonic() - self._started)})"[:width]
        self._write("\r" + line.ljust(len(self._shown)))
        self._shown = line

    def _tick(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            with self._lock:
                if self._status and not self._closed.is_set():
                    self._draw()

    def _write(self, output: str) -> None:
        with suppress(OSError):  # the terminal may be closed
            click.echo(output, file=self._stream, nl=False)


def describe(job: JobInfo, *, with_note: bool = False) -> str:
    """The job's status in a few words. `with_note`: with what a waiting job waits for."""
    if job.finished:
        return job.status
    if job.cancel_requested:
        return f"{job.status}, canceling"
    if job.worker:
        return f"{job.status} on {job.worker}"
    if job.waiting_for:
        return f"{job.status}, waiting for a worker with the labels {', '.join(job.waiting_for)}"
    if with_note and job.waiting_note:
        return f"{job.status}, waiting: {job.waiting_note}"
    return f"{job.status}, waiting for a worker"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
