"""`executor up`: the supervisor of the local stack.

    executor up          this process: owns the listening socket, does the upkeep, and supervises
      functions.serve    the HTTP server on that socket
      worker_vm.worker   one worker per pool, and further ones with `--slots 0..4` while there are jobs for them
      emulators          with --emulators: Cloud Storage, Firestore, and Pub/Sub

A server or worker that is killed is restarted, and all of them stop if the supervisor ends. If an emulator ends, the
stack stops, because jobs and messages exist only in the emulator's memory.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import click
import httpx

from cloud_executor.access.tokens import Tokens
from cloud_executor.blobs.upkeep import BlobUpkeep
from cloud_executor.composition import create_in_emulators, open_blobs, open_collector, open_jobs, open_tokens
from cloud_executor.json_logging import configure_logging
from cloud_executor.model.access.caller import OPERATOR, Role
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.ports import JobStore
from cloud_executor.process.private_process import forbid_inspection
from cloud_executor.process.stop_signals import set_on_signals
from cloud_executor.settings import NONCES, TOKEN, Settings, check_reachable
from local_stack.data_folder import claimed
from local_stack.dead_letters import DeadLetterReader
from local_stack.emulated_cloud import emulated_cloud
from local_stack.fleet import LocalFleet
from local_stack.listener import Listener, open_listener
from local_stack.service import Service, ServiceFailed, ServiceNotStarted
from local_stack.upkeep import Upkeep

OPEN_ADDRESS_WARNING = (
    "Anyone who can reach this address can run commands on this machine. Use --auth token to require credentials."
)

FIRST_ADMIN = "admin"
"""Name and user of the token that the first start creates."""

_SECRETS = (*NONCES, "EXECUTOR_ADMIN_TOKEN", "EXECUTOR_TOKEN", "EXECUTOR_TOKEN_PEPPER")
"""Variables that workers do not use."""

STOPPED, FAILED, NOT_STARTED = 0, 1, 2
"""Exit codes."""

READY_SECONDS = 60.0
"""Longest time, in seconds, for the server and the workers to start."""

CHECK_SECONDS = 0.1
"""Interval between checks of the processes, in seconds."""

PROBE_SECONDS = 0.5
"""Timeout of a request to the starting server, in seconds."""

MAX_DELIVERIES = 20
"""Deliveries of a message before it becomes a dead letter, with emulators. Terraform sets the same number."""

CHECK_SANDBOX_SECONDS = 1800.0
"""Longest time, in seconds, for a worker to show that it can start a container. It may have to pull an image."""

LONGEST_SERVER_PAUSE_SECONDS = 2.0
"""Longest pause before a restart of the server, in seconds: clients wait for it."""

LONGEST_WORKER_PAUSE_SECONDS = 60.0
"""Longest pause before a restart of a worker, in seconds. The command of a job may have killed it."""

WAITING_FOR_WORKERS_SECONDS = 5.0
"""Time, in seconds, after which a message says that the stack waits for containers."""

IDLE = timedelta(minutes=1)
"""Idle time after which a worker that was started for a job ends, unless its pool has `idleMinutes`."""

STOP_SECONDS = 8.0
"""Time, in seconds, for the processes to stop before they are killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the command line."""

    host: str
    port: int
    data: Path
    slots: int | None
    """Slots of each pool: 0 for no workers, None for the number in the settings."""
    least_slots: int | None = None
    """Slots of each pool while the stack is idle; None: `slots`."""
    auth: str | None = None
    """Value of EXECUTOR_AUTH, if it is not the environment's."""
    emulators: bool
    """Whether to start emulators and use Google's client libraries with them."""
    verbose: bool


