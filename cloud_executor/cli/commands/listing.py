"""Commands for the whole server: `list`, `workers`, `stats`."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import click

from cloud_executor.cli.connection import connected
from cloud_executor.cli.options import json_option
from cloud_executor.cli.output.job_rows import COLUMNS, NARROW, format_bytes, format_seconds, job_row
from cloud_executor.cli.output.messages import say
from cloud_executor.cli.output.tables import print_table, table_of
from cloud_executor.client.client import Client
from cloud_executor.client.job import Job
from cloud_executor.errors import NotFound

WATCH_SECONDS = 2.0
"""Interval between two updates of a live list, in seconds."""

SHORT_HASH = 12
"""Length of a job's hash in a list on a narrow terminal, in characters. Commands accept the beginning of a hash."""

STATUSES = ("CREATED", "RUNNING", "SUCCESS", "CANCELED")
"""Statuses other than failures, which begin with FAILED_. External workers may set any other status."""

_AGO = re.compile(r"([0-9]+)\s*(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Time(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's
        ago = _AGO.fullmatch(value)
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            self.fail(f"{value!r} is not a time: give 2026-01-31, 2026-01-31T12:00, or an age such as 2h or 7d.", param)


@click.command("list", short_help="List jobs.")
@connected
@click.option(
    "--status", "statuses", metavar="STATUS", multiple=True, help="Only jobs with this status; can be repeated."
)
@click.option("--failed", is_flag=True, help="Only jobs that failed.")
@click.option("--label", metavar="LABEL", help="Only jobs with this label.")
@click.option("--tag", metavar="TAG", help="Only jobs with this tag.")
@click.option("--name", metavar="PREFIX", help="Only jobs whose name begins with this.")
@click.option("--worker", metavar="WORKER", help="Only jobs of this worker.")
@click.option(
    "--since", metavar="TIME", type=Time(), help="Only jobs created since then: a date and time, or 2h or 7d."
)
@click.option("--until", metavar="TIME", type=Time(), help="Only jobs created before then.")
@click.option(
    "--order", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True, help="First of the jobs."
)
@click.option(
    "--limit", metavar="NUMBER", type=click.IntRange(1), default=20, show_default=True, help="Largest number of jobs."
)
@click.option("--watch", is_flag=True, help="Update the list until Ctrl-C.")
@json_option
def list_jobs(
    client: Client,
    statuses: tuple[str, ...],
    failed: bool,
    label: str | None,
    tag: str | None,
    name: str | None,
    worker: str | None,
    since: datetime | None,
    until: datetime | None,
    order: Literal["newest", "oldest"],
    limit: int,
    watch: bool,
    as_json: bool,
) -> int:
    """List jobs that satisfy all conditions.

    On a terminal the list is a table; elsewhere its fields are separated by tabs, and times are in UTC.
    """

    def fetch() -> list[Job]:
        found = client.jobs(
            [status.upper() for status in statuses] or None,
            label=label,
            tag=tag,
            name=name,
            worker=worker,
            created_after=since,
            created_before=until,
            order=order,
            limit=None if failed else limit,
        )
        jobs = []
        for job in found:
            if not failed or job.status.startswith("FAILED"):
                jobs.append(job)
                if len(jobs) == limit:
                    break
        return jobs

    if watch:
        return _watch(fetch, as_json=as_json)
    jobs = fetch()
    unknown = [status for status in statuses if not _is_known(status.upper())]
    if unknown and not jobs:
        say(
            f"{unknown[0]} is not a usual status: use {', '.join(STATUSES)}, or one that begins with FAILED_, such as "
            "FAILED_TO_EXECUTE. --failed lists all failed jobs."
        )
    if as_json:
        click.echo(json.dumps([job.document for job in jobs], indent=4))
    else:
        columns, rows = _columns_and_rows(jobs)
        print_table(columns, rows, "No jobs match.")
    return 0


def _is_known(status: str) -> bool:
    return status in STATUSES or status.startswith("FAILED_")


def _columns_and_rows(jobs: Sequence[Job]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The list, shortened for a terminal."""
    is_terminal = sys.stdout.isatty()
    narrow = is_terminal and shutil.get_terminal_size().columns < NARROW
    rows: list[Sequence[str]] = [job_row(job.info, short=is_terminal) for job in jobs]
    if not narrow:
        return COLUMNS, rows
    return COLUMNS[:-1], [(row[0][:SHORT_HASH], *row[1:-1]) for row in rows]


def _watch(fetch: Callable[[], list[Job]], *, as_json: bool) -> int:
    if as_json or not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal, and no --json.")
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            live.update(table_of(*_columns_and_rows(fetch())), refresh=True)
            time.sleep(WATCH_SECONDS)


@click.command(short_help="List the workers.")
@connected
@json_option
def workers(client: Client, as_json: bool) -> int:
    """List the workers, with the pools that have none at the moment."""
    found = client.workers()
    if as_json:
        documents = [
            {
                "clientId": worker.client_id,
                "lastSeen": worker.last_seen.isoformat(),
                "labels": worker.labels,
                "pool": worker.pool,
                "slots": worker.slots,
                "jobs": [job.hash for job in worker.jobs],
            }
            for worker in found
        ]
        click.echo(json.dumps(documents, indent=4))
        return 0
    now = datetime.now(UTC)
    rows = [
        (
            worker.client_id,
            worker.pool or "",
            f"{len(worker.jobs)}" if worker.slots is None else f"{len(worker.jobs)}/{worker.slots}",
            format_seconds(max(0.0, (now - worker.last_seen).total_seconds())),
            ", ".join(worker.labels),
        )
        for worker in found
    ]
    print_table(
        ("worker", "pool", "jobs", "seen", "labels"), rows, "No workers are running: start one with `executor up`."
    )
    return 0


@click.command(short_help="Count the jobs, and show the pools.")
@connected
@json_option
def stats(client: Client, as_json: bool) -> int:
    """Show the number of jobs by status, the state of each pool, and the bytes stored.

    A server that does not count the bytes has no line about them.
    """
    try:
        document = client.stats()
    except NotFound:
        raise NotFound("The server has no statistics: use `executor list`, or update the server.") from None
    if as_json:
        click.echo(json.dumps(document, indent=4))
        return 0
    print_table(("status", "jobs"), [(status, str(n)) for status, n in document.get("jobs", {}).items()], "No jobs.")
    click.echo()
    names = ("waiting", "running", "slots", "workers", "oldestWaitingSeconds")
    rows = [
        (pool, *(str(state.get(name)) if state.get(name) is not None else "" for name in names))
        for pool, state in document.get("pools", {}).items()
    ]
    print_table(("pool", *names[:-1], "oldest waiting (s)"), rows, "No pools.")
    if document.get("bytesStored") is not None:
        click.echo(f"\nstored\t{format_bytes(document['bytesStored'])}".expandtabs())
    return 0
