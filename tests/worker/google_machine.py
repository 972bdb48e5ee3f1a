"""A fake Google Cloud VM, as a program on it sees it: the metadata server and the Compute API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GROUP = "/compute/v1/projects/our-project/regions/us-central1/instanceGroupManagers/our-pool"
REMOVE = f"{GROUP}/deleteInstances"


@dataclass
class GoogleMachine:
    address: str = ""
    metadata: dict[str, str] = field(
        default_factory=lambda: {
            "instance/attributes/created-by": "projects/12345/regions/us-central1/instanceGroupManagers/our-pool",
            "instance/name": "our-pool-x1y2",
            "instance/zone": "projects/12345/zones/us-central1-b",
            "project/project-id": "our-project",
        }
    )
    answers: list[tuple[HTTPStatus, dict[str, Any]]] = field(default_factory=list)
    """Responses of the Compute API, in order. After them it accepts everything."""
    target_size: int = 1
    """Target size of the group."""
    asked: int = 0
    """Number of reads of the group."""
    removals: list[tuple[str, Any]] = field(default_factory=list)
    """Path and body of each request to the API."""


@contextmanager
def google_machine() -> Iterator[GoogleMachine]:
    machine = GoogleMachine()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] == GROUP:
                machine.asked += 1
                self._answer(HTTPStatus.OK, json.dumps({"targetSize": machine.target_size}).encode())
                return
            value = machine.metadata.get(self.path.removeprefix("/computeMetadata/v1/"))
            if self.headers["Metadata-Flavor"] != "Google":
                self._answer(HTTPStatus.FORBIDDEN, b"")
            elif value is None:
                self._answer(HTTPStatus.NOT_FOUND, b"")
            else:
                self._answer(HTTPStatus.OK, value.encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            machine.removals.append((self.path.partition("?")[0], body))
            status, answer = machine.answers.pop(0) if machine.answers else (HTTPStatus.OK, {"status": "RUNNING"})
            self._answer(status, json.dumps(answer).encode())

        def _answer(self, status: HTTPStatus, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        machine.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield machine
        finally:
            server.shutdown()
            thread.join()
