"""The minimum rate at which clients must send bodies: a thread waits for each of them."""

from __future__ import annotations

import socket
import time
from typing import Any

GRACE_SECONDS = 60.0
"""Longest time for which a client may send nothing, in seconds."""

BYTES_PER_SECOND = 1024
"""Minimum rate of a body, averaged over GRACE_SECONDS."""


def keep_pace(environ: dict[str, Any]) -> None:
    """Let reads of this request's body raise TimeoutError if it arrives more slowly than the minimum rate.

    gunicorn has no such limit. With another server, its own limits apply.
    """
    reader = getattr(environ.get("wsgi.input"), "reader", None)
    # gunicorn's readers: of a body with a length, and of a chunked one, whose generator has the same object
    unreader = getattr(reader, "unreader", None) or getattr(getattr(reader, "req", None), "unreader", None)
    sock = getattr(unreader, "sock", None)
    if unreader is not None and isinstance(sock, socket.socket | PacedSocket):
        unreader.sock = PacedSocket(sock.socket if isinstance(sock, PacedSocket) else sock)


class PacedSocket:
    """The receiving half of a socket, with a minimum rate.

    Only the time spent waiting for the client counts. Waiting uses up an allowance of GRACE_SECONDS, and bytes restore
    it, up to that value.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._allowance = GRACE_SECONDS

    def recv(self, size: int) -> bytes:
        stall_seconds = self.socket.gettimeout()
        if self._allowance <= 0:
            raise TimeoutError
        limit = self._allowance if stall_seconds is None else min(stall_seconds, self._allowance)
        began = time.monotonic()
        self.socket.settimeout(limit)
        try:
            received = self.socket.recv(size)
        finally:
            self._allowance -= time.monotonic() - began
            self.socket.settimeout(stall_seconds)
        self._allowance = min(GRACE_SECONDS, self._allowance + len(received) / BYTES_PER_SECOND)
        return received

    def gettimeout(self) -> float | None:
        return self.socket.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        self.socket.settimeout(seconds)
