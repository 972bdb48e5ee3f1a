"""Load generators: wrk for small requests, curl for large bodies, and our own client to send each request once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from urllib.parse import urlsplit

from bench.load.keep_alive_client import Outcome, Plan
from bench.sizes import CONNECTIONS
from bench.workspace import PROJECT, BenchmarkError, Workspace, program

TRANSFER_SECONDS = 900
OCTETS = "Content-Type: application/octet-stream"
_BUSY_CORES = 0.9
_WRK_MISSING = (
    "wrk is not installed, so Python processes send the small requests and may limit the figures."
    " Install wrk: sudo apt-get install --no-install-recommends wrk"
)


@dataclass(frozen=True, slots=True)
class Requests:
    """Small requests that cycle through the paths; every request has a different body."""

    method: str
    paths: Sequence[str]
    body_bytes: int = 0
    seed: int = 0
    """Seed of the bodies; different seeds give different bodies."""


def rate(workspace: Workspace, url: str, requests: Requests, what: str) -> float:
    """Measure the responses per second over kept-alive connections, after an uncounted warm-up.

    `what` names the figure in the note that is added if the load generator may have been the limit. Raises
    BenchmarkError if a request fails.
    """
    send = _wrk if program("wrk") else _own_processes
    if send is _own_processes:
        workspace.note(_WRK_MISSING)
    send(workspace, url, replace(requests, seed=requests.seed + 1_000_000), 1)
    before = _cpu_seconds_of_children()
    outcome = send(workspace, url, requests, workspace.sizes.seconds)
    cores = (_cpu_seconds_of_children() - before) / outcome.seconds
    if cores > _BUSY_CORES * (1 if send is _wrk else os.cpu_count() or 1):
        workspace.note(f"{what}: the load generator used {cores:.2f} cores and may have been the limit.")
    return outcome.responses / outcome.seconds


def each_once(url: str, requests: Requests, *, keep_bodies: bool = False) -> Outcome:
    """Send each request exactly once. Raises BenchmarkError if a request fails."""
    return _checked(_own_process(_plan(url, requests, CONNECTIONS, 0, keep_bodies=keep_bodies)))


@dataclass(frozen=True, slots=True)
class Transfer:
    """Result of one large upload or download."""

    first_byte_seconds: float
    seconds: float
    received_bytes: int


def transfer(url: str, *arguments: str, out: Path | None = None) -> Transfer:
    """Transfer one body with curl. Raises BenchmarkError if the response is an error or incomplete."""
    form = "%{http_code} %{time_starttransfer} %{time_total} %{size_download}"
    limits = ["--max-time", str(TRANSFER_SECONDS), "-H", "Expect:"]
    curl = subprocess.run(
        ["curl", "-sS", *limits, "-o", str(out or os.devnull), "-w", form, *arguments, url],
        capture_output=True,
        text=True,
        timeout=TRANSFER_SECONDS + 10,
    )
    if curl.returncode or not curl.stdout.startswith("2"):
        raise BenchmarkError(f"curl: {curl.stdout} {curl.stderr.strip()}")
    _, first_byte, total, size = curl.stdout.split()
    return Transfer(float(first_byte), float(total), int(size))


def _wrk(workspace: Workspace, url: str, requests: Requests, seconds: int) -> Outcome:
    listing = workspace.folder / "paths"
    listing.write_text("\n".join(requests.paths) + "\n")
    variables = {"METHOD": requests.method, "PATHS": listing, "BODY_BYTES": requests.body_bytes, "SEED": requests.seed}
    wrk = subprocess.run(
        [
            *(program("wrk") or "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"),
            *("-s", str(Path(__file__).with_name("wrk.lua")), url),
        ],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    lines = wrk.stdout.strip().splitlines()
    if wrk.returncode or not lines or not lines[-1].startswith("{"):
        raise BenchmarkError(f"wrk: {wrk.stdout[-300:]} {wrk.stderr[-300:]}")
    return _checked(Outcome(**json.loads(lines[-1])))


def _own_processes(_place: Workspace, url: str, requests: Requests, seconds: int) -> Outcome:
    """Send the requests from one process per core, each with its share of the paths and connections."""
    count = os.cpu_count() or 1
    plans = [
        _plan(
            url,
            replace(requests, seed=requests.seed + i, paths=requests.paths[i::count] or requests.paths),
            -(-CONNECTIONS // count),
            seconds,
        )
        for i in range(count)
    ]
    with ThreadPoolExecutor(count) as pool:
        outcomes = [_checked(outcome) for outcome in pool.map(_own_process, plans)]
    return Outcome(
        responses=sum(outcome.responses for outcome in outcomes),
        seconds=max(outcome.seconds for outcome in outcomes),
    )


def _own_process(plan: Plan) -> Outcome:
    client = subprocess.run(
        [sys.executable, "-m", "bench.load.keep_alive_client"],
        cwd=PROJECT,
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        timeout=TRANSFER_SECONDS,
    )
    if client.returncode:
        raise BenchmarkError(f"the load generator failed: {client.stderr.strip().splitlines()[-1:]}")
    return Outcome(**json.loads(client.stdout))


def _plan(url: str, requests: Requests, connections: int, seconds: float, *, keep_bodies: bool = False) -> Plan:
    address = urlsplit(url)
    return Plan(
        host=address.hostname or "",
        port=address.port or 80,
        method=requests.method,
        paths=list(requests.paths),
        body_bytes=requests.body_bytes,
        seed=requests.seed,
        connections=connections,
        seconds=seconds,
        keep_bodies=keep_bodies,
    )


def _checked(outcome: Outcome) -> Outcome:
    if outcome.errors or not outcome.responses:
        raise BenchmarkError(f"{outcome.errors} of {outcome.responses} small requests failed")
    return outcome


def _cpu_seconds_of_children() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
