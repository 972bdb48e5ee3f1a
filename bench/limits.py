"""What this machine can do at most, measured beside each case."""

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

from bench.load import Requests, rate, transfer
from bench.processes import MIB
from bench.sizes import CONNECTIONS, SMALL_BYTES
from bench.static_server import NAME as STATIC_SERVER
from bench.static_server import static_server
from bench.workplace import Workplace

_STATIC_BYTES = 300  # about as much as the metadata of a blob


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound: its name in the table and how it is measured, in the unit of the figures beside it."""

    name: str
    measure: Callable[[Workplace], float]


def _sha1(place: Workplace) -> float:
    chunk, digest, count = bytes(MIB), hashlib.sha1(usedforsecurity=False), 256
    began = time.perf_counter()
    for _ in range(count):
        digest.update(chunk)
    return count / (time.perf_counter() - began)


def _disk_write(place: Workplace) -> float:
    chunk, path = os.urandom(MIB), place.folder / "written"
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(place.sizes.large_mib):
            file.write(chunk)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return place.sizes.large_mib / seconds


def _write_synced(path: Path) -> float:
    """Makes one small file; the seconds that took."""
    content = os.urandom(SMALL_BYTES)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())
    return time.perf_counter() - began


def _synced_files(place: Workplace) -> float:
    folder, count = place.new_folder("synced"), place.sizes.synced_files
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        began = time.perf_counter()
        list(pool.map(_write_synced, [folder / str(number) for number in range(count)]))
        return count / (time.perf_counter() - began)


def _synced_file(place: Workplace) -> float:
    folder = place.new_folder("synced")
    return 1000 * statistics.median(_write_synced(folder / str(number)) for number in range(50))


def _run_echo(_number: int) -> float:
    began = time.perf_counter()
    subprocess.run(["echo", "hello"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _process(place: Workplace) -> float:
    return 1000 * statistics.median(map(_run_echo, range(place.sizes.processes)))


def _processes(place: Workplace) -> float:
    with ThreadPoolExecutor(place.sizes.slots) as pool:
        began = time.perf_counter()
        list(pool.map(_run_echo, range(place.sizes.processes)))
        return place.sizes.processes / (time.perf_counter() - began)


def _static_requests(place: Workplace) -> float:
    folder = place.new_folder("files")
    for number in range(place.sizes.metadata):
        (folder / str(number)).write_bytes(bytes(_STATIC_BYTES))
    with static_server(place, folder) as url:
        paths = [f"/{number}" for number in range(place.sizes.metadata)]
        return rate(place, url, Requests("GET", paths), f"GET from {STATIC_SERVER}")


def _static_file(size_bytes: Callable[[Workplace], int]) -> tuple[Callable[[Workplace], float], ...]:
    """Two measures of one file: MiB/s, and milliseconds to the first byte."""

    def measured(place: Workplace) -> tuple[float, float]:
        size = size_bytes(place)
        path = place.random_file(f"random-{size}", size)
        with static_server(place, place.folder) as url:
            transfer(f"{url}/{path.name}")
            result = transfer(f"{url}/{path.name}")
        return size / MIB / result.seconds, 1000 * result.first_byte_seconds

    return lambda place: measured(place)[0], lambda place: measured(place)[1]


_large_rate, _large_first_byte = _static_file(lambda place: place.sizes.large_mib * MIB)
_zip_rate, _zip_first_byte = _static_file(lambda place: place.sizes.zip_files * place.sizes.zip_file_bytes)

SHA1 = Limit("hashlib SHA-1", _sha1)
DISK_WRITE = Limit("disk write, one fsync", _disk_write)
SYNCED_FILES = Limit("4 KiB files, fsynced", _synced_files)
SYNCED_FILE = Limit("one 4 KiB file, fsynced", _synced_file)
PROCESS = Limit("echo, one process", _process)
PROCESSES = Limit("echo, processes in all slots", _processes)
STATIC_REQUESTS = Limit(f"{STATIC_SERVER}, 300 byte files", _static_requests)
STATIC_LARGE = Limit(f"{STATIC_SERVER}, same size", _large_rate)
STATIC_LARGE_FIRST_BYTE = Limit(f"{STATIC_SERVER}, same size", _large_first_byte)
STATIC_ZIP = Limit(f"{STATIC_SERVER}, same size", _zip_rate)
STATIC_ZIP_FIRST_BYTE = Limit(f"{STATIC_SERVER}, same size", _zip_first_byte)
