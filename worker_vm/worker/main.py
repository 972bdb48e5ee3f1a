"""Start a worker: `python -m worker_vm.worker.main`."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import click

from cloud_executor.composition import DEFAULT_POOL, open_blob_store, open_executor
from cloud_executor.json_logging import configure_logging
from cloud_executor.model.errors import CloudExecutorError
from cloud_executor.settings import InvalidSetting, Settings
from cloud_executor.stop_signals import set_on_signals
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.run_command import CommandRunner
from worker_vm.worker.run_job import JobRunner
from worker_vm.worker.sandbox.limits import Limits
from worker_vm.worker.sandbox.port import Sandbox
from worker_vm.worker.sandbox.process import ProcessSandbox
from worker_vm.worker.work_folder import WorkFolder
from worker_vm.worker.worker import Worker

logger = logging.getLogger(__name__)


@click.command()
@click.option("--slots", type=click.IntRange(1), default=os.cpu_count() or 1, help="Jobs at once.  [default: cores]")
@click.option("--pool", default=DEFAULT_POOL, show_default=True, help="The worker pool whose jobs to take.")
@click.option(
    "--origin-url",
    default="http://127.0.0.1:8888",
    show_default=True,
    help="Where jobs reach the server: their ORIGIN_URL.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for the files of running jobs.  [default: work, in EXECUTOR_DATA]",
)
def main(slots: int, pool: str, origin_url: str, work: Path | None) -> None:
    """Run jobs until SIGTERM or SIGINT, which give back what runs."""
    configure_logging("worker")
    stopping = threading.Event()
    set_on_signals(stopping, (signal.SIGTERM, signal.SIGINT))
    try:
        settings = Settings.from_env(os.environ)
        root = work or settings.data / "work"
        folder = open_work_folder(root)
        sandbox = open_sandbox(settings, root)
        folder.sweep(sandbox.end_leftovers)
        worker = open_worker(settings, folder, sandbox, stopping, slots=slots, pool=pool, origin_url=origin_url)
        all_ended = worker.run()
    except CloudExecutorError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    if not all_ended:
        # Their jobs go to another worker when their leases end.
        logger.error("slots did not end", extra={"action": "stop"})
        sandbox.kill_all()
        os._exit(0)


def open_work_folder(path: Path) -> WorkFolder:
    try:
        return WorkFolder(path)
    except OSError as error:
        reason = (error.strerror or "unknown fault").lower()
        raise InvalidSetting(f"The folder for running jobs, {path}, cannot be used: {reason}.") from error


def open_sandbox(settings: Settings, work: Path) -> Sandbox:
    """The configured sandbox, without what a dead worker left in it. Raises Unavailable."""
    limits = Limits(
        cpus=settings.job_cpus,
        memory_mib=settings.job_memory,
        processes=settings.job_processes,
        disk_mib=settings.job_disk,
    )
    if settings.sandbox == "process" or settings.image is None:
        return ProcessSandbox(limits)
    # What it imports is installed on the machines that have an engine.
    from worker_vm.worker.sandbox.container import ContainerSandbox
    from worker_vm.worker.sandbox.container_engine import ContainerEngine

    sandbox = ContainerSandbox(ContainerEngine(), settings.image, limits, settings.network)
    sandbox.end_strays(work)
    return sandbox


def open_worker(
    settings: Settings,
    folder: WorkFolder,
    sandbox: Sandbox,
    stopping: threading.Event,
    *,
    slots: int,
    pool: str,
    origin_url: str,
) -> Worker:
    """A worker over the configured backends."""
    executor = open_executor(settings)
    worker_id = f"{socket.gethostname() or 'unknown'}_{os.getpid()}"
    heartbeat = Heartbeat(executor, worker_id, tuple(sorted(settings.worker_labels)))
    commands = CommandRunner(sandbox, executor.put_output, origin_url, executor.clock, stopping)
    runner = JobRunner(executor, open_blob_store(settings), commands, folder, heartbeat, worker_id, stopping)
    return Worker(executor.queue, pool, slots, runner, heartbeat, worker_id)


if __name__ == "__main__":
    main()
