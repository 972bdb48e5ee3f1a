"""A process that sends small requests over kept-alive connections, as fast as the answers come.

Unlike wrk it can send each request exactly once and hand back the answers. It takes one JSON `Order` on its standard
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

PATIENCE_SECONDS = 60.0
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send."""

    host: str
    port: int
    method: str
    paths: list[str]
    body_bytes: int  # of the body, which differs in every request
    seed: int
    connections: int
    seconds: float  # the paths again and again for so long; 0: each path once
    keep_answers: bool


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came back."""

    answered: int = 0
    refused: int = 0  # answers that are not 200
    seconds: float = 0.0  # from the first request to the last answer
    answers: list[str] = field(default_factory=list)  # bodies in the order of the paths, if they were to be kept


class Connection:
    """One socket with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), PATIENCE_SECONDS)
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
        """Status and body once the answer is complete."""
        part = self._socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed a connection with a request under way")
        self._received += part
        head, found, body = bytes(self._received).partition(_HEAD_END)
        if not found:
            return None
        status, headers = int(head[9:12]), head.lower()
        if b"\r\ntransfer-encoding: chunked" in headers:
            return (status, _joined(body)) if body.endswith(b"0\r\n\r\n") else None
        length = int(headers.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        return (status, body) if len(body) >= length else None


def _joined(chunked: bytes) -> bytes:
    body = b""
    while True:
        size, _, chunked = chunked.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body, chunked = body + chunked[:length], chunked[length + 2 :]


def carry_out(order: Order) -> Outcome:
    """Raises OSError if the server is away, closes a connection or is silent for a minute."""
    filler = random.Random(order.seed).randbytes(max(0, order.body_bytes - 16))  # noqa: S311 - not for secrets
    kind = "Content-Type: application/octet-stream\r\n" if order.body_bytes else ""
    rest = f" HTTP/1.1\r\nHost: {order.host}:{order.port}\r\n{kind}Content-Length: {order.body_bytes}\r\n\r\n".encode()
    outcome = Outcome(answers=[""] * (len(order.paths) if order.keep_answers else 0))
    sent = 0

    def send_next(connection: Connection) -> bool:
        nonlocal sent
        if time.monotonic() >= end or (not order.seconds and sent == len(order.paths)):
            return False
        path = order.paths[sent % len(order.paths)].encode()
        body = b"%016d" % sent + filler if order.body_bytes else b""
        connection.send(sent, order.method.encode() + b" " + path + rest + body)
        sent += 1
        return True

    with selectors.DefaultSelector() as selector:
        connections = [Connection(order.host, order.port) for _ in range(order.connections)]
        began = time.monotonic()
        end = began + order.seconds if order.seconds else float("inf")
        for connection in connections:
            if send_next(connection):
                selector.register(connection, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(PATIENCE_SECONDS)
            if not ready:
                raise TimeoutError("the server was silent for too long")
            for key, _ in ready:
                connection = key.data
                answer = connection.receive()
                if answer is None:
                    continue
                status, body = answer
                outcome.answered += 1
                outcome.refused += status != 200
                if order.keep_answers:
                    outcome.answers[connection.number] = body.decode()
                if not send_next(connection):
                    selector.unregister(connection)
        outcome.seconds = time.monotonic() - began
    return outcome


if __name__ == "__main__":
    json.dump(asdict(carry_out(Order(**json.load(sys.stdin)))), sys.stdout)
