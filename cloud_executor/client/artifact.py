"""A folder as an artifact: of its files only those are sent that the server does not have."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloud_executor.client.errors import InvalidSource, ServerFault
from cloud_executor.client.transport import Transport, json_of
from cloud_executor.client.upload import Source, stored_hash, upload
from cloud_executor.errors import NotFound

ASKED_AT_ONCE = 10_000
"""contents: the server takes no more"""

FILES_AT_ONCE = 4
"""that are sent"""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    """below the folder, with `/`"""
    location: str
    size: int
    sha1: str


def upload_artifact(transport: Transport, folder: Path, name: str) -> str:
    """Store the files below a folder as an artifact that is downloaded as `<name>.zip`; the hash of the blob.

    Raises InvalidSource for what is no file, and for files that change meanwhile: nothing is left out silently.
    """
    files = list(_files(str(folder), ""))
    by_hash = {file.sha1: file for file in files}
    missing = _missing(transport, by_hash)
    wanted = list(by_hash.values()) if missing is None else [by_hash[sha1] for sha1 in missing]

    def send(file: _File) -> None:
        with open(file.location, "rb") as content:
            upload(transport, file.path.rpartition("/")[2], content)

    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        for sent in [threads.submit(send, file) for file in wanted]:
            sent.result()
    changed = _missing(transport, missing) if missing else None
    if changed:
        raise InvalidSource(f"{by_hash[changed[0]].path} was changed while it was sent: try again when nothing does.")
    return stored_hash(
        transport.post_json(
            "/rest/blob/createMetadata",
            {
                "name": f"{name}.zip",
                "size": sum(file.size for file in files),
                "mime": "application/zip",
                "content": {file.path: {"content": file.sha1, "contentType": "object"} for file in files},
                "contentType": "complex",
            },
        )
    )


def _files(folder: str, prefix: str) -> Iterator[_File]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{path}/")
        elif not entry.is_file(follow_symlinks=False):
            raise InvalidSource(f"{path} is a link, a device, a pipe or a socket: an artifact has files only.")
        else:
            with open(entry.path, "rb") as content:
                source = Source(content, 0, os.fstat(content.fileno()).st_size)
                yield _File(path, entry.path, source.size, source.sha1())


def _missing(transport: Transport, hashes: Collection[str]) -> list[str] | None:
    """Which of these contents the server does not have; None: it cannot tell, as WebGME's."""
    asked = list(hashes)
    found: list[str] = []
    for start in range(0, len(asked), ASKED_AT_ONCE):
        batch = asked[start : start + ASKED_AT_ONCE]
        try:
            answer = json_of(transport.post_json("/rest/blob/missing", {"contents": batch}))
        except NotFound:
            return None
        missing = answer.get("missing") if isinstance(answer, dict) else None
        if not isinstance(missing, list) or not set(batch).issuperset(missing):
            raise ServerFault
        found += missing
    return found
