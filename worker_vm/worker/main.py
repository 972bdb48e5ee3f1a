"""Start a worker: `python -m worker_vm.worker.main`."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import click

from cloud_executor.composition import Jobs, open_blobs, open_grants, open_jobs
from cloud_executor.errors import CloudExecutorError, os_reason
from cloud_executor.installation import install_command
from cloud_executor.json_logging import configure_logging
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.process.private_process import forbid_inspection
from cloud_executor.process.stop_signals import reset_signals, set_on_signals
from cloud_executor.settings import InvalidSetting, Settings
from worker_vm.worker.command.command_runner import CommandRunner
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.machine.health import Health, health_page
from worker_vm.worker.machine.leave import SweepService, is_in_instance_group
from worker_vm.worker.sandbox.check import check_sandbox, wait_for_sandbox
from worker_vm.worker.sandbox.interface import Sandbox
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.work_folder import WorkFolder
from worker_vm.worker.worker import Departure, Worker

logger = logging.getLogger(__name__)

MAX_CLOCK_ERROR_SECONDS = 5.0
"""Largest difference between the machine's clock and the job store's with which a worker starts, in seconds."""


@click.command()
@click.option(
    "--slots",
    type=click.IntRange(1),
    help="Jobs to run at the same time.  [default: the pool's slots, or the number of cores]",
)
@click.option("--pool", help="Worker pool whose jobs to run.  [default: the first of EXECUTOR_POOLS]")
@click.option(
    "--origin-url",
    default="http://127.0.0.1:8888",
    show_default=True,
    help="URL at which jobs reach the server; their ORIGIN_URL.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files of running jobs.  [default: work, in EXECUTOR_DATA]",
)
@click.option(
    "--disks",
    is_flag=True,
    help="Run each job on a file system of its own: one of disk-1, disk-2, …, which are mounted in --work.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=0,
    envvar="HEALTH_PORT",
    show_envvar=True,
    help="Port of the health page, GET /healthz.  [default: no health page]",
)
@click.option(
    "--idle-minutes",
    type=click.FloatRange(0, min_open=True),
    help="Idle time after which the worker removes its machine from its managed instance group.  [default: the pool's]",
)
@click.option("--end-when-idle", is_flag=True, help="End after the idle time, rather than remove the machine.")
@click.option(
    "--check",
    is_flag=True,
    help="Check that commands can be started before taking the first job. With a health page, wait until they can.",
)
def main(
    slots: int | None,
    pool: str | None,
    origin_url: str,
    work: Path | None,
    disks: bool,
    health_port: int,
    idle_minutes: float | None,
    end_when_idle: bool,
    check: bool,
) -> None:
    """Run jobs until SIGTERM or SIGINT; running jobs then go to other workers."""
    reset_signals()
    forbid_inspection()
    stopping = threading.Event()
    set_on_signals(stopping, (signal.SIGTERM, signal.SIGINT))
    try:
        settings = Settings.from_env(os.environ)
        configure_logging("worker", settings.project, deployment=settings.deployment)
        own = find_pool(settings, pool)
        root = work or settings.data / "work"
        slots = slots or own.slots or os.cpu_count() or 1
        folder = open_work_folder(root, slots if disks else 0)
        sandbox = open_sandbox(own, root)
        folder.sweep(sandbox.end_leftovers)
        if idle_minutes is not None:
            own = replace(own, idle=timedelta(minutes=idle_minutes))
        departure = Departure.end_after(own.idle) if end_when_idle else find_departure(settings, own)
        with open_health_page(health_port) as health:
            if check and health_port:
                wait_for_sandbox(partial(check_sandbox, sandbox, own, folder, stopping), health.report, stopping)
            elif check:
                check_sandbox(sandbox, own, folder, stopping)
            worker = open_worker(
                settings, folder, sandbox, stopping, pool=own, slots=slots, origin_url=origin_url, departure=departure
            )
            health.reason = worker.unhealthy_reason
            all_ended = worker.run()
    except CloudExecutorError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    if not all_ended:
        # Their jobs go to another worker when their leases expire.
        logger.error("slots did not end", extra={"action": "stop"})
        sandbox.kill_all()
        os._exit(0 if stopping.is_set() else 1)


def find_pool(settings: Settings, name: str | None) -> WorkerPool:
    """The pool with this name, or the first pool. Raises InvalidSetting."""
    pools = {pool.name: pool for pool in settings.worker_pools}
    if name is None:
        return settings.worker_pools[0]
    if name not in pools:
        raise InvalidSetting(
            f"--pool must be one of the configured worker pools ({', '.join(pools)}), not {name[:80]!r}."
        )
    return pools[name]


def open_work_folder(path: Path, disks: int) -> WorkFolder:
    try:
        return WorkFolder(path, disks)
    except OSError as error:
        reason = os_reason(error)
        raise InvalidSetting(
            f"The folder for running jobs, {path}, cannot be used: {reason}. Choose another one with --work."
        ) from error


def open_sandbox(pool: WorkerPool, work: Path) -> Sandbox:
    """The configured sandbox, without the leftovers of dead workers. Raises Unavailable, InvalidSetting."""
    if pool.image is None:
        return ProcessSandbox()
    # Imported here because the docker package is only installed on machines that have an engine.
    try:
        from worker_vm.worker.sandbox.container.engine import ContainerEngine
        from worker_vm.worker.sandbox.container.sandbox import ContainerSandbox
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"EXECUTOR_SANDBOX=container needs a library that is not installed: run `{install_command('vm')}`."
        ) from error

    engine = ContainerEngine()
    if pool.runtime is not None and pool.runtime not in (runtimes := engine.runtimes()):
        raise InvalidSetting(
            f"The runtime of the worker pool {pool.name} is {pool.runtime}, but the container engine has only "
            f"{', '.join(runtimes)}: install it, or change EXECUTOR_CONTAINER_RUNTIME or the pool's runtime."
        )
    sandbox = ContainerSandbox(engine, pool.image, pool.network, pool.gpus, pool.runtime)
    sandbox.end_strays(work)
    return sandbox


def check_clock(jobs: Jobs) -> None:
    """Check that this machine's clock agrees with the job store's.

    Leases do not depend on it, but the times in job documents and logs do. Raises InvalidSetting, Unavailable.
    """
    start = time.monotonic()
    behind = (jobs.attempts.lease_clock() - jobs.clock()).total_seconds()
    if abs(behind) > MAX_CLOCK_ERROR_SECONDS + time.monotonic() - start:
        direction = "behind" if behind > 0 else "ahead of"
        raise InvalidSetting(
            f"The clock of this machine is {abs(behind):.0f} seconds {direction} the job store's. Synchronize it."
        )


@contextmanager
def open_health_page(port: int) -> Iterator[Health]:
    """Serve the health page inside the block, unless the port is 0. Raises InvalidSetting if it cannot be served."""
    health = Health()
    with ExitStack() as stack:
        if port:
            try:
                stack.enter_context(health_page(port, lambda: health.reason()))
            except OSError as error:
                reason = os_reason(error)
                raise InvalidSetting(
                    f"The port {port} for the health page cannot be used: {reason}. Choose another --health-port."
                ) from error
        yield health


def find_departure(settings: Settings, pool: WorkerPool) -> Departure | None:
    """How an idle worker of the pool leaves; None if it stays."""
    if pool.idle is None or settings.sweep_url is None or not is_in_instance_group():
        return None
    service = SweepService(settings.sweep_url, settings.leave_audience)
    return Departure(pool.idle.total_seconds(), partial(service.remove_this_machine, pool.name))


def open_worker(
    settings: Settings,
    folder: WorkFolder,
    sandbox: Sandbox,
    stopping: threading.Event,
    *,
    pool: WorkerPool,
    slots: int,
    origin_url: str,
    departure: Departure | None,
) -> Worker:
    """Create a worker that uses the configured backends."""
    jobs = open_jobs(settings)
    if settings.jobs == "google":
        check_clock(jobs)
    attempts = jobs.attempts
    worker_id = f"{socket.gethostname() or 'unknown'}_{os.getpid()}"
    heartbeat = Heartbeat(attempts, worker_id, pool.labels, pool=pool.name, slots=slots)
    commands = CommandRunner(sandbox, pool, attempts.put_output, origin_url, jobs.clock, stopping)
    runner = JobRunner(
        attempts,
        open_blobs(settings, prepared=True),
        commands,
        folder,
        heartbeat,
        worker_id,
        stopping,
        jobs.label_jobs,
        jobs.time_jumps,
        sweep_jumps=settings.jobs == "sqlite",
        grants=open_grants(settings),
    )
    return Worker(jobs.queue, pool.name, slots, runner, heartbeat, worker_id, departure, settings.stop_seconds)


if __name__ == "__main__":
    main()
