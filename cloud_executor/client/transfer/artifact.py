"""Upload of a folder as an artifact. Only files that the server lacks are sent."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from cloud_executor.client.errors import InvalidSource, ServerError
from cloud_executor.client.source.ignore import Ignored
from cloud_executor.client.source.packing import folder_entries
from cloud_executor.client.transfer.upload import Source, stored_hash, upload_stream
from cloud_executor.client.transport import Transport, json_of
from cloud_executor.errors import NotFound

HASHES_PER_REQUEST = 10_000
"""Number of content hashes in one query for missing contents; the server accepts no more."""

CONCURRENT_UPLOADS = 4
"""Number of files sent at the same time."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of an artifact, on this machine."""

    path: str
    """Path below the folder, separated by `/`."""
    location: str
    """Path on this machine."""
    size: int
    sha1: str


Entry = tuple[str, str, int]
"""A file of an artifact: hash, content type, and size in bytes."""


def upload_files(transport: Transport, folder: Path, name: str) -> str:
    """Store the files below a folder as an artifact, to be downloaded as `<name>.zip`, and return the blob's hash.

    Raises InvalidSource for anything that is not a regular file and for files that change during the upload, so nothing
    is left out silently.
    """
    return create_artifact(transport, name, store_files(transport, files_of(transport, folder, None)))


def files_of(transport: Transport, folder: Path, ignored: Ignored | None) -> list[LocalFile]:
    """Hash the files below a folder that are not ignored. Raises InvalidSource for anything that is not a file."""
    entries = folder_entries(folder, ignored)
    return [_local_file(transport, path, entry) for path, entry in entries if not entry.is_dir(follow_symlinks=False)]


def store_files(transport: Transport, files: Sequence[LocalFile]) -> dict[str, Entry]:
    """Store the contents that the server lacks, and return the entries of an artifact with the files."""
    by_hash = {file.sha1: file for file in files}
    missing = _missing(transport, by_hash)
    wanted = list(by_hash.values()) if missing is None else [by_hash[sha1] for sha1 in missing]

    def send(file: LocalFile) -> None:
        with open(file.location, "rb") as content:
            upload_stream(transport, file.path.rpartition("/")[2], content)

    with ThreadPoolExecutor(CONCURRENT_UPLOADS) as threads:
        for sent in [threads.submit(send, file) for file in wanted]:
            sent.result()
    changed = _missing(transport, missing) if missing else None
    if changed:
        path = by_hash[changed[0]].path
        raise InvalidSource(f"{path} was changed during the upload: try again when nothing writes to it.")
    return {file.path: (file.sha1, "object", file.size) for file in files}


def create_artifact(transport: Transport, name: str, entries: Mapping[str, Entry], shared: Collection[str] = ()) -> str:
    """Store an artifact of stored files, to be downloaded as `<name>.zip`, and return the blob's hash.

    `shared` are the hashes of artifacts, possibly of other users, whose files it has.
    """
    content = {path: {"content": found, "contentType": kind} for path, (found, kind, _) in entries.items()}
    return stored_hash(
        transport.post_json(
            "/rest/blob/createMetadata" + (f"?{urlencode([('from', found) for found in shared])}" if shared else ""),
            {
                "name": f"{name}.zip",
                "size": sum(size for _, _, size in entries.values()),
                "mime": "application/zip",
                "content": content,
                "contentType": "complex",
            },
        )
    )


def _local_file(transport: Transport, path: str, entry: os.DirEntry[str]) -> LocalFile:
    if not entry.is_file(follow_symlinks=False):
        raise InvalidSource(f"{path} is a link, a device, a pipe, or a socket: an artifact can hold only files.")
    with open(entry.path, "rb") as content:
        source = Source(content, 0, os.fstat(content.fileno()).st_size, entry.name, transport.on_progress)
        return LocalFile(path, entry.path, source.size, source.sha1())


def _missing(transport: Transport, hashes: Collection[str]) -> list[str] | None:
    """Return the contents that the server lacks, or None if the server, such as WebGME's, has no route for that."""
    all_hashes = list(hashes)
    found: list[str] = []
    for start in range(0, len(all_hashes), HASHES_PER_REQUEST):
        batch = all_hashes[start : start + HASHES_PER_REQUEST]
        try:
            document = json_of(transport.post_json("/rest/blob/missing", {"contents": batch}))
        except NotFound:
            return None
        missing = document.get("missing") if isinstance(document, dict) else None
        if not isinstance(missing, list) or not set(batch).issuperset(missing):
            raise ServerError
        found += missing
    return found
