"""Media types of file names (docs/protocol.md: Media types).

NOTICE: `mime_types.json` maps extensions to types. It is the table of the npm package `mime` 4.1.2 (MIT License,
Copyright (c) 2023 Robert Kieffer) without the entries marked with a star; the data come from mime-db (MIT License,
Copyright (c) 2014 Jonathan Ong, Copyright (c) 2015-2022 Douglas Christopher Wilson).

The hashes of files depend on the table, so it must not change unless the protocol does.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

OCTET_STREAM = "application/octet-stream"


def mime_type(name: str) -> str:
    """The media type of a file with this name."""
    start = max(name.rfind("/"), name.rfind("\\")) + 1
    stem, _, extension = name[start:].lower().rpartition(".")
    if start and not stem:
        return OCTET_STREAM
    return _types().get(extension, OCTET_STREAM)


@functools.cache
def _types() -> dict[str, str]:
    table: dict[str, str] = json.loads(
        resources.files("cloud_executor.model.blobs").joinpath("mime_types.json").read_text(encoding="ascii")
    )
    return table
