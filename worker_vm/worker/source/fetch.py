"""Fetch a job's source: the files in the download of its blob (docs/protocol.md: What the worker does)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from cloud_executor.blobs.downloads import ContentDownload, Download, Downloads, ZipDownload
from cloud_executor.blobs.store import READ_BYTES, BlobStore
from cloud_executor.blobs.zip_writer import SizeChanged, ZipMember
from cloud_executor.errors import NotFound, os_reason
from cloud_executor.model.jobs.job import Status
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.file_names import native_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.retry import retry_while_unavailable
from worker_vm.worker.sandbox.limits import MIB
from worker_vm.worker.source.file_tree import FILE_MODE, FileTree
from worker_vm.worker.source.tree_plan import TreePlan
from worker_vm.worker.source.unzip import MAX_FILES, unzip
from worker_vm.worker.work_folder import AttemptFolder


def fetch_source(blobs: BlobStore, attempt: Attempt) -> Download:
    """Look up the source. Raises JobFailed, Interrupted, and Unavailable."""
    try:
        retry_while_unavailable(lambda: blobs.metadata(attempt.job.id), attempt)
    except NotFound as error:
        raise JobFailed(Status.FAILED_TO_GET_SOURCE_METADATA, str(error)) from error
    with _obtaining():
        return retry_while_unavailable(lambda: Downloads(blobs).resolve(attempt.job.id), attempt)


def unpack_source(
    blobs: BlobStore,
    source: Download,
    folder: AttemptFolder,
    attempt: Attempt,
    disk_mib: int,
) -> None:
    """Fill the job's folder, up to the job's disk limit.

    Raises JobFailed, Interrupted, and Unavailable.
    """
    tree = FileTree(str(folder.job))
    if isinstance(source, ZipDownload):
        _write_artifact(source, tree, attempt, disk_mib)
    else:
        with _open_zip(blobs, source, folder.source_zip, attempt, disk_mib) as (archive, used_bytes):
            unzip(archive, tree, attempt, disk_mib, used_bytes)
    tree.close()


def _write_artifact(source: ZipDownload, tree: FileTree, attempt: Attempt, disk_mib: int) -> None:
    """Write the files of an artifact, with the same result as unpacking its zip."""
    if not source.members:
        raise JobFailed(Status.FAILED_UNZIP, "The source is an artifact without files.")
    plan = TreePlan(MAX_FILES, disk_mib)
    for member in source.members:
        plan.add_file(native_name(member.name), member.size)

    def write(member: ZipMember) -> None:
        tree.write_file(native_name(member.name), FILE_MODE, _checked(member.read(), attempt))

    for member in source.members:
        with _obtaining():
            retry_while_unavailable(partial(write, member), attempt)


@contextmanager
def _open_zip(
    blobs: BlobStore, source: ContentDownload, spool: Path, attempt: Attempt, disk_mib: int
) -> Iterator[tuple[BinaryIO, int]]:
    """Yield the uploaded zip as a seekable file, and the number of bytes that it takes of the job's disk."""
    with ExitStack() as stack:
        with _obtaining():
            content = stack.enter_context(
                retry_while_unavailable(lambda: blobs.open_content(source.content_hash), attempt)
            )
        if isinstance(content, io.FileIO):
            yield content, 0  # It is already on this machine.
            return
        if source.size > disk_mib * MIB:
            message = f"The source takes more than the disk limit of {disk_mib} MiB."
            raise JobFailed(Status.FAILED_CREATING_SOURCE_ZIP, message)
        with _obtaining():
            retry_while_unavailable(lambda: _copy(blobs, source, spool, attempt), attempt)
        with spool.open("rb") as file:
            spool.unlink()  # Its disk space is free once it is unpacked.
            yield file, source.size


def _copy(blobs: BlobStore, source: ContentDownload, spool: Path, attempt: Attempt) -> None:
    with blobs.open_content(source.content_hash) as content:
        try:
            with spool.open("wb") as file:
                for chunk in _checked(iter(lambda: content.read(READ_BYTES), b""), attempt):
                    file.write(chunk)
        except OSError as error:
            reason = os_reason(error)
            message = f"The source could not be copied to the worker: {reason}."
            raise JobFailed(Status.FAILED_CREATING_SOURCE_ZIP, message) from error


def _checked(chunks: Iterator[bytes], attempt: Attempt) -> Iterator[bytes]:
    for chunk in chunks:
        attempt.raise_if_interrupted()
        yield chunk


@contextmanager
def _obtaining() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise JobFailed(Status.FAILED_SOURCE_COULD_NOT_BE_OBTAINED, str(error)) from error
    except SizeChanged as error:
        message = "Part of the source is damaged in the storage; upload it again."
        raise JobFailed(Status.FAILED_SOURCE_COULD_NOT_BE_OBTAINED, message) from error
