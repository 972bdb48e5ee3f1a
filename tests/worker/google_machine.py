"""A fake Google Cloud VM, as a program on it sees it: the metadata server and the service `sweep`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from servers.running import running

IDENTITY = "instance/service-accounts/default/identity"


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
    """Responses of the service, in order. After them it lets the machine leave."""
    removals: list[tuple[str, Any]] = field(default_factory=list)
    """Path and body of each request to the service."""
    tokens: list[tuple[str, str]] = field(default_factory=list)
    """Headers Authorization and X-Serverless-Authorization of each request to the service."""
    identity: Callable[[str], str] = "token for {}".format
    """Returns the identity token for an audience."""

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def google_machine() -> Iterator[GoogleMachine]:
    machine = GoogleMachine()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.removeprefix("/computeMetadata/v1/").partition("?")
            value = machine.metadata.get(path)
            if path == IDENTITY:
                options = parse_qs(query)
                assert options["format"] == ["full"]
                value = machine.identity(options["audience"][0])
            if self.headers["Metadata-Flavor"] != "Google":
                self._answer(HTTPStatus.FORBIDDEN, b"")
            elif value is None:
                self._answer(HTTPStatus.NOT_FOUND, b"")
            else:
                self._answer(HTTPStatus.OK, value.encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            machine.removals.append((self.path.partition("?")[0], body))
            machine.tokens.append((self.headers["Authorization"], self.headers["X-Serverless-Authorization"]))
            status, answer = machine.answers.pop(0) if machine.answers else (HTTPStatus.OK, {"leaving": True})
            self._answer(status, json.dumps(answer).encode())

        def _answer(self, status: HTTPStatus, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        machine.address = address
        yield machine
