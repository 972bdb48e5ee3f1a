"""Serve the functions on one machine: functions-framework's application on gunicorn, the server it uses itself.

The framework's own command cannot be told how long to keep idle connections; clients of the protocol count on 20
seconds or more (docs/protocol.md: Client timeouts).
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
from typing import Any

import click
import functions_framework
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.test import Client

from cloud_executor.errors import CloudExecutorError
from cloud_executor.model.mime import mime_type

KEEP_ALIVE_SECONDS = 75
STALL_SECONDS = 120
"""how long a client may neither send nor take a byte while its request is served"""
STOP_SECONDS = 2
PROCESSES = (os.cpu_count() or 1) + 1
"""one more than could compute at once: the threads of a process often wait for each other, whatever cores are idle"""
THREADS = 16

YIELD_SECONDS = 0.0002
"""for each connection that it has, a process waits so long before it accepts another"""
LONGEST_YIELD_SECONDS = 0.002

LINGER_MILLISECONDS = 1
"""how long a thread that nobody waits for stays with a connection after an answer"""


class Server(BaseApplication):
    """gunicorn with our settings in place of its command line."""

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
    """gunicorn's own, for clients that send one request after another on few connections."""

    def accept(self, listener: socket.socket) -> None:
        """Lets the process that has fewer connections accept the next one.

        Otherwise the one that wakes first takes nearly all of a burst, and keeps them: one core then serves what two
        could.
        """
        time.sleep(min(self.nr_conns * YIELD_SECONDS, LONGEST_YIELD_SECONDS))
        super().accept(listener)

    def handle(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn's own, which has no types
        """Stays with a connection whose next request comes at once: to hand it to the poller and back costs as much as
        to answer it."""
        reusable = super().handle(conn)
        while reusable is True and self._next_is_here(conn):
            reusable = super().handle(conn)
        return reusable

    def _next_is_here(self, conn: Any) -> bool:  # noqa: ANN401 - as above
        if not self.alive or self.tpool._work_queue.qsize():
            return False
        if conn.parser.unreader.buf.getvalue():
            return True
        readable = select.poll()
        readable.register(conn.sock, select.POLLIN)
        return bool(readable.poll(LINGER_MILLISECONDS))


def _bound_waits(_: object, request: Any) -> None:  # noqa: ANN401 - gunicorn's own, which has no types
    request.unreader.sock.settimeout(STALL_SECONDS)


def _warm_up(worker: Any) -> None:  # noqa: ANN401 - as above
    """Have the first answer of a process, which takes three times as long as the next ones, go to nobody."""
    Client(worker.wsgi).get("/rest/blob/metadata/none")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8888, show_default=True)
@click.option("--fd", type=click.IntRange(0), help="An inherited listening socket, instead of host and port.")
@click.option("--workers", type=click.IntRange(1), default=PROCESSES, show_default=True, help="Processes.")
def main(host: str, port: int, fd: int | None, workers: int) -> None:
    """Serve the entry point `api` until SIGTERM."""
    try:
        application = functions_framework.create_app("api", str(Path(__file__).with_name("main.py")))
    except CloudExecutorError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    mime_type("")  # loads the table, which the first answer would wait for
    # What is loaded stays: no collection has to look through it, nor, by that, copy its pages into every process.
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
        limit_request_line=0,
        pre_request=_bound_waits,
        post_worker_init=_warm_up,
        control_socket_disable=True,  # all servers of a user would share one file
    ).run()


if __name__ == "__main__":
    main()
