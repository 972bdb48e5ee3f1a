"""Serve the functions with gunicorn, which is also the server of functions-framework.

The framework's own command has no option for how long idle connections stay open; clients of the protocol rely on at
least 20 seconds (docs/protocol.md: Client timeouts).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import functions_framework
from gunicorn.app.base import BaseApplication
from gunicorn.http import message
from werkzeug.test import Client

from cloud_executor.errors import CloudExecutorError
from cloud_executor.model.blobs.mime import mime_type
from cloud_executor.process.private_process import forbid_inspection
from cloud_executor.process.stop_signals import reset_signals
from functions.fair_worker import LONGEST_REQUEST_LINE, THREADS, FairWorker
from functions.transport.waits import THREADS as THREADS_VARIABLE

# The upper limit of the option, otherwise 8 KiB.
message.MAX_REQUEST_LINE = LONGEST_REQUEST_LINE  # type: ignore[misc]  # Final in the stubs

KEEP_ALIVE_SECONDS = 75
"""Time that an idle connection stays open, in seconds."""

STALL_SECONDS = 120
"""Timeout for a client that neither sends nor receives a byte while its request is served, in seconds."""

STOP_SECONDS = 2
"""Time that requests in flight get to finish after SIGTERM, in seconds."""

HEALTH_PATH = "/healthz"
"""Path of the startup probe. Cloud Run itself answers it for callers from outside."""

PROCESSES = (os.cpu_count() or 1) + 1
"""Number of processes: one more than cores, because the threads of a process often wait for each other."""


class Server(BaseApplication):
    """gunicorn, configured by these options instead of its command line."""

    def __init__(self, application: Callable[..., Any], **options: object) -> None:
        self._application = application
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        return self._application


def _set_stall_timeout(_: object, request: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    request.unreader.sock.settimeout(STALL_SECONDS)


def _warm_up(worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """Make a process's first request, which takes three times as long as later ones, before any client does."""
    Client(worker.wsgi).get("/rest/blob/metadata/none")


def _no_warm_up(_: object) -> None:
    """The other entry points do not serve that path."""


class HealthCheck:
    """The application, with a path that responds as soon as the server accepts requests."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:  # noqa: ANN401 - WSGI
        if environ["PATH_INFO"] != HEALTH_PATH:
            return self._application(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, which clients may name.")
@click.option("--port", type=click.IntRange(0, 65535), default=8888, show_default=True, envvar="PORT")
@click.option("--fd", type=click.IntRange(0), help="Inherited listening socket to use instead of host and port.")
@click.option("--workers", type=click.IntRange(1), default=PROCESSES, show_default=True, help="Number of processes.")
@click.option("--threads", type=click.IntRange(1), default=THREADS, show_default=True, help="Threads per process.")
@click.option("--target", default="api", show_default=True, help="Entry point to serve.")
def main(host: str, port: int, fd: int | None, workers: int, threads: int, target: str) -> None:
    """Serve an entry point of main.py until SIGTERM."""
    reset_signals()
    forbid_inspection()
    allowed = os.environ.get("EXECUTOR_ALLOWED_HOSTS")
    os.environ[THREADS_VARIABLE] = str(threads)
    os.environ["EXECUTOR_ALLOWED_HOSTS"] = host if not allowed else f"{allowed},{host}"
    try:
        application = functions_framework.create_app(target, str(Path(__file__).with_name("main.py")))
    except CloudExecutorError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    mime_type("")  # loads the table, for which the first response would otherwise wait
    # Loaded objects live as long as the process. Frozen, they are skipped by the garbage collector, which would
    # otherwise touch their memory pages and so copy them into every process.
    gc.collect()
    gc.freeze()
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    Server(
        HealthCheck(application),
        bind=address if fd is None else f"fd://{fd}",
        worker_class=FairWorker,
        workers=workers,
        threads=threads,
        keepalive=KEEP_ALIVE_SECONDS,
        graceful_timeout=STOP_SECONDS,
        timeout=0,
        loglevel="error",
        limit_request_line=LONGEST_REQUEST_LINE,
        pre_request=_set_stall_timeout,
        post_worker_init=_warm_up if target == "api" else _no_warm_up,
        control_socket_disable=True,  # the servers of a user would all share one socket file
    ).run()


if __name__ == "__main__":
    main()