def run_stack(options: Options) -> int:
    """Run until SIGINT, SIGTERM, or SIGHUP, and return the exit code. Raises CloudExecutorError if it cannot start."""
    log_level = logging.INFO if options.verbose else logging.WARNING
    stopping = threading.Event()
    set_on_signals(stopping, _stop_signals())
    data = options.data.absolute()
    forbid_inspection()
    chosen = {} if options.auth is None else {"EXECUTOR_AUTH": options.auth}
    environment: Mapping[str, str] = {**os.environ, "EXECUTOR_DATA": str(data), **chosen}
    settings = Settings.from_env(environment)
    with ExitStack() as stack:
        listener = open_listener(options.host, options.port)
        stack.enter_context(listener.socket)
        if not listener.is_private:
            check_reachable(settings)
        stack.enter_context(claimed(data))
        cloud = stack.enter_context(emulated_cloud(data, environment)) if options.emulators else None
        if cloud is not None:
            environment = cloud.environment
            settings = Settings.from_env(environment)
        configure_logging("supervisor", settings.project, log_level)
        emulated_queue = create_in_emulators(settings, MAX_DELIVERIES) if _uses_emulators(settings) else None
        pools = () if options.slots == 0 else settings.worker_pools
        environment = {"EXECUTOR_EXTERNAL_WORKERS": str(not pools), **environment}
        start = _Start(listener, environment, log_level)
        server = start.server(options.host)
        least = options.slots if options.least_slots is None else options.least_slots
        workers = [] if least == 0 else [start.worker(pool.name, least) for pool in pools]
        services = [server, *workers]
        jobs = open_jobs(settings)
        # A job store that cannot be used is one error, not one of each process.
        list(jobs.store.workers())
        fleet: LocalFleet | None = None
        if options.slots is not None and least is not None and least < options.slots:
            fleet = LocalFleet(least, options.slots, partial(start.elastic_worker, settings.worker_pools))
            jobs = replace(jobs, fleet=fleet, pools=[replace(pool, slots=1) for pool in pools])
        stack.callback(lambda: _stop([*services, *([] if fleet is None else fleet.close())]))
        blobs = open_blobs(settings)
        upkeep = Upkeep.repairs(jobs.sweep, BlobUpkeep(blobs))
        retention = Upkeep.retention(open_collector(settings, jobs, blobs), settings.keep_jobs)
        for service in services:
            service.start()
        for thread in (upkeep, retention):
            thread.start()
            stack.callback(thread.stop)
        if emulated_queue is not None:
            dead_letters = DeadLetterReader(jobs.dead_letters, emulated_queue)
            dead_letters.start()
            stack.callback(dead_letters.stop)
        if not listener.is_private and settings.is_open:
            click.echo(OPEN_ADDRESS_WARNING, err=True)
        try:
            if _wait_until_ready(services, workers, listener.url, settings, jobs.store, stopping):
                click.echo(_ready_line(options, pools, data, listener.url))
                if TOKEN in settings.auth:
                    _create_first_token(open_tokens(settings), listener.url)
                while not stopping.wait(CHECK_SECONDS):
                    for service in services:
                        service.check(starting=False)
                    if fleet is not None:
                        fleet.check()
                    if cloud is not None:
                        cloud.check()
            if sys.stderr.isatty():
                click.echo("Stopping ...", err=True)
        except ServiceNotStarted:
            return NOT_STARTED
        except ServiceFailed as failure:
            click.echo(f"Error: {failure}", err=True)
            return FAILED
        return STOPPED


def _uses_emulators(settings: Settings) -> bool:
    """Whether the stack does the work of Terraform (topics) and of a cloud function (dead letters)."""
    return settings.jobs == "google" and "PUBSUB_EMULATOR_HOST" in os.environ


