"""Commands for one job: `status`, `logs`, `results`, `get`, `cancel`, `rerun`, `open`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import click

from cloud_executor.cli.connection import connected
from cloud_executor.cli.job_argument import find_job
from cloud_executor.cli.main import NOT_STARTED
from cloud_executor.cli.options import detach_option, json_option, out_option
from cloud_executor.cli.output.job_output import JobOutput, write
from cloud_executor.cli.output.job_rows import job_details
from cloud_executor.cli.output.messages import say
from cloud_executor.cli.output.tables import colored, status_color
from cloud_executor.cli.run import FAILED, SUCCEEDED, RunOptions, finish
from cloud_executor.client.client import Client
from cloud_executor.client.results.logs import Log, log_places
from cloud_executor.errors import CloudExecutorError, NotFound

OPEN_SECONDS = 5.0
"""Longest wait, in seconds, for xdg-open to fail."""


@click.command(short_help="Show a job.")
@click.argument("job")
@connected
@json_option
def status(client: Client, job: str, as_json: bool) -> int:
    """Show what is known about JOB: the hash that `executor run` prints, or its beginning."""
    found = find_job(client, job)
    if as_json:
        click.echo(json.dumps(found.document, indent=4))
        return 0
    details = job_details(found.info)
    width = max(len(name) for name, _ in details)
    for name, value in details:
        shown = colored(value, status_color(found.status)) if name == "status" else value
        click.echo(f"{name.ljust(width)}  {shown}")
    return 0


@click.command(short_help="Print the output of a job.")
@click.argument("job")
@connected
@click.option("-f", "--follow", is_flag=True, help="Print further output until the job has finished.")
@click.option("--stderr", "log", flag_value="stderr", default="stdout", help="Print the standard error.")
def logs(client: Client, job: str, follow: bool, log: Log) -> int:
    """Print the standard output of JOB: all of a finished job, or what a running job has sent so far.

    A running job sends output if its executor_config.json has outputInterval or outputSegmentSize, as the jobs of
    `executor run -- COMMAND` do. Its standard error is stored when it has finished.
    """
    found = find_job(client, job)
    output = JobOutput()
    if not found.finished and log == "stderr" and not follow:
        raise click.UsageError("The standard error is stored when the job has finished: add --follow to wait for it.")
    if found.finished:
        pass
    elif follow:
        for info, segments in client.follow(found.hash):
            found.info = info
            if log == "stdout":
                output.add(info, segments)
    else:
        output.add(found.info, found.segments())
        return 0
    if output.began:
        output.finish(client, found.info)
        return 0
    for blob_hash, path in log_places(found.info, log):
        try:
            write(client.chunks(blob_hash, path))
            return 0
        except NotFound:
            continue
    raise NotFound(f"No output of job {found.hash} is stored: it ended with {found.status} before its command ran.")


@click.command(short_help="List the result files of a job.")
@click.argument("job")
@connected
@json_option
def results(client: Client, job: str, as_json: bool) -> int:
    """List the result files of JOB, one on each line, after the name of their artifact."""
    found = find_job(client, job)
    files = {name: {"hash": result.hash, "files": result.files()} for name, result in found.results.items()}
    if as_json:
        click.echo(json.dumps(files, indent=4))
        return 0
    if not files:
        say(f"Job {found.hash} has no results: its status is {found.status}.")
    for name, artifact in files.items():
        for path in artifact["files"]:
            click.echo(f"{name}\t{path}")
    return 0


@click.command(short_help="Fetch the result files of a job.")
@click.argument("job")
@click.argument("paths", nargs=-1)
@connected
@out_option("Folder to store the files in.  [default: the current folder]")
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the files instead of storing them.")
def get(client: Client, job: str, paths: tuple[str, ...], out: Path | None, to_stdout: bool) -> int:
    """Store the result files of JOB, or only those at PATHS, in a folder."""
    found = find_job(client, job)
    folder = out or Path()
    if not found.result_hashes:
        raise NotFound(f"Job {found.hash} has no results: its status is {found.status}.")
    if to_stdout and not paths:
        raise click.UsageError("--stdout needs the paths of the files: `executor results` lists them.")
    if not paths:
        count = found.download(folder)
        say(f"Stored {count} result file{'' if count == 1 else 's'} in {folder}.")
        return 0
    for path in paths:
        blob = next((result.hash for result in found.results.values() if path in result.files()), None)
        if blob is None:
            raise NotFound(
                f"Job {found.hash} has no result file {path!r}: `executor results {found.hash}` lists its files."
            )
        if to_stdout:
            write(client.chunks(blob, path))
            continue
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            raise click.UsageError(f"{path} leads out of the folder: print the file with --stdout.")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        client.download_file(blob, path, folder / path)
        say(f"Stored {folder / path}.")
    return 0


@click.command(short_help="Cancel jobs.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@connected
@click.option("--secret", metavar="SECRET", help="Secret of the job, if it was created elsewhere.")
def cancel(client: Client, jobs: tuple[str, ...], secret: str | None) -> int:
    """Cancel jobs that were created on this machine by this user.

    The exit code is 1 if a job could not be canceled, and 2 if one could not be found.
    """
    code = SUCCEEDED
    for job in jobs:
        failed = NOT_STARTED
        try:
            found = find_job(client, job)
            failed = FAILED
            if found.finished:
                say(f"Job {found.hash} has already ended with {found.status}.")
                continue
            if secret is None:
                found.cancel()
            else:
                client.cancel(found.hash, secret)
            say(f"Canceled job {found.hash}.")
        except CloudExecutorError as error:
            say(f"Error: {error}")
            code = max(code, failed)
    return code


@click.command(short_help="Run a finished job again.")
@click.argument("job")
@connected
@out_option()
@detach_option
@json_option
def rerun(client: Client, job: str, out: Path | None, detach: bool, as_json: bool) -> int:
    """Run the finished JOB again, and follow it as `executor run` does."""
    if out is not None and not detach:
        out.mkdir(parents=True, exist_ok=True)
    found = find_job(client, job).rerun()
    say(f"Job {found.hash} runs again.")
    if detach:
        click.echo(json.dumps(found.document) if as_json else found.hash)
        return 0
    return finish(client, found, RunOptions(out=out, as_json=as_json))


@click.command("open", short_help="Open the page of a job in the browser.")
@click.argument("job", required=False)
@connected
def open_page(client: Client, job: str | None) -> int:
    """Open the page of JOB, or of all jobs, in the browser, and print its address.

    Without a browser, only the address is printed.
    """
    address = f"{client.url}/#/" + ("jobs" if job is None else f"job/{quote(job, safe='')}")
    click.echo(address)
    if not _open(address):
        say("No browser could be opened here: open the address in a browser.")
    return 0


def _open(address: str) -> bool:
    """Open the address in the user's browser. Returns False if there is none."""
    if sys.platform != "linux":
        return click.launch(address) == 0
    if not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False
    try:
        # click.launch does the same, but shows xdg-open's messages and does not notice that it fails
        opener = subprocess.Popen(["xdg-open", address], stderr=subprocess.DEVNULL)
        return opener.wait(OPEN_SECONDS) == 0
    except OSError:
        return False
    except subprocess.TimeoutExpired:  # xdg-open can run as long as the browser
        return True
