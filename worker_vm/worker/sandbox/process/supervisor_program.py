"""The program that starts a command and ends everything the command started.

On Linux, the supervisor adopts orphans, so all processes that a command starts stay below it, even a daemon with a new
session and a cleared environment. Nothing else is below it, so the processes that it kills belong to the command.

Standard input is a socket to the worker, which carries one JSON object per line. The supervisor runs one command at a
time. If the worker closes the socket or dies, the supervisor kills the command and exits. It imports only the standard
library, because the worker starts it by its path, without site packages.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

KILL_SECONDS = 5.0
"""Time limit for killed processes to end, in seconds."""

_KILL_INTERVAL_SECONDS = 0.005
"""Interval between two rounds of killing, in seconds: the children of a killed process become ours."""

_READ_BYTES = 64 * 1024

_RSS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10
"""Units of `ru_maxrss` per MiB."""

_PR_SET_CHILD_SUBREAPER = 36


class Channel:
    """Messages and descriptors over a Unix socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.descriptors: list[int] = []
        """Received descriptors; the receiver closes them."""
        self._connection = connection
        self._unread = b""

    def fileno(self) -> int:
        return self._connection.fileno()

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Raises OSError."""
        line = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self._connection, [line], descriptors)
        self._connection.sendall(line[sent:])

    def receive(self) -> list[dict[str, Any]]:
        """Wait for more bytes; return the messages that they complete. Raises OSError, and EOFError at the end."""
        chunk, descriptors, _, _ = socket.recv_fds(self._connection, _READ_BYTES, 2)
        self.descriptors += descriptors
        if not chunk:
            raise EOFError
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        return [json.loads(line) for line in lines]


class CommandSupervisor:
    """The state of one supervisor process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pid: int | None = None
        self._exit_code: int | None = None
        self._peak_memory_mib: int | None = None
        self._alone = True
        self._reported: str | None = None
        self._wakeup, sent = os.pipe()
        for descriptor in (self._wakeup, sent):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Handle requests until the worker closes the socket."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        poll.register(self._channel.fileno(), select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakeup in ready:
                os.read(self._wakeup, _READ_BYTES)
                self._reap()
                self._report()
            if self._channel.fileno() in ready:
                try:
                    requests = self._channel.receive()
                except (EOFError, OSError):
                    self._end()
                    return
                for request in requests:
                    self._handle(request)

    def _handle(self, request: dict[str, Any]) -> None:
        if "args" in request:
            self._start(request)
        elif "signal" in request:
            self._signal_group(request["signal"])
        else:
            self._end()

    def _start(self, request: dict[str, Any]) -> None:
        stdout, stderr = descriptors = self._channel.descriptors
        self._channel.descriptors = []
        try:
            process = subprocess.Popen(
                [_encoded(argument) for argument in request["args"]],
                cwd=_encoded(request["cwd"]),
                env={_encoded(name): _encoded(value) for name, value in request["env"].items()},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            self._channel.send({"errno": error.errno})
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        process.returncode = 0  # Popen must not wait for it: this class does.
        _limit(process.pid, request["file_bytes"])
        self._pid, self._exit_code, self._peak_memory_mib = process.pid, None, None
        self._alone, self._reported = False, None
        self._channel.send({"pid": process.pid})

    def _signal_group(self, number: int) -> None:
        """Send a signal to the command's process group, whose number is the command's until we reap it."""
        if self._pid is not None and self._exit_code is None:
            with suppress(OSError):
                os.killpg(self._pid, number)
                os.killpg(self._pid, signal.SIGCONT)  # A stopped process does not handle signals.

    def _reap(self) -> None:
        """Reap all children that have ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self._alone = True
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
                # Before a process runs its program it is a copy of this one, and the kernel counts that memory too.
                own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                if usage.ru_maxrss > own:
                    self._peak_memory_mib = math.ceil(usage.ru_maxrss / _RSS_PER_MIB)

    def _report(self) -> None:
        """Tell the worker when the command has ended, and when nothing runs anymore that the command started."""
        if self._pid is None or self._exit_code is None:
            return
        state = "alone" if self._alone else "ended"
        if state != self._reported:
            self._reported = state
            with suppress(OSError):
                self._channel.send({"state": state})

    def _end(self) -> None:
        """Kill the command and everything that it started, and tell the worker how the command ended."""
        if self._pid is None:
            return
        deadline = time.monotonic() + KILL_SECONDS
        self._signal_group(signal.SIGKILL)
        self._reap()
        while not self._alone and time.monotonic() < deadline:
            # Only children are killed: their numbers cannot be reused until we reap them.
            for pid in _children():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_KILL_INTERVAL_SECONDS)
            self._reap()
        self._pid = None
        with suppress(OSError):
            self._channel.send(
                {
                    "exit_code": self._exit_code,
                    "peak_memory_mib": self._peak_memory_mib,
                    "left": [] if self._alone else _children(),
                }
            )


def _encoded(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


OPEN_FILES = 1024
"""Number of files that a process of a command can have open, unless it raises this limit."""

MAX_OPEN_FILES = 4096
"""Number to which it can raise the limit."""


def _limit(pid: int, file_bytes: int | None) -> None:
    """Limit a command that has just started. Processes that it has already started are not limited."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        # Open files that are deleted do not count as used disk, so their number must be small.
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(most, OPEN_FILES), most))
        if file_bytes is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def _children() -> list[int]:
    """The children of this process, which has one thread; without /proc, none are known."""
    try:
        with open("/proc/thread-self/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Commands start with these, whatever the worker was started with. Popen resets those that Python itself ignores.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with socket.socket(fileno=0) as connection:
        CommandSupervisor(Channel(connection)).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
