"""A server that sends prepared responses, byte for byte, and can break connections at a given byte."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from servers.running import running


@dataclass
class ScriptedServer:
    url: str = ""
    responses: list[bytes] = field(default_factory=list)
    """Responses in order, one per connection. The connection closes after its response."""
    requests: list[str] = field(default_factory=list)
    """Request heads that were received."""


def response(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """Build a response. If `length` differs from the body's length, the response breaks off early."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@contextmanager
def scripted_server(responses: Sequence[bytes]) -> Iterator[ScriptedServer]:
    script = ScriptedServer(responses=list(responses))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    break
            script.requests.append(head.decode("latin-1"))
            self.wfile.write(script.responses.pop(0))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with running(Server(("127.0.0.1", 0), Handler)) as address:
        script.url = f"http://{address}"
        yield script
