"""`executor run`: submit a job from this machine, wait for it, and fetch its results."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click

from cloud_executor.cli.interrupt import Choice, Interrupted, ask, deferred, interruptible
from cloud_executor.cli.output.job_output import JobOutput, write
from cloud_executor.cli.output.messages import say, sentence
from cloud_executor.cli.output.status_line import StatusLine
from cloud_executor.client.client import Client
from cloud_executor.client.job import Job
from cloud_executor.client.job_info import CANCELED, JobInfo
from cloud_executor.client.results.logs import Log, log_places
from cloud_executor.client.results.result import store_results
from cloud_executor.client.source.job_source import JobSource, Source
from cloud_executor.errors import CloudExecutorError, Unavailable

SUCCEEDED, FAILED, NOT_FETCHED = 0, 1, 3
"""Exit codes."""

TAIL_BYTES = 8192
TAIL_LINES = 20
"""Limits for the shown end of a failed job's output."""

NO_WORKER_SECONDS = 3.0
"""Wait, in seconds, before checking whether any worker can run the job."""

POLL_SECONDS = 5
"""Longest time, in seconds, that the server holds back its response, so that a missing worker is noticed."""

SHOWN_LEFT_OUT = 5
"""Number of files and folders left out whose names are shown."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to do with the job."""

    labels: tuple[str, ...] = ()
    name: str | None = None
    tags: tuple[str, ...] = ()
    out: Path | None = None
    rerun: bool = False
    detach: bool = False
    as_json: bool = False


def run(client: Client, source: Source, options: RunOptions) -> int:
    """Run the job and return the exit code. Raises CloudExecutorError, and OSError for files on this machine."""
    if options.out is not None and not options.detach:
        options.out.mkdir(parents=True, exist_ok=True)
    job_hash: str | None = None
    job: Job | None = None
    with interruptible():
        try:
            job_hash = client.upload_job(source, _announce)
            with deferred():
                job = _create(client, job_hash, options)
            if options.detach:
                _detach(job, as_json=options.as_json)
                return SUCCEEDED
            return finish(client, job, options)
        except Interrupted as interrupt:
            if job is not None:
                _cancel(client, job)
            elif job_hash is not None:
                say("Stopped while the job was created, so it may run.")
            else:
                say("Stopped before the job was created.")
            return interrupt.exit_code


def finish(client: Client, job: Job, options: RunOptions) -> int:
    """Wait for the job, show its output, fetch its results, and return the exit code."""
    output = JobOutput()
    known, finished, started = job.finished, False, time.monotonic()
    while True:
        with interruptible():
            try:
                _wait(client, job, output, started, quiet=options.as_json)
                finished = True
                return _fetch(client, job, output, options, known=known)
            except Interrupted as interrupt:
                if finished:
                    say(f"Stopped. The job has ended with {job.status}, and its results remain on the server.")
                    return interrupt.exit_code
                choice = ask(can_cancel=job.secret is not None) if interrupt.exit_code == 130 else Choice.CANCEL
                if choice is Choice.CONTINUE:
                    continue
                if choice is Choice.DETACH:
                    say(f"The job continues. `executor logs -f {job.hash}` follows it.")
                else:
                    _cancel(client, job)
                return interrupt.exit_code


def _announce(source: JobSource) -> None:
    names = list(source.left_out[:SHOWN_LEFT_OUT])
    if len(source.left_out) > SHOWN_LEFT_OUT:
        names.append(f"{len(source.left_out) - SHOWN_LEFT_OUT} more")
    without = f" without {', '.join(names)}" if names else ""
    say(f"Uploading {source.name} ({source.size:,} bytes){without}.")


def _create(client: Client, job_hash: str, options: RunOptions) -> Job:
    job = client.create(job_hash, options.labels, name=options.name, tags=options.tags, rerun=options.rerun)
    if job.secret is not None:
        say(f"Created job {job.hash}.")
    elif job.finished:
        say(f"Job {job.hash} has already run with the same content, so it is not run again.")
    else:
        say(f"Job {job.hash} already exists with the same content. Waiting for it.")
    return job


def _detach(job: Job, *, as_json: bool) -> None:
    click.echo(json.dumps(job.document) if as_json else job.hash)


