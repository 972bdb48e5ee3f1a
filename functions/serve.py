"""Serve the functions on one machine with gunicorn, which is also the server of functions-framework.

The framework's own command has no option for how long idle connections stay open; clients of the protocol rely on at
least 20 seconds (docs/protocol.md: Client timeouts).
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click
import functions_framework
from gunicorn.app.base import BaseApplication
from gunicorn.http import message
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.test import Client

from cloud_executor.errors import CloudExecutorError
from cloud_executor.model.mime import mime_type
from cloud_executor.private_process import forbid_inspection
from cloud_executor.stop_signals import reset_signals
from functions.transport.waits import THREADS as THREADS_VARIABLE
from functions.transport.waits import WAITS

LONGEST_REQUEST_LINE = 128 * 1024
"""Longest request line, in bytes. The parser copies the line for each piece that arrives, so it must be bounded."""

# The upper limit of the option, otherwise 8 KiB.
message.MAX_REQUEST_LINE = LONGEST_REQUEST_LINE  # type: ignore[misc]

KEEP_ALIVE_SECONDS = 75
"""Time that an idle connection stays open, in seconds."""

STALL_SECONDS = 120
"""Timeout for a client that neither sends nor receives a byte while its request is served, in seconds."""

STOP_SECONDS = 2
"""Time that requests in flight get to finish after SIGTERM, in seconds."""

PROCESSES = (os.cpu_count() or 1) + 1
"""Number of processes: one more than cores, because the threads of a process often wait for each other."""

THREADS = 16
"""Number of threads per process."""

ACCEPT_DELAY_SECONDS = 0.0002
"""Delay before a process accepts a connection, per connection that it already has, in seconds."""

LONGEST_ACCEPT_DELAY_SECONDS = 0.002
"""Upper limit of the delay before a process accepts a connection, in seconds."""

LINGER_MILLISECONDS = 1
"""Time that a thread with no other work waits for the next request on its connection, in milliseconds."""


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


class FairWorker(ThreadWorker):
    """gunicorn's threaded worker, tuned for clients that send many requests on few connections."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the waiting requests at once, so that the process can stop."""
        super().handle_exit(sig, frame)
        WAITS.stop()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        WAITS.stop()
        super().handle_quit(sig, frame)

    def accept(self, listener: socket.socket) -> None:
        """Let a process with fewer connections accept the next one.

        Otherwise the process that wakes first accepts nearly a whole burst of connections and keeps them, so one core
        does the work of two.
        """
        time.sleep(min(self.nr_conns * ACCEPT_DELAY_SECONDS, LONGEST_ACCEPT_DELAY_SECONDS))
        super().accept(listener)

    def handle(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn has no types
        """Keep serving a connection whose next request arrives at once.

        Passing the connection to the poller and back takes as long as serving a request.
        """
        reusable = super().handle(conn)
        while reusable is True and self._next_request_arrives(conn):
            reusable = super().handle(conn)
        return reusable

    def _next_request_arrives(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn has no types
        if not self.alive or self.tpool._work_queue.qsize():
            return False
        if conn.parser.unreader.buf.getvalue():
            return True
        readable = select.poll()
        readable.register(conn.sock, select.POLLIN)
        return bool(readable.poll(LINGER_MILLISECONDS))


def _set_stall_timeout(_: object, request: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    request.unreader.sock.settimeout(STALL_SECONDS)


def _warm_up(worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """Make a process's first request, which takes three times as long as later ones, before any client does."""
    Client(worker.wsgi).get("/rest/blob/metadata/none")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, which clients may name.")
@click.option("--port", type=click.IntRange(0, 65535), default=8888, show_default=True)
@click.option("--fd", type=click.IntRange(0), help="Inherited listening socket to use instead of host and port.")
@click.option("--workers", type=click.IntRange(1), default=PROCESSES, show_default=True, help="Number of processes.")
def main(host: str, port: int, fd: int | None, workers: int) -> None:
    """Serve the entry point `api` until SIGTERM."""
    reset_signals()
    forbid_inspection()
    allowed = os.environ.get("EXECUTOR_ALLOWED_HOSTS")
    os.environ[THREADS_VARIABLE] = str(THREADS)
    os.environ["EXECUTOR_ALLOWED_HOSTS"] = host if not allowed else f"{allowed},{host}"
    try:
        application = functions_framework.create_app("api", str(Path(__file__).with_name("main.py")))
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
        application,
        bind=address if fd is None else f"fd://{fd}",
        worker_class=FairWorker,
        workers=workers,
        threads=THREADS,
        keepalive=KEEP_ALIVE_SECONDS,
        graceful_timeout=STOP_SECONDS,
        timeout=0,
        loglevel="error",
        limit_request_line=LONGEST_REQUEST_LINE,
        pre_request=_set_stall_timeout,
        post_worker_init=_warm_up,
        control_socket_disable=True,  # the servers of a user would all share one socket file
    ).run()


if __name__ == "__main__":
    main()
