"""Run single commands in a sandbox, without a job."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker_harness import WAIT_SECONDS, WORKER_ID, Stack

from cloud_executor.clock import boot_seconds
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.sandbox.interface import Command, Ending, Sandbox
from worker_vm.worker.sandbox.limits import Limits
from worker_vm.worker.work_folder import AttemptFolder, WorkFolder

LEASE_SECONDS = 120
LIMITS = Limits(cpus=1.0, memory_mib=64, processes=64, disk_mib=32)


@dataclass
class Ran:
    """A command that has ended, and its output."""

    ending: Ending
    stdout: bytes
    stderr: bytes


class Bench:
    """An attempt and its folder, in which to run commands."""

    def __init__(self, stack: Stack, sandbox: Sandbox, disks: int = 0) -> None:
        self.stack = stack
        self.disks = disks
        self.sandbox = sandbox
        self.limits = LIMITS
        self.env: dict[str, str] = {}
        self.image: str | None = None

    def __enter__(self) -> Bench:
        self._exit = ExitStack()
        self.folder: AttemptFolder = self._exit.enter_context(WorkFolder(self.stack.work, self.disks).attempt())
        job = self.stack.jobs.attempts.claim(
            self.stack.add_script(f"unused in {self.folder.root.name}").hash, WORKER_ID
        )
        self.attempt = Attempt(job, LEASE_SECONDS, boot_seconds())
        self._exit.callback(self.attempt.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def run(self, *command: str, on_output: Callable[[bytes], None] | None = None, outputs: Path | None = None) -> Ran:
        """Run a command. Its output goes to files in `outputs`, by default next to the job's folder."""
        outputs = outputs or self.folder.root
        files = [
            os.open(outputs / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            for name in ("job_stdout.txt", "job_stderr.txt")
        ]
        try:
            ending = self.sandbox.run(
                Command(
                    command[0],
                    command[1:],
                    self.folder,
                    "http://origin.example:1",
                    *files,
                    limits=self.limits,
                    env=self.env,
                    image=self.image,
                ),
                self.attempt,
                on_output,
            )
            return Ran(ending, *(os.pread(file, 2**20, 0) for file in files))
        finally:
            for file in files:
                os.close(file)

    def script(self, script: str, on_output: Callable[[bytes], None] | None = None) -> Ran:
        return self.run("sh", "-c", script, on_output=on_output)

    @contextmanager
    def running(self, script: str) -> Iterator[list[Ran]]:
        """Run the script while the block runs. After that, the list contains the result."""
        ran: list[Ran] = []
        thread = threading.Thread(target=lambda: ran.append(self.script(script)))
        thread.start()
        try:
            yield ran
        finally:
            thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
