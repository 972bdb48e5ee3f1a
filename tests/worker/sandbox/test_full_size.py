"""Jobs that use far too much, at full size: each one ends properly, and the worker's memory stays small.

Where a size takes minutes, `make hostile` has it (FULL_SIZE), on the machine's disk, and tells what it took.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers.docker_engine import IMAGE
from worker_harness import Stack, until

from cloud_executor.model.jobs.job import Job, Status

FULL = bool(os.environ.get("FULL_SIZE"))

MIB = 2**20
WORKER_MIB = 200
"""Memory limit of the worker, whatever a job does, in MiB."""
LINE_MIB = 100
OUTPUT_MIB = 10 * 1024 if FULL else 300
FILES = 1_000_000 if FULL else 200_000
FOLDERS = 1_000_000 if FULL else 100_000
NAME = "x" * (90 if FULL else 240)
"""Start of the names of files and folders: long names take as much memory as more files."""
LONG_NAMES = 60_000
CHUNK_BYTES = MIB

ENDS_WITHIN_SECONDS = 1500.0
SETTINGS = {
    "process": {"EXECUTOR_JOB_DISK": "20480"},
    "container": {"EXECUTOR_JOB_DISK": "20480", "EXECUTOR_SANDBOX": "container", "EXECUTOR_IMAGE": IMAGE},
}
BOTH = ["process", "container"]

pytestmark = pytest.mark.timeout(2 * ENDS_WITHIN_SECONDS)


class Worker:
    """A worker program with one slot."""

    def __init__(self, folder: Path, sandbox: str) -> None:
        self.stack = Stack(folder)
        self._sandbox = sandbox

    def run(self, script: str, artifacts: list[dict[str, Any]] | None = None, **fields: object) -> Job:
        """Run a script as a job. Then check that the slot works, nothing is left, and the worker's memory is small."""
        job = self.stack.add_script(script, artifacts, **fields)
        started = time.monotonic()
        with self.stack.program("--slots", "1", **SETTINGS[self._sandbox]) as program:
            until(lambda: self.stack.get(job).finished, ENDS_WITHIN_SECONDS)
            ended = time.monotonic()
            following = self.stack.add_script("echo fine")
            until(lambda: self.stack.get(following).finished, ENDS_WITHIN_SECONDS)
            removed = time.monotonic()
            until(lambda: not list(self.stack.work.iterdir()))
            peak = program.peak_memory_mib
            program.process.terminate()
            assert program.wait() == 0
        print(  # noqa: T201 - which `make hostile` shows
            f"\n{ended - started:.0f} s, and {removed - ended:.0f} s until the next job has ended; the worker took "
            f"{peak} MiB: {self.stack.get(job).durations}"
        )
        assert self.stack.get(following).status == Status.SUCCESS
        assert self.stack.results(following)["job_stdout.txt"] == b"fine\n"
        assert peak < WORKER_MIB
        return self.stack.get(job)

    def stdout_size(self, job: Job, letter: bytes) -> int:
        """Size of the job's stored output, which must consist of this letter, in bytes."""
        assert job.result_hashes is not None
        artifact = self.stack.blobs.metadata(job.result_hashes["all"]).metadata
        stored = self.stack.blobs.metadata(artifact.files["job_stdout.txt"].content_hash).metadata
        size = 0
        with self.stack.blobs.open_content(stored.content_hash) as content:
            while chunk := content.read(CHUNK_BYTES):
                assert chunk.count(letter) == len(chunk)
                size += len(chunk)
        assert size == stored.size
        return size


@pytest.fixture
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worker]:
    """A worker in the test's sandbox, on a memory disk if the test needs many files, except at full size."""
    sandbox, many = request.param
    if sandbox == "container":
        request.getfixturevalue("engine")
    memory = Path("/dev/shm")
    use_memory = many and not FULL and memory.is_dir() and shutil.disk_usage(memory).free > 4096 * MIB
    with tempfile.TemporaryDirectory(dir=memory if use_memory else tmp_path) as folder:
        yield Worker(Path(folder), sandbox)


def sandboxes(*names: str, many: bool = False) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("worker", [(name, many) for name in names], ids=names, indirect=True)


@sandboxes(*BOTH)
def test_a_line_of_100_mib(worker: Worker) -> None:
    size = LINE_MIB * MIB
    job = worker.run(f"head -c {size} /dev/zero | tr '\\0' x", outputInterval=100, outputSegmentSize=1)
    assert (job.status, job.error) == (Status.SUCCESS, None)
    assert worker.stdout_size(job, b"x") == size
    segments = worker.stack.output(job)
    assert [number for number, _ in segments] == list(range(len(segments)))
    assert sum(text.count("x") for _, text in segments) == sum(len(text) for _, text in segments) == size


@sandboxes(*(BOTH if FULL else ["process"]))
def test_endless_output(worker: Worker) -> None:
    size = OUTPUT_MIB * MIB
    job = worker.run(f"head -c {size} /dev/zero | tr '\\0' x")
    assert (job.status, job.error) == (Status.SUCCESS, None)
    assert worker.stdout_size(job, b"x") == size


@sandboxes(*(BOTH if FULL else ["process"]), many=True)
def test_very_many_files(worker: Worker) -> None:
    # All artifacts select all files, so the limit is reached after fewer stored files.
    artifacts = [{"name": str(number), "resultPatterns": []} for number in range(1 if FULL else 20)]
    job = worker.run(f"seq {FILES} | sed s/^/{NAME}/ | xargs touch", artifacts)
    error = "The results have more than 100000 files; select fewer, or pack them."
    assert (job.status, job.error) == (Status.FAILED_TO_ARCHIVE_FILE, error)


@sandboxes(*(BOTH if FULL else ["process"]), many=True)
def test_very_many_folders(worker: Worker) -> None:
    job = worker.run(f"seq {FOLDERS} | sed s/^/{NAME}/ | xargs mkdir")
    error = "The job left too many folders; leave fewer, or pack them."
    assert (job.status, job.error) == (Status.FAILED_TO_ARCHIVE_FILE, error)


@sandboxes("process", many=True)
def test_long_names_with_characters_that_take_much_memory(worker: Worker) -> None:
    folder = "/".join(["x" * 250] * 14)
    script = f"mkdir -p {folder}; cd {folder}; seq -f '%.0f{'😀' * 50}' {LONG_NAMES} | xargs touch"
    job = worker.run(script)
    error = "The file names of the results take more than 10 MiB; pack the files."
    assert (job.status, job.error) == (Status.FAILED_TO_ARCHIVE_FILE, error)
