"""Write a command's output to its files, up to the disk limit."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from cloud_executor.errors import os_reason
from worker_vm.worker.sandbox.interface import Command
from worker_vm.worker.sandbox.limits import MIB


class CommandOutput:
    """The two output streams of one command, as far as they have been written.

    The written bytes are counted here, because a command of the process sandbox may delete the files: the output would
    then fill the disk without being found in the attempt's folder.
    """

    def __init__(self, command: Command, on_output: Callable[[bytes], None] | None) -> None:
        """`on_output` is called with each chunk of standard output after it is written."""
        self.error: str | None = None
        """Why the output could not be written. The rest is dropped."""
        self.exceeded: str | None = None
        """The limit that the output exceeded, as a sentence for the job's owner. The rest is dropped."""
        self._command = command
        self._on_output = on_output
        disk_mib = command.limits.disk_mib
        self._bytes_left = math.inf if disk_mib is None else disk_mib * MIB

    @property
    def stopped(self) -> bool:
        """Whether the command must stop because its output is incomplete."""
        return self.error is not None or self.exceeded is not None

    def write_stdout(self, chunk: bytes) -> None:
        self._write(self._command.stdout, chunk)
        if self._on_output is not None and not self.stopped:
            self._on_output(chunk)

    def write_stderr(self, chunk: bytes) -> None:
        self._write(self._command.stderr, chunk)

    def _write(self, file: int, chunk: bytes) -> None:
        if self.stopped:
            return
        if len(chunk) > self._bytes_left:
            self.exceeded = self._command.limits.disk_exceeded()
            return
        self._bytes_left -= len(chunk)
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError as error:
            self.error = os_reason(error)
