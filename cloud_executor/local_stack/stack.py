"""`executor up`: the supervisor of the local stack.

    executor up          this process: the listening socket, the upkeep, and a watch over
      functions.serve    the HTTP server, on that socket
      worker_vm.worker   the worker, unless there are no slots

Each can be killed without harm: a program is started again, and without its supervisor it stops.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from cloud_executor.composition import open_blob_store, open_executor
from cloud_executor.json_logging import configure_logging
from cloud_executor.local_stack.data_folder import claimed
from cloud_executor.local_stack.listener import Listener, open_listener
from cloud_executor.local_stack.service import Service, ServiceFailed, ServiceRefused
from cloud_executor.local_stack.upkeep import Upkeep
from cloud_executor.settings import Settings
from cloud_executor.stop_signals import set_on_signals

STOPPED, FAILED, REFUSED = 0, 1, 2
"""exit codes"""

READY_SECONDS = 60.0
"""how long the programs have to start"""

LOOK_SECONDS = 0.1
"""how often the programs are looked after"""

PROBE_SECONDS = 0.5
"""how long an answer may take while the server starts"""

STOP_SECONDS = 8.0
"""how long the programs have to stop before they are killed"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    host: str
    port: int
    data: Path
    slots: int
    verbose: bool


def run_stack(options: Options) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; the exit code. Raises CloudExecutorError if it cannot be begun."""
    log_level = logging.INFO if options.verbose else logging.WARNING
    configure_logging("supervisor", log_level)
    stopping = threading.Event()
    set_on_signals(stopping, _stop_signals())
    data = options.data.absolute()
    environment = {**os.environ, "EXECUTOR_DATA": str(data)}
    settings = Settings.from_env(environment)
    with ExitStack() as stack:
        listener = open_listener(options.host, options.port)
        stack.enter_context(listener.socket)
        stack.enter_context(claimed(data))
        upkeep = Upkeep(open_executor(settings), open_blob_store(settings))
        server, worker = _services(options, listener, environment, log_level)
        services = [server] if worker is None else [server, worker]
        stack.callback(_stop, services)
        for service in services:
            service.start()
        upkeep.start()
        stack.callback(upkeep.stop)
        if not listener.is_private and settings.nonce is None:
            click.echo("Whoever reaches this address can run commands here: EXECUTOR_NONCE sets a password.", err=True)
        try:
            if _wait_until_ready(services, worker, listener.url, settings.nonce, stopping):
                click.echo(_ready_line(options.slots, data, listener.url))
                while not stopping.wait(LOOK_SECONDS):
                    for service in services:
                        service.look_after(starting=False)
            if sys.stderr.isatty():
                click.echo("Stopping ...", err=True)
        except ServiceRefused:
            return REFUSED
        except ServiceFailed as failure:
            click.echo(f"Error: {failure}", err=True)
            return FAILED
        return STOPPED


def _stop_signals() -> list[signal.Signals]:
    """SIGHUP only where it is not to be ignored, as `nohup` asks for."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


def _services(
    options: Options, listener: Listener, environment: Mapping[str, str], log_level: int
) -> tuple[Service, Service | None]:
    descriptor = listener.socket.fileno()
    server = Service(
        "server",
        "functions.serve",
        ["--fd", str(descriptor)],
        environment,
        log_level=log_level,
        file_descriptors=[descriptor],
    )
    if not options.slots:
        return server, None
    arguments = ["--slots", str(options.slots), "--origin-url", listener.url]
    return server, Service("worker", "worker_vm.worker.main", arguments, environment, log_level=log_level)


def _wait_until_ready(
    services: list[Service], worker: Service | None, url: str, nonce: str | None, stopping: threading.Event
) -> bool:
    """False: it is to stop. Raises ServiceRefused, ServiceFailed."""
    end = time.monotonic() + READY_SECONDS
    headers = {} if nonce is None else {"x-executor-nonce": nonce}
    with httpx.Client(base_url=url, headers=headers, timeout=PROBE_SECONDS, trust_env=False) as server:
        while not stopping.is_set():
            for service in services:
                service.look_after(starting=True)
            workers = _workers(server)
            # The worker is known by its own name, since others may be listed too.
            own = None if worker is None else f"{socket.gethostname() or 'unknown'}_{worker.pid}"
            if workers is not None and (own is None or own in workers):
                return True
            if time.monotonic() > end:
                raise ServiceFailed("The server and the worker do not get ready, so everything is stopped.")
            stopping.wait(LOOK_SECONDS)
    return False


def _workers(server: httpx.Client) -> set[str] | None:
    """The workers that the server lists; None: it does not answer yet."""
    try:
        return set(server.get("/rest/executor/worker").raise_for_status().json())
    except (httpx.HTTPError, ValueError):
        return None


def _ready_line(slots: int, data: Path, url: str) -> str:
    workers = "no worker" if not slots else "1 slot" if slots == 1 else f"{slots} slots"
    return f"Cloud Executor is ready at {url} ({workers}, data in {data}). Ctrl-C stops it."


def _stop(services: list[Service]) -> None:
    for service in services:
        service.stop()
    end = time.monotonic() + STOP_SECONDS
    for service in services:
        service.wait_until(end)
