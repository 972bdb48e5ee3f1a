"""Job queues of others, on this machine: rq with Redis, and Slurm. Both are optional and have to be installed."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.processes import running
from bench.workspace import PROJECT, BenchmarkError, program

START_SECONDS = 60.0

Submit = Callable[[int], Callable[[], bool]]
"""Submits the echo job with this number, and returns a function that tells whether the job has finished."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A job queue to measure: one column of the table."""

    name: str
    start: Callable[[Path, int], AbstractContextManager[Submit]]
    """Runs the queue in a folder, with this number of jobs at a time, inside the block."""
    programs: tuple[str, ...]
    """Programs that it needs."""
    package: str | None
    """Python package that it needs."""
    how_to_install: str
    job_share: float = 1.0
    """Share of a case's jobs to run; below 1 where each job takes seconds."""

    def check(self) -> None:
        """Raises BenchmarkError if the queue is not installed."""
        missing = [name for name in self.programs if program(name) is None]
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            missing.append(self.package)
        if missing:
            raise BenchmarkError(f"{', '.join(missing)} is not installed. Install it: {self.how_to_install}")


@contextmanager
def _rq(data: Path, slots: int) -> Iterator[Submit]:
    rq, redis = import_module("rq"), import_module("redis")
    with ExitStack() as started:
        # A folder with a short path, because that of a socket has up to 107 characters.
        address = f"{started.enter_context(tempfile.TemporaryDirectory())}/redis"
        command = ["redis-server", "--port", "0", "--unixsocket", address, "--save", "", "--appendonly", "no"]
        started.enter_context(running(command, data / "redis.log", data))
        _wait_until(lambda: os.path.exists(address), "Redis")
        connection = started.enter_context(redis.Redis(unix_socket_path=address))
        worker = [sys.executable, "-m", "rq.cli", "worker", "--url", f"unix://{address}", "echo"]
        for number in range(slots):
            started.enter_context(running(worker, data / f"worker-{number}.log", PROJECT))
        _wait_until(lambda: rq.Worker.count(connection=connection) == slots, "rq")
        queue = rq.Queue("echo", connection=connection)

        def submit(number: int) -> Callable[[], bool]:
            job = queue.enqueue("bench.servers.rq_job.echo", number)

            def has_finished() -> bool:
                status = job.get_status()
                if status == "failed":
                    raise BenchmarkError("a job of rq failed")
                return bool(status == "finished")

            return has_finished

        yield submit


_SLURM_CONFIG = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} State=UNKNOWN
PartitionName=bench Nodes={host} Default=YES State=UP
"""


@contextmanager
def _slurm(data: Path, slots: int) -> Iterator[Submit]:
    with ExitStack() as started:
        config = data / "slurm.conf"
        for name in ("state", "spool", "output"):
            (data / name).mkdir()
        host, user = socket.gethostname().partition(".")[0], "root"
        ports = {"controller_port": _free_port(), "node_port": _free_port()}
        config.write_text(_SLURM_CONFIG.format(host=host, user=user, folder=data, slots=slots, **ports))
        environment = {**os.environ, "SLURM_CONF": str(config)}
        for name in ("slurmctld", "slurmd"):
            command = [program(name) or name, "-D", "-f", str(config)]
            started.enter_context(running(command, data / f"{name}.log", data, environment))

        def run(*command: str) -> str:
            done = subprocess.run(command, capture_output=True, text=True, cwd=data, env=environment, timeout=60)
            return done.stdout

        _wait_until(lambda: run("sinfo", "--noheader", "--format=%T").strip() == "idle", "Slurm")

        def submit(number: int) -> Callable[[], bool]:
            output = data / "output" / str(number)
            run("sbatch", "--parsable", "--cpus-per-task=1", f"--output={output}", f"--wrap=echo job {number}")
            return lambda: output.exists() and output.read_text() == f"job {number}\n"

        yield submit


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_until(is_ready: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{name} was not ready after {START_SECONDS:.0f} s")
        time.sleep(0.05)


QUEUES = {
    "rq": Queue(
        "rq",
        _rq,
        ("redis-server",),
        "rq",
        "pip install rq, and sudo apt-get install --no-install-recommends redis-server",
    ),
    "slurm": Queue(
        "Slurm",
        _slurm,
        ("slurmctld", "slurmd", "sbatch", "sinfo"),
        None,
        "sudo apt-get install --no-install-recommends slurm-wlm",
        job_share=0.1,
    ),
}
"""The queues by the names in `--queue`."""
