"""Files on this machine that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write_whole(destination: Path, chunks: Iterable[bytes]) -> None:
    """Write a temporary file next to the destination and rename it once it is complete. Existing files are replaced."""
    part = destination.with_name(f".{os.urandom(16).hex()}.part")
    try:
        with part.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
        os.replace(part, destination)
    finally:
        part.unlink(missing_ok=True)
