"""`executor run`: a job from a folder on this machine to its results on this machine."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from cloud_executor.cli.status_line import StatusLine
from cloud_executor.client.client import Client
from cloud_executor.client.job_info import CANCELED, JobInfo
from cloud_executor.client.job_source import open_source
from cloud_executor.client.result_zip import unpack
from cloud_executor.errors import CloudExecutorError, NotFound

SUCCEEDED, FAILED, INTERRUPTED = 0, 1, 130
"""exit codes"""

STDOUT, STDERR = "job_stdout.txt", "job_stderr.txt"
"""where a job's results keep what it wrote"""

TAIL_BYTES = 8192
TAIL_LINES = 20
"""of the standard error of a failed job"""

NO_WORKER_SECONDS = 3.0
"""how long a job may wait before it is looked whether any worker would take it"""


def run(executor: Client, path: Path, labels: Sequence[str], out: Path | None) -> int:
    """The exit code. Raises CloudExecutorError, and OSError for files of this machine."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with open_source(path) as source:
        _say(f"Uploading {source.name} ({source.size:,} bytes).")
        source.content.seek(0)
        job_hash = executor.upload_file(source.content, source.name)
    job = executor.create_job(job_hash, labels)
    if job.secret is not None:
        _say(f"Created the job {job.hash}.")
    elif job.finished:
        _say(f"The job {job.hash} has run already, with the same content: it is not run again.")
    else:
        _say(f"The job {job.hash} is there already, with the same content: waiting for it.")
    try:
        finished = _wait(executor, job)
    except KeyboardInterrupt:
        _cancel(executor, job)
        return INTERRUPTED
    _print_stdout(executor, finished)
    if out is not None:
        _store_results(executor, finished, out)
    if finished.succeeded:
        return SUCCEEDED
    _explain(executor, finished, known=job.finished)
    return FAILED


def _say(text: str) -> None:
    click.echo(text, err=True)


def _wait(executor: Client, job: JobInfo) -> JobInfo:
    line = StatusLine(sys.stderr)
    look_for_workers_at = time.monotonic() + NO_WORKER_SECONDS

    def show(seen: JobInfo) -> None:
        nonlocal look_for_workers_at
        if seen.status == "CREATED" and time.monotonic() > look_for_workers_at:
            look_for_workers_at = float("inf")
            line.close()
            _warn_without_worker(executor, seen)
        line.show(seen)

    try:
        return executor.wait(job.hash, on_status=show)
    finally:
        line.close()


def _warn_without_worker(executor: Client, job: JobInfo) -> None:
    if any(set(job.labels) <= set(worker.labels) for worker in executor.workers()):
        return
    wanted = f" that has the labels {', '.join(job.labels)}" if job.labels else ""
    _say(f"No worker{wanted} is there: the job waits until one comes. Ctrl-C cancels it.")


def _cancel(executor: Client, job: JobInfo) -> None:
    if job.secret is None:
        _say("Stopped waiting. The job goes on: only who created it can cancel it.")
        return
    executor.cancel(job.hash, job.secret)
    _say("Canceled the job.")


def _print_stdout(executor: Client, job: JobInfo) -> None:
    for result_hash in job.result_hashes.values():
        try:
            for chunk in executor.chunks(result_hash, STDOUT):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        except NotFound:
            continue
    if job.succeeded:
        _say(f"No result pattern of the job takes {STDOUT}: its output was not kept.")


def _store_results(executor: Client, job: JobInfo, out: Path) -> None:
    stored: set[Path] = set()
    # Artifacts are choices from the same files: what is in several comes out once.
    for result_hash in job.result_hashes.values():
        with tempfile.TemporaryFile(dir=out) as zipped:
            for chunk in executor.chunks(result_hash):
                zipped.write(chunk)
            stored |= unpack(zipped, out)
    _say(f"Stored {len(stored)} result file{'' if len(stored) == 1 else 's'} in {out}.")


def _explain(executor: Client, job: JobInfo, *, known: bool) -> None:
    if written := _stderr_tail(executor, job):
        _say(written)
    _say("The job was canceled." if job.status == CANCELED else f"{job.status}: {job.error or 'no reason is given.'}")
    if known:
        _say("To run it again, change something in it, be it the name of its folder: the same content runs once.")


def _stderr_tail(executor: Client, job: JobInfo) -> str:
    for result_hash in job.result_hashes.values():
        try:
            written = executor.tail(result_hash, STDERR, TAIL_BYTES)
        except CloudExecutorError:
            continue
        return "\n".join(written.decode(errors="replace").splitlines()[-TAIL_LINES:])
    return ""
