"""`executor gc`: deletes old jobs, and the blobs that nothing needs any longer (docs/operations.md: Deleting old data).

Mark and sweep. These are needed: kept jobs, with their files, results, and logs; public blobs; label jobs; everything
that was stored or used recently; and everything that one of these names. Clients go on in the meantime:

* An object that is uploaded again, or that a client finds to exist, counts as used (`ObjectStore.use`), and is not
  deleted for the grace period. `ObjectStore.delete_unused` and the use of an object exclude each other.
* A blob that a client reads counts as used. Nothing is deleted while a stored document names it, so the client finds
  everything that the blob names.
* Creating a job or a document looks up nothing that it names. So what new jobs and documents name is marked before each
  batch of deletions. The gap: something that nothing has needed or used for the whole grace period, and that becomes
  named while the batch that contains it is listed and deleted, is lost. That takes milliseconds if there are a few
  hundred objects, and minutes if there are millions. A client that looks up first what it names is safe.
* A document is deleted only if nothing has needed it in all runs of the grace period (`unneeded`). So it can be used
  for that long after the last job that named it is gone.
* A run that dies leaves nothing but the deletions that it has made, and a list of the grants that it has not deleted.
  The next one deletes those, marks everything again, and continues with the list of the last complete run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cloud_executor.blobs.downloads import MANIFEST_DOCUMENT_BYTES
from cloud_executor.blobs.keys import CONTENT_PREFIX, METADATA_PREFIX, hash_in, manifest_key, metadata_key, zip_key
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import Clock
from cloud_executor.errors import NotFound
from cloud_executor.jobs.clients import all_jobs
from cloud_executor.model.blobs.metadata import is_hash
from cloud_executor.model.blobs.retention import JobRetention, Kind, References, Target, needs_of_job, references_of
from cloud_executor.model.blobs.usage import StorageUsage
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import Job, NotFinished
from cloud_executor.model.jobs.job_filter import JobFilter
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import USE_NOTED_AFTER, JobStore, ObjectInfo
from cloud_executor.retention.forgotten import Forgotten
from cloud_executor.retention.marks import Marks, Unneeded
from cloud_executor.retention.unneeded import EarlierList, store_list

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

GRACE = 3 * USE_NOTED_AFTER
"""Time for which an object that nothing needs is kept. It must exceed the longest upload or archiving of results, plus
the time for which a use is not noted."""

JOBS_AT_ONCE = 8
"""Number of jobs that are deleted concurrently."""

JOBS_PER_BATCH = 200
BATCH = 1000
"""Largest number of documents that are read together."""

DELETED_AT_ONCE = 10_000
"""Largest number of objects in a batch of deletions. Before each, all documents are listed."""

CLOCK_DIFFERENCE = timedelta(minutes=5)
"""Largest difference between the clock of this machine and of one that creates jobs."""

BATCH_BYTES = 16 * 2**20
"""Size of the documents that are read together, in bytes."""

READS_PER_CALLER = 4
"""Factor by which more documents are read at once than a client's request would read."""


