"""Wake-up calls between processes of one machine: each listener has a named pipe in a folder that callers write to.

A call only says that there may be something new. It can come for nothing, and whoever needs certainty looks now and
then without one. Named pipes since, unlike those of sockets, their paths may be of any length.
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


class Listener:
    """Hears the calls on one channel. One thread at a time may wait; any may call and close."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path, 0o600)
        # Open for writing as well: a pipe that nobody can write to counts as readable, for ever.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        # Reentrant: a signal handler may call while its thread is here.
        self._using = threading.RLock()
        self._closed = False

    def clear(self) -> None:
        """Forget the calls so far. Done before looking, a call that comes during the look is heard after it."""
        with suppress(BlockingIOError):
            os.read(self._pipe, 65536)

    def wait(self, seconds: float) -> None:
        """Return when called, at once if that was since `clear`, or after that time."""
        self._poll.poll(max(0.0, seconds) * 1000)

    def call(self) -> None:
        """Wake the thread that waits here."""
        with self._using:
            if not self._closed:
                _write(self._pipe)

    def close(self) -> None:
        """Nobody may wait any more."""
        with self._using:
            self._closed = True
            self._path.unlink(missing_ok=True)
            os.close(self._pipe)


class WakeFolder:
    """Where the listeners' pipes are. All processes that are to hear of each other use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listen(self, channel: str) -> Listener:
        """A listener that hears every call on the channel from now on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            return Listener(self._folder / f"{_prefix(channel)}{uuid4().hex}")

    def call(self, channel: str) -> None:
        """Wake everyone who listens on the channel, and remove the pipes of the dead."""
        prefix = _prefix(channel)
        try:
            with os.scandir(self._folder) as entries:
                paths = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
        except FileNotFoundError:
            return
        for path in paths:
            if not _call(path):
                # A pipe without a reader may also be one that is just being opened.
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
    return hashlib.sha256(channel.encode("utf-8", "surrogatepass")).hexdigest()[:16] + "."


def _call(path: Path) -> bool:
    """False: nobody has the pipe open."""
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


def _write(pipe: int) -> None:
    # A full pipe wakes its reader as well; one whose reader has gone needs nothing.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, b"\0")
