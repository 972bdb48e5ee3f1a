"""A program that sends small requests over kept-alive connections as fast as the responses arrive.

Unlike wrk, it can send each request exactly once and return the response bodies. It reads one JSON `Plan` from standard
input and prints one JSON `Outcome`.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

TIMEOUT_SECONDS = 60.0
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The requests to send."""

    host: str
    port: int
    method: str
    paths: list[str]
    body_bytes: int
    """Size of each body, in bytes; every request has a different body."""
    seed: int
    connections: int
    seconds: float
    """Time during which to cycle through the paths, in seconds; 0 to request each path once."""
    keep_bodies: bool
    """Whether to return the response bodies."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The responses received."""

    responses: int = 0
    """Number of responses."""
    errors: int = 0
    """Number of responses with a status other than 200."""
    seconds: float = 0.0
    """Time from the first request to the last response, in seconds."""
    bodies: list[str] = field(default_factory=list)
    """Response bodies in the order of the paths; empty unless the plan keeps them."""


class Connection:
    """One socket with up to one request in flight."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self.number = -1

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, number: int, request: bytes) -> None:
        self.number = number
        self._received.clear()
        self._socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Return status and body once the response is complete, None before that."""
        part = self._socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed a connection with a request in flight")
        self._received += part
        head, found, body = bytes(self._received).partition(_HEAD_END)
        if not found:
            return None
        status, headers = int(head[9:12]), head.lower()
        if b"\r\ntransfer-encoding: chunked" in headers:
            return (status, _unchunked(body)) if body.endswith(b"0\r\n\r\n") else None
        length = int(headers.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        return (status, body) if len(body) >= length else None


def _unchunked(chunked: bytes) -> bytes:
    body = b""
    while True:
        size, _, chunked = chunked.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body, chunked = body + chunked[:length], chunked[length + 2 :]


def send_requests(plan: Plan) -> Outcome:
    """Raises OSError if the server is unreachable, closes a connection, or sends nothing for a minute."""
    filler = random.Random(plan.seed).randbytes(max(0, plan.body_bytes - 16))  # noqa: S311 - not for secrets
    kind = "Content-Type: application/octet-stream\r\n" if plan.body_bytes else ""
    rest = f" HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n{kind}Content-Length: {plan.body_bytes}\r\n\r\n".encode()
    outcome = Outcome(bodies=[""] * (len(plan.paths) if plan.keep_bodies else 0))
    sent = 0

    def send_next(connection: Connection) -> bool:
        nonlocal sent
        if time.monotonic() >= end or (not plan.seconds and sent == len(plan.paths)):
            return False
        path = plan.paths[sent % len(plan.paths)].encode()
        body = b"%016d" % sent + filler if plan.body_bytes else b""
        connection.send(sent, plan.method.encode() + b" " + path + rest + body)
        sent += 1
        return True

    with selectors.DefaultSelector() as selector:
        connections = [Connection(plan.host, plan.port) for _ in range(plan.connections)]
        began = time.monotonic()
        end = began + plan.seconds if plan.seconds else float("inf")
        for connection in connections:
            if send_next(connection):
                selector.register(connection, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(TIMEOUT_SECONDS)
            if not ready:
                raise TimeoutError(f"the server sent nothing for {TIMEOUT_SECONDS:.0f} s")
            for key, _ in ready:
                connection = key.data
                response = connection.receive()
                if response is None:
                    continue
                status, body = response
                outcome.responses += 1
                outcome.errors += status != 200
                if plan.keep_bodies:
                    outcome.bodies[connection.number] = body.decode()
                if not send_next(connection):
                    selector.unregister(connection)
        outcome.seconds = time.monotonic() - began
    return outcome


if __name__ == "__main__":
    json.dump(asdict(send_requests(Plan(**json.load(sys.stdin)))), sys.stdout)
