"""`executor run`: submit a job from this machine, wait for it, and fetch its results."""

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
"""Exit codes."""

STDOUT, STDERR = "job_stdout.txt", "job_stderr.txt"
"""Result files with the job's output."""

TAIL_BYTES = 8192
TAIL_LINES = 20
"""Limits for the shown end of a failed job's output."""

NO_WORKER_SECONDS = 3.0
"""Wait, in seconds, before checking whether any worker can run the job."""


def run(client: Client, path: Path, labels: Sequence[str], out: Path | None) -> int:
    """Run the job and return the exit code. Raises CloudExecutorError, and OSError for files on this machine."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with open_source(path) as source:
        _say(f"Uploading {source.name} ({source.size:,} bytes).")
        source.content.seek(0)
        job_hash = client.upload_file(source.content, source.name)
    job = client.create_job(job_hash, labels)
    if job.secret is not None:
        _say(f"Created job {job.hash}.")
    elif job.finished:
        _say(f"Job {job.hash} has already run with the same content, so it is not run again.")
    else:
        _say(f"Job {job.hash} already exists with the same content. Waiting for it.")
    try:
        finished = _wait(client, job)
    except KeyboardInterrupt:
        _cancel(client, job)
        return INTERRUPTED
    printed = _print_stdout(client, finished)
    for warning in finished.warnings:
        _say(f"Warning: {warning}")
    if out is not None:
        _store_results(client, finished, out)
    if finished.succeeded:
        return SUCCEEDED
    if not printed and (tail := _tail(client, finished, "stdout", STDOUT)):
        click.echo(tail)
    _explain(client, finished, known=job.finished)
    return FAILED


def _say(message: str) -> None:
    click.echo(message, err=True)


def _wait(client: Client, job: JobInfo) -> JobInfo:
    line = StatusLine(sys.stderr)
    check_workers_at = time.monotonic() + NO_WORKER_SECONDS

    def show(seen: JobInfo) -> None:
        nonlocal check_workers_at
        if seen.status == "CREATED" and time.monotonic() > check_workers_at:
            check_workers_at = float("inf")
            line.close()
            _warn_without_worker(client, job)
        line.show(seen)

    try:
        return client.wait(job.hash, on_status=show)
    finally:
        line.close()


def _warn_without_worker(client: Client, job: JobInfo) -> None:
    if any(set(job.labels) <= set(worker.labels) for worker in client.workers()):
        return
    labels = f" with the labels {', '.join(job.labels)}" if job.labels else ""
    effect = "stops waiting" if job.secret is None else "cancels it"
    _say(f"No worker{labels} is available, so the job waits until one starts. Ctrl-C {effect}.")


def _cancel(client: Client, job: JobInfo) -> None:
    if job.secret is None:
        _say("Stopped waiting. The job continues, because only its creator can cancel it.")
        return
    client.cancel(job.hash, job.secret)
    _say("Canceled the job.")


def _print_stdout(client: Client, job: JobInfo) -> bool:
    """Print the job's standard output if it is in the results. Returns whether it is."""
    for result_hash in job.result_hashes.values():
        try:
            for chunk in client.chunks(result_hash, STDOUT):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return True
        except NotFound:
            continue
    if job.succeeded:
        _say(f"The output was not kept, because no result pattern of the job matches {STDOUT}.")
    return False


def _store_results(client: Client, job: JobInfo, out: Path) -> None:
    stored: set[Path] = set()
    # Artifacts are selections from the same files, so a file in several artifacts is stored once.
    for result_hash in job.result_hashes.values():
        with tempfile.TemporaryFile(dir=out) as zipped:
            for chunk in client.chunks(result_hash):
                zipped.write(chunk)
            stored |= unpack(zipped, out)
    _say(f"Stored {len(stored)} result file{'' if len(stored) == 1 else 's'} in {out}.")


def _explain(client: Client, job: JobInfo, *, known: bool) -> None:
    if written := _tail(client, job, "stderr", STDERR):
        _say(written)
    _say("The job was canceled." if job.status == CANCELED else f"{job.status}: {job.error or 'no reason was given.'}")
    if known:
        _say("The same content runs only once. To run the job again, change a file or rename the folder or zip.")


def _tail(client: Client, job: JobInfo, log: str, file: str) -> str:
    """The end of the job's output, from its logs or else from a result file."""
    logs = [(job.logs[log], None)] if log in job.logs else []
    for blob_hash, path in (*logs, *((result_hash, file) for result_hash in job.result_hashes.values())):
        try:
            written = client.tail(blob_hash, path, TAIL_BYTES)
        except CloudExecutorError:
            continue
        return "\n".join(written.decode(errors="replace").splitlines()[-TAIL_LINES:])
    return ""
