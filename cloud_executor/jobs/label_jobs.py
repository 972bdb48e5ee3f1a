"""Label jobs from a file that the operator may edit while the server and workers run
(docs/protocol.md: Labels)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)


class LabelJobs:
    """Maps each label to the hash of the blob whose job gives a worker that label. Reread when the file changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._jobs: Mapping[str, str] = {}

    def current(self) -> Mapping[str, str]:
        """The current mapping; if the file cannot be read, the last one that was read."""
        if self._path is None:
            return self._jobs
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size)
            if version != self._seen:
                self._jobs = _parse(self._path.read_bytes())
                self._seen = version
        except (OSError, ValueError) as error:
            logger.warning("label jobs file cannot be read", extra={"action": "label_jobs", "reason": str(error)})
        return self._jobs


def _parse(content: bytes) -> Mapping[str, str]:
    jobs = json.loads(content)
    if not isinstance(jobs, dict) or not all(isinstance(blob_hash, str) for blob_hash in jobs.values()):
        raise ValueError("not an object of label: hash")
    return jobs
