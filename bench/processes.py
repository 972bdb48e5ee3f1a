"""Processes: starting and stopping them with their descendants, their memory, and how busy the machine is (/proc)."""

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

IDLE_CORES = 0.25
"""Number of cores that other programs can use on a machine that counts as idle."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_SECONDS = 0.02


@contextmanager
def running(
    command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with its output in `log`; at the end, terminate it and kill everything that it started."""
    with log.open("wb") as out:
        # A session of its own keeps Ctrl-C in a terminal from the process: the benchmark stops everything in order.
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
        with contextlib.suppress(OSError):  # the process has ended
            for thread in os.listdir(f"/proc/{pid}/task"):
                waiting += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


@dataclass(slots=True)
class Memory:
    """Peaks of resident memory, in MiB. Pages that several processes share count once per process."""

    all_mib: float = 0.0
    """Peak of all processes together, in MiB."""
    largest_mib: float = 0.0
    """Peak of any single process, in MiB."""

    def sample(self, pid: int) -> None:
        pages = [int(fields[1]) for fields in (_read(f"/proc/{p}/statm").split() for p in tree(pid)) if fields]
        resident = [count * _PAGE_BYTES / MIB for count in pages]
        self.all_mib = max(self.all_mib, sum(resident))
        self.largest_mib = max(self.largest_mib, *resident, 0.0)


@contextmanager
def memory_of(pid: int) -> Iterator[Memory]:
    """Track the memory peaks of the process and its descendants inside the block; final once the block has ended."""
    memory, ended = Memory(), threading.Event()

    def sample() -> None:
        memory.sample(pid)
        while not ended.wait(_SAMPLE_SECONDS):
            memory.sample(pid)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield memory
    finally:
        ended.set()
        sampler.join()


def wait_until_idle(seconds: int) -> float:
    """Wait up to this many seconds for an idle machine; return the number of cores that other programs last used."""
    for turn in range(max(1, seconds)):
        before = _busy_seconds()
        time.sleep(1 if seconds else 0.1)
        busy_cores = (_busy_seconds() - before) / (1 if seconds else 0.1)
        if busy_cores < IDLE_CORES or turn == seconds - 1:
            break
    return busy_cores


def _busy_seconds() -> float:
    """CPU time that all programs have used since the machine started, in seconds."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, _read("/proc/stat").split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # the process has ended
        return ""
