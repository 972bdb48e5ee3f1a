"""No file stays open and no thread keeps running after its request."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from http_server import EMBEDDED, Server, StartServer, until
from server_processes import open_files

from bench.processes import tree
from functions.fair_worker import THREADS

MIB = 1024 * 1024


def threads(server: Server) -> int:
    """Number of threads of the process that has the most."""
    return max(len(list(Path(f"/proc/{process}/task").iterdir())) for process in tree(server.process_id))


def cut_off(server: Server, *pieces: bytes) -> None:
    """Send these bytes and reset the connection; for a GET, only after the response has started."""
    with server.raw(*pieces) as connection:
        if pieces[0].startswith(b"GET"):
            connection.recv(1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@EMBEDDED
def test_no_file_stays_open_and_no_thread_keeps_running(start_server: StartServer) -> None:
    server = start_server()
    file = server.create_file("large.bin", bytes(8 * MIB))
    path = f"/rest/blob/view/{file}"
    artifact = (
        f"/rest/blob/view/{server.create_artifact('art.zip', {'a': ('softLink', file), 'b': ('softLink', file)})}"
    )
    upload = b"POST /rest/blob/createFile/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n"
    requests: list[Callable[[], object]] = [
        lambda: server.get(path),
        lambda: server.get(path, {"Range": "bytes=5-9"}),
        lambda: server.get(path, {"Range": "bytes=99999999-"}),
        lambda: server.get(path, {"If-None-Match": "*"}),
        lambda: server.send("HEAD", path),
        lambda: server.send("HEAD", artifact),
        lambda: server.get(artifact),
        lambda: cut_off(server, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()),
        lambda: cut_off(server, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % artifact.encode()),
        lambda: cut_off(server, upload, bytes(2 * MIB)),
        lambda: server.send("POST", "/rest/blob/createFile/y", bytes(2 * MIB)),
    ]
    with ThreadPoolExecutor(6) as clients:
        for _ in clients.map(lambda request: request(), requests * 5):
            pass
    until(lambda: not open_files(server.process_id, server.blobs))
    until(lambda: threads(server) <= THREADS + 3)  # plus the main thread and those that monitor it
