"""`make chaos`: cause each fault on a local stack, print a table, and rewrite docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from faults import FAULTS, NOT_TRIED
from scene import LEASE_SECONDS, WORKERS, Row, run_fault
from stack_process import PROJECT

from docs.reliability_page import RESULTS, write_page

OPTIONS: dict[str, tuple[str, ...]] = {"embedded": (), "emulated": ("--emulators",)}
COLUMNS = ("injected", "jobs", "affected", "lost", "doubled", "unwritten")


@click.command()
@click.option("--stack", type=click.Choice(list(OPTIONS)), default="embedded", show_default=True)
@click.option("--only", default="", help="Regular expression of the faults; the page keeps its rows of the others.")
def main(stack: str, only: str) -> None:
    """Exits with 1 if a job or blob was lost, or a job doubled."""
    width = max(len(fault.name) for fault in FAULTS)
    click.echo("  ".join(["fault".ljust(width), *(name.rjust(9) for name in COLUMNS), "worst delay, s"]))
    rows = []
    for fault in FAULTS:
        if not re.search(only, fault.name):
            continue
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        try:
            row, _ = run_fault(fault, folder, OPTIONS[stack])
        except AssertionError as failure:
            row = Row(fault.name, fault.promise, findings=[f"The run ended early: {failure}"])
        rows.append(row)
        _print(row, width)
        _write(stack, row)
        if row.findings:
            click.echo(f"The files of this fault are in {folder}.", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(any(row.findings for row in rows))


def _print(row: Row, width: int) -> None:
    if row.not_tried is not None:
        click.echo(f"{row.fault.ljust(width)}  not tried: {row.not_tried}")
        return
    figures = [str(getattr(row, name)).rjust(9) for name in COLUMNS]
    click.echo("  ".join([row.fault.ljust(width), *figures, f"{row.worst_delay_seconds:14.1f}"]))
    for sentence in row.findings:
        click.echo(f"    {sentence}")


def _write(stack: str, row: Row) -> None:
    """Add the row to the results, in place of an earlier one of the same fault, and rewrite the page."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = {earlier["fault"]: earlier for earlier in results.get(stack, {}).get("rows", ())}
    found[row.fault] = row.document() | _place()
    known = [found[fault.name] for fault in FAULTS if fault.name in found]
    results[stack] = {"workers": WORKERS, "lease_seconds": LEASE_SECONDS, "rows": known, "not_tried": list(NOT_TRIED)}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    write_page()


def _place() -> dict[str, Any]:
    """Where and when a row was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit.stdout.strip() or "unknown",
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30),
            "kernel": platform.release().partition("-")[0],
        },
    }


if __name__ == "__main__":
    main()
