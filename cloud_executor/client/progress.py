"""Progress of hashing and of transfers, for callers that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file has come."""

    activity: str
    """`Hashing`, `Uploading`, or `Downloading`."""
    name: str
    done: int
    """Bytes so far. It can decrease when a transfer resumes."""
    total: int | None
    """Bytes in total; None if the server does not say."""


OnProgress = Callable[[Progress], None]
"""Called after each piece of a file, from the thread that handles the file."""