@dataclass(slots=True)
class Report:
    """What a run deleted, or would have deleted."""

    jobs_deleted: int = 0
    objects_deleted: int = 0
    """Number of contents and metadata documents."""
    bytes_deleted: int = 0
    documents_waiting: int = 0
    """Number of metadata documents that nothing needs, but that are kept for the grace period with their contents."""
    bytes_stored: int = 0
    """Size of all contents and metadata documents that are left."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Safe to run at any time, also concurrently, which is of no use."""

    store: JobStore
    blobs: BlobStore
    clock: Clock
    label_jobs: Callable[[], Mapping[str, str]]
    forget: Callable[[str], None] = lambda _: None
    """Deletes the grants of a deleted document or content. A user who sends it in this moment has to send it again."""
    grace: timedelta = GRACE

    def run(
        self,
        keep: timedelta,
        *,
        user_id: str | None = None,
        keep_labels: frozenset[str] = frozenset(),
        dry_run: bool = False,
    ) -> Report:
        """Delete the jobs that ended more than `keep` ago, and blobs that nothing has needed for the grace period.

        Blobs that were stored or used within `keep` stay, too. Raises Unavailable.
        """
        now = self.clock()
        recent = now - max(keep, self.grace)
        report = Report()
        if not dry_run:
            self.forgotten.complete()
        with Marks() as marks, closing(EarlierList(self.blobs.objects)) as earlier:
            self._mark_jobs(marks, JobRetention(now - keep, user_id, keep_labels), report, dry_run=dry_run)
            marks.need(Target(Kind.METADATA, found) for found in self.label_jobs().values() if is_hash(found))
            self.mark_documents(marks, recent, self.blobs.objects.list(METADATA_PREFIX))
            marks.follow()
            sweep = _Sweep(self, marks, report, now, recent, dry_run=dry_run)
            sweep.find_documents(earlier)
            sweep.delete_documents()
            sweep.delete_contents()
            report.documents_waiting = sum(1 for _ in marks.unneeded())
            if not dry_run:
                store_list(self.blobs.objects, marks.unneeded(), now)
                for key in earlier.keys:
                    self.blobs.objects.delete(key)
                self.store.record_usage(StorageUsage(report.bytes_stored, now))
        fields = {"action": "gc", "dry_run": dry_run, "report": str(report)}
        logger.info("old data deleted", extra=fields)
        return report

    @property
    def forgotten(self) -> Forgotten:
        return Forgotten(self.blobs.objects, self.forget)

    def measure(self) -> None:
        """Record how much is stored, without deleting anything."""
        objects = self.blobs.objects
        total = sum(info.size for prefix in (METADATA_PREFIX, CONTENT_PREFIX) for info in objects.list(prefix))
        self.store.record_usage(StorageUsage(total, self.clock()))

    def _mark_jobs(self, marks: Marks, retention: JobRetention, report: Report, *, dry_run: bool) -> None:
        """Delete old jobs, and mark what the others need."""

        def deleted(job: Job) -> bool:
            return retention.removes(job) and (dry_run or self._delete(job, retention))

        for jobs in _batches(all_jobs(self.store, None), JOBS_PER_BATCH):
            for job, is_deleted in zip(jobs, parallel_map(deleted, jobs, JOBS_AT_ONCE), strict=True):
                report.jobs_deleted += is_deleted
                if not is_deleted:
                    marks.need(needs_of_job(job))

    def _delete(self, job: Job, retention: JobRetention) -> bool:
        def check(stored: Job) -> None:
            if not retention.removes(stored):  # it runs again
                raise NotFinished

        with suppress(NotFound, NotFinished):
            self.store.delete(job.hash, check)
            return True
        return False

    def mark_documents(self, marks: Marks, recent: datetime, documents: Iterable[ObjectInfo]) -> None:
        """Mark what public and recent ones of the documents need, and note what the others need."""
        objects = self.blobs.objects
        concurrency = objects.concurrency * READS_PER_CALLER if objects.concurrency > 1 else 1

        def read(info: ObjectInfo) -> References:
            try:
                return references_of(objects.read(info.key)[0])
            except NotFound:
                return References(True, frozenset())  # another program's document, which is kept, or a deleted one

        for infos in _batches(documents, BATCH, lambda info: info.size):
            for info, found in zip(infos, parallel_map(read, infos, concurrency), strict=True):
                metadata_hash = hash_in(info.key, METADATA_PREFIX)
                if metadata_hash is not None:
                    document = Target(Kind.METADATA, metadata_hash)
                    if found.is_public or used_at(info) >= recent:
                        marks.need((document,))
                    marks.add_document(document, found.targets)

    def mark_new_jobs(self, marks: Marks, start: datetime) -> None:
        """Mark what the jobs that were created since the start of the run need."""
        wanted = JobFilter(created_from=iso_time(start - CLOCK_DIFFERENCE))
        after: str | None = None
        while True:
            page = self.store.search(wanted, after=after)
            for job in page.jobs:
                marks.need(needs_of_job(job))
            if page.next is None:
                return
            after = page.next


