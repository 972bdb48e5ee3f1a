"""`executor run`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from cloud_executor.cli.connection import connected
from cloud_executor.cli.options import detach_option, json_option, out_option
from cloud_executor.cli.run import RunOptions
from cloud_executor.cli.run import run as run_job
from cloud_executor.client.client import Client
from cloud_executor.client.source.config import JobSettings
from cloud_executor.client.source.job_source import Source
from cloud_executor.client.sweep import DEFAULT_CONCURRENCY

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:(m|g|t)(?:i?b)?|)", re.IGNORECASE)
_MIB = {"": 1, "m": 1, "g": 1024, "t": 1024 * 1024}


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        found = _DURATION.fullmatch(str(value))
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is not a duration: give seconds, or a number with s, m, h, or d, such as 90m.", param)
        seconds = float(found[1]) * _SECONDS[found[2].lower()]
        return int(seconds) if seconds.is_integer() else seconds


class Memory(click.ParamType[int]):
    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's
        found = _MEMORY.fullmatch(str(value))
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is not a size: give MiB, or a number with m, g, or t, such as 2g.", param)
        return round(float(found[1]) * _MIB[(found[2] or "").lower()])


class CommandAfterDashes(click.Command):
    """A command that takes everything after `--` as another command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["command"] = ()
        if "--" in args:
            position = args.index("--")
            ctx.meta["command"] = tuple(args[position + 1 :])
            args = args[:position]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ARGUMENTS...]"]


@click.command(cls=CommandAfterDashes, short_help="Run a folder, a zip, or a command, and fetch its results.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@connected
@out_option()
@click.option("--image", metavar="IMAGE", help="Container image.")
@click.option(
    "--env",
    "environment",
    metavar="NAME=VALUE",
    multiple=True,
    help="Environment variable; NAME alone takes the value that it has here.",
)
@click.option("--timeout", metavar="DURATION", type=Duration(), help="Time limit of the command: seconds, 90m, or 2h.")
@click.option("--cpus", metavar="NUMBER", type=click.FloatRange(0, min_open=True), help="Number of processors.")
@click.option("--memory", metavar="SIZE", type=Memory(), help="Memory limit: MiB, 512m, or 2g.")
@click.option("--retries", metavar="NUMBER", type=click.IntRange(0), help="Number of retries after a lost worker.")
@click.option(
    "--artifact",
    "artifacts",
    metavar="NAME=PATTERN",
    multiple=True,
    help="Result files to keep; NAME alone keeps all files.  [default for a command: all]",
)
@click.option(
    "--input",
    "inputs",
    metavar="PATH=SOURCE",
    multiple=True,
    help="Input that jobs share, at PATH in the job's folder: a blob hash from `executor put`, or a file or folder.",
)
@click.option(
    "--label",
    "labels",
    metavar="LABEL",
    multiple=True,
    help="Label that the worker must have; repeat it for more labels.",
)
@click.option("--name", metavar="NAME", help="Name of the job, for lists.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Tag of the job, for lists.")
@click.option("--rerun", is_flag=True, help="Run the job again if the same content has already run.")
@detach_option
@click.option(
    "--tasks",
    metavar="TABLE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run one job for each row of a CSV or TSV file, whose columns are variables.",
)
@click.option(
    "--concurrency",
    metavar="NUMBER",
    type=click.IntRange(1),
    default=DEFAULT_CONCURRENCY,
    show_default=True,
    help="Number of jobs of a table that are on the server at the same time.",
)
@json_option
@click.pass_context
def run(
    context: click.Context,
    client: Client,
    path: Path | None,
    out: Path | None,
    image: str | None,
    environment: tuple[str, ...],
    timeout: float | None,
    cpus: float | None,
    memory: int | None,
    retries: int | None,
    artifacts: tuple[str, ...],
    inputs: tuple[str, ...],
    labels: tuple[str, ...],
    name: str | None,
    tags: tuple[str, ...],
    rerun: bool,
    detach: bool,
    tasks: Path | None,
    concurrency: int,
    as_json: bool,
) -> int:
    """Run a job, print its standard output while it runs, and fetch its results.

    PATH is a folder or a zip with an executor_config.json at its top level. With a COMMAND after --, PATH is the folder
    with the command's files, by default the current one. The options add to executor_config.json or replace its values.
    The folder's .executorignore, in the syntax of .gitignore, names files that are not sent; .git, .venv, caches, and
    the folder of --out are never sent.

    With --tasks, {NAME} in the command becomes the value in the column NAME, which is an environment variable too. A
    NAME that is not a column stays as it is, with a warning. The results of row N are stored in FOLDER/N, and the table
    of results is printed.

    On a terminal, Ctrl-C asks whether to cancel the job. Elsewhere, Ctrl-C, SIGTERM, and SIGHUP cancel a job that this
    command has created; `nohup` keeps it running when the terminal closes.

    The exit code is 0 if the job succeeded, 1 if it failed or was canceled, 2 if the job could not be submitted or
    followed to its end, 3 if it succeeded but its output or results could not be fetched or stored, and 128 plus the
    signal's number after a signal: 130 after Ctrl-C.
    """
    command: tuple[str, ...] = context.meta["command"]
    if path is None and not command:
        raise click.UsageError("Missing argument 'PATH': give a folder, a zip, or a command after `--`.")
    if path is not None and not path.exists():
        raise click.UsageError(f"{path} does not exist: give a folder or a zip, or put a command after `--`.")
    if command and path is not None and not path.is_dir():
        raise click.UsageError(f"{path} is not a folder: give the folder with the command's files, or none.")
    settings = JobSettings(
        image=image,
        env=_environment(environment),
        timeout_seconds=timeout,
        cpus=cpus,
        memory_mib=memory,
        retries=retries,
        artifacts=_artifacts(artifacts),
    )
    left_out = () if out is None else (out,)
    source = Source(path or Path(), command, settings, _pairs("--input", inputs), left_out)
    options = RunOptions(labels, name, tags, out, rerun, detach, as_json)
    if tasks is not None:
        from cloud_executor.cli.sweep import run_tasks  # single jobs do not need it

        return run_tasks(client, source, tasks, options, concurrency)
    return run_job(client, source, options)


def _environment(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name:
            raise click.UsageError(f"--env {pair}: the name is empty; give NAME=VALUE.")
        if not equals and name not in os.environ:
            raise click.UsageError(f"--env {name}: the variable is not set here; give {name}=VALUE.")
        found[name] = value if equals else os.environ[name]
    return found


def _artifacts(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in given:
        name, _, pattern = pair.partition("=")
        if not name:
            raise click.UsageError(f"--artifact {pair}: the name is empty; give NAME=PATTERN.")
        found.setdefault(name, []).extend([pattern] if pattern else [])
    return found


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str | Path]:
    found: dict[str, str | Path] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name or not equals or not value:
            raise click.UsageError(f"{option} {pair}: give PATH=SOURCE, such as data/mesh.bin=../mesh.bin.")
        found[name] = value
    return found
