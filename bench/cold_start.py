"""Load time and memory of a function before its first request: `python -m bench.cold_start`.

Each entry point is loaded the way the platform loads it, in a separate process. The shortest of several loads counts,
because anything longer is noise from the machine. The clients for Google's services connect later, at the first call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import click

from bench.workspace import PROJECT

TARGETS = ("blob", "executor", "api", "sweep", "dead_letter")

GOOGLE = {
    "EXECUTOR_OBJECTS": "gcs",
    "EXECUTOR_JOBS": "google",
    "EXECUTOR_PROJECT": "project",
    "EXECUTOR_BUCKET": "bucket",
}

UNPROTECTED = {"EXECUTOR_PUSH_UNVERIFIED": "true", "EXECUTOR_ALLOW_OPEN": "yes"}

LOAD = """
import sys, time
began = time.perf_counter()
import functions_framework
framework = time.perf_counter()
functions_framework.create_app(sys.argv[1], "functions/main.py")
loaded = time.perf_counter()
resident = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print((framework - began) * 1000, (loaded - framework) * 1000, int(resident.split()[1]) / 1024, len(sys.modules))
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Result of loading an entry point once."""

    framework_ms: float
    own_ms: float
    resident_mib: float
    modules: int


def load(target: str, settings: Mapping[str, str]) -> Load:
    """Load an entry point in a separate process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
    finished = subprocess.run(
        [sys.executable, "-c", LOAD, target],
        cwd=PROJECT,
        env={**environment, **UNPROTECTED, "PYTHONPATH": str(PROJECT), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    framework, own, resident, modules = finished.stdout.split()
    return Load(float(framework), float(own), float(resident), int(modules))


@click.command()
@click.option(
    "--reps",
    type=click.IntRange(1),
    default=7,
    show_default=True,
    help="Loads of each entry point; the fastest counts.",
)
def main(reps: int) -> None:
    """Measure how long each function's entry point takes to load, and print a table."""
    click.echo("| function | backends | framework, ms | ours, ms | memory, MiB | modules |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for backends, settings in (("embedded", {}), ("Google", GOOGLE)):
        for target in TARGETS:
            loads = [load(target, settings) for _ in range(reps)]
            framework = min(found.framework_ms for found in loads)
            own = min(found.own_ms for found in loads)
            row = (target, backends, f"{framework:.0f}", f"{own:.0f}", f"{loads[0].resident_mib:.0f}", loads[0].modules)
            click.echo(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
