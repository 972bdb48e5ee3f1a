"""A server that answers as it is told, byte by byte, and breaks off where it is told to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class ScriptedServer:
    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    """one a connection, in order; what follows it is the end of the connection"""
    requests: list[str] = field(default_factory=list)
    """the heads of the requests that came"""


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An answer; with a length that is not the body's, one that breaks off."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@contextmanager
def scripted_server(answers: Sequence[bytes]) -> Iterator[ScriptedServer]:
    script = ScriptedServer(answers=list(answers))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    break
            script.requests.append(head.decode("latin-1"))
            self.wfile.write(script.answers.pop(0))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()
