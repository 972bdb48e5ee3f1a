"""The limits of the machine, measured along with each case."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.load.generators import Requests, rate, transfer
from bench.processes import MIB
from bench.servers.static_server import NAME as STATIC_SERVER
from bench.servers.static_server import static_server
from bench.sizes import CONNECTIONS, SMALL_BYTES
from bench.workspace import Workspace

_STATIC_BYTES = 300
"""Size of a static file, in bytes: about that of a blob's metadata."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the machine: its name in the table, and how to measure it in the unit of the figures it bounds."""

    name: str
    measure: Callable[[Workspace], float]


def _sha1(workspace: Workspace) -> float:
    chunk, digest, count = bytes(MIB), hashlib.sha1(usedforsecurity=False), 256
    began = time.perf_counter()
    for _ in range(count):
        digest.update(chunk)
    return count / (time.perf_counter() - began)


def _disk_write(workspace: Workspace) -> float:
    chunk, path = os.urandom(MIB), workspace.folder / "written"
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(workspace.sizes.large_mib):
            file.write(chunk)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return workspace.sizes.large_mib / seconds


def _write_synced(path: Path) -> float:
    """Create one small file and return the time that took, in seconds."""
    content = os.urandom(SMALL_BYTES)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())
    return time.perf_counter() - began


def _synced_files(workspace: Workspace) -> float:
    folder, count = workspace.new_folder("synced"), workspace.sizes.synced_files
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        began = time.perf_counter()
        list(pool.map(_write_synced, [folder / str(number) for number in range(count)]))
        return count / (time.perf_counter() - began)


def _synced_file(workspace: Workspace) -> float:
    folder = workspace.new_folder("synced")
    return 1000 * statistics.median(_write_synced(folder / str(number)) for number in range(50))


def _run_echo(_number: int) -> float:
    began = time.perf_counter()
    subprocess.run(["echo", "hello"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _process(workspace: Workspace) -> float:
    return 1000 * statistics.median(map(_run_echo, range(workspace.sizes.processes)))


def _processes(workspace: Workspace) -> float:
    with ThreadPoolExecutor(workspace.sizes.slots) as pool:
        began = time.perf_counter()
        list(pool.map(_run_echo, range(workspace.sizes.processes)))
        return workspace.sizes.processes / (time.perf_counter() - began)


def _static_requests(workspace: Workspace) -> float:
    folder = workspace.new_folder("files")
    for number in range(workspace.sizes.metadata):
        (folder / str(number)).write_bytes(bytes(_STATIC_BYTES))
    with static_server(workspace, folder) as url:
        paths = [f"/{number}" for number in range(workspace.sizes.metadata)]
        return rate(workspace, url, Requests("GET", paths), f"GET from {STATIC_SERVER}")


def _static_file(size_bytes: Callable[[Workspace], int]) -> tuple[Callable[[Workspace], float], ...]:
    """Two measurements of one file: throughput in MiB/s, and time to first byte in milliseconds."""

    def measured(workspace: Workspace) -> tuple[float, float]:
        size = size_bytes(workspace)
        path = workspace.random_file(f"random-{size}", size)
        with static_server(workspace, workspace.folder) as url:
            transfer(f"{url}/{path.name}")
            result = transfer(f"{url}/{path.name}")
        return size / MIB / result.seconds, 1000 * result.first_byte_seconds

    return lambda workspace: measured(workspace)[0], lambda workspace: measured(workspace)[1]


_large_rate, _large_first_byte = _static_file(lambda workspace: workspace.sizes.large_mib * MIB)
_zip_rate, _zip_first_byte = _static_file(lambda workspace: workspace.sizes.zip_files * workspace.sizes.zip_file_bytes)

SHA1 = Limit("hashlib SHA-1", _sha1)
DISK_WRITE = Limit("disk write, one fsync", _disk_write)
SYNCED_FILES = Limit("fsynced 4 KiB files", _synced_files)
SYNCED_FILE = Limit("one fsynced 4 KiB file", _synced_file)
PROCESS = Limit("echo, one process", _process)
PROCESSES = Limit("echo, one process per slot", _processes)
STATIC_REQUESTS = Limit(f"{STATIC_SERVER}, 300-byte files", _static_requests)
STATIC_LARGE = Limit(f"{STATIC_SERVER}, same size", _large_rate)
STATIC_LARGE_FIRST_BYTE = Limit(f"{STATIC_SERVER}, same size", _large_first_byte)
STATIC_ZIP = Limit(f"{STATIC_SERVER}, same size", _zip_rate)
STATIC_ZIP_FIRST_BYTE = Limit(f"{STATIC_SERVER}, same size", _zip_first_byte)
