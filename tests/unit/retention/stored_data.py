"""Jobs and blobs on the embedded backends, and a collector whose clock the test advances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.blobs.downloads import Downloads
from cloud_executor.blobs.keys import CONTENT_PREFIX, METADATA_PREFIX, hash_in
from cloud_executor.blobs.store import BlobStore
from cloud_executor.errors import NotFound, Unavailable
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import JobStore, ObjectInfo
from cloud_executor.retention.collector import GRACE, Collector, Report

DAY = timedelta(days=1)
KEEP = 30 * DAY


class TimedFiles(FileObjectStore):
    """Files whose last uses are times of the test's clock. Every use is noted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, -DAY)
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._used: dict[str, datetime] = {}

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        self._used |= dict.fromkeys(objects, self.now())
        return super().put_all(objects)

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        self._used[key] = self.now()
        super().put(key, chunks)

    def use(self, key: str, known: ObjectInfo | None = None) -> ObjectInfo:
        self._used[key] = self.now()
        return super().use(key, known)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in super().list(prefix):
            yield replace(info, used=self._used.get(info.key, info.used))


@dataclass
class Data:
    """The stores, with times that are `passed` later than the machine's."""

    objects: Any  # TimedFiles; a test may replace it by a store that dies or changes meanwhile
    store: JobStore
    passed: timedelta = timedelta()
    label_jobs: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    unforgettable: frozenset[str] = frozenset()
    """Hashes of objects whose grants cannot be deleted."""

    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    @property
    def blobs(self) -> BlobStore:
        return BlobStore(self.objects, self.now)

    def collect(self, keep: timedelta = KEEP, **options: Any) -> Report:
        collector = Collector(self.store, self.blobs, self.now, lambda: self.label_jobs, forget=self.forget)
        return collector.run(keep, **options)

    def forget(self, deleted: str) -> None:
        if deleted in self.unforgettable:
            raise Unavailable
        self.forgotten.append(deleted)

    def collect_all(self) -> Report:
        """Run twice, as far apart as needed to delete everything that nothing needs."""
        self.collect()
        self.passed += GRACE + DAY
        return self.collect()

    def file(self, content: str, name: str = "x") -> str:
        return self.blobs.create_file(name, [content.encode()]).hash

    def artifact(self, name: str, links: Mapping[str, str]) -> str:
        """An artifact of soft links to blobs."""
        files = {path: ArtifactFile(blob, 1, ContentType.SOFT_LINK) for path, blob in links.items()}
        return self.blobs.create_metadata(BlobMetadata.for_artifact(name, files)).hash

    def link(self, blob: str) -> str:
        body = b'{"name":"l","content":"%b","contentType":"softLink"}' % blob.encode()
        return self.blobs.create_metadata(BlobMetadata.parse(body)).hash

    def public(self, blob: str) -> str:
        body = b'{"name":"p","isPublic":true,"content":"%b","contentType":"softLink"}' % blob.encode()
        return self.blobs.create_metadata(BlobMetadata.parse(body)).hash

    def job(self, job_hash: str, status: str = Status.SUCCESS, age: timedelta = timedelta(), **fields: Any) -> Job:
        job = Job(hash=job_hash, create_time=iso_time(self.now() - age), secret="s", status=status, **fields)
        self.store.transact(job_hash, lambda _: job)
        return job

    def readable(self, blob: str) -> bool:
        """Whether everything that the blob's download needs is stored."""
        try:
            Downloads(self.blobs).resolve(blob)
        except NotFound:
            return False
        return True

    def hashes(self) -> set[str | None]:
        """Hashes of all stored objects."""
        return {
            hash_in(info.key, prefix)
            for prefix in (METADATA_PREFIX, CONTENT_PREFIX)
            for info in self.objects.list(prefix)
        }


@contextmanager
def opened(folder: Path) -> Iterator[Data]:
    database = SqliteDatabase(folder / "jobs.sqlite")
    objects = TimedFiles(folder / "blobs")
    data = Data(objects, SqliteJobStore(database))
    objects.now = data.now
    yield data
    database.close()
