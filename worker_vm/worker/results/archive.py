"""Store a job's results as artifacts (docs/protocol.md: Results)."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from cloud_executor.blobs.store import READ_BYTES, SMALL_CONTENT_BYTES, BlobStore
from cloud_executor.errors import CloudExecutorError, Unavailable, os_reason
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType
from cloud_executor.model.documents.executor_config import ResultArtifact
from cloud_executor.model.jobs.job import Status
from cloud_executor.parallel import parallel_map
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.file_names import distinct_names, quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.machine.faults import raise_if_machine_fault
from worker_vm.worker.results.result_files import ResultFile
from worker_vm.worker.results.unmatched import UnmatchedPatterns
from worker_vm.worker.results.wanted_files import WantedFile, wanted_files
from worker_vm.worker.retry import retry_while_unavailable

FILES_AT_ONCE = 1024
"""Number of files that are stored together: small ones in one call, the others in threads if the store benefits."""

MAX_GROUPED_BYTES = 16 * 1024
"""Largest size of a file that is held in memory to be stored with others, in bytes."""


@dataclass(slots=True)
class Results:
    """What was archived, and the first error."""

    hashes: dict[str, str] = field(default_factory=dict)
    """Blob hash by artifact name."""
    failure: JobFailed | None = None
    """The first failure."""
    warnings: tuple[str, ...] = ()
    """Sentences about artifacts that match no file."""

    def failed(self, failure: JobFailed) -> None:
        self.failure = self.failure or failure


def archive(
    blobs: BlobStore,
    artifacts: tuple[ResultArtifact, ...],
    job_folder: Path,
    attempt: Attempt,
    known: Mapping[str, ArtifactFile],
) -> Results:
    """Store each file that an artifact selects, once, and then the artifacts, which are soft links to the files.

    `known` contains the entries of files that are already stored, by path. A file that cannot be read is omitted and
    reported as the failure. Raises Interrupted, and Unavailable.
    """
    results = Results()
    unmatched = UnmatchedPatterns(artifacts)
    files: dict[str, dict[str, ArtifactFile]] = {artifact.name: {} for artifact in artifacts}  # by native path

    def store(wanted: WantedFile) -> None:
        attempt.raise_if_archiving_must_stop()
        shown = quoted_name(wanted.file.path)
        try:
            stored = known.get(wanted.file.path) or retry_while_unavailable(
                lambda: store_file(blobs, _base_name(wanted.file), wanted.file.open, attempt), attempt
            )
        except OSError as error:
            raise_if_machine_fault(error)
            reason = os_reason(error)
            results.failed(_failure(f"The result file {shown} could not be read: {reason}."))
        except Unavailable:
            raise
        except CloudExecutorError as error:
            raise _failure(f"The result file {shown} was not stored: {error}") from error
        else:
            for name in wanted.takers:
                files[name][wanted.file.native_path] = stored

    def store_small(group: list[WantedFile]) -> list[WantedFile]:
        """Store the small files of a group together; the files that remain to be stored."""
        small: list[tuple[WantedFile, bytes]] = []
        left: list[WantedFile] = []
        for wanted in group:
            attempt.raise_if_archiving_must_stop()
            try:
                content = None if wanted.file.path in known else _small_content(wanted.file)
            except OSError:
                content = None  # `store` reports it
            if content is None:
                left.append(wanted)
            else:
                small.append((wanted, content))
        named = [(_base_name(wanted.file), content) for wanted, content in small]
        try:
            stored = retry_while_unavailable(lambda: blobs.create_files(named), attempt)
        except Unavailable:
            raise
        except CloudExecutorError:
            return group  # one by one, so that the error names the file
        for (wanted, content), blob in zip(small, stored, strict=True):
            for name in wanted.takers:
                file = ArtifactFile(blob.hash, len(content), ContentType.SOFT_LINK)
                files[name][wanted.file.native_path] = file
        return left

    try:
        found = wanted_files(artifacts, job_folder, attempt, results.failed, unmatched)
        while group := list(islice(found, FILES_AT_ONCE)):
            for _ in parallel_map(store, store_small(group), blobs.objects.concurrency):
                pass
        # One table for all artifacts: a file has the same path in each of them.
        paths = distinct_names(chain.from_iterable(files.values()))
        for name, entries in files.items():
            attempt.raise_if_archiving_must_stop()
            by_path = {paths[native_path]: file for native_path, file in entries.items()}
            results.hashes[name] = _store_artifact(blobs, BlobMetadata.for_artifact(name, by_path), attempt)
    except JobFailed as failure:
        results.failed(failure)
    if results.failure is None:
        results.warnings = unmatched.warnings()
    return results


def _small_content(file: ResultFile) -> bytes | None:
    """The content of a small file; None for a large one. Raises OSError if it cannot be read."""
    with file.open() as content:
        parts: list[bytes] = []
        left = MAX_GROUPED_BYTES + 1
        while left and (part := content.read(left)):
            parts.append(part)
            left -= len(part)
    return b"".join(parts) if left else None


def _base_name(file: ResultFile) -> str:
    return file.path.rpartition("/")[2]


def store_file(blobs: BlobStore, name: str, opened: Callable[[], io.FileIO], attempt: Attempt) -> ArtifactFile:
    """Store a file, like `createFile`. Raises OSError if it cannot be read."""
    with opened() as content:
        size = 0

        def chunks() -> Iterator[bytes]:
            nonlocal size
            size = content.seek(0)
            while chunk := content.read(READ_BYTES):
                attempt.raise_if_archiving_must_stop()
                size += len(chunk)
                yield chunk

        if os.fstat(content.fileno()).st_size > SMALL_CONTENT_BYTES:
            # Reading it twice costs less than sending content that is already stored, such as the job's own input.
            digest, crc32 = hashlib.sha1(usedforsecurity=False), 0
            for chunk in chunks():
                digest.update(chunk)
                crc32 = zlib.crc32(chunk, crc32)
            if blobs.has_same_content(digest.hexdigest(), size, crc32, chunks):
                blob = blobs.create_metadata(BlobMetadata.for_file(name, size, digest.hexdigest()))
                return ArtifactFile(blob.hash, size, ContentType.SOFT_LINK)
        blob = blobs.create_file(name, chunks())
        return ArtifactFile(blob.hash, size, ContentType.SOFT_LINK)


def _store_artifact(blobs: BlobStore, metadata: BlobMetadata, attempt: Attempt) -> str:
    try:
        return retry_while_unavailable(lambda: blobs.create_metadata(metadata), attempt).hash
    except Unavailable:
        raise
    except CloudExecutorError as error:
        raise JobFailed(Status.FAILED_TO_SAVE_ARTIFACT, f"The results were not stored: {error}") from error


def _failure(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_TO_ARCHIVE_FILE, sentence)
