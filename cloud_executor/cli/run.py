"""`executor run`: submit a job from this machine, wait for it, and fetch its results."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cloud_executor.cli.interrupt import Interrupted, interruptible
from cloud_executor.cli.messages import say, sentence
from cloud_executor.cli.status_line import StatusLine
from cloud_executor.client.client import Client
from cloud_executor.client.errors import ServerTimeout, TransferFailed
from cloud_executor.client.job_info import CANCELED, JobInfo
from cloud_executor.client.job_source import open_source
from cloud_executor.client.result_folder import staged
from cloud_executor.client.result_tree import ResultTree
from cloud_executor.client.result_zip import unpack
from cloud_executor.errors import CloudExecutorError, Conflict, NotFound, Unavailable

SUCCEEDED, FAILED, NOT_FETCHED = 0, 1, 3
"""Exit codes."""

STDOUT, STDERR = "job_stdout.txt", "job_stderr.txt"
"""Result files with the job's output."""

TAIL_BYTES = 8192
TAIL_LINES = 20
"""Limits for the shown end of a failed job's output."""

NO_WORKER_SECONDS = 3.0
"""Wait, in seconds, before checking whether any worker can run the job."""


def run(client: Client, path: Path, labels: Sequence[str], out: Path | None, *, rerun: bool = False) -> int:
    """Run the job and return the exit code. Raises CloudExecutorError, and OSError for files on this machine."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    job_hash: str | None = None
    job: JobInfo | None = None
    finished: JobInfo | None = None
    with interruptible():
        try:
            job_hash = _upload(client, path)
            job = _create(client, job_hash, labels, rerun)
            finished = _wait(client, job)
            return _fetch(client, job, finished, out)
        except Interrupted as interrupt:
            if job_hash is None:
                say("Stopped before the job was created.")
            elif job is None:
                say("Stopped while the job was created, so it may run.")
            elif finished is None:
                _cancel(client, job)
            else:
                say(f"Stopped. The job has ended with {finished.status}, and its results remain on the server.")
            return interrupt.exit_code


def _upload(client: Client, path: Path) -> str:
    with open_source(path) as source:
        say(f"Uploading {source.name} ({source.size:,} bytes).")
        source.content.seek(0)
        return client.upload_file(source.content, source.name)


def _create(client: Client, job_hash: str, labels: Sequence[str], rerun: bool) -> JobInfo:
    try:
        job = client.create_job(job_hash, labels, rerun=rerun)
    except (TransferFailed, ServerTimeout):
        # The server may have created the job. The same request then returns it, but without its secret.
        try:
            job = client.create_job(job_hash, labels, rerun=rerun)
        except Conflict:
            job = client.create_job(job_hash, labels)
    if not set(labels) <= set(job.labels):
        given = f"the labels {', '.join(job.labels)}" if job.labels else "no labels"
        raise Conflict(
            f"Job {job.hash} already exists with the same content and {given}. "
            "Add --rerun to run it again with these labels, once it has finished."
        )
    if job.secret is not None:
        say(f"Created job {job.hash}.")
    elif job.finished:
        say(f"Job {job.hash} has already run with the same content, so it is not run again.")
    else:
        say(f"Job {job.hash} already exists with the same content. Waiting for it.")
    return job


def _fetch(client: Client, job: JobInfo, finished: JobInfo, out: Path | None) -> int:
    """Print the output of the finished job, store its results, and return the exit code."""
    printed = False
    try:
        printed = _print_stdout(client, finished)
        if out is not None:
            _store_results(client, finished, out)
        problem = None
    except (CloudExecutorError, OSError) as error:
        problem = sentence(error)
    for warning in finished.warnings:
        say(f"Warning: {warning}")
    if not finished.succeeded:
        if not printed and (tail := _tail(client, finished, "stdout", STDOUT)):
            _write_stdout([tail.encode(), b"\n"])
        _explain(client, finished, known=job.finished)
    if problem is None:
        return SUCCEEDED if finished.succeeded else FAILED
    if finished.succeeded:
        say("The job succeeded, but its results could not be fetched. Run the same command again to fetch them.")
    say(f"Error: {problem}")
    return NOT_FETCHED if finished.succeeded else FAILED


def _wait(client: Client, job: JobInfo) -> JobInfo:
    line = StatusLine(sys.stderr)
    check_workers_at = time.monotonic() + NO_WORKER_SECONDS

    def show(seen: JobInfo) -> None:
        nonlocal check_workers_at
        if seen.status == "CREATED" and time.monotonic() > check_workers_at:
            check_workers_at = time.monotonic() + NO_WORKER_SECONDS
            with suppress(CloudExecutorError):  # such as an outage: the check is repeated
                if not _has_worker(client, job):
                    line.close()
                    _warn_without_worker(job)
                check_workers_at = float("inf")
        line.show(seen)

    try:
        return client.wait(job.hash, on_status=show)
    except Unavailable:
        line.close()
        say("The job continues. Run the same command again to wait for it.")
        raise
    finally:
        line.close()


def _has_worker(client: Client, job: JobInfo) -> bool:
    return any(set(job.labels) <= set(worker.labels) for worker in client.workers())


def _warn_without_worker(job: JobInfo) -> None:
    labels = f" with the labels {', '.join(job.labels)}" if job.labels else ""
    effect = "stops waiting" if job.secret is None else "cancels it"
    say(f"No worker{labels} is available, so the job waits until one starts. Ctrl-C {effect}.")


def _cancel(client: Client, job: JobInfo) -> None:
    if job.secret is None:
        say("Stopped waiting. The job continues, because only its creator can cancel it.")
        return
    try:
        client.cancel(job.hash, job.secret)
    except (CloudExecutorError, Interrupted) as error:
        reason = f" {error}" if isinstance(error, CloudExecutorError) else ""
        say(f"The job may continue, because the cancel was not confirmed.{reason}")
    else:
        say("Canceled the job.")


def _print_stdout(client: Client, job: JobInfo) -> bool:
    """Print the job's standard output if it succeeded or if its results have it. Returns whether it was printed."""
    sources: list[tuple[str, str | None]] = [(result_hash, STDOUT) for result_hash in job.result_hashes.values()]
    if job.succeeded and "stdout" in job.logs:
        sources.append((job.logs["stdout"], None))
    for blob_hash, path in sources:
        try:
            _write_stdout(client.chunks(blob_hash, path))
            return True
        except NotFound:
            continue
    if job.succeeded:
        say(f"The output was not kept, because no result pattern of the job matches {STDOUT}.")
    return False


def _write_stdout(chunks: Iterable[bytes]) -> None:
    try:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader, such as `head`, needs no more. Python must not write the rest of its buffer when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _store_results(client: Client, job: JobInfo, out: Path) -> None:
    # Artifacts are selections from the same files, so a file in several artifacts is stored once.
    with staged(out) as folder:
        tree = ResultTree(folder)
        for result_hash in job.result_hashes.values():
            paths = client.files(result_hash)
            with tempfile.TemporaryFile(dir=out) as zipped:
                for chunk in client.chunks(result_hash):
                    zipped.write(chunk)
                left = unpack(zipped, tree, paths)
            for path in left:
                if path not in tree:
                    tree.add(path, client.chunks(result_hash, path))
        tree.close()
    count = len(tree)
    say(f"Stored {count} result file{'' if count == 1 else 's'} in {out}.")


def _explain(client: Client, job: JobInfo, *, known: bool) -> None:
    if written := _tail(client, job, "stderr", STDERR):
        say(written)
    say("The job was canceled." if job.status == CANCELED else f"{job.status}: {job.error or 'no reason was given.'}")
    if known:
        say("The same content runs only once. Add --rerun to run the job again.")


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
