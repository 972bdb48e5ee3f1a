"""Which jobs and blobs are old enough to be deleted, and what keeps a blob."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple

from cloud_executor.model.blobs.metadata import BlobMetadata, ContentType, is_hash, read_content_entry
from cloud_executor.model.jobs.job import Job

_PRIVATE = b'"isPublic":false,'


class Kind(IntEnum):
    """Kind of a stored object. Metadata comes first: it is deleted before the contents that it names."""

    METADATA = 0
    CONTENT = 1


class Target(NamedTuple):
    """A stored object that something needs."""

    kind: Kind
    hash: str


class References(NamedTuple):
    """What a metadata document needs, and whether everybody may."""

    is_public: bool
    targets: frozenset[Target]


@dataclass(frozen=True, slots=True)
class JobRetention:
    """Which finished jobs are deleted."""

    ended_before: datetime
    user_id: str | None = None
    """Only the jobs of this user; None: of all users."""
    keep_labels: frozenset[str] = frozenset()
    """Jobs with one of these labels are kept."""

    def removes(self, job: Job) -> bool:
        return (
            job.finished
            and (self.user_id is None or job.user_id == self.user_id)
            and self.keep_labels.isdisjoint(job.labels)
            and _ended(job) < self.ended_before
        )


def needs_of_job(job: Job) -> Iterator[Target]:
    """The blobs that a job needs: its files, results, and logs. Its id and what an external worker reported can be any
    strings."""
    named = (job.id, job.result_super_set, *(job.result_hashes or {}).values(), *(job.logs or {}).values())
    return (Target(Kind.METADATA, found) for found in named if is_hash(found))


def references_of(stored: bytes) -> References:
    """What a stored metadata document needs. Raises NotFound for a document that cannot be read."""
    # Without parsing it: no string in a document contains the quotation marks of a field.
    entry = read_content_entry(stored)
    if entry is not None and _PRIVATE in stored:
        return References(False, frozenset({_target(entry.content_hash, entry.content_type)}))
    blob = BlobMetadata.from_canonical(stored)
    entries = blob.files.values()
    if blob.content_type in (ContentType.OBJECT, ContentType.SOFT_LINK):
        return References(blob.is_public, frozenset({_target(blob.content_hash, blob.content_type)}))
    readable = (found for found in entries if found.content_type != ContentType.COMPLEX)
    return References(blob.is_public, frozenset(_target(*found) for found in readable))


def _target(content_hash: str, content_type: ContentType) -> Target:
    return Target(Kind.METADATA if content_type == ContentType.SOFT_LINK else Kind.CONTENT, content_hash)


def _ended(job: Job) -> datetime:
    """When the job ended, at the latest. External workers report a time of their own, which can be any string."""
    latest = datetime.fromisoformat(job.create_time)
    with suppress(ValueError, TypeError):
        finished = datetime.fromisoformat(job.finish_time or "")
        latest = max(latest, finished if finished.tzinfo else finished.replace(tzinfo=UTC))
    return latest
