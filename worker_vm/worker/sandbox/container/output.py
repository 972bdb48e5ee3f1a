"""What a container writes: one stream in which the engine packs standard output and standard error.

Each piece has a header of eight bytes: which of the two, three zeros, and how long it is (Engine API: attach).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from cloud_executor.errors import os_reason

READ_BYTES = 64 * 1024

STDERR = 2
_HEADER_BYTES = 8

KEPT_BYTES = 8 * 1024
"""of the beginning of standard error, for what the init process says of a command that it cannot start"""


class Demultiplexer:
    """Takes the stream apart, however it is cut."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, memoryview]]:
        """Which stream, and a piece of it."""
        rest = memoryview(chunk)
        while rest:
            if not self._left:
                wanted = _HEADER_BYTES - len(self._header)
                self._header += rest[:wanted]
                rest = rest[wanted:]
                if len(self._header) == _HEADER_BYTES:
                    self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                    self._header.clear()
                continue
            piece, rest = rest[: self._left], rest[self._left :]
            self._left -= len(piece)
            yield self._stream, piece


class ContainerOutput:
    """A container's output on its way to two files, moved by a thread of its own, in bounded memory.

    The thread is there since the engine does not answer who wants to kill a container while nobody reads what that
    writes. The descriptor becomes readable once the output has ended.
    """

    def __init__(
        self, connection: socket.socket, stdout: int, stderr: int, on_output: Callable[[bytes], None] | None
    ) -> None:
        self.error: str | None = None
        """why it could not be written; then the rest is read and dropped"""
        self._connection = connection
        self._stdout = stdout
        self._stderr = stderr
        self._on_output = on_output
        self._streams = Demultiplexer()
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
            # A connection that breaks says that the engine is gone; what became of the container, it tells who asks.
            with suppress(OSError):
                while chunk := self._connection.recv(READ_BYTES):
                    for stream, piece in self._streams.feed(chunk):
                        if self.error is None:
                            self._write(stream, piece)
        finally:
            os.close(self._open)

    def only_stderr(self) -> bytes | None:
        """Standard error, if that is short and nothing else was written."""
        if self._written["stdout"] or self._written["stderr"] != len(self._beginning):
            return None
        return bytes(self._beginning)

    def _write(self, stream: int, piece: memoryview) -> None:
        is_error = stream == STDERR
        self._written["stderr" if is_error else "stdout"] += len(piece)
        if is_error:
            self._beginning += piece[: KEPT_BYTES - len(self._beginning)]
        rest = piece
        try:
            while rest:
                rest = rest[os.write(self._stderr if is_error else self._stdout, rest) :]
        except OSError as error:
            self.error = os_reason(error)
        else:
            if not is_error and self._on_output is not None:
                self._on_output(bytes(piece))
