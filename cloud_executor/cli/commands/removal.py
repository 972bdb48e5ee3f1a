"""`executor rm`: delete jobs and blobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial

import click

from cloud_executor.cli.connection import connected
from cloud_executor.cli.job_argument import find_job
from cloud_executor.cli.main import NOT_STARTED
from cloud_executor.cli.options import json_option
from cloud_executor.cli.output.messages import say
from cloud_executor.cli.run import FAILED, SUCCEEDED
from cloud_executor.client.client import Client
from cloud_executor.errors import CloudExecutorError, Invalid, NotFound


@click.command(short_help="Delete finished jobs, or blobs.")
@click.argument("jobs", nargs=-1, metavar="JOB...")
@connected
@click.option("--blob", "blobs", multiple=True, metavar="HASH", help="Delete a blob, as an administrator; repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rm(client: Client, jobs: tuple[str, ...], blobs: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Delete finished or canceled jobs with their output, if the server allows it.

    The bytes of their files stay on the server, because other blobs can have the same ones. On a terminal, the command
    asks first. The exit code is 1 if something could not be deleted, and 2 if it could not be found.
    """
    if not jobs and not blobs:
        raise click.UsageError("Give the hash of a job, or of a blob with --blob.")
    if not yes and sys.stdin.isatty():
        counts = [
            f"{len(found)} {kind}{'' if len(found) == 1 else 's'}"
            for kind, found in (("job", jobs), ("blob", blobs))
            if found
        ]
        if not click.confirm(f"Delete {' and '.join(counts)}?", err=True):
            say("Nothing was deleted.")
            return FAILED
    code = SUCCEEDED
    rows: list[dict[str, object]] = []

    def delete(kind: str, text: str, work: Callable[[], str]) -> None:
        nonlocal code
        error: CloudExecutorError | None = None
        try:
            text = work()
        except CloudExecutorError as found:
            error = found
            code = max(code, NOT_STARTED if isinstance(found, NotFound | Invalid) else FAILED)
        rows.append(
            {"kind": kind, "hash": text, "deleted": error is None, "error": None if error is None else str(error)}
        )
        if not as_json:
            say(f"Deleted {kind} {text}." if error is None else f"Error: {error}")

    for job in jobs:
        delete("job", job, partial(_delete_job, client, job))
    for blob in blobs:
        delete("blob", blob, partial(_delete_blob, client, blob))
    if as_json:
        click.echo(json.dumps(rows, indent=4))
    return code


def _delete_job(client: Client, text: str) -> str:
    found = find_job(client, text)
    found.delete()
    return found.hash


def _delete_blob(client: Client, blob: str) -> str:
    client.delete_blob(blob)
    return blob
