"""The benchmark's command line: `python -m bench`, or `make bench BENCH="--quick --case zip"`."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO

import click

from bench.cases import blobs, jobs
from bench.cases.case import Case, Rig
from bench.processes import IDLE_CORES, wait_until_idle
from bench.servers.queues import QUEUES, Queue
from bench.servers.stack import OurStack, Peer, Side
from bench.sizes import QUICK, Sizes
from bench.table import Result, as_json, table, verdict
from bench.workspace import BenchmarkError, Workspace, program
from cloud_executor.process.stop_signals import reset_signals

CASES = (
    blobs.SMALL_UPLOADS,
    blobs.LARGE_UPLOAD,
    blobs.LARGE_DOWNLOAD,
    blobs.METADATA_READS,
    blobs.ZIP,
    jobs.LATENCY,
    jobs.THROUGHPUT,
    jobs.SMALL_RESULTS,
    jobs.GROWTH,
)
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default="bench-results",
    show_default=True,
    help="Folder on the disk to measure; the benchmark removes its files at the end.",
)
@click.option(
    "--case",
    "names",
    type=click.Choice([case.name for case in CASES]),
    multiple=True,
    help="Case to run; repeat the option for several cases.  [default: all]",
)
@click.option("--reps", type=click.IntRange(1), help="Number of repetitions; the median counts.  [default: 3]")
@click.option("--quick", is_flag=True, help="Use tiny sizes and one repetition, only to check that everything works.")
@click.option("--json", "json_file", type=click.File("w", lazy=False), help="Also write a JSON file.")
@click.option(
    "--peer-modules",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="node_modules folder with webgme-engine and webgme-executor-worker, to measure WebGME's own server too.",
)
@click.option(
    "--queue",
    "queue_names",
    type=click.Choice(list(QUEUES)),
    multiple=True,
    help="Job queue of others to measure too; repeat the option for several.",
)
def main(
    data: Path,
    names: Sequence[str],
    reps: int | None,
    quick: bool,
    json_file: IO[str] | None,
    peer_modules: Path | None,
    queue_names: Sequence[str],
) -> None:
    """Measure the local stack and the limits of this machine, and print a table."""
    reset_signals()
    sizes = QUICK if quick else Sizes()
    try:
        sides: list[Side] = [OurStack(), *([Peer(peer_modules)] if peer_modules else [])]
        queues = [QUEUES[name] for name in dict.fromkeys(queue_names)]
        for queue in queues:
            queue.check()
    except BenchmarkError as error:
        raise click.UsageError(str(error)) from None
    if program("curl") is None:
        raise click.UsageError("curl is not installed. Install it: sudo apt-get install --no-install-recommends curl")
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{data} cannot be used: {error.strerror}.") from None
    results: list[Result] = []
    reps = reps or (1 if quick else 3)
    failed, code = False, 0
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data.resolve()) as folder:
        workspace = Workspace(Path(folder), sizes)
        try:
            with _interruptible():
                for case in CASES:
                    if not names or case.name in names:
                        click.echo(f"{case.name} ...", err=True)
                        failed |= not _measure(case, workspace, sides, queues, reps, results)
        except KeyboardInterrupt:
            code = INTERRUPTED
            workspace.note("Interrupted: the table shows only the completed measurements.")
    peers = [*(side.name for side in sides[1:]), *(queue.name for queue in queues)]
    machine = _machine(data)
    busy = [f"{name} ({cores:.1f} cores)" for name, cores in workspace.busy_cores.items() if cores > IDLE_CORES]
    if busy:
        workspace.note(f"Other programs were busy when these cases started: {', '.join(busy)}.")
    if quick:
        workspace.note("--quick uses tiny sizes: these figures only show that everything works.")
    click.echo(f"\n{', '.join(machine.values())}.\nMedians of {reps} [lowest–highest]. {sizes.description()}\n")
    click.echo(f"{table(results, sides[0].name, peers)}\n")
    click.echo("\n".join([*workspace.notes, verdict(results, sides[0].name, peers)]))
    if json_file:
        report = {"machine": machine, "sizes": asdict(sizes), "rows": as_json(results, sides[0].name)}
        json.dump({**report, "notes": list(workspace.notes)}, json_file, indent=2)
    sys.exit(code or int(failed))


def _measure(
    case: Case,
    workspace: Workspace,
    sides: Sequence[Side],
    queues: Sequence[Queue],
    reps: int,
    results: list[Result],
) -> bool:
    """Add the case's rows to the results; return False if a measurement failed."""
    rows = {row.key: Result(case.name, row) for row in case.rows}
    results += rows.values()
    try:
        with ExitStack() as opened:
            measuring = {side.name: opened.enter_context(closing(case.measure(Rig(workspace, side)))) for side in sides}
            if case.measure_queue is not None:
                for queue in queues:
                    measuring[queue.name] = opened.enter_context(closing(case.measure_queue(workspace, queue)))
            for _ in range(reps):
                busy_cores = wait_until_idle(workspace.sizes.idle_wait_seconds)
                workspace.busy_cores[case.name] = max(busy_cores, workspace.busy_cores.get(case.name, 0.0))
                for limit in case.limits:
                    value = limit.measure(workspace)
                    for result in rows.values():
                        if limit in result.row.limits:
                            result.limits.setdefault(limit.name, []).append(value)
                for name, repetitions in measuring.items():
                    for key, value in next(repetitions).items():
                        rows[key].values.setdefault(name, []).append(value)
    except (BenchmarkError, OSError, ValueError, subprocess.SubprocessError) as error:
        workspace.note(f"{case.name} failed: {error}")
        return False
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block with KeyboardInterrupt; ignore further ones while it cleans up."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        signal.signal(number, stop)
    yield


def _machine(data: Path) -> Mapping[str, str]:
    """Describe the machine and the programs that the figures apply to."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    disk = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(data)], capture_output=True, text=True, timeout=10
    )
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": f"{os.cpu_count()} cores",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown memory",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"data on {disk.stdout.strip() or 'an unknown disk'}",
        "python": f"Python {platform.python_version()}",
        "tools": ", ".join(_version(*command) for command in (("wrk", "-v"), ("nginx", "-v"), ("curl", "--version"))),
    }


def _version(name: str, option: str) -> str:
    path = program(name)
    if path is None:
        return f"no {name}"
    printed = subprocess.run([path, option], capture_output=True, text=True, timeout=10)
    number = re.search(r"\d+\.\d+(\.\d+)?", printed.stdout + printed.stderr)
    return f"{name} {number[0] if number else ''}"


if __name__ == "__main__":
    main()
