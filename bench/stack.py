"""What is measured: our local stack as users start it, and, for comparison, WebGME's own server and worker."""

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
from bench.workplace import PROJECT, BenchmarkError, program

START_SECONDS = 60.0
_ADDRESS = re.compile(rb"http://[0-9.:]+[0-9]")


@dataclass(frozen=True, slots=True)
class Stack:
    """A running server, and its worker if it was asked for one."""

    url: str
    pid: int  # its memory is that of this process and all that it started


class Side(Protocol):
    """A column of the table."""

    @property
    def name(self) -> str: ...

    @property
    def idle_seconds(self) -> float:
        """Random pauses of up to so long before each job meet the worker at any phase of its polling."""

    @property
    def job_share(self) -> float:
        """How many of a case's jobs to run: not all where each takes seconds."""

    def start(self, data: Path, slots: int) -> AbstractContextManager[Stack]:
        """The stack on this data, ready to answer; stopped at the end of the block. No slots: no worker."""


class OurStack:
    """`executor up`."""

    name = "ours"
    idle_seconds = 0.5
    job_share = 1.0

    @contextmanager
    def start(self, data: Path, slots: int) -> Iterator[Stack]:
        command = [sys.executable, "-m", "cloud_executor.cli.main", "up", "--port", "0"]
        # What the user has set for a stack of their own must not change what is measured.
        env = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
        log = data / "stack.log"
        with running([*command, "--data", str(data / "stack"), "--slots", str(slots)], log, PROJECT, env) as process:
            yield Stack(_address(process, log), process.pid)


@dataclass(frozen=True, slots=True)
class Peer:
    """WebGME's blob and executor middlewares, and its worker, with their default polling."""

    modules: Path  # a node_modules folder with webgme-engine and webgme-executor-worker
    name: str = "WebGME"
    idle_seconds: float = 5.0
    job_share: float = 0.1

    def __post_init__(self) -> None:
        for package in ("webgme-engine", "webgme-executor-worker"):
            if not (self.modules / package / "package.json").exists():
                raise BenchmarkError(f"{package} is not in {self.modules}: npm install --ignore-scripts {package}")
        if not program("node"):
            raise BenchmarkError("node is not installed: sudo apt-get install --no-install-recommends nodejs")

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
                    # The worker takes the `File` of newer versions of Node for a browser's and ends.
                    *("node", "--import", "data:text/javascript,delete globalThis.File"),
                    *(str(self.modules / "webgme-executor-worker" / "node_worker.js"), "config.json", "work"),
                ]
                processes.enter_context(running(worker, data / "worker.log", data, env))
            yield Stack(url, process.pid)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL in the line that the server prints when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        printed = log.read_bytes()
        address = _ADDRESS.search(printed)
        if address and b"\n" in printed[address.end() :]:
            return address[0].decode()
        if process.poll() is not None:
            said = " ".join(printed.decode(errors="replace").split())
            raise BenchmarkError(f"the server did not start: {said[:500]}")
        time.sleep(0.02)
    raise BenchmarkError(f"the server was not ready after {START_SECONDS:.0f} s")
