"""A page that says whether the worker works, for what replaces it if not: `GET /healthz`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/healthz"

REQUEST_SECONDS = 5.0
"""how long a client may take to ask"""

STOP_SECONDS = 0.1
"""how long its end may take"""


@contextmanager
def health_page(port: int, fault: Callable[[], str | None]) -> Iterator[int]:
    """Serve it meanwhile, on all addresses of the machine; the port (0: any).

    `fault` gives a sentence if the worker is to be replaced: the answer is then a 503. Raises OSError.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            if self.path != PATH:
                self._answer(HTTPStatus.NOT_FOUND, f"The health of the worker is at {PATH}.")
                return
            sentence = fault()
            if sentence is None:
                self._answer(HTTPStatus.OK, "The worker takes jobs.")
            else:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, sentence)

        def _answer(self, status: HTTPStatus, sentence: str) -> None:
            content = f"{sentence}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Checks come every few seconds, for ever."""

        def version_string(self) -> str:
            return "worker"

    with ThreadingHTTPServer(("0.0.0.0", port), Handler) as server:  # noqa: S104 - who checks it is on another machine
        thread = threading.Thread(target=server.serve_forever, args=(STOP_SECONDS,), name="health", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