class _Sweep:
    """The second half of a run: finds the objects that are not marked, and deletes them."""

    def __init__(
        self, collector: Collector, marks: Marks, report: Report, start: datetime, recent: datetime, *, dry_run: bool
    ) -> None:
        self._collector = collector
        self._objects = collector.blobs.objects
        self._marks = marks
        self._report = report
        self._start = start
        self._recent = recent
        self._dry_run = dry_run

    def find_documents(self, earlier: EarlierList) -> None:
        """Note the documents that nothing needs, and mark what those need that are used since the first pass."""
        due_since = self._start - self._collector.grace
        for batch in _batches(self._unmarked(Kind.METADATA, METADATA_PREFIX), BATCH):
            used = [info for info, _ in batch if used_at(info) >= self._recent]
            self._collector.mark_documents(self._marks, self._recent, used)
            for info, metadata_hash in batch:
                if Target(Kind.METADATA, metadata_hash) not in self._marks:
                    since = earlier.since(metadata_hash) or self._start
                    due = since <= due_since
                    self._marks.add_unneeded(Unneeded(metadata_hash, since, due, info.size, info.version))

    def delete_documents(self) -> None:
        """Delete the documents that are due, unless they have been used in the meantime.

        A document is deleted before those that it names. So if it is used, everything that it names is still stored.
        """
        while self._marks.deletable(1):
            self._mark_new()
            due = self._marks.deletable(DELETED_AT_ONCE)
            with self._forgetting([document.hash for document in due]):
                for document, is_deleted in self._each(self._delete_document, due):
                    if is_deleted:
                        self._count_deleted(document.size)
                        self._marks.remove(document.hash)
                    else:
                        self._marks.keep(document.hash)

    def delete_contents(self) -> None:
        """Delete the contents that no stored document names, unless they are recent."""
        self._marks.need_what_documents_name()
        unmarked = self._unmarked(Kind.CONTENT, CONTENT_PREFIX)
        old = ((info, found) for info, found in unmarked if used_at(info) < self._recent)
        for batch in _batches(old, DELETED_AT_ONCE):
            self._mark_new()
            due = [(info, found) for info, found in batch if Target(Kind.CONTENT, found) not in self._marks]
            with self._forgetting([found for _, found in due]):
                for (info, _), is_deleted in self._each(lambda item: self._delete_content(*item), due):
                    if is_deleted:
                        self._count_deleted(info.size)

    def _forgetting(self, due: list[str]) -> AbstractContextManager[None]:
        return nullcontext() if self._dry_run or not due else self._collector.forgotten.deleting(due)

    def _mark_new(self) -> None:
        """Mark what the jobs and documents need that were created or used since the first pass."""
        listed = self._objects.list(METADATA_PREFIX)
        used = (info for info in listed if used_at(info) >= self._recent and self._is_unmarked(info))
        self._collector.mark_documents(self._marks, self._recent, used)
        # Last, because it takes less time.
        self._collector.mark_new_jobs(self._marks, self._start)

    def _is_unmarked(self, document: ObjectInfo) -> bool:
        found = hash_in(document.key, METADATA_PREFIX)
        return found is not None and Target(Kind.METADATA, found) not in self._marks

    def _unmarked(self, kind: Kind, prefix: str) -> Iterator[tuple[ObjectInfo, str]]:
        for info in self._objects.list(prefix):
            self._report.bytes_stored += info.size
            found = hash_in(info.key, prefix)
            if found is not None and Target(kind, found) not in self._marks:
                yield info, found

    def _each(self, delete: Callable[[Item], bool], items: list[Item]) -> Iterable[tuple[Item, bool]]:
        return zip(items, parallel_map(delete, items, self._objects.concurrency), strict=True)

    def _delete_document(self, document: Unneeded) -> bool:
        if self._dry_run:
            return True
        # First, so that no crash leaves it: it would promise contents that are deleted next. It can be made again.
        if document.size >= MANIFEST_DOCUMENT_BYTES:
            self._objects.delete(manifest_key(document.hash))
        info = ObjectInfo(metadata_key(document.hash), document.size, self._collector.clock(), version=document.version)
        if not self._objects.delete_unused(info):
            return False
        # Last: a client may just have been redirected to the zip of a document that is used. A zip that a crash leaves
        # has all its contents, and expires.
        if self._collector.blobs.direct is not None:
            self._objects.delete(zip_key(document.hash))
        self._collector.forget(document.hash)
        return True

    def _delete_content(self, info: ObjectInfo, content_hash: str) -> bool:
        if self._dry_run:
            return True
        if not self._objects.delete_unused(info):
            return False
        self._collector.forget(content_hash)
        return True

    def _count_deleted(self, size: int) -> None:
        self._report.objects_deleted += 1
        self._report.bytes_deleted += size
        self._report.bytes_stored -= size


def used_at(info: ObjectInfo) -> datetime:
    return info.used or info.modified


def _batches(items: Iterable[Item], most: int, size: Callable[[Item], int] = lambda _: 0) -> Iterator[list[Item]]:
    """Lists of the items. Each has up to `most`, and ends once their sizes exceed BATCH_BYTES."""
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if len(batch) == most or total > BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