def _stop_signals() -> list[signal.Signals]:
    """Return the signals that stop the stack. `nohup` has SIGHUP ignored."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


@dataclass(frozen=True, slots=True)
class _Start:
    """Creates the processes of the stack."""

    listener: Listener
    environment: Mapping[str, str]
    log_level: int

    def server(self, host: str) -> Service:
        descriptor = self.listener.socket.fileno()
        return Service(
            "server",
            "functions.serve",
            ["--host", host, "--fd", str(descriptor)],
            self.environment,
            log_level=self.log_level,
            longest_pause_seconds=LONGEST_SERVER_PAUSE_SECONDS,
            file_descriptors=[descriptor],
        )

    def worker(self, pool: str, slots: int | None, *options: str) -> Service:
        return Service(
            "worker",
            "worker_vm.worker.main",
            [
                *("--pool", pool, "--check", "--origin-url", self.listener.url),
                *([] if slots is None else ["--slots", str(slots)]),
                *options,
            ],
            {name: value for name, value in self.environment.items() if name not in _SECRETS},
            log_level=self.log_level,
            longest_pause_seconds=LONGEST_WORKER_PAUSE_SECONDS,
            may_end=bool(options),
        )

    def elastic_worker(self, pools: Sequence[WorkerPool], name: str) -> Service:
        """A worker with one slot that ends when it has been idle for too long."""
        (idle,) = (pool.idle for pool in pools if pool.name == name)
        minutes = (IDLE if idle is None else idle) / timedelta(minutes=1)
        return self.worker(name, 1, "--idle-minutes", str(minutes), "--end-when-idle")


def _wait_until_ready(
    services: list[Service],
    workers: list[Service],
    url: str,
    settings: Settings,
    store: JobStore,
    stopping: threading.Event,
) -> bool:
    """Return False if the stack is to stop instead. Raises ServiceNotStarted, ServiceFailed."""
    started = time.monotonic()
    contained = bool(workers) and settings.sandbox == "container"
    end = started + (CHECK_SANDBOX_SECONDS if contained else READY_SECONDS)
    told = not contained
    with httpx.Client(base_url=url, timeout=PROBE_SECONDS, trust_env=False) as server:
        while not stopping.is_set():
            for service in services:
                service.check(starting=True)
            # Compare names, because the list can include other workers.
            own = {f"{socket.gethostname() or 'unknown'}_{worker.pid}" for worker in workers}
            if _responds(server) and own <= {worker.client_id for worker in store.workers()}:
                return True
            if not told and time.monotonic() > started + WAITING_FOR_WORKERS_SECONDS:
                told = True
                click.echo("Waiting for the workers, which may be pulling the images of containers ...", err=True)
            if time.monotonic() > end:
                raise ServiceFailed("The server and workers did not become ready in time; stopping.")
            stopping.wait(CHECK_SECONDS)
    return False


def _responds(server: httpx.Client) -> bool:
    """Whether the server responds, to a request that needs no credential."""
    try:
        return server.get("/rest/routes").is_success
    except httpx.HTTPError:
        return False


def _create_first_token(tokens: Tokens, url: str) -> None:
    """Create an admin's token unless there is one, and print it: nobody can see it later.

    If the process dies before it prints the token, `executor token create --local` makes another one.
    """
    if tokens.has_admin():
        return
    token, _ = tokens.create(FIRST_ADMIN, FIRST_ADMIN, Role.ADMIN, None, OPERATOR)
    # No server sees the fragment of an address, so the token gets into no log.
    click.echo(f"Sign in at {url}/#token={token} as the administrator. The token is not shown again.")


def _ready_line(options: Options, pools: Sequence[WorkerPool], data: Path, url: str) -> str:
    count = sum(options.slots or pool.slots or os.cpu_count() or 1 for pool in pools)
    workers = "no worker" if not count else "1 slot" if count == 1 else f"{count} slots"
    if options.least_slots is not None and options.least_slots != options.slots:
        workers = f"{options.least_slots * len(pools)} to {workers}"
    if len(pools) > 1:
        workers += f" in {len(pools)} pools"
    kept = f"emulators, blobs in {data}" if options.emulators else f"data in {data}"
    return (
        f"Cloud Executor is ready at {url} ({workers}, {kept}). Open it in a browser to see its jobs. Ctrl-C stops it."
    )


def _stop(services: list[Service]) -> None:
    for service in services:
        service.stop()
    end = time.monotonic() + STOP_SECONDS
    for service in services:
        service.wait_until(end)
