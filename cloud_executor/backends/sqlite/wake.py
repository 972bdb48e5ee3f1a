"""Wake-up calls between processes on one machine: each listener has a named pipe in a folder, and callers write to it.

A call is only a hint that there can be something new. Calls can be spurious or lost, so listeners also poll at long
intervals. Unlike paths of sockets, paths of named pipes can have any length.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from cloud_executor.backends.job_records import encode_string


class Listener:
    """Receives the calls on one channel. One thread at a time can wait; any thread can call and close."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path, 0o600)
        # Also open for writing: once the last writer closes a pipe, it would count as readable forever.
        try:
            self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:  # for example, too many open files
            path.unlink()
            raise
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        # Reentrant: a signal handler can call `call` while its thread holds the lock.
        self._using = threading.RLock()
        self._closed = False

    def clear(self) -> None:
        """Discard the calls so far. Clear before each poll: a call during the poll then ends the next wait."""
        with suppress(BlockingIOError):
            os.read(self._pipe, 65536)

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as there is a call since `clear`."""
        self._poll.poll(max(0.0, seconds) * 1000)

    def call(self) -> None:
        """Wake the waiting thread."""
        with self._using:
            if not self._closed:
                _write(self._pipe)

    def close(self) -> None:
        """Remove the pipe. No thread can wait after this."""
        with self._using:
            self._closed = True
            self._path.unlink(missing_ok=True)
            os.close(self._pipe)


class WakeFolder:
    """The folder with the listeners' pipes. Processes that call each other use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cleaned = False

    def listen(self, channel: str) -> Listener:
        """Create a listener that receives every call on the channel from now on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not self._cleaned:
                # Pipes of dead processes on channels that nobody may call again, such as those of finished jobs.
                for path in self._folder.iterdir():
                    if not _has_listener(path):
                        path.unlink()
                self._cleaned = True
            return Listener(self._folder / f"{_prefix(channel)}{uuid4().hex}")

    def call(self, channel: str) -> None:
        """Wake all listeners on the channel, and remove the pipes of dead ones."""
        prefix = _prefix(channel)
        try:
            with os.scandir(self._folder) as entries:
                paths = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
        except FileNotFoundError:
            return
        for path in paths:
            if not _call(path):
                # A pipe without a reader can also belong to a listener that is about to open it.
                with self._locked():
                    if not _call(path):
                        path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _prefix(channel: str) -> str:
    return hashlib.sha256(encode_string(channel)).hexdigest()[:16] + "."


def _call(path: Path) -> bool:
    """Write to the pipe. Returns False if no process has it open."""
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    try:
        _write(pipe)
    finally:
        os.close(pipe)
    return True


def _has_listener(path: Path) -> bool:
    """Whether a process has the pipe open. Without the lock, the pipe can be that of a listener about to open it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


def _write(pipe: int) -> None:
    # A full pipe already wakes its reader, and a pipe without a reader needs no call.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, b"\0")
