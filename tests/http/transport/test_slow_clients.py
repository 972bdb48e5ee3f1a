"""Slow clients neither keep others waiting nor keep their connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from types import SimpleNamespace

from http_server import EMBEDDED, PROCESSES, TIMEOUT_SECONDS, Server, StartServer

from functions.fair_worker import BODIES_SHARE, THREADS, _awaits_body

SLOW_CLIENTS = 2 * PROCESSES * THREADS
HEAD = b"POST /rest/blob/createFile/slow.bin HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = HEAD + b"Content-Length: 1000000\r\n\r\n"
CHUNKED_UPLOAD = HEAD + b"Transfer-Encoding: chunked\r\n\r\nF4240\r\n"


@contextmanager
def slow_clients(server: Server, sent: bytes) -> Iterator[None]:
    with ExitStack() as connections:
        for _ in range(SLOW_CLIENTS):
            connections.enter_context(server.raw(sent))
        yield


@EMBEDDED
def test_heads_that_do_not_arrive_take_no_threads(server: Server) -> None:
    with slow_clients(server, b"G"):
        assert server.post("/rest/blob/createFile/a").status == 200


@EMBEDDED
def test_a_head_that_takes_too_long_ends_its_connection(start_server: StartServer) -> None:
    server = start_server("from functions import fair_worker\nfair_worker.HEAD_SECONDS = 0.5")
    with server.raw(b"GET / HTTP/1.1\r\n") as connection:
        assert connection.recv(1) == b""
    began = time.monotonic()
    with server.raw(b"GET / HTTP/1.1\r\n") as connection:
        try:
            while time.monotonic() < began + TIMEOUT_SECONDS:
                connection.sendall(b"A: b\r\n")
                time.sleep(0.05)
        except OSError:
            pass
    assert time.monotonic() < began + TIMEOUT_SECONDS


@EMBEDDED
def test_a_head_that_arrives_in_pieces_is_answered(server: Server) -> None:
    request = b"\r\n".join((b"GET /rest/blob/metadata/x HTTP/1.1", b"Host: localhost", b"Connection: close", b"", b""))
    with server.raw() as connection:
        for byte in request:
            connection.sendall(bytes((byte,)))
            time.sleep(0.001)
        assert connection.recv(12) == b"HTTP/1.1 404"


@EMBEDDED
def test_uploads_that_stall_leave_threads_to_others(server: Server) -> None:
    with slow_clients(server, UPLOAD):
        assert server.get("/rest/blob/metadata/x").status == 404
        assert server.get("/rest/executor/worker").status == 200


@EMBEDDED
def test_uploads_that_stall_and_requests_that_wait_leave_threads_to_others(start_server: StartServer) -> None:
    server = start_server()
    server.post("/rest/executor/create/job", {"labels": ["no-worker"]})
    wait = b"GET /rest/executor/info/job?wait=20 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with slow_clients(server, wait), slow_clients(server, UPLOAD):
        began = time.monotonic()
        assert server.get("/rest/blob/metadata/x").status == 404
        assert server.get("/rest/executor/worker").status == 200
        assert time.monotonic() < began + 15, "the requests were answered when the waits ended"


@EMBEDDED
def test_an_upload_waits_until_the_others_end(server: Server) -> None:
    with slow_clients(server, CHUNKED_UPLOAD):
        waiting = server.connect()
        waiting.request("POST", "/rest/blob/createFile/waiting", bytes(100_000))
    assert waiting.getresponse().status == 200
    waiting.close()
    for _ in range(2 * PROCESSES * int(THREADS * BODIES_SHARE)):
        assert server.create_file("after.bin", bytes(100_000))


@EMBEDDED
def test_an_upload_below_the_minimum_rate_is_rejected(start_server: StartServer) -> None:
    server = start_server("from functions.transport import pace\npace.GRACE_SECONDS = 0.5")
    for head in (UPLOAD, CHUNKED_UPLOAD):
        with server.raw(head) as connection:
            connection.settimeout(0.05)
            response, began = b"", time.monotonic()
            while not response and time.monotonic() < began + TIMEOUT_SECONDS:
                connection.sendall(b"x")
                try:
                    response = connection.recv(12)
                except TimeoutError:
                    continue
            assert response == b"HTTP/1.1 400"
    assert not server.stored_files()


def test_a_padded_length_announces_a_body() -> None:
    received = BytesIO(b"POST / HTTP/1.1\r\nContent-Length: " + b"0" * 30 + b"9\r\n\r\n")
    assert _awaits_body(SimpleNamespace(parser=SimpleNamespace(unreader=SimpleNamespace(buf=received))))
