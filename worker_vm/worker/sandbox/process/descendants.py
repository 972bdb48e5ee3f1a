"""Which processes a command has started, as /proc tells it. Where there is no /proc, none are known.

What a command starts is in its session, or carries its mark in the environment, or works in its folder; only what takes
pains to hide has none of the three.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "CLOUD_EXECUTOR_ATTEMPT"
"""the variable in every command's environment that holds its attempt's folder"""

KILL_SECONDS = 5.0
"""how long the system may take to end what was killed"""

LOOK_AGAIN_SECONDS = 0.005

_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def adopt_orphans() -> None:
    """Become the parent of what commands leave behind, so that it can be found, and reaped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """The processes whose parent is this one, also those that have ended and were not reaped."""
    pids: list[int] = []
    # Each thread has a list of its own; a thread that ends hands its children on.
    with suppress(OSError):
        for thread in os.listdir(_PROC / "self/task"):
            with suppress(OSError):
                pids += map(int, (_PROC / "self/task" / thread / "children").read_text().split())
    return pids


def session_of(pid: int) -> int | None:
    """None: the process is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def mark_of(pid: int) -> str | None:
    """The attempt's folder that the process carries in its environment."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = f"{MARK}=".encode()
    return next(
        (os.fsdecode(entry.removeprefix(prefix)) for entry in environment.split(b"\0") if entry.startswith(prefix)),
        None,
    )


def belongs_to(pid: int, folder: Path) -> bool:
    """Whether the process carries the mark of this attempt's folder, or works in it."""
    if mark_of(pid) == str(folder):
        return True
    try:
        return Path(os.readlink(_PROC / str(pid) / "cwd")).is_relative_to(folder)
    except OSError:
        return False


def end_everything_of(folder: Path) -> None:
    """Kill what a dead worker's command left running."""
    end = time.monotonic() + KILL_SECONDS
    while found := _everything_of(folder):
        for pid in found:
            _kill_if(pid, folder, found[pid])
        if time.monotonic() >= end:
            return
        time.sleep(LOOK_AGAIN_SECONDS)


def _everything_of(folder: Path) -> dict[int, int]:
    """The processes of an attempt and their sessions, those of its sessions that are not marked included."""
    try:
        pids = [int(name) for name in os.listdir(_PROC) if name.isdigit()]
    except OSError:
        return {}
    sessions = {pid: session for pid in pids if (session := session_of(pid)) is not None and session != os.getsid(0)}
    of_attempt = {session for pid, session in sessions.items() if belongs_to(pid, folder)}
    return {pid: session for pid, session in sessions.items() if session in of_attempt and not _is_zombie(pid)}


def _kill_if(pid: int, folder: Path, session: int) -> None:
    """Kill the process if its number was not given to another one meanwhile."""
    with suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            if session_of(pid) == session or belongs_to(pid, folder):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)


def _is_zombie(pid: int) -> bool:
    try:
        status = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return True
    # The name before it, in parentheses, may hold anything.
    return status.rpartition(b")")[2].split()[0] in (b"Z", b"X")
