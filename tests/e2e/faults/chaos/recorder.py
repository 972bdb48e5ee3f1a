"""Clients and an observer that record everything they see in a History."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from deployment import Here
from history import Create, History, Look, Read, Result, State, Upload

from cloud_executor.errors import Unavailable
from cloud_executor.model.jobs.job import Job

T = TypeVar("T")
HOST = "127.0.0.1"
TIMEOUT_SECONDS = 60.0
"""Time without a response after which a client sends its request again, in seconds."""
RETRY_SECONDS = 0.2
PAUSE_SECONDS = 0.5
"""Pause of a client between two jobs, in seconds."""
LOOK_SECONDS = 0.3
"""Interval between looks at all jobs, in seconds."""
GIVE_UP_SECONDS = 300.0

FAILURES = (OSError, http.client.HTTPException)
SCRIPT = """
echo begin >> "$WITNESS"
sha256sum < input.txt > result.txt
sleep {seconds}
"""


class NoAnswer(Exception):
    """The server responded neither with 200 nor with 404."""


class Clients:
    """Each client uploads a job, creates it, and reads the upload back, again and again; it repeats failed requests."""

    def __init__(self, port: int, commands: Path, history: History) -> None:
        self.history = history
        self.begun: dict[str, float] = {}
        """Time of the first request for each acknowledged job."""
        self.expected: dict[str, str] = {}
        """The result of each acknowledged job."""
        self.errors: list[BaseException] = []
        self._port = port
        self._commands = commands
        commands.mkdir()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, count: int, pause_seconds: float = PAUSE_SECONDS) -> None:
        """Start this many clients, each with this pause between two jobs."""
        self._pause_seconds = pause_seconds
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each client finish its last job."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(GIVE_UP_SECONDS)

    def _run(self, client: int) -> None:
        try:
            number = 0
            while not self._stopping.wait(self._pause_seconds):
                number += 1
                self.submit(f"{client}-{number}", (number % 5) / 5)
        except BaseException as error:
            self.errors.append(error)

    def submit(self, name: str, seconds: float = 0.0) -> str:
        """Run a job with this name, and return its hash once it is acknowledged."""
        begin = time.monotonic()
        content = f"input of {name}\n".encode()
        witness = self._commands / name
        blob = self.upload(_source(content, SCRIPT.format(seconds=seconds), witness))
        self.repeat(lambda: self._create(blob))
        self.begun[blob] = begin
        self.expected[blob] = hashlib.sha256(content).hexdigest()
        witness.with_suffix(".hash").write_text(blob)
        began = time.monotonic()
        status, _ = self.repeat(lambda: self.answer("GET", f"/rest/executor/info/{blob}"))
        if status == http.HTTPStatus.NOT_FOUND:
            self.history.looks.append(Look(blob, began, time.monotonic(), None))
        self.read(blob)
        return blob

    def upload(self, content: bytes) -> str:
        """Upload a blob until the server acknowledges it."""
        return self.repeat(lambda: self._upload(content))

    def read(self, blob: str) -> None:
        """Download a blob."""
        begin = time.monotonic()
        status, body = self.repeat(lambda: self.answer("GET", f"/rest/blob/download/{blob}"))
        digest = _digest(body) if status == http.HTTPStatus.OK else None
        self.history.reads.append(Read(blob, begin, time.monotonic(), digest))

    def read_result(self, job: str) -> None:
        """Read the result of a finished job as a client does."""
        found = None
        status, body = self.repeat(lambda: self.answer("GET", f"/rest/executor/info/{job}"))
        if status == http.HTTPStatus.OK:
            artifact = dict(json.loads(body).get("resultHashes") or {}).get("result")
            status, body = self.repeat(lambda: self.answer("GET", f"/rest/blob/view/{artifact}/result.txt"))
            if status == http.HTTPStatus.OK:
                found = body.decode().split()[0]
        self.history.results.append(Result(job, found, self.expected[job]))

    def count_runs(self) -> None:
        for file in self._commands.glob("*.hash"):
            witness = file.with_suffix("")
            self.history.runs[file.read_text()] = len(witness.read_text().split()) if witness.exists() else 0

    def repeat(self, action: Callable[[], T]) -> T:
        end = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return action()
            except (NoAnswer, *FAILURES):
                if time.monotonic() > end:
                    raise
                time.sleep(RETRY_SECONDS)

    def answer(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request. Raises NoAnswer for other responses than 200 and 404."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            received = response.read()
        finally:
            connection.close()
        if response.status not in (http.HTTPStatus.OK, http.HTTPStatus.NOT_FOUND):
            raise NoAnswer(f"{method} {path}: {response.status} {received[:200]!r}")
        return response.status, received

    def _upload(self, content: bytes) -> str:
        begin, blob = time.monotonic(), None
        try:
            status, body = self.answer("POST", "/rest/blob/createFile/job.zip", content)
            if status != http.HTTPStatus.OK:
                raise NoAnswer(f"an upload got {status}")
            blob = str(next(iter(json.loads(body))))
        finally:
            self.history.uploads.append(Upload(_digest(content), begin, time.monotonic(), blob))
        return blob

    def _create(self, job: str) -> None:
        begin, acknowledged = time.monotonic(), False
        try:
            acknowledged = self.answer("POST", f"/rest/executor/create/{job}", b"{}")[0] == http.HTTPStatus.OK
            if not acknowledged:
                raise NoAnswer("the server does not have the files of a new job")
        finally:
            self.history.creates.append(Create(job, begin, time.monotonic(), acknowledged))


class Observer:
    """Looks at all jobs in the store regularly."""

    def __init__(self, here: Here, clients: Clients) -> None:
        self.ended_at: dict[str, float] = {}
        """Time at which each job was first seen finished."""
        self.errors: list[BaseException] = []
        self._here = here
        self._clients = clients
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(GIVE_UP_SECONDS)

    def look(self) -> None:
        known = list(self._clients.begun)
        begin = time.monotonic()
        found = {job.hash: _state(job) for job in self._here.jobs.clients.jobs()}
        end = time.monotonic()
        looks = [Look(job, begin, end, found.get(job)) for job in {*known, *found}]
        self._clients.history.looks += looks
        for job, state in found.items():
            if state.outcome is not None:
                self.ended_at.setdefault(job, end)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(LOOK_SECONDS):
                # The fault may concern the store. What cannot be read says nothing.
                with suppress(Unavailable):
                    self.look()
        except BaseException as error:
            self.errors.append(error)


def _state(job: Job) -> State:
    results = sorted((job.result_hashes or {}).items())
    outcome = f"{job.status} {results} {job.error or ''}".strip() if job.finished else None
    return State(job.attempt, job.worker, outcome)


def _source(content: bytes, script: str, witness: Path) -> bytes:
    artifacts = [{"name": "result", "resultPatterns": ["result.txt"]}]
    config = {"cmd": "sh", "args": ["-c", script], "resultArtifacts": artifacts, "env": {"WITNESS": str(witness)}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("executor_config.json", json.dumps(config))
        archive.writestr("input.txt", content)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
