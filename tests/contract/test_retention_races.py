"""`executor gc` runs again and again while clients upload, link, create, download, and delete: nothing needed is lost.

The test takes GC_SECONDS (2 by default; `make soak-gc` sets more). GC_SEED repeats its random choices.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from contract_backends import Files, Gcs, SqliteJobs
from job_documents import new_job

from cloud_executor.backends.google.storage.objects import GcsObjectStore
from cloud_executor.blobs.downloads import ContentDownload, Downloads
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import system_clock
from cloud_executor.errors import NotFound
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import Status
from cloud_executor.ports import JobStore, ObjectInfo, ObjectStore
from cloud_executor.retention.collector import Collector

SECONDS = float(os.environ.get("GC_SECONDS", "2"))
SEED = int(os.environ.get("GC_SEED", "0")) or random.randrange(1, 10**6)

GRACE = timedelta(seconds=0.6)
NOTED_AFTER = timedelta(seconds=0.2)
USABLE_SECONDS = 0.3
"""Time for which a client may rely on what it uploaded, in seconds: less than the grace period less NOTED_AFTER."""

CLIENTS = 3
CONTENTS = 12
"""Number of different files: few, so that they are often uploaded again just when they are deleted."""


class CheckingGcs(GcsObjectStore):
    """Decides races between a use and a deletion, as the service does by conditions that its emulator ignores."""

    lock = threading.Lock()

    def _note_use(self, info: ObjectInfo) -> None:
        with self.lock:
            super()._note_use(info)

    def delete_unused(self, info: ObjectInfo) -> bool:
        with self.lock:
            return self._has(info.key) and self.stat(info.key).version == info.version and super().delete_unused(info)


@dataclass
class Client:
    """Creates jobs whose blobs have to stay readable until it deletes the job."""

    blobs: BlobStore
    jobs: JobStore
    number: int
    stopping: threading.Event
    random: random.Random
    live: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    """The files of each job that was created and not deleted, by the hash of its blob."""
    seen: list[str] = field(default_factory=list)
    """Hashes of blobs that it created earlier."""
    steps: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.step()
                self.stopping.wait(0.005)
        except BaseException as error:  # the test raises it
            self.errors.append(error)

    def step(self) -> None:
        self.steps += 1
        if len(self.live) < 3 or self.random.random() < 0.4:
            self.create()
        blob = self.random.choice(list(self.live)) if self.live else None
        if blob is not None:
            self.check(blob)
            if self.random.random() < 0.5:
                del self.live[blob]
                self.jobs.delete(f"{blob}-{self.number}", lambda job: None)

    def create(self) -> None:
        started = time.monotonic()
        entries: dict[str, ArtifactFile] = {}
        files: dict[str, bytes] = {}
        for _ in range(self.random.randint(1, 3)):
            content = b"content %d" % self.random.randrange(CONTENTS)
            path = f"{len(files)}"
            stored = self.blobs.create_file(path, [content])
            if self.random.random() < 0.5:
                entries[path] = ArtifactFile(stored.hash, len(content), ContentType.SOFT_LINK)
            else:
                entries[path] = ArtifactFile(stored.metadata.content_hash, len(content), ContentType.OBJECT)
            files[path] = content
        blob = self.blobs.create_metadata(BlobMetadata.for_artifact("a", entries)).hash
        if self.seen and self.random.random() < 0.5:
            # It may have been deleted. If not, reading it keeps it with everything that it names.
            other = self.random.choice(self.seen)
            with suppress(NotFound):
                self.blobs.metadata(other, is_used=True)
                entries["other"] = ArtifactFile(other, 1, ContentType.SOFT_LINK)
                blob = self.blobs.create_metadata(BlobMetadata.for_artifact("a", entries)).hash
        if self.random.random() < 0.3:
            entry = {"inner": ArtifactFile(blob, 1, ContentType.SOFT_LINK)}
            blob, files = self.blobs.create_metadata(BlobMetadata.for_artifact("b", entry)).hash, {}
        # The job names the blob as a result, so that several jobs can name the same one.
        job = new_job(f"{blob}-{self.number}", result_hashes={"all": blob}, status=Status.SUCCESS)
        job = type(job)(
            **{name: getattr(job, name) for name in job.__struct_fields__} | {"create_time": iso_time(system_clock())}
        )
        self.jobs.transact(job.hash, lambda _: job)
        if time.monotonic() - started < USABLE_SECONDS:
            self.live[blob] = files
            if "other" not in entries:  # chains of links would become too long
                self.seen = [*self.seen[-20:], blob]
        else:  # this client was too slow to rely on its uploads
            self.live.pop(blob, None)
            self.jobs.delete(job.hash, lambda job: None)

    def check(self, blob: str) -> None:
        download = Downloads(self.blobs).resolve(blob)
        assert not isinstance(download, ContentDownload)
        assert b"".join(download.chunks())
        for path, content in self.live[blob].items():
            found = Downloads(self.blobs).resolve(blob, path)
            assert isinstance(found, ContentDownload)
            with self.blobs.open_content(found.content_hash) as stream:
                assert stream.read() == content


def test_nothing_needed_is_lost_in_files(tmp_path: Path) -> None:
    with Files(tmp_path).open(NOTED_AFTER) as objects:
        collect_while_clients_work(objects, tmp_path)


def test_nothing_needed_is_lost_in_a_bucket(storage: str, tmp_path: Path) -> None:
    collect_while_clients_work(CheckingGcs(Gcs(tmp_path).bucket, "test", use_noted_after=NOTED_AFTER), tmp_path)


def collect_while_clients_work(objects: ObjectStore, folder: Path) -> None:
    print(f"GC_SEED={SEED}")  # noqa: T201 - shown if the test fails
    with SqliteJobs(folder).open() as jobs:
        blobs = BlobStore(objects, system_clock)
        stopping = threading.Event()
        clients = [Client(blobs, jobs, number, stopping, random.Random(SEED + number)) for number in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        collector = Collector(jobs, blobs, system_clock, dict, grace=GRACE)
        deadline = time.monotonic() + SECONDS
        deleted = runs = 0
        try:
            while time.monotonic() < deadline or (deleted == 0 and not any(client.errors for client in clients)):
                # Only the clients delete jobs.
                deleted += collector.run(timedelta(), user_id="nobody").objects_deleted
                runs += 1
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        for client in clients:
            if client.errors:
                raise client.errors[0]
        print(f"{runs} runs deleted {deleted} objects")  # noqa: T201 - as above
