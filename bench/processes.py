"""Processes: starting and stopping them with their descendants, their memory, how busy the machine is (/proc)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
STOP_SECONDS = 15.0

CALM_CORES = 0.25
"""what other programs may use of a calm machine"""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_SECONDS = 0.02


@contextmanager
def running(
    command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in `log`; at the end it is asked to stop, and nothing that it started stays."""
    with log.open("wb") as out:
        # In a session of its own: Ctrl-C in a terminal reaches the benchmark alone, which then stops all in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        descendants = tree(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        for pid in descendants:
            if pid != process.pid or process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            waiting += map(int, _read(listing).split())
    return found


@dataclass(slots=True)
class Memory:
    """Peaks of resident memory in MiB. Pages that several processes share count in each of them."""

    all_mib: float = 0.0
    largest_mib: float = 0.0  # of any one process

    def look(self, pid: int) -> None:
        pages = [int(fields[1]) for fields in (_read(f"/proc/{p}/statm").split() for p in tree(pid)) if fields]
        resident = [count * _PAGE_BYTES / MIB for count in pages]
        self.all_mib = max(self.all_mib, sum(resident))
        self.largest_mib = max(self.largest_mib, *resident, 0.0)


@contextmanager
def memory_of(pid: int) -> Iterator[Memory]:
    """The peaks of the process and its descendants while the block runs; complete when it has ended."""
    memory, ended = Memory(), threading.Event()

    def sample() -> None:
        memory.look(pid)
        while not ended.wait(_SAMPLE_SECONDS):
            memory.look(pid)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield memory
    finally:
        ended.set()
        sampler.join()


def wait_for_calm(seconds: int) -> float:
    """Until other programs use little of the machine, at most so long; how many cores they used in the last second."""
    for turn in range(max(1, seconds)):
        before = _busy_seconds()
        time.sleep(1 if seconds else 0.1)
        busy_cores = (_busy_seconds() - before) / (1 if seconds else 0.1)
        if busy_cores < CALM_CORES or turn == seconds - 1:
            break
    return busy_cores


def _busy_seconds() -> float:
    """CPU time that all programs of the machine have used since it started."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, _read("/proc/stat").split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # the process has ended
        return ""
