"""Inputs that many jobs share: stored once, and linked into each job by hash."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.transfer.artifact import Entry, upload_files
from cloud_executor.client.transfer.upload import upload_stream
from cloud_executor.client.transport import Transport, json_of, path_segment
from cloud_executor.errors import NotFound

INPUTS_FILE = "executor_inputs.json"
"""File of a job's folder: `{"path in the folder": "blob hash, or path of a file or folder on this machine"}`."""

_HASH = re.compile("[0-9a-f]{40}")


def inputs_of(folder: Path | None, more: Mapping[str, str | Path]) -> dict[str, str | Path]:
    """The inputs by their paths in the job's folder; a Path is on this machine. Raises InvalidSource."""
    found: dict[str, str | Path] = {}
    if folder is not None and (folder / INPUTS_FILE).is_file():
        try:
            document = json.loads((folder / INPUTS_FILE).read_bytes())
        except ValueError:
            raise InvalidSource(f"{INPUTS_FILE} is not valid JSON: correct it.") from None
        if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
            raise InvalidSource(f"{INPUTS_FILE} must be a JSON object of paths and hashes, such as {_EXAMPLE}.")
        for path, value in document.items():
            found[path] = value if _HASH.fullmatch(value) else folder / value
    for path, given in more.items():
        found[path] = given if isinstance(given, Path) or _HASH.fullmatch(given) else Path(given)
    for path in found:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or str(PurePosixPath(path)) != path:
            raise InvalidSource(
                f"The input path {path!r} must be a relative path in the job's folder, such as data/a.csv."
            )
    return found


_EXAMPLE = '{"data/mesh.bin": "<blob hash from executor put>"}'


def linked_entries(transport: Transport, inputs: Mapping[str, str | Path]) -> tuple[dict[str, Entry], list[str]]:
    """Store the inputs that are on this machine, and return the entries of a job with all inputs, and their artifacts.

    An artifact, or a folder, becomes a folder in the job. Raises InvalidSource, and NotFound for an unknown hash.
    """
    entries: dict[str, Entry] = {}
    artifacts = []
    for path, given in inputs.items():
        blob_hash = _store(transport, given) if isinstance(given, Path) else given
        metadata = _metadata(transport, path, blob_hash)
        content = metadata.get("content")
        if not isinstance(content, dict):
            entries[path] = blob_hash, "softLink", int(metadata.get("size") or 0)
            continue
        artifacts.append(blob_hash)
        # The server links a whole artifact as a zip, so its files are linked one by one. Only their sum is known.
        for name, entry in content.items():
            entries[f"{path}/{name}"] = str(entry["content"]), str(entry["contentType"]), 0
    return entries, artifacts


def _store(transport: Transport, path: Path) -> str:
    if path.is_dir():
        return upload_files(transport, path, path.resolve().name or "input")
    with path.open("rb") as content:
        return upload_stream(transport, path.name, content)


def _metadata(transport: Transport, path: str, blob_hash: str) -> dict[str, Any]:
    try:
        document = json_of(transport.request("GET", f"/rest/blob/metadata/{path_segment(blob_hash)}"))
    except NotFound:
        raise NotFound(
            f"The blob {blob_hash} for the input {path} is not stored: store it with `executor put`."
        ) from None
    return document if isinstance(document, dict) else {}
