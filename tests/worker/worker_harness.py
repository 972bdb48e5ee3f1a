"""The embedded stack, with jobs, and with workers in this process or as programs."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_executor.blobs.store import BlobStore
from cloud_executor.composition import Jobs, open_blobs, open_jobs
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.options import JobOptions
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType
from cloud_executor.model.jobs.job import Job
from cloud_executor.ports import Delivery, Subscription
from cloud_executor.settings import Settings
from worker_vm.worker.command.command_runner import CommandRunner
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.sandbox.interface import Sandbox
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.work_folder import WorkFolder

PROJECT = Path(__file__).parents[2]
WORKER_ID = "worker_1"
ORIGIN_URL = "http://origin.example:1"
WAIT_SECONDS = 30.0

NOT_EXECUTABLE = (
    "The command '{0}' is not executable. Run chmod +x '{0}' before you pack the job, or name an interpreter as cmd "
    "and the file in args."
)

ALL = [{"name": "all", "resultPatterns": []}]


def config(script: str, artifacts: list[dict[str, Any]] | None = None, **fields: object) -> str:
    """Create an executor_config.json that runs a shell script."""
    found = {"cmd": "sh", "args": ["-c", script], "resultArtifacts": ALL if artifacts is None else artifacts}
    return json.dumps({**found, **fields})


def zip_of(files: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """Create a zip as on Unix. Modes include the file type."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.create_system = 3
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Wait until the condition is true; return its value. Fails when the time is up."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)
    return found


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


class Stack:
    """Blobs, jobs, and a queue in a folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data = folder / "data"
        self.work = folder / "work"
        self.log = folder / "worker.log"
        self._environment = {"EXECUTOR_DATA": str(self.data), **environment}
        settings = Settings.from_env(self._environment)
        self.blobs: BlobStore = open_blobs(settings)
        self.jobs: Jobs = open_jobs(settings)

    # Jobs -----------------------------------------------------------------------------------------------------------

    def add(self, files: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> Job:
        """Create a job whose source is an uploaded zip."""
        return self.add_zip(zip_of(files, modes))

    def add_script(self, script: str, artifacts: list[dict[str, Any]] | None = None, **fields: object) -> Job:
        return self.add({"executor_config.json": config(script, artifacts, **fields)})

    def add_zip(self, content: bytes, *labels: str) -> Job:
        return self.create(self.blobs.create_file("source.zip", [content]).hash, *labels)

    def add_artifact(self, files: Mapping[str, str]) -> Job:
        """Create a job whose source is an artifact."""
        entries = {}
        for name, content in files.items():
            blob = self.blobs.create_file("file", [content.encode()])
            size = len(content.encode())
            entries[name] = ArtifactFile(blob.metadata.content_hash, size, ContentType.OBJECT)
        return self.create(self.blobs.create_metadata(BlobMetadata.for_artifact("source", entries)).hash)

    def create(self, job_hash: str, *labels: str, trace: str | None = None) -> Job:
        return self.jobs.clients.create(job_hash, labels, trace=trace)[0]

    def get(self, job: Job) -> Job:
        return self.jobs.clients.get(job.hash)

    def cancel(self, job: Job) -> None:
        self.jobs.clients.cancel(job.hash, job.secret)

    def finished(self, job: Job) -> Job:
        """Wait until the job has finished; return it."""
        until(lambda: self.get(job).finished)
        return self.get(job)

    def results(self, job: Job, artifact: str = "all") -> dict[str, bytes]:
        """The files of a result artifact."""
        hashes = self.get(job).result_hashes
        assert hashes is not None
        files = self.blobs.metadata(hashes[artifact]).metadata.files
        return {path: self.content(entry.content_hash) for path, entry in files.items()}

    def output(self, job: Job) -> list[tuple[int, str]]:
        """The segments of a job's output."""
        return [(segment.number, segment.output) for segment in self.jobs.clients.output(job.hash)]

    def content(self, metadata_hash: str) -> bytes:
        with self.blobs.open_content(self.blobs.metadata(metadata_hash).metadata.content_hash) as content:
            return content.read()

    def jobs_with(self, kind: type[Attempts], options: JobOptions | None = None) -> Jobs:
        """The use cases of jobs, with another class for those of workers."""

        class Changed(Jobs):
            @property
            def attempts(self) -> Attempts:
                return kind(self.store, self._publisher, self.options, self.clock, self._lease_clock)

        return Changed(self.jobs.store, self.jobs.queue, self.jobs.pools, options or self.jobs.options)

    # Workers --------------------------------------------------------------------------------------------------------

    @contextmanager
    def worker(
        self,
        *,
        jobs: Jobs | None = None,
        blobs: BlobStore | None = None,
        sandbox: Sandbox | None = None,
        work: WorkFolder | None = None,
    ) -> Iterator[InProcessWorker]:
        """Create a worker in this process that runs one job at a time. Its parts can be replaced."""
        jobs = jobs or self.jobs
        stopping = threading.Event()
        heartbeat = Heartbeat(jobs.attempts, WORKER_ID, jobs.pools[0].labels)
        commands = CommandRunner(
            sandbox or ProcessSandbox(), jobs.pools[0], jobs.attempts.put_output, ORIGIN_URL, jobs.clock, stopping
        )
        runner = JobRunner(
            jobs.attempts,
            blobs or self.blobs,
            commands,
            work or WorkFolder(self.work),
            heartbeat,
            WORKER_ID,
            stopping,
            jobs.label_jobs,
        )
        heartbeat.start()
        try:
            with self.jobs.queue.subscribe(self.jobs.pools[0].name, 4) as subscription:
                yield InProcessWorker(runner, heartbeat, subscription)
        finally:
            stopping.set()
            heartbeat.stop()

    def run(self, job: Job) -> Job:
        """Run the job with a worker in this process; return it. Every delivery must then be acknowledged."""
        with self.worker() as worker:
            worker.run_next()
            assert worker.next(0) is None, "the delivery was not acked"
        assert not list(self.work.iterdir()), "the worker has left files"
        return self.get(job)

    @contextmanager
    def program(self, *options: str, **environment: str) -> Iterator[WorkerProgram]:
        """Run the worker as a separate process inside the block."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker_vm.worker.main", "--work", str(self.work), *options],
                cwd=PROJECT,
                env={**os.environ, **self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        program = WorkerProgram(process)
        try:
            yield program
        finally:
            process.kill()
            process.wait(WAIT_SECONDS)


class InProcessWorker:
    """A worker whose only slot is the test itself."""

    def __init__(self, runner: JobRunner, heartbeat: Heartbeat, subscription: Subscription) -> None:
        self.runner = runner
        self.heartbeat = heartbeat
        self._subscription = subscription

    def next(self, timeout: float = WAIT_SECONDS) -> Delivery | None:
        return self._subscription.next(timeout)

    def run_next(self) -> None:
        delivery = self.next()
        assert delivery is not None
        self.runner.run(delivery)

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        """Run the next delivery in a thread while the block runs."""
        thread = threading.Thread(target=self.run_next)
        thread.start()
        try:
            yield thread
        finally:
            thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


class WorkerProgram:
    """A worker in a separate process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.id = f"{socket.gethostname()}_{process.pid}"

    @property
    def peak_memory_mib(self) -> int:
        """Peak memory so far, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found) // 1024

    def wait(self) -> int:
        return self.process.wait(WAIT_SECONDS)
