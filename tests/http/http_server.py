"""The server as a program, and a client that sends requests exactly as written."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cloud_executor.composition import create_in_emulators, open_blobs, open_jobs
from cloud_executor.errors import Unavailable
from cloud_executor.ports import ObjectStore
from cloud_executor.settings import Settings

PROJECT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 30
START_SECONDS = 120
"""Time limit for the start of a server, whose first request may wait for starting emulators, in seconds."""
PROCESSES = 2
SWEEP_SECONDS = {"sqlite": 0.2, "google": 1.0}
"""Interval between sweeps by job store, in seconds. With an emulator, a sweep takes much CPU time."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def blob_hash(self) -> str:
        """First key of the JSON response: the blob API returns the hash there."""
        assert self.status == 200, self
        first: str = next(iter(self.json))
        return first

    def __getitem__(self, header: str) -> str | None:
        return self.headers[header]


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    data: Path
    process_id: int
    environment: Mapping[str, str]
    objects: ObjectStore
    """Store in which the server keeps its blobs."""

    @property
    def blobs(self) -> Path:
        return self.data / "blobs"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        json_body: object = None,
        chunked: bool = False,
    ) -> Response:
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        connection = self.connect()
        try:
            names_host = "Host" in (headers or {})
            connection.putrequest(method, path, skip_host=names_host, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif isinstance(body, bytes):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body, encode_chunked=chunked)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, json_body: object = None, headers: Mapping[str, str] | None = None) -> Response:
        return self.send("POST", path, headers=headers, json_body=json_body)

    def create_file(self, name: str, content: bytes) -> str:
        return self.send("POST", f"/rest/blob/createFile/{name}", content).blob_hash

    def create_metadata(self, document: object) -> str:
        return self.send("POST", "/rest/blob/createMetadata/", json.dumps(document).encode()).blob_hash

    def create_artifact(self, name: str, entries: Mapping[str, tuple[str, str]]) -> str:
        """Create an artifact from `entries`: content type and hash, by path."""
        content = {path: {"content": found, "contentType": kind} for path, (kind, found) in entries.items()}
        return self.create_metadata({"name": name, "content": content, "contentType": "complex"})

    @contextmanager
    def raw(self, *pieces: bytes) -> Iterator[socket.socket]:
        """Open a connection and send exactly these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS) as connection:
            for piece in pieces:
                connection.sendall(piece)
            yield connection

    def raw_response(self, *pieces: bytes, method: str = "GET") -> Response:
        with self.raw(*pieces) as connection:
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return Response(response.status, response.headers, response.read())

    def stored_files(self) -> set[Path]:
        """All files below the blobs' folder, including uploads in flight."""
        return {path for path in self.blobs.rglob("*") if path.is_file()}


EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
"""Mark for a test that inspects the disk or exceeds the limits of Google's services."""

StartServer = Callable[..., Server]
"""Function that starts another server, with settings as keywords."""


@contextmanager
def run_server(
    data: Path, preparation: str = "", backends: Mapping[str, str] | None = None, **settings: str
) -> Iterator[Server]:
    """Run a server with these `settings`, named as in `Settings`, and sweep continuously.

    `preparation` is code that the server's process runs first; `backends` are variables that select other backends.
    """
    own = {"EXECUTOR_DATA": str(data), **(backends or {})}
    own |= {f"EXECUTOR_{name.upper()}": value for name, value in settings.items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")} | own
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, listening = listener.getsockname()[1], listener.fileno()
        program = f"from functions import serve\n{preparation}\nserve.main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, "--fd", str(listening), "--workers", str(PROCESSES)],
            cwd=PROJECT,
            env=environment,
            pass_fds=[listening],
        )
    try:
        until(lambda: process.poll() is not None or _responds(port), START_SECONDS)
        assert process.poll() is None
        with _sweeping(own) as objects:
            yield Server(port, data, process.pid, own, objects)
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()


@contextmanager
def _sweeping(environment: Mapping[str, str]) -> Iterator[ObjectStore]:
    found = Settings.from_env(environment)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        if found.jobs == "google":
            create_in_emulators(found, max_deliveries=20)
        jobs, objects = open_jobs(found), open_blobs(found).objects
        # The client libraries look up the emulators' addresses only on the first call.
        jobs.sweep.run()
        objects.delete("nothing")
    stop = threading.Event()
    errors: list[Exception] = []

    def sweep() -> None:
        while not stop.wait(SWEEP_SECONDS[found.jobs]):
            try:
                jobs.sweep.run()
            except Unavailable:
                continue  # an emulator on a busy machine: the next sweep makes up for it
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield objects
    finally:
        stop.set()
        thread.join()
        assert not errors, errors


def until(condition: Callable[[], Found], seconds: float = TIMEOUT_SECONDS) -> Found:
    """Wait until the condition returns a true value and return that value; fail after this many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"The condition was not true within {seconds:.0f} s."
        time.sleep(0.02)
    return found


def _responds(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("OPTIONS", "/")
        return connection.getresponse().status == 204
    except (ConnectionError, TimeoutError):
        return False
    finally:
        connection.close()
