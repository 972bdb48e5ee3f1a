"""The output of a container: one stream in which the engine multiplexes standard output and standard error."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

from docker.utils.socket import STDERR, frames_iter

from worker_vm.worker.sandbox.command_output import CommandOutput

READ_BYTES = 64 * 1024

KEPT_BYTES = 8 * 1024
"""Bytes kept of the beginning of standard error, where the init process reports a command that it cannot start."""


class BoundedReads:
    """A connection for `frames_iter`, which asks for the rest of a frame at once, however large that is."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def recv(self, size: int) -> bytes:
        return self._connection.recv(min(size, READ_BYTES))


class ContainerOutput:
    """Moves a container's output to two files, in a thread and in bounded memory.

    It needs a thread because the engine does not respond to a request to kill a container while nobody reads the
    container's output. The descriptor becomes readable when the output has ended.
    """

    def __init__(self, connection: socket.socket, output: CommandOutput) -> None:
        self.output = output
        self._connection = connection
        self._written = {"stdout": 0, "stderr": 0}
        self._beginning = bytearray()
        self._end, self._open = os.pipe()
        self._thread = threading.Thread(target=self._move, name="container output", daemon=True)

    def __enter__(self) -> ContainerOutput:
        self._connection.settimeout(None)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        os.close(self._end)

    def fileno(self) -> int:
        return self._end

    def _move(self) -> None:
        try:
            # The connection breaks if the engine is gone. Later calls find out what happened to the container.
            with suppress(OSError):
                frames = frames_iter(BoundedReads(self._connection), tty=False)  # type: ignore[no-untyped-call]
                for stream, chunk in frames:
                    self._write(stream, chunk)
        finally:
            os.close(self._open)

    def only_stderr(self) -> bytes | None:
        """Standard error, if it is short and standard output is empty."""
        if self._written["stdout"] or self._written["stderr"] != len(self._beginning):
            return None
        return bytes(self._beginning)

    def _write(self, stream: int, chunk: bytes) -> None:
        is_error = stream == STDERR
        self._written["stderr" if is_error else "stdout"] += len(chunk)
        if is_error:
            self._beginning += chunk[: KEPT_BYTES - len(self._beginning)]
            self.output.write_stderr(chunk)
        else:
            self.output.write_stdout(chunk)
