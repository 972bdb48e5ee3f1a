"""A server that accepts resumable uploads like Cloud Storage, and fails as a script tells it to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_crc32c
from servers.running import running


@dataclass
class StorageServer:
    url: str = ""
    script: list[int | str] = field(default_factory=list)
    """Outcomes of the next pieces: the number of bytes to accept, `lost` to drop the response, or an error status."""
    received: bytearray = field(default_factory=bytearray)
    finished: bool = False
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""


@contextmanager
def storage_server() -> Iterator[StorageServer]:
    state = StorageServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.record()
            self.respond(404)

        def do_POST(self) -> None:
            self.record()
            self.respond(200, {"Location": f"{state.url}/session"})

        def do_PATCH(self) -> None:
            self.record()
            self.respond(200)

        def do_DELETE(self) -> None:
            self.record()
            self.respond(499)

        def do_PUT(self) -> None:
            body = self.record()
            place, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
            start = len(state.received) if place == "*" else int(place.partition("-")[0])
            outcome = state.script.pop(0) if state.script else None
            if isinstance(outcome, str) and outcome != "lost":
                self.respond(int(outcome))
                return
            new = body[len(state.received) - start :]
            state.received += new[:outcome] if isinstance(outcome, int) else new
            state.finished = str(len(state.received)) == total
            if outcome == "lost":
                self.close_connection = True
            elif state.finished:
                self.respond(200)
            else:
                end = len(state.received) - 1
                self.respond(308, {"Range": f"bytes=0-{end}"} if end >= 0 else {})

        def record(self) -> bytes:
            state.requests.append(f"{self.command} {self.path}")
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def respond(self, status: int, headers: dict[str, str] | None = None) -> None:
            checksum = google_crc32c.Checksum(bytes(state.received)).digest()
            body = json.dumps({"crc32c": base64.b64encode(checksum).decode()}).encode()
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with running(Server(("127.0.0.1", 0), Handler)) as address:
        state.url = f"http://{address}"
        yield state
