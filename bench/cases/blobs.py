"""Cases for the blob API."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from bench import limits
from bench.cases.case import Api, Case, Measured, Rig, blob_hash, store_blobs
from bench.load.generators import OCTETS, Requests, rate, transfer
from bench.processes import MIB, Memory, memory_of
from bench.sizes import CONNECTIONS, SMALL_BYTES
from bench.table import Row, Target
from bench.workspace import BenchmarkError

CREATE_FILE = "/rest/blob/createFile"
DOWNLOAD = "/rest/blob/download"
METADATA = "/rest/blob/metadata"

MEMORY_ROWS = (
    Row("memory", "peak memory, all server processes", "MiB"),
    Row("largest", "peak memory, largest process", "MiB", target=Target(100)),
)
_FIRST_BYTE = Target(30)


def _memory(memory: Memory) -> dict[str, float]:
    return {"memory": memory.all_mib, "largest": memory.largest_mib}


def _small_uploads(rig: Rig) -> Measured:
    while True:
        with rig.data() as data, rig.side.start(data, 0) as stack:
            requests = Requests("POST", [f"{CREATE_FILE}/small.bin"], SMALL_BYTES)
            uploads = rate(rig.workspace, stack.url, requests, f"small uploads, {rig.side.name}")
        yield {"rate": uploads}


def _upload(url: str, path: Path, response: Path) -> tuple[str, float]:
    """Upload a file, saving the response; return the blob's hash and the time it took, in seconds."""
    sent = transfer(f"{url}{CREATE_FILE}/{path.name}", "-X", "POST", "-T", str(path), "-H", OCTETS, out=response)
    return blob_hash(json.loads(response.read_text())), sent.seconds


def _warm_up(url: str) -> None:
    """Send some requests first, so that the measured request is not the first one of a fresh process."""
    store_blobs(url, [f"{CREATE_FILE}/warm-{number}.bin" for number in range(CONNECTIONS)], SMALL_BYTES)


def _large_upload(rig: Rig) -> Measured:
    size_mib = rig.workspace.sizes.large_mib
    large = rig.workspace.random_file(f"random-{size_mib * MIB}", size_mib * MIB)
    while True:
        with rig.data() as data, rig.side.start(data, 0) as stack, memory_of(stack.pid) as memory:
            _warm_up(stack.url)
            _, seconds = _upload(stack.url, large, data / "response")
        yield {"rate": size_mib / seconds, **_memory(memory)}


def _large_download(rig: Rig) -> Measured:
    size_mib = rig.workspace.sizes.large_mib
    large = rig.workspace.random_file(f"random-{size_mib * MIB}", size_mib * MIB)
    while True:
        with rig.data() as data:
            with rig.side.start(data, 0) as stack:
                blob, _ = _upload(stack.url, large, data / "response")
            # A fresh process, so that the memory is what the download alone needs.
            with rig.side.start(data, 0) as stack, memory_of(stack.pid) as memory:
                _warm_up(stack.url)
                got = transfer(f"{stack.url}{DOWNLOAD}/{blob}")
        if got.received_bytes != size_mib * MIB:
            raise BenchmarkError(f"the download has {got.received_bytes} bytes instead of {size_mib * MIB}")
        yield {
            "rate": size_mib / got.seconds,
            "first byte": 1000 * got.first_byte_seconds,
            **_memory(memory),
        }


def _metadata(rig: Rig) -> Measured:
    paths = [f"{CREATE_FILE}/{number}.bin" for number in range(rig.workspace.sizes.metadata)]
    while True:
        with rig.data() as data, rig.side.start(data, 0) as stack:
            blobs = store_blobs(stack.url, paths, SMALL_BYTES).hashes.values()
            requests = Requests("GET", [f"{METADATA}/{blob}" for blob in blobs])
            reads = rate(rig.workspace, stack.url, requests, f"metadata, {rig.side.name}")
        yield {"rate": reads}


def _store_artifact(api: Api, blobs: Mapping[str, str], size_bytes: int) -> str:
    """Store an artifact that links to blobs, like the results of a job; return its hash."""
    content = {name: {"content": blob, "contentType": "softLink"} for name, blob in blobs.items()}
    document = {"name": "artifact.zip", "size": size_bytes, "mime": "application/zip", "content": content}
    return blob_hash(api.post("/rest/blob/createMetadata", json.dumps({**document, "contentType": "complex"}).encode()))


def _zip_download(rig: Rig) -> Measured:
    sizes = rig.workspace.sizes
    small_bytes, part_bytes = sizes.zip_files * sizes.zip_file_bytes, sizes.zip_large_mib * MIB
    paths = [f"{CREATE_FILE}/{number:04}.bin" for number in range(sizes.zip_files)]
    parts = [rig.workspace.random_file(f"part-{number}-{part_bytes}", part_bytes) for number in range(3)]
    while True:
        with rig.data() as data, rig.side.start(data, 0) as stack:
            api = Api(stack.url)
            small_files = store_blobs(stack.url, paths, sizes.zip_file_bytes).hashes
            small = _store_artifact(api, small_files, small_bytes)
            part_hashes = {part.name: _upload(stack.url, part, data / "response")[0] for part in parts}
            large = _store_artifact(api, part_hashes, 3 * part_bytes)
            transfer(f"{stack.url}{DOWNLOAD}/{small}")
            zips = [transfer(f"{stack.url}{DOWNLOAD}/{small}") for _ in range(sizes.zip_downloads)]
            large_zip = transfer(f"{stack.url}{DOWNLOAD}/{large}")
        if zips[0].received_bytes < small_bytes or large_zip.received_bytes < 3 * part_bytes:
            raise BenchmarkError("a zip is incomplete: it is smaller than its incompressible files")
        yield {
            "rate": small_bytes / MIB / statistics.median(got.seconds for got in zips),
            "first byte": 1000 * statistics.median(got.first_byte_seconds for got in zips),
            "rate 3": 3 * part_bytes / MIB / large_zip.seconds,
            "first byte 3": 1000 * large_zip.first_byte_seconds,
        }


SMALL_UPLOADS = Case(
    "small-uploads",
    [Row("rate", "4 KiB uploads", "uploads/s", (limits.SYNCED_FILES,))],
    _small_uploads,
)
LARGE_UPLOAD = Case(
    "large-upload",
    [
        Row("rate", "large file upload", "MiB/s", (limits.SHA1, limits.DISK_WRITE), Target(0.8, of_limit=True)),
        *MEMORY_ROWS,
    ],
    _large_upload,
)
LARGE_DOWNLOAD = Case(
    "large-download",
    [
        Row("rate", "large file download", "MiB/s", (limits.STATIC_LARGE,), Target(0.6, of_limit=True)),
        Row("first byte", "large file, time to first byte", "ms", (limits.STATIC_LARGE_FIRST_BYTE,)),
        *MEMORY_ROWS,
    ],
    _large_download,
)
METADATA_READS = Case("metadata", [Row("rate", "blob metadata", "requests/s", (limits.STATIC_REQUESTS,))], _metadata)
ZIP = Case(
    "zip",
    [
        Row("first byte", "zip of small files, time to first byte", "ms", (limits.STATIC_ZIP_FIRST_BYTE,), _FIRST_BYTE),
        Row("rate", "zip of small files, download", "MiB/s", (limits.STATIC_ZIP,)),
        Row("first byte 3", "zip of 3 files, time to first byte", "ms", (limits.STATIC_LARGE_FIRST_BYTE,), _FIRST_BYTE),
        Row("rate 3", "zip of 3 files, download", "MiB/s", (limits.STATIC_LARGE,)),
    ],
    _zip_download,
)
