"""Requests that keep coming, and what was answered."""

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
ANSWER_SECONDS = 60.0
"""without an answer for so long, a request hangs"""
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Answer:
    action: str
    status: int
    retry_after: str | None
    text: str
    at: float
    """on the monotonic clock, when it was asked"""


@dataclass
class Load:
    """Uploads a blob, creates a job and asks for it, again and again."""

    port: int
    answers: list[Answer] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """hash -> content, of the uploads that were acknowledged"""
    jobs: list[str] = field(default_factory=list)
    """those whose creation was acknowledged"""
    faults: list[BaseException] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, clients: int) -> None:
        self._threads += [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """After the answers to what was asked."""
        self._ended.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS)

    def since(self, at: float, action: str | None = None, *statuses: int) -> list[Answer]:
        return [
            answer
            for answer in list(self.answers)
            if answer.at >= at and action in (None, answer.action) and (not statuses or answer.status in statuses)
        ]

    def _run(self, client: int) -> None:
        try:
            number = 0
            while not self._ended.wait(PAUSE_SECONDS):
                number += 1
                self._once(f"{client}-{number}")
        except BaseException as fault:
            self.faults.append(fault)

    def _once(self, name: str) -> None:
        content = f"content of {name}\n".encode()
        status, text = self.send("upload", "POST", f"/rest/blob/createFile/{name}", content)
        if status != http.HTTPStatus.OK:
            job = f"job-{name}"
        else:
            job = next(iter(json.loads(text)))
            self.blobs[job] = content
        if self.send("create", "POST", f"/rest/executor/create/{job}", b"{}")[0] == http.HTTPStatus.OK:
            self.jobs.append(job)
            self.send("info", "GET", f"/rest/executor/info/{job}")

    def send(self, action: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_SECONDS)
        asked = time.monotonic()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        retry_after = response.headers["Retry-After"]
        self.answers.append(Answer(action, response.status, retry_after, text[:200].decode(errors="replace"), asked))
        return response.status, text


@contextmanager
def server(deployment: Deployment, proxies: Proxies, log: Path) -> Iterator[int]:
    """The functions as a program that reaches the storage through proxies; its port."""
    with socket.create_server((HOST, 0)) as listener:
        port, descriptor = listener.getsockname()[1], listener.fileno()
        process = deployment.start(
            *("-m", "functions.serve", "--fd", str(descriptor), "--workers", "1"),
            log=log,
            proxies=proxies,
            file_descriptors=[descriptor],
        )
    try:
        until(lambda: _answers(process, port))
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


@contextmanager
def load_on(port: int, clients: int) -> Iterator[Load]:
    """Clients that send requests meanwhile. Raises what befell one."""
    load = Load(port)
    load.start(clients)
    try:
        yield load
    finally:
        load.stop()
    assert not load.faults, load.faults


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None
    connection = http.client.HTTPConnection(HOST, port, timeout=WAIT_SECONDS)
    with suppress(OSError, http.client.HTTPException):
        connection.request("OPTIONS", "/")
        return connection.getresponse().status == http.HTTPStatus.NO_CONTENT
    connection.close()
    return False
