"""Clients that keep sending requests and record the responses."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deployment import Deployment, Proxies
from stack_process import WAIT_SECONDS, until

HOST = "127.0.0.1"
TIMEOUT_SECONDS = 60.0
"""Time after which a request without a response counts as hanging, in seconds."""
PAUSE_SECONDS = 0.15


@dataclass(frozen=True)
class Response:
    action: str
    status: int
    retry_after: str | None
    body: str
    requested: float
    """Time of the request, in seconds of the monotonic clock."""


@dataclass
class Load:
    """Repeatedly uploads a blob, creates a job, and requests the job's document."""

    port: int
    responses: list[Response] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Contents of the acknowledged uploads, by hash."""
    jobs: list[str] = field(default_factory=list)
    """Hashes of the jobs whose creation was acknowledged."""
    errors: list[BaseException] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, clients: int) -> None:
        self._threads += [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending requests and wait for the outstanding responses."""
        self._ended.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def since(self, start: float, action: str | None = None, *statuses: int) -> list[Response]:
        """Responses to requests sent since `start`, filtered by action and status if these are given."""
        return [
            response
            for response in list(self.responses)
            if response.requested >= start
            and action in (None, response.action)
            and (not statuses or response.status in statuses)
        ]

    def _run(self, client: int) -> None:
        try:
            number = 0
            while not self._ended.wait(PAUSE_SECONDS):
                number += 1
                self._once(f"{client}-{number}")
        except BaseException as error:
            self.errors.append(error)

    def _once(self, name: str) -> None:
        content = f"content of {name}\n".encode()
        status, body = self.send("upload", "POST", f"/rest/blob/createFile/{name}", content)
        if status != http.HTTPStatus.OK:
            job = f"job-{name}"
        else:
            job = next(iter(json.loads(body)))
            self.blobs[job] = content
        if self.send("create", "POST", f"/rest/executor/create/{job}", b"{}")[0] == http.HTTPStatus.OK:
            self.jobs.append(job)
            self.send("info", "GET", f"/rest/executor/info/{job}")

    def send(self, action: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=TIMEOUT_SECONDS)
        requested = time.monotonic()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            received = response.read()
        finally:
            connection.close()
        retry_after = response.headers["Retry-After"]
        shown = received[:200].decode(errors="replace")
        self.responses.append(Response(action, response.status, retry_after, shown, requested))
        return response.status, received


@contextmanager
def server(deployment: Deployment, proxies: Proxies, log: Path) -> Iterator[int]:
    """Serve the functions from a program that reaches the storage through proxies; yield its port."""
    with socket.create_server((HOST, 0)) as listener:
        port, descriptor = listener.getsockname()[1], listener.fileno()
        process = deployment.start(
            *("-m", "functions.serve", "--fd", str(descriptor), "--workers", "1"),
            log=log,
            proxies=proxies,
            file_descriptors=[descriptor],
        )
    try:
        until(lambda: _responds(process, port))
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


@contextmanager
def load_on(port: int, clients: int) -> Iterator[Load]:
    """Send requests from clients inside the block; afterward, assert that no client had an error."""
    load = Load(port)
    load.start(clients)
    try:
        yield load
    finally:
        load.stop()
    assert not load.errors, load.errors


def _responds(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None
    connection = http.client.HTTPConnection(HOST, port, timeout=WAIT_SECONDS)
    with suppress(OSError, http.client.HTTPException):
        connection.request("OPTIONS", "/")
        return connection.getresponse().status == http.HTTPStatus.NO_CONTENT
    connection.close()
    return False
