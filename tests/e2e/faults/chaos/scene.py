"""One fault on a new local stack under load, with everything recorded and checked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deployment import Deployment, Here, environment_of
from fleet import FleetWorker, fleet
from history import Findings, History, check
from recorder import FAILURES, PAUSE_SECONDS, Clients, NoAnswer, Observer
from servers.tcp_proxy import TcpProxy
from stack_process import StackProcess, processes_of, until

from cloud_executor.errors import Unavailable

LEASE_SECONDS = 5
SETTINGS = {
    "EXECUTOR_LEASE": str(LEASE_SECONDS),
    "EXECUTOR_WORKER_REFRESH_INTERVAL": "2000",
    "EXECUTOR_RETRIES": "1000",
}
WORKERS, SLOTS, CLIENTS = 3, 2, 2
READY_SECONDS = 120.0
SETTLE_SECONDS = 300.0
"""Time within which all jobs must end after the fault, in seconds."""
CALM_SECONDS = 1.0
"""Time between two faults, in seconds."""
DISK = "64m"
"""Size of a disk that is filled."""

FAULTY_WORKER = str(Path(__file__).with_name("faulty_worker.py"))


class NotTried(Exception):
    """This fault cannot be injected here; the message is the reason."""


@dataclass(frozen=True)
class Fault:
    """A fault, and what must hold nevertheless."""

    name: str
    promise: str
    inject: Callable[[Scene], None]
    """Causes the fault once and returns when it is over. Raises NotTried."""
    times: int = 1
    workers: tuple[str, float, int] | None = None
    """Fault and value of `faulty_worker.py`, and the number of workers that have it. Their faults are counted."""
    small_disk: bool = False
    """Whether the data folder is on a small disk of its own."""
    pause_seconds: float = PAUSE_SECONDS
    """Pause of a client between two jobs: longer if the fault makes jobs so slow that too many would wait."""
    stacks: tuple[str, ...] = ("embedded", "emulated")


@dataclass
class Row:
    """What one fault did."""

    fault: str
    promise: str
    injected: int = 0
    jobs: int = 0
    affected: int = 0
    """Number of jobs that were in progress while the fault was in effect."""
    lost: int = 0
    doubled: int = 0
    unwritten: int = 0
    worst_delay_seconds: float = 0.0
    """Longest time from a client's first request for a job to its outcome."""
    not_tried: str | None = None
    findings: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class Scene:
    """What a fault can act on."""

    stack: StackProcess
    deployment: Deployment
    here: Here
    workers: list[FleetWorker]
    clients: Clients
    network: TcpProxy
    """Connection between the clients and the server."""
    folder: Path
    injected: int = 0
    """Number of faults in addition to the calls of `inject`; a fault that counts them itself sets it."""

    def server_processes(self) -> list[int]:
        return [pid for pid, command in processes_of(self.stack.data).items() if "functions.serve" in command]

    def kill_server(self) -> None:
        for pid in self.server_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_for_server(self) -> None:
        until(self._responds, READY_SECONDS)

    def _responds(self) -> bool:
        with suppress(NoAnswer, *FAILURES):
            return bool(self.clients.answer("GET", "/rest/routes"))
        return False


def run_fault(
    fault: Fault, folder: Path, options: Sequence[str] = (), spoil: Callable[[Scene], None] | None = None
) -> tuple[Row, Findings]:
    """Cause the fault under load on a new stack, and check the recorded history.

    `spoil` breaks something on purpose at the end, to test that it is noticed.
    """
    row = Row(fault.name, fault.promise)
    if ("emulated" if options else "embedded") not in fault.stacks:
        row.not_tried = f"This fault concerns only the {fault.stacks[0]} stack."
        return row, Findings()
    history = History()
    try:
        with _scene(fault, folder, options, history) as scene:
            _play(scene, fault, row, spoil)
    except NotTried as reason:
        row.not_tried = str(reason)
        return row, Findings()
    findings = check(history)
    row.lost, row.doubled, row.unwritten = len(findings.lost), len(findings.doubled), len(findings.unwritten)
    row.findings = findings.all()
    return row, findings


@contextmanager
def _scene(fault: Fault, folder: Path, options: Sequence[str], history: History) -> Iterator[Scene]:
    data = folder / "data"
    faults = folder / "faults"
    faults.touch()
    programs: list[tuple[str, ...]] = []
    if fault.workers is not None:
        name, value, count = fault.workers
        programs = [(FAULTY_WORKER, name, str(value), str(faults))] * count
    with ExitStack() as opened:
        if fault.small_disk:
            opened.enter_context(_disk(data))
        stack = opened.enter_context(closing(StackProcess(data, "--slots", "0", *options, settings=SETTINGS)))
        server = stack.pid_of("functions.serve")
        assert server is not None
        variables = environment_of(server)
        deployment = Deployment(
            {
                name: value
                for name, value in variables.items()
                if name.startswith("EXECUTOR_") or name.endswith("_EMULATOR_HOST")
            }
        )
        here = opened.enter_context(deployment.here())
        network = opened.enter_context(closing(TcpProxy(stack.url.rpartition("//")[2])))
        clients = Clients(int(network.address.rpartition(":")[2]), folder / "commands", history)
        workers = opened.enter_context(fleet(deployment, WORKERS, SLOTS, folder / "workers.log", programs))
        scene = Scene(stack, deployment, here, workers, clients, network, folder)
        yield scene
        if fault.workers is not None:
            scene.injected = len(faults.read_text().splitlines())


def _play(scene: Scene, fault: Fault, row: Row, spoil: Callable[[Scene], None] | None) -> None:
    clients, observer = scene.clients, Observer(scene.here, scene.clients)
    observer.start()
    clients.start(CLIENTS, fault.pause_seconds)
    # The fault meets a stack at work.
    until(lambda: len(observer.ended_at) >= CLIENTS or clients.errors or observer.errors, READY_SECONDS)
    spans = []
    for _ in range(fault.times):
        begin = time.monotonic()
        fault.inject(scene)
        spans.append((begin, time.monotonic()))
        row.injected += 1
        time.sleep(CALM_SECONDS)
    clients.stop()
    end = time.monotonic() + SETTLE_SECONDS
    while not clients.begun.keys() <= observer.ended_at.keys() and time.monotonic() < end:
        time.sleep(CALM_SECONDS)
    if spoil is not None:
        spoil(scene)
    observer.stop()
    observer.look()
    assert not [*clients.errors, *observer.errors], [*clients.errors, *observer.errors]
    for job in clients.begun:
        clients.read(job)
        if job in observer.ended_at:
            clients.read_result(job)
    clients.count_runs()
    for worker in scene.workers:
        worker.end()
    if fault.workers is not None:
        row.injected = len((scene.folder / "faults").read_text().splitlines())
        spans = [(0.0, time.monotonic())]
    elif scene.injected:
        row.injected = scene.injected
    delays = {job: observer.ended_at[job] - begun for job, begun in clients.begun.items() if job in observer.ended_at}
    row.jobs = len(clients.begun)
    row.affected = sum(
        any(begun < end and observer.ended_at.get(job, end) > begin for begin, end in spans)
        for job, begun in clients.begun.items()
    )
    row.worst_delay_seconds = round(max(delays.values(), default=0.0), 1)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Mount a small disk at the folder inside the block. Raises NotTried."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        raise NotTried("Only a user who can mount a small disk can fill it.")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def retried(action: Callable[[], object]) -> None:
    """Repeat an operation on a store that the fault affects."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            action()
            return
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(CALM_SECONDS)
