"""The matrix of faults."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from deployment import Proxies
from history import Read
from recorder import FAILURES, HOST, TIMEOUT_SECONDS
from scene import LEASE_SECONDS, Fault, Scene, retried
from stack_process import asleep, signal_all

DYING_WORKER = str(Path(__file__).parents[1] / "lost_workers" / "dying_worker.py")
STEPS = ("claimed", "fetching", "before the command", "running", "archiving", "before the outcome", "before the ack")
DIES_WITHIN_SECONDS = 60.0

SHORT_SECONDS = 3.0
BEYOND_THE_LEASE_SECONDS = LEASE_SECONDS + 3.0
LARGE_BYTES = 8 << 20
LITTLE_MEMORY_BYTES = 1 << 20
"""Memory limit of a worker, which already has more, in bytes."""
FEW_FILES = 8
"""File limit of a worker, which already has more. It still allows to poll a few of them."""

chance = random.Random()


def nothing(_: Scene) -> None:
    time.sleep(SHORT_SECONDS)


def wait_long(_: Scene) -> None:
    """Let the faulty workers run jobs for a while."""
    time.sleep(15)


def kill_at_each_step(scene: Scene) -> None:
    for step in STEPS:
        worker = scene.deployment.start(DYING_WORKER, step, "--slots", "1", log=scene.folder / "dying.log")
        try:
            worker.wait(DIES_WITHIN_SECONDS)
            scene.injected += 1
        finally:
            worker.kill()
            worker.wait()


def kill_worker(scene: Scene) -> None:
    chance.choice(scene.workers).kill()


def freeze_worker(scene: Scene) -> None:
    worker = chance.choice(scene.workers)
    worker.freeze()
    time.sleep(BEYOND_THE_LEASE_SECONDS)
    worker.thaw()


def kill_server(scene: Scene) -> None:
    scene.kill_server()
    scene.wait_for_server()


def freeze_server(scene: Scene) -> None:
    frozen = scene.server_processes()
    signal_all(frozen, signal.SIGSTOP)
    time.sleep(BEYOND_THE_LEASE_SECONDS)
    signal_all(frozen, signal.SIGCONT)
    scene.wait_for_server()


def suspend_machine(scene: Scene) -> None:
    with asleep(scene.stack.data):
        time.sleep(BEYOND_THE_LEASE_SECONDS)


def disturb_clients(scene: Scene, action: str) -> None:
    getattr(scene.network, action)()
    time.sleep(SHORT_SECONDS)
    scene.network.restore()
    scene.wait_for_server()


def slow_clients(scene: Scene, seconds: float) -> None:
    scene.network.delay(seconds)
    time.sleep(6 * seconds + SHORT_SECONDS)
    scene.network.delay(0)


def disturb_worker(scene: Scene, action: Callable[[Proxies], None]) -> None:
    worker = chance.choice(scene.workers)
    action(worker.proxies)
    time.sleep(BEYOND_THE_LEASE_SECONDS)
    worker.proxies.restore()
    worker.restart_if_ended()


def slow_services(scene: Scene, seconds: float) -> None:
    proxies = [proxy for worker in scene.workers for proxy in worker.proxies.by_variable.values()]
    for proxy in proxies:
        proxy.delay(seconds)
    time.sleep(6 * seconds + SHORT_SECONDS)
    for proxy in proxies:
        proxy.delay(0)


def duplicate_messages(scene: Scene) -> None:
    """Publish every job again, finished or not."""
    for job in list(scene.clients.begun):
        retried(partial(scene.here.jobs.queue.publish, scene.here.jobs.pools[0].name, job))
        scene.injected += 1
    time.sleep(SHORT_SECONDS)


def kill_server_during_upload(scene: Scene) -> None:
    content = os.urandom(LARGE_BYTES)
    with closing(http.client.HTTPConnection(HOST, _port(scene), timeout=TIMEOUT_SECONDS)) as connection:
        connection.putrequest("POST", "/rest/blob/createFile/large")
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders()
        connection.send(content[: len(content) // 2])
        scene.kill_server()
        with suppress(*FAILURES):
            connection.send(content[len(content) // 2 :])
            response = connection.getresponse()
            assert response.status != http.HTTPStatus.OK, "the killed server acknowledged half an upload"
    scene.wait_for_server()
    scene.clients.read(scene.clients.upload(content))


def kill_server_during_download(scene: Scene) -> None:
    content = os.urandom(LARGE_BYTES)
    blob = scene.clients.upload(content)
    begin = time.monotonic()
    with (
        closing(http.client.HTTPConnection(HOST, _port(scene), timeout=TIMEOUT_SECONDS)) as connection,
        suppress(*FAILURES),
    ):
        connection.request("GET", f"/rest/blob/download/{blob}")
        response = connection.getresponse()
        received = response.read(1 << 16)
        scene.kill_server()
        received += response.read()  # Raises IncompleteRead, unless the rest was on its way.
        scene.clients.history.reads.append(Read(blob, begin, time.monotonic(), _digest(received)))
    scene.wait_for_server()
    scene.clients.read(blob)


def kill_server_during_create(scene: Scene) -> None:
    submitters = [
        threading.Thread(target=scene.clients.submit, args=(f"create-{time.monotonic_ns()}-{number}",), daemon=True)
        for number in range(4)
    ]
    for submitter in submitters:
        submitter.start()
        time.sleep(chance.uniform(0, 0.02))
    time.sleep(chance.uniform(0, 0.05))
    scene.kill_server()
    scene.wait_for_server()
    for submitter in submitters:
        submitter.join(TIMEOUT_SECONDS)


def fill_disk(scene: Scene) -> None:
    filler = scene.stack.data / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
    time.sleep(2 * SHORT_SECONDS)
    filler.unlink()


def lock_database(scene: Scene, seconds: float) -> None:
    """Hold the lock as another program does, such as a backup."""
    with closing(
        sqlite3.connect(scene.stack.data / "executor.sqlite", isolation_level=None, timeout=TIMEOUT_SECONDS)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")


def limit_worker(scene: Scene, limit: int, most: int) -> None:
    """Let a running worker have no more of a resource than it has now."""
    worker = chance.choice(scene.workers)
    pid = worker.process.pid
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (most, before[1]))
    time.sleep(2 * SHORT_SECONDS)
    if worker.process.poll() is None:
        resource.prlimit(pid, limit, before)
    else:
        worker.kill()


def _port(scene: Scene) -> int:
    return int(scene.stack.url.rpartition(":")[2])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


EMBEDDED, EMULATED = ("embedded",), ("emulated",)
RUN_AGAIN = "Its jobs run again when their leases expire; one attempt sets the outcome."
REDELIVERED = "Messages that it had not acked are delivered again after their deadline of a minute."
GIVEN_BACK = "A worker that notices gives its job back and pauses; otherwise the job runs again when its lease expires."
REPEATED = "Clients get an error or no response, repeat the request, and it takes effect once."
REPEATED_CALL = "The worker repeats the call, and it takes effect once."
LATER = "Requests take longer; none fails for good."

FAULTS: tuple[Fault, ...] = (
    Fault("none", "Each job runs once.", nothing),
    Fault("worker killed at each step of a job", RUN_AGAIN, kill_at_each_step),
    Fault("worker killed", RUN_AGAIN, kill_worker, 3),
    Fault("worker frozen beyond its lease", f"{RUN_AGAIN} The worker notices its loss.", freeze_worker, 2),
    Fault("server killed", REPEATED, kill_server, 2),
    Fault("server killed during uploads", f"{REPEATED} No part of a blob is readable.", kill_server_during_upload, 2),
    Fault("server killed during downloads", "Clients notice the missing part.", kill_server_during_download, 2),
    Fault("server killed during creates", REPEATED, kill_server_during_create, 2),
    Fault("server frozen", LATER, freeze_server),
    Fault("machine suspended", "Jobs continue or run again; one attempt sets the outcome.", suspend_machine, 2),
    Fault("clients cut off", REPEATED, partial(disturb_clients, action="cut"), 2),
    Fault("clients stalled", LATER, partial(disturb_clients, action="stall"), 2),
    Fault("0.2 s of latency between clients and server", LATER, partial(slow_clients, seconds=0.2)),
    Fault("2 s of latency between clients and server", LATER, partial(slow_clients, seconds=2.0)),
    Fault(
        "worker cut off", f"{RUN_AGAIN} {REDELIVERED}", partial(disturb_worker, action=Proxies.cut), 2, stacks=EMULATED
    ),
    Fault(
        "worker stalled",
        f"{RUN_AGAIN} {REDELIVERED}",
        partial(disturb_worker, action=Proxies.stall),
        2,
        stacks=EMULATED,
    ),
    Fault("0.2 s of latency to the services", LATER, partial(slow_services, seconds=0.2), stacks=EMULATED),
    Fault("2 s of latency to the services", LATER, partial(slow_services, seconds=2.0), stacks=EMULATED),
    Fault("0.2 s of latency in each call of a worker", LATER, wait_long, workers=("latency", 0.2, 3)),
    Fault("2 s of latency in each call of a worker", LATER, wait_long, workers=("latency", 2, 3), pause_seconds=10),
    Fault(
        "every 7th response to workers lost", "The call takes effect once.", wait_long, workers=("lost replies", 7, 3)
    ),
    Fault("messages duplicated", "A worker drops the second message.", duplicate_messages, 2),
    Fault(
        "clock of a worker 1 h ahead",
        "Leases follow the clock of the job store.",
        wait_long,
        workers=("skew", 3600, 1),
        stacks=EMBEDDED,
    ),
    Fault(
        "clock of a worker 1 h behind",
        "Leases follow the clock of the job store.",
        wait_long,
        workers=("skew", -3600, 1),
        stacks=EMBEDDED,
    ),
    Fault(
        "clock of a worker steps by 2 h",
        "Leases follow the clock of the job store.",
        wait_long,
        workers=("steps", 3600, 1),
        stacks=EMBEDDED,
    ),
    Fault(
        "data disk full",
        "Clients get 503 and repeat. A worker that runs out of space gives its job back and pauses.",
        fill_disk,
        small_disk=True,
        stacks=EMBEDDED,
    ),
    Fault("database locked for 3 s", LATER, partial(lock_database, seconds=3.0), 2, stacks=EMBEDDED),
    Fault("database locked for 12 s", REPEATED, partial(lock_database, seconds=12.0), stacks=EMBEDDED),
    Fault("every 5th start of a command without a process", GIVEN_BACK, wait_long, workers=("fork", 5, 1)),
    Fault(
        "worker out of memory",
        GIVEN_BACK,
        partial(limit_worker, limit=resource.RLIMIT_AS, most=LITTLE_MEMORY_BYTES),
    ),
    Fault(
        "worker out of file descriptors",
        GIVEN_BACK,
        partial(limit_worker, limit=resource.RLIMIT_NOFILE, most=FEW_FILES),
    ),
)

NOT_TRIED: Iterable[str] = (
    "A limit on the number of processes: the system does not apply it to root. Starts that fail for this reason are "
    "injected instead.",
    "10 s of latency, a set clock of the whole machine, and the death of `executor up` itself.",
    "A damaged database: it cannot be survived. `tests/e2e/stack/test_damaged_database.py` tests the message and the "
    "repair.",
    "A worker killed after it handed a job over to another pool: see "
    "`tests/e2e/faults/lost_workers/test_killed_workers.py`.",
    "Lost responses of each single call: see `tests/contract/test_lost_replies.py`. Errors and broken streams of the "
    "client's transport: see `tests/unit/backends/google/storage/`.",
)
"""What this matrix leaves out, and where it is tested instead."""
