"""The health page, `GET /healthz`: whether the worker is healthy, or must be replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/healthz"

REQUEST_SECONDS = 5.0
"""Time that a client has to send its request, in seconds."""

STOP_SECONDS = 0.1
"""Time until the server notices that it must stop, in seconds."""


class Health:
    """What the page shows while the worker starts, and later. `reason` returns None, or why it must be replaced."""

    def __init__(self) -> None:
        self.reason: Callable[[], str | None] = lambda: None

    def report(self, problem: str | None) -> None:
        """Show this problem, or none, until something else is to be shown."""
        self.reason = lambda: problem


@contextmanager
def health_page(port: int, unhealthy_reason: Callable[[], str | None]) -> Iterator[int]:
    """Serve the page inside the block, on all addresses of the machine. Yields the port; 0 chooses any free one.

    If `unhealthy_reason` returns a sentence, the response has that sentence and status 503. Raises OSError.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            if self.path != PATH:
                self._respond(HTTPStatus.NOT_FOUND, f"Not found. The health page is at {PATH}.")
                return
            sentence = unhealthy_reason()
            if sentence is None:
                self._respond(HTTPStatus.OK, "The worker is healthy.")
            else:
                self._respond(HTTPStatus.SERVICE_UNAVAILABLE, sentence)

        def _respond(self, status: HTTPStatus, sentence: str) -> None:
            content = f"{sentence}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Log nothing: there is a request every few seconds."""

        def version_string(self) -> str:
            return "worker"

    with ThreadingHTTPServer(("0.0.0.0", port), Handler) as server:  # noqa: S104 - health checks come from other machines
        thread = threading.Thread(target=server.serve_forever, args=(STOP_SECONDS,), name="health", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
