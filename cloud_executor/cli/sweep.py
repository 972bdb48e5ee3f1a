"""`executor run --tasks`: one job for each row of a table."""

from __future__ import annotations

import csv
import difflib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cloud_executor.cli.interrupt import Choice, Interrupted, ask, interruptible
from cloud_executor.cli.output.messages import say, sentence
from cloud_executor.cli.run import FAILED, NOT_FETCHED, SUCCEEDED, RunOptions
from cloud_executor.client.client import Client
from cloud_executor.client.job import Job
from cloud_executor.client.source.config import placeholders
from cloud_executor.client.source.job_source import Source
from cloud_executor.client.transfer.local_file import write_whole
from cloud_executor.errors import CloudExecutorError

TABLE_FILE = "results.csv"
"""Table of results in the folder of --out."""

CANCELS_AT_ONCE = 8

ADDED = ("job", "status", "exit_code", "seconds", "error")
"""Columns that the table of results adds."""


def run_tasks(client: Client, source: Source, table: Path, options: RunOptions, concurrency: int) -> int:
    """Run the jobs, print the table of results, and return the exit code. Raises CloudExecutorError and OSError."""
    rows = read_rows(table)
    if options.detach:
        raise click.UsageError("--detach and --tasks cannot be used together: the table is complete only at the end.")
    _warn_of_placeholders(source, table, rows[0])
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    created: dict[int, Job] = {}
    results: list[dict[str, Any]] = []
    failed = not_fetched = 0
    with interruptible():
        try:
            jobs = client.sweep(
                source,
                rows,
                labels=options.labels,
                name=options.name,
                tags=options.tags,
                rerun=options.rerun,
                concurrency=concurrency,
                progress=True,
                on_job=created.__setitem__,
            )
            for number, (row, job) in enumerate(zip(rows, jobs, strict=True), 1):
                problem = _store(job, options.out, number)
                failed += not job.succeeded
                not_fetched += problem is not None
                results.append({**row, **_outcome(job, problem)})
        except Interrupted as interrupt:
            _stop(client, [job for job in list(created.values()) if not job.finished], interrupt)
            return interrupt.exit_code
        finally:
            if options.out is not None and results:
                write_whole(options.out / TABLE_FILE, [_csv(rows, results).encode()])
    click.echo(json.dumps(results, indent=4) if options.as_json else _csv(rows, results), nl=options.as_json)
    say(f"{len(results) - failed} of {len(results)} jobs succeeded.")
    if failed:
        return FAILED
    return NOT_FETCHED if not_fetched else SUCCEEDED


def read_rows(table: Path) -> list[dict[str, str]]:
    """Read a CSV file, or a TSV file by its suffix. Raises UsageError."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(
                file, dialect="excel-tab" if table.suffix.lower() == ".tsv" else "excel", strict=True
            )
            names = reader.fieldnames or ()
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise click.UsageError(f"{table} is not a valid CSV file in UTF-8: {error}.") from error
    if not rows:
        raise click.UsageError(
            f"{table} has no rows: its first line names the variables, and each further line is a job."
        )
    if len(set(names)) != len(names):
        raise click.UsageError(f"{table} has two columns of the same name: rename one of them.")
    taken = sorted(set(names) & set(ADDED))
    if taken:
        raise click.UsageError(f"{table} has a column {taken[0]!r}, which the table of results adds: rename it.")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise click.UsageError(f"{table}: row {number} does not have {len(names)} fields like the first line.")
    return rows


def _warn_of_placeholders(source: Source, table: Path, row: dict[str, str]) -> None:
    """Warn of names in braces that are not columns. They can be meant literally, so they are not an error."""
    if source.folder is None:  # a zip, which the sweep rejects
        return
    config, _ = source.config({})
    columns = {name.casefold(): name for name in row}
    for name in placeholders(config):
        if name in row:
            continue
        near = difflib.get_close_matches(name.casefold(), columns, 1)
        hint = f"; use {{{columns[near[0]]}}} if you mean that column" if near else ""
        say(f"Warning: {{{name}}} in the command is not a column of {table}, so it is not replaced{hint}.")


def _store(job: Job, out: Path | None, number: int) -> str | None:
    """Store the results of a row. Returns why they cannot be stored."""
    if out is None or not job.result_hashes:
        return None
    try:
        job.download(out / str(number))
    except (CloudExecutorError, OSError) as error:
        return sentence(error)
    return None


def _outcome(job: Job, problem: str | None) -> dict[str, Any]:
    seconds = job.durations.get("run")
    values = (job.hash, job.status, job.exit_code, seconds, job.error or problem)
    return dict(zip(ADDED, values, strict=True))


def _csv(rows: list[dict[str, str]], results: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], *ADDED], lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    return text.getvalue()


def _stop(client: Client, jobs: list[Job], interrupt: Interrupted) -> None:
    """Cancel the jobs that have not finished, unless the user wants to keep them."""
    choice = ask(can_cancel=True, can_wait=False) if interrupt.exit_code == 130 else Choice.CANCEL
    if choice is Choice.DETACH:
        say(f"{len(jobs)} jobs continue. Run the same command again to wait for them.")
        return

    def cancel(job: Job) -> bool:
        with suppress(CloudExecutorError):
            job.cancel()
            return True
        return False

    with ThreadPoolExecutor(CANCELS_AT_ONCE) as threads:
        canceled = sum(threads.map(cancel, jobs))
    say(f"Canceled {canceled} of {len(jobs)} jobs that had not finished.")
