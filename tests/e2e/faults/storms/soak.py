"""Storms on the local stack for any length of time: `make soak MINUTES=30`, with `SEED=` to repeat a run.

Rounds alternate between the embedded stack (even seeds) and the emulated stack (odd seeds). Each round has a new stack
and is checked at its end. With `SANDBOX=container`, the commands run in containers.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click
from containers.docker_engine import EngineMissing, docker_engine
from storm import Report, run_round

JOBS = {"process": 400, "container": 150}
STORM_SECONDS = 60.0
KINDS: tuple[tuple[str, ...], ...] = ((), ("--emulators",))


@click.command()
@click.argument("minutes", type=click.FloatRange(0, min_open=True), default=10.0)
@click.option(
    "--seed", "first", type=int, envvar="SEED", help="Seed that selects the faults and their order.  [default: random]"
)
@click.option("--jobs", type=click.IntRange(1), help=f"Number of jobs per round.  [default: {JOBS}]")
@click.option(
    "--storm",
    type=click.FloatRange(0),
    default=STORM_SECONDS,
    show_default=True,
    help="Duration of each storm, in seconds.",
)
@click.option("--sandbox", type=click.Choice(list(JOBS)), default="process", show_default=True, envvar="SANDBOX")
def main(minutes: float, first: int | None, jobs: int | None, storm: float, sandbox: str) -> None:
    """Run rounds until MINUTES have passed. Exits with 1 as soon as a check fails."""
    first = random.SystemRandom().randrange(10**6) if first is None else first
    click.echo(f"SEED={first} SANDBOX={sandbox}")
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(docker_engine()) if sandbox == "container" else None
        except EngineMissing as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        _print_total(_rounds(60 * minutes, first, jobs or JOBS[sandbox], storm, engine))


def _rounds(seconds: float, first: int, jobs: int, storm: float, engine: str | None) -> list[Report]:
    end = time.monotonic() + seconds
    reports: list[Report] = []
    while not reports or time.monotonic() < end:
        seed = first + len(reports)
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        try:
            reports.append(run_round(folder, KINDS[seed % len(KINDS)], seed, jobs, storm, engine))
        except AssertionError as failure:
            click.echo(f"SEED={seed}: {failure}\nThe files of this round are in {folder}.", err=True)
            sys.exit(1)
        shutil.rmtree(folder, ignore_errors=True)
        _print_row(reports[-1], heading=len(reports) == 1)
    return reports


def _print_row(report: Report, *, heading: bool) -> None:
    row = report.row()
    widths = [max(len(name), 8) for name in row]
    if heading:
        click.echo("  ".join(name.rjust(width) for name, width in zip(row, widths, strict=True)))
    click.echo("  ".join(str(value).rjust(width) for value, width in zip(row.values(), widths, strict=True)))


def _print_total(reports: list[Report]) -> None:
    done = sum((report.done for report in reports), Counter[str]())
    jobs = sum(report.jobs for report in reports)
    faults = ", ".join(f"{count} {name}" for name, count in sorted(done.items()))
    click.echo(f"Survived {len(reports)} rounds: {faults}.")
    click.echo(f"Each of {jobs} jobs has one outcome and the correct result, and left nothing behind.")


if __name__ == "__main__":
    main()
