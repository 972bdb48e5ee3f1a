"""The minimum rate of a body."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from functions.transport import pace
from functions.transport.pace import GRACE_SECONDS, PacedSocket


class SlowSocket(socket.socket):
    """A socket on which the next bytes arrive after some time on a clock of its own."""

    now = 0.0
    arrivals: Iterator[tuple[float, bytes]] = iter(())

    def recv(self, size: int, flags: int = 0) -> bytes:
        seconds, received = next(self.arrivals)
        limit = self.gettimeout()
        if limit is not None and seconds > limit:
            SlowSocket.now += limit
            raise TimeoutError
        SlowSocket.now += seconds
        return received


@pytest.fixture
def slow_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowSocket]:
    monkeypatch.setattr(pace.time, "monotonic", lambda: SlowSocket.now)
    with SlowSocket() as sock:
        yield sock


def test_a_body_at_the_minimum_rate_is_received(slow_socket: SlowSocket) -> None:
    slow_socket.arrivals = iter([(50, bytes(50 * 1024))] * 100)
    paced = PacedSocket(slow_socket)
    assert all(paced.recv(2**20) for _ in range(100))


@pytest.mark.parametrize("stall_seconds", [None, 120])
def test_a_slower_body_is_not(slow_socket: SlowSocket, stall_seconds: float | None) -> None:
    slow_socket.settimeout(stall_seconds)
    slow_socket.arrivals = iter([(2, b"x")] * 100)
    paced = PacedSocket(slow_socket)
    began = SlowSocket.now
    with pytest.raises(TimeoutError):
        for _ in range(100):
            paced.recv(2**20)
    assert SlowSocket.now - began == pytest.approx(GRACE_SECONDS, abs=3)
    assert slow_socket.gettimeout() == stall_seconds


def test_bytes_sent_fast_allow_no_longer_pause(slow_socket: SlowSocket) -> None:
    slow_socket.arrivals = iter([(0, bytes(2**20)), (GRACE_SECONDS + 1, b"x")])
    paced = PacedSocket(slow_socket)
    paced.recv(2**20)
    with pytest.raises(TimeoutError):
        paced.recv(2**20)
