"""Everything streams: the memory of the server's processes stays bounded, regardless of the size of a transfer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from http_server import EMBEDDED, Server, StartServer
from server_processes import resident_bytes

from bench.processes import tree

pytestmark = EMBEDDED

MIB = 1024 * 1024
SIZE = 128 * MIB
LIMIT = 100 * MIB
SAMPLE_EVERY_SECONDS = 0.02


@contextmanager
def bounded_memory(server: Server) -> Iterator[None]:
    """Fail if one of the server's processes exceeds the memory limit inside the block."""
    processes = tree(server.process_id)
    assert len(processes) > 1
    largest = 0
    stop = threading.Event()

    def sample() -> None:
        nonlocal largest
        while True:
            largest = max(largest, *map(resident_bytes, processes))
            if stop.wait(SAMPLE_EVERY_SECONDS):
                return

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield
    finally:
        stop.set()
        sampler.join()
    assert 0 < largest < LIMIT, f"{largest // MIB} MiB"


def received_bytes(server: Server, path: str) -> int:
    connection = server.connect()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        received = 0
        while chunk := response.read(MIB):
            received += len(chunk)
        assert response.headers["Content-Length"] == str(received)
        return received
    finally:
        connection.close()


BLOCK = bytes(range(256)) * 4096
BLOCKS = [BLOCK] * (SIZE // MIB)


def test_a_large_file_and_its_zip_use_bounded_memory(start_server: StartServer) -> None:
    server = start_server()
    with bounded_memory(server):
        headers = {"Content-Length": str(SIZE)}
        blob = server.send("POST", "/rest/blob/createFile/large.bin", BLOCKS, headers).blob_hash
    with bounded_memory(server):
        assert received_bytes(server, f"/rest/blob/view/{blob}") == SIZE
    with bounded_memory(server):
        response = server.get(f"/rest/blob/view/{blob}", {"Range": f"bytes={SIZE - 5}-"})
        assert response.body == BLOCK[-5:]
    artifact = server.create_artifact("large.zip", dict.fromkeys(("one.bin", "two.bin"), ("softLink", blob)))
    with bounded_memory(server):
        assert received_bytes(server, f"/rest/blob/view/{artifact}") > 2 * SIZE


def test_a_large_chunked_upload_uses_bounded_memory(start_server: StartServer) -> None:
    server = start_server()
    with bounded_memory(server):
        assert server.send("POST", "/rest/blob/createFile/large.bin", BLOCKS, chunked=True).status == 200


def test_one_enormous_chunk_uses_bounded_memory(start_server: StartServer) -> None:
    server = start_server()
    head = (
        b"POST /rest/blob/createFile/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % SIZE
    )
    pieces = [head, *[bytes(MIB)] * (SIZE // MIB), b"\r\n0\r\n\r\n"]
    with bounded_memory(server):
        assert server.raw_response(*pieces).status == 200


def test_a_large_amount_of_output_uses_bounded_memory(start_server: StartServer) -> None:
    server = start_server()
    server.post("/rest/executor/create/x", {"labels": ["no-worker"]})
    segment = "x" * (4 * MIB)
    with bounded_memory(server):
        for number in range(30):
            server.post("/rest/executor/output/x", {"outputNumber": number, "output": segment})
        assert len(server.get("/rest/executor/output/x").body) > 30 * len(segment)
