"""`executor gc`: delete old jobs and the blobs that nothing needs, as the operator of the server."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from cloud_executor.cli.local_store import local_settings
from cloud_executor.cli.options import json_option
from cloud_executor.cli.output.job_rows import format_bytes
from cloud_executor.installation import install_command

_AGE = re.compile(r"([0-9]{1,5})d", re.ASCII)


class _Age(click.ParamType[timedelta]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> timedelta:  # noqa: ANN401 - click's interface
        found = _AGE.fullmatch(str(value))
        if found is None:
            self.fail("an age must be a number of days, such as 30d.", param, context)
        return timedelta(days=int(found[1]))


@click.command(short_help="Delete old jobs and unneeded blobs, as the operator.")
@click.option(
    "--older-than",
    "keep",
    metavar="TIME",
    type=_Age(),
    help="Age of what is deleted, such as 30d.  [default: EXECUTOR_KEEP_JOBS]",
)
@click.option("--user", metavar="USER", help="Delete only jobs of this user.")
@click.option(
    "--keep-label", "keep_labels", multiple=True, metavar="LABEL", help="Keep jobs with this label; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Delete nothing, and show what would be deleted.")
@click.option(
    "--data", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), help="The stack's data folder."
)
@json_option
def gc(
    keep: timedelta | None,
    user: str | None,
    keep_labels: tuple[str, ...],
    dry_run: bool,
    data: Path | None,
    as_json: bool,
) -> int:
    """Delete finished jobs that are older than a given age, with their output, and blobs that nothing needs.

    A blob is needed by the jobs that are kept, by public blobs, and by the artifacts and links that are needed. A
    blob that nothing needs is deleted by a run days after the first run that found it unneeded: nothing in use is lost.

    This works on the server's stores themselves, which the same settings name as for the server. The server can go on
    running. A run that was interrupted can be repeated at any time.
    """
    if importlib.util.find_spec("flask") is None:
        raise click.UsageError(f"`executor gc` needs the server's packages. Run: {install_command('server')}")
    from cloud_executor.composition import open_collector

    settings = local_settings(data)
    chosen = settings.keep_jobs if keep is None else keep
    if chosen is None:
        raise click.UsageError("Give the age of what is deleted, such as --older-than 30d, or set EXECUTOR_KEEP_JOBS.")
    collector = open_collector(settings)
    report = collector.run(chosen, user_id=user, keep_labels=frozenset(keep_labels), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report), indent=4))
        return 0
    verb = "Would delete" if dry_run else "Deleted"
    click.echo(
        f"{verb} {_count(report.jobs_deleted, 'job')} and {_count(report.objects_deleted, 'stored object')} "
        f"({format_bytes(report.bytes_deleted)})."
    )
    if report.documents_waiting:
        days = round(collector.grace / timedelta(days=1))
        click.echo(
            f"{_count(report.documents_waiting, 'blob')} that nothing needs will be deleted by a run {days} days after "
            "the first one that found them so, unless they are used again."
        )
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
