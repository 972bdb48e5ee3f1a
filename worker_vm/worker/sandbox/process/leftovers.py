"""Processes of an attempt whose worker and supervisor were both killed. Without /proc, none are known.

A process belongs to an attempt if it carries the attempt's mark in its environment, or if a process in its session
does: only a command of the attempt can have started that session.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from worker_vm.worker.sandbox.process.supervisor_program import KILL_SECONDS

MARK = "CLOUD_EXECUTOR_ATTEMPT"
"""Name of the environment variable that holds the attempt's folder, in each command."""

KILL_INTERVAL_SECONDS = 0.005
"""Interval between two rounds of killing, in seconds."""

_PROC = Path("/proc")


def kill_processes_of(folder: Path) -> None:
    """Kill the processes that an attempt left running."""
    end = time.monotonic() + KILL_SECONDS
    while found := _processes_of(folder):
        for pid, session in found.items():
            _kill(pid, session)
        if time.monotonic() >= end:
            return
        time.sleep(KILL_INTERVAL_SECONDS)


def _processes_of(folder: Path) -> dict[int, int]:
    """The attempt's processes and their sessions."""
    try:
        pids = [int(name) for name in os.listdir(_PROC) if name.isdigit()]
    except OSError:
        return {}
    sessions = {pid: session for pid in pids if (session := _session_of(pid)) is not None and session != os.getsid(0)}
    of_attempt = {session for pid, session in sessions.items() if _mark_of(pid) == str(folder)}
    return {pid: session for pid, session in sessions.items() if session in of_attempt and not _is_zombie(pid)}


def _kill(pid: int, session: int) -> None:
    """Kill the process, unless its number now belongs to another one."""
    with suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            if _session_of(pid) == session:
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)


def _session_of(pid: int) -> int | None:
    """None if the process has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _mark_of(pid: int) -> str | None:
    """The attempt's folder in the environment of the process."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = f"{MARK}=".encode()
    return next(
        (os.fsdecode(entry.removeprefix(prefix)) for entry in environment.split(b"\0") if entry.startswith(prefix)),
        None,
    )


def _is_zombie(pid: int) -> bool:
    try:
        status = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return True
    # The name before it, in parentheses, may contain any character.
    return status.rpartition(b")")[2].split()[0] in (b"Z", b"X")
