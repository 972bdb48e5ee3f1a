"""The load generators: wrk for small requests, curl for large bodies, and one of our own where each request counts."""

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

from bench.keep_alive_client import Order, Outcome
from bench.sizes import CONNECTIONS
from bench.workplace import PROJECT, BenchmarkError, Workplace, program

TRANSFER_SECONDS = 900
OCTETS = "Content-Type: application/octet-stream"
_BUSY_CORES = 0.9
_WRK_MISSING = (
    "wrk is not installed, so processes of our own send the small requests and may be the limit:"
    " sudo apt-get install --no-install-recommends wrk"
)


@dataclass(frozen=True, slots=True)
class Requests:
    """Small requests: these paths in turn, with bodies that are all different."""

    method: str
    paths: Sequence[str]
    body_bytes: int = 0
    seed: int = 0  # other seeds give other bodies


def rate(place: Workplace, url: str, requests: Requests, what: str) -> float:
    """Answers a second over kept-alive connections, after a warm-up that does not count.

    `what` names the figure in a note, should the load generator have been the limit. Raises BenchmarkError if a
    request is refused.
    """
    send = _wrk if program("wrk") else _own_processes
    if send is _own_processes:
        place.note(_WRK_MISSING)
    send(place, url, replace(requests, seed=requests.seed + 1_000_000), 1)
    before = _cpu_seconds_of_children()
    outcome = send(place, url, requests, place.sizes.seconds)
    cores = (_cpu_seconds_of_children() - before) / outcome.seconds
    if cores > _BUSY_CORES * (1 if send is _wrk else os.cpu_count() or 1):
        place.note(f"{what}: the load generator used {cores:.2f} cores and may have been the limit.")
    return outcome.answered / outcome.seconds


def each_once(url: str, requests: Requests, *, keep_answers: bool = False) -> Outcome:
    """Sends each request exactly once. Raises BenchmarkError if one is refused."""
    return _checked(_own_process(_order(url, requests, CONNECTIONS, 0, keep_answers=keep_answers)))


@dataclass(frozen=True, slots=True)
class Transfer:
    """One large body, up or down."""

    first_byte_seconds: float
    seconds: float
    received_bytes: int


def transfer(url: str, *arguments: str, out: Path | None = None) -> Transfer:
    """Runs curl. Raises BenchmarkError if the answer is an error or breaks off."""
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


def _wrk(place: Workplace, url: str, requests: Requests, seconds: int) -> Outcome:
    listing = place.folder / "paths"
    listing.write_text("\n".join(requests.paths) + "\n")
    told = {"METHOD": requests.method, "PATHS": listing, "BODY_BYTES": requests.body_bytes, "SEED": requests.seed}
    wrk = subprocess.run(
        [
            *(program("wrk") or "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"),
            *("-s", str(Path(__file__).with_name("wrk.lua")), url),
        ],
        env={**os.environ, **{name: str(value) for name, value in told.items()}},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    lines = wrk.stdout.strip().splitlines()
    if wrk.returncode or not lines or not lines[-1].startswith("{"):
        raise BenchmarkError(f"wrk: {wrk.stdout[-300:]} {wrk.stderr[-300:]}")
    return _checked(Outcome(**json.loads(lines[-1])))


def _own_processes(_place: Workplace, url: str, requests: Requests, seconds: int) -> Outcome:
    """One process for each core, with its share of the paths and connections."""
    count = os.cpu_count() or 1
    orders = [
        _order(
            url,
            replace(requests, seed=requests.seed + i, paths=requests.paths[i::count] or requests.paths),
            -(-CONNECTIONS // count),
            seconds,
        )
        for i in range(count)
    ]
    with ThreadPoolExecutor(count) as pool:
        outcomes = [_checked(outcome) for outcome in pool.map(_own_process, orders)]
    return Outcome(
        answered=sum(outcome.answered for outcome in outcomes),
        seconds=max(outcome.seconds for outcome in outcomes),
    )


def _own_process(order: Order) -> Outcome:
    client = subprocess.run(
        [sys.executable, "-m", "bench.keep_alive_client"],
        cwd=PROJECT,
        input=json.dumps(asdict(order)),
        capture_output=True,
        text=True,
        timeout=TRANSFER_SECONDS,
    )
    if client.returncode:
        raise BenchmarkError(f"the load generator ended with {client.stderr.strip().splitlines()[-1:]}")
    return Outcome(**json.loads(client.stdout))


def _order(url: str, requests: Requests, connections: int, seconds: float, *, keep_answers: bool = False) -> Order:
    place = urlsplit(url)
    return Order(
        host=place.hostname or "",
        port=place.port or 80,
        method=requests.method,
        paths=list(requests.paths),
        body_bytes=requests.body_bytes,
        seed=requests.seed,
        connections=connections,
        seconds=seconds,
        keep_answers=keep_answers,
    )


def _checked(outcome: Outcome) -> Outcome:
    if outcome.refused or not outcome.answered:
        raise BenchmarkError(f"{outcome.refused} of {outcome.answered} small requests were refused")
    return outcome


def _cpu_seconds_of_children() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