def _fetch(client: Client, job: Job, output: JobOutput, options: RunOptions, *, known: bool) -> int:
    """Print the output of the finished job, store its results, and return the exit code."""
    printed = options.as_json
    problem = None
    try:
        if options.as_json:
            click.echo(json.dumps(job.document))
        else:
            printed = output.finish(client, job.info)
            if job.succeeded and not printed:
                say("The output was not kept, because no result pattern of the job matches job_stdout.txt.")
        if options.out is not None:
            count = store_results(client, job.result_hashes.values(), options.out)
            say(f"Stored {count} result file{'' if count == 1 else 's'} in {options.out}.")
    except (CloudExecutorError, OSError) as error:
        problem = sentence(error)
    for warning in job.warnings:
        say(f"Warning: {warning}")
    if not job.succeeded:
        if not printed and (tail := read_tail(client, job.info, "stdout")):
            write([tail.encode(), b"\n"])
        _explain(client, job, known=known)
    if problem is None:
        return SUCCEEDED if job.succeeded else FAILED
    if job.succeeded:
        say("The job succeeded, but its results could not be fetched. Run the same command again to fetch them.")
    say(f"Error: {problem}")
    return NOT_FETCHED if job.succeeded else FAILED


def _wait(client: Client, job: Job, output: JobOutput, started: float, *, quiet: bool) -> None:
    """Follow the job to its end."""
    line = StatusLine(sys.stderr, started)
    check_workers_at = started + NO_WORKER_SECONDS
    was_finished = job.finished
    running_attempt = 0  # a job that `rerun` queued has the number of its last attempt until it runs
    note = ""
    line.show(job.info)
    try:
        for info, segments in client.follow(job.hash, longest_poll_seconds=POLL_SECONDS, known=job.info):
            if 0 < running_attempt < info.attempt and not was_finished:
                line.clear()
                say(f"The worker was lost, so the job runs again (attempt {info.attempt}).")
            if info.status == "RUNNING":
                running_attempt = info.attempt
            job.info = _with_secret(info, job.info)
            if segments and not quiet and not was_finished:
                line.clear()
                output.add(info, segments)
            if info.status == "CREATED" and time.monotonic() > check_workers_at:
                check_workers_at = time.monotonic() + NO_WORKER_SECONDS
                with suppress(CloudExecutorError):  # such as an outage: the check is repeated
                    if not _has_worker(client, job.info):
                        line.clear()
                        _warn_without_worker(job.info)
                    note = _waiting_jobs(client)
                    check_workers_at = float("inf")
            line.show(info, note if info.status == "CREATED" else "")
    except Unavailable:
        line.close()
        say("The job continues. Run the same command again to wait for it.")
        raise
    finally:
        line.close()


def _with_secret(info: JobInfo, created: JobInfo) -> JobInfo:
    return info if created.secret is None else replace(info, secret=created.secret)


def _waiting_jobs(client: Client) -> str:
    """How many jobs wait, if the server says so."""
    with suppress(CloudExecutorError, TypeError, AttributeError, LookupError):
        waiting = int(client.stats()["jobs"].get("CREATED", 0))
        if waiting > 1:
            return f"one of {waiting} waiting jobs"
    return ""


def _has_worker(client: Client, job: JobInfo) -> bool:
    return any(set(job.labels) <= set(worker.labels) for worker in client.workers())


def _warn_without_worker(job: JobInfo) -> None:
    labels = f" with the labels {', '.join(job.labels)}" if job.labels else ""
    effect = "stops waiting" if job.secret is None else "cancels it"
    say(f"No worker{labels} is available, so the job waits until one starts. Ctrl-C {effect}.")


def _cancel(client: Client, job: Job) -> None:
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


def _explain(client: Client, job: Job, *, known: bool) -> None:
    if written := read_tail(client, job.info, "stderr"):
        say(written)
    say("The job was canceled." if job.status == CANCELED else f"{job.status}: {job.error or 'no reason was given.'}")
    if known:
        say("The same content runs only once. Add --rerun to run the job again.")


def read_tail(client: Client, job: JobInfo, log: Log) -> str:
    """The end of the job's output, from its logs or else from a result file."""
    for blob_hash, path in log_places(job, log):
        try:
            written = client.tail(blob_hash, path, TAIL_BYTES)
        except CloudExecutorError:
            continue
        return "\n".join(written.decode(errors="replace").splitlines()[-TAIL_LINES:])
    return ""
