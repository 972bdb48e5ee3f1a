"""The versions of jobs that a process stored last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from cloud_executor.model.jobs.job import Job

VERSIONS_KEPT = 1000
"""Number of jobs whose latest stored version is remembered."""


class StoredVersions:
    """Update times of documents. A later write to the same version needs no read. Safe to use in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: OrderedDict[str, tuple[Job, Any]] = OrderedDict()

    def remember(self, job: Job, version: object) -> None:
        """Remember the update time of the document in which this job was stored."""
        with self._lock:
            self._versions[job.hash] = job, version
            self._versions.move_to_end(job.hash)
            if len(self._versions) > VERSIONS_KEPT:
                self._versions.popitem(last=False)

    def of(self, job: Job) -> Any:  # noqa: ANN401 - a timestamp type of the library
        """Update time of the document, if `job` is the version that was remembered last. It is then forgotten."""
        with self._lock:
            remembered, version = self._versions.pop(job.hash, (None, None))
        return version if remembered == job else None
