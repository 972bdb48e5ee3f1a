"""Find the files that a job's artifacts select, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_executor.model.documents.executor_config import ResultArtifact
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.patterns.minimatch import Matching, TooMuchWork
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.results.result_files import ResultFile, result_files
from worker_vm.worker.results.unmatched import UnmatchedPatterns

MAX_FILES = 100_000
"""Limit of files in a job's results, counted once per artifact. Each one takes up to 1 KiB of memory."""

MAX_NAMES_MIB = 10
"""Limit of the total length of their paths, in MiB. Unusual names take up to eight times as much memory."""

MAX_STEPS = 200_000_000
"""Limit of the steps of matching all files with all patterns. They take about five minutes."""

MAX_SECONDS = 900.0
"""Time limit for finding and matching the files, in seconds. Storing them in between does not count."""


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file, and the names of the artifacts that select it."""

    file: ResultFile
    takers: tuple[str, ...]


class _Watch:
    """Ends the search for files when the attempt or the time for it ends."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._left = MAX_SECONDS
        self._end = time.monotonic() + self._left

    def pause(self) -> None:
        self._left = self._end - time.monotonic()

    def resume(self) -> None:
        self._end = time.monotonic() + self._left

    def check(self) -> None:
        """Raises Interrupted and JobFailed."""
        self._attempt.raise_if_archiving_must_stop()
        if self._attempt.canceled_long_ago:
            raise JobFailed(Status.CANCELED, "The job was canceled before all its results were found.")
        if time.monotonic() > self._end:
            limit = f"{MAX_SECONDS:.12g} seconds"
            raise _failure(f"Finding the job's results took longer than {limit}; leave fewer files, or pack them.")


def wanted_files(
    artifacts: tuple[ResultArtifact, ...],
    job_folder: Path,
    attempt: Attempt,
    failed: Callable[[JobFailed], None],
    unmatched: UnmatchedPatterns,
) -> Iterator[WantedFile]:
    """Yield the files that an artifact selects.

    If there are too many, or finding them takes too long, `failed` is called and the search ends. Raises Interrupted.
    """
    if not artifacts:
        return
    watch = _Watch(attempt)
    matching = Matching(MAX_STEPS, watch.check)
    count = size = 0
    try:
        for file in result_files(job_folder, failed, watch.check):
            takers = tuple(artifact.name for artifact in artifacts if artifact.patterns.matches(file.path, matching))
            unmatched.note(file.path, takers)
            if not takers:
                continue
            count += len(takers)
            if count > MAX_FILES:
                raise _failure(f"The results have more than {MAX_FILES} files; select fewer, or pack them.")
            size += len(file.path.encode())
            if size > MAX_NAMES_MIB * 2**20:
                raise _failure(f"The file names of the results take more than {MAX_NAMES_MIB} MiB; pack the files.")
            watch.pause()
            yield WantedFile(file, takers)
            watch.resume()
    except TooMuchWork:
        failed(_failure("The patterns take too long to match all files; use fewer or simpler ones, or pack the files."))
    except JobFailed as failure:
        failed(failure)


def _failure(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_TO_ARCHIVE_FILE, sentence)
