"""The systems compared: our local stack, started as users start it, and optionally WebGME's own server and worker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.processes import running
from bench.workspace import PROJECT, BenchmarkError, program

START_SECONDS = 60.0
_ADDRESS = re.compile(rb"http://[0-9.:]+[0-9]")


@dataclass(frozen=True, slots=True)
class Stack:
    """A running server, with a worker if one was requested."""

    url: str
    pid: int
    """Id of the root process; the stack's memory is that of this process and its descendants."""


class Side(Protocol):
    """A system to measure: one column of the table."""

    @property
    def name(self) -> str: ...

    @property
    def max_pause_seconds(self) -> float:
        """Longest random pause before a job, in seconds: jobs then arrive at any phase of the worker's polling."""

    @property
    def job_share(self) -> float:
        """Share of a case's jobs to run; below 1 where each job takes seconds."""

    def start(self, data: Path, slots: int) -> AbstractContextManager[Stack]:
        """Run the stack on this data inside the block, ready for requests; with 0 slots it has no worker."""


class OurStack:
    """`executor up`."""

    name = "ours"
    max_pause_seconds = 0.5
    job_share = 1.0

    @contextmanager
    def start(self, data: Path, slots: int) -> Iterator[Stack]:
        command = [sys.executable, "-m", "cloud_executor.cli.main", "up", "--port", "0"]
        # Settings for the user's own stack must not affect the measurement.
        env = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
        log = data / "stack.log"
        with running([*command, "--data", str(data / "stack"), "--slots", str(slots)], log, PROJECT, env) as process:
            yield Stack(_address(process, log), process.pid)


@dataclass(frozen=True, slots=True)
class Peer:
    """WebGME's blob and jobs middleware, and its worker at its default polling interval."""

    modules: Path
    """A node_modules folder with webgme-engine and webgme-executor-worker."""
    name: str = "WebGME"
    max_pause_seconds: float = 5.0
    job_share: float = 0.1

    def __post_init__(self) -> None:
        for package in ("webgme-engine", "webgme-executor-worker"):
            if not (self.modules / package / "package.json").exists():
                raise BenchmarkError(
                    f"{self.modules} does not contain {package}. Install it: npm install --ignore-scripts {package}"
                )
        if not program("node"):
            raise BenchmarkError(
                "Node.js is not installed. Install it: sudo apt-get install --no-install-recommends nodejs"
            )

    @contextmanager
    def start(self, data: Path, slots: int) -> Iterator[Stack]:
        env = {**os.environ, "NODE_PATH": str(self.modules)}
        server = ["node", str(Path(__file__).with_name("peer_server.js")), str(data / "peer")]
        with ExitStack() as processes:
            log = data / "peer.log"
            process = processes.enter_context(running(server, log, data, env))
            url = _address(process, log)
            if slots:
                (data / "config.json").write_text(json.dumps({url: {}, "maxConcurrentJobs": slots}))
                worker = [
                    # The worker mistakes the global `File` of newer Node.js versions for a browser's and exits.
                    *("node", "--import", "data:text/javascript,delete globalThis.File"),
                    *(str(self.modules / "webgme-executor-worker" / "node_worker.js"), "config.json", "work"),
                ]
                processes.enter_context(running(worker, data / "worker.log", data, env))
            yield Stack(url, process.pid)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL that the server prints once it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        printed = log.read_bytes()
        address = _ADDRESS.search(printed)
        if address and b"\n" in printed[address.end() :]:
            return address[0].decode()
        if process.poll() is not None:
            output = " ".join(printed.decode(errors="replace").split())
            raise BenchmarkError(f"the server did not start: {output[:500]}")
        time.sleep(0.02)
    raise BenchmarkError(f"the server was not ready after {START_SECONDS:.0f} s")
