"""The backends that the contract suites run against. To add a backend, add a class like these and list it below."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar, Protocol

import boto3.session
from emulators.projects import new_project
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.backends.google.firestore.jobs import FirestoreJobStore
from cloud_executor.backends.google.pubsub import PubSubJobQueue
from cloud_executor.backends.google.storage.objects import GcsObjectStore
from cloud_executor.backends.s3 import S3ObjectStore
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.jobs import SqliteJobStore
from cloud_executor.backends.sqlite.queue import SqliteJobQueue
from cloud_executor.ports import USE_NOTED_AFTER, JobQueue, JobStore, ObjectStore

PROCESSES = multiprocessing.get_context("forkserver")
"""Starts clean processes quickly: they are forks of one that has only imported the backends."""

PROCESSES.set_forkserver_preload(
    [
        "boto3.session",
        "pytest",
        "cloud_executor.backends.google.firestore.jobs",
        "cloud_executor.backends.google.pubsub",
        "cloud_executor.backends.google.storage.objects",
    ]
)

TIMEOUT_SECONDS = 30
"""Time limit for things that ought to happen at once, in seconds."""


STRANGE_POOLS = ("", "other", "poo", "pool2", "POOL", "a/../pool", "po\0ol")
CONTRACT_POOLS = ("pool", *STRANGE_POOLS)
"""All pools of the contract suites."""


def new_bucket() -> str:
    """Create a bucket in the storage emulator and return its name."""
    name = f"test-{uuid.uuid4().hex}"
    Client("test", AnonymousCredentials()).create_bucket(name)
    return name


def new_s3_bucket() -> str:
    """Create a bucket in the S3 emulator that the environment names, and return the bucket's name."""
    name = f"test-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return name


class ObjectBackend(Protocol):
    """A description of an object store that can be sent to another process, which then opens the same store."""

    fixtures: ClassVar[tuple[str, ...]]
    """Names of the fixtures that start the services it needs."""

    decides_races: ClassVar[bool]
    """Whether one of two concurrent writes to the same key wins and the other one finds its object."""

    def open(self, use_noted_after: timedelta = USE_NOTED_AFTER) -> AbstractContextManager[ObjectStore]: ...


class JobBackend(Protocol):
    fixtures: ClassVar[tuple[str, ...]]

    def open(self) -> AbstractContextManager[JobStore]: ...


class QueueBackend(Protocol):
    fixtures: ClassVar[tuple[str, ...]]

    @property
    def returns_within_seconds(self) -> float:
        """Longest time until a dead process's message is redelivered, in seconds."""

    @property
    def delivers_within_seconds(self) -> float:
        """Longest time until a published message reaches a waiting subscriber, in seconds."""

    def open(self) -> AbstractContextManager[JobQueue]: ...


@dataclass(frozen=True)
class Files:
    fixtures: ClassVar[tuple[str, ...]] = ()
    decides_races: ClassVar[bool] = True
    folder: Path

    @contextmanager
    def open(self, use_noted_after: timedelta = USE_NOTED_AFTER) -> Iterator[ObjectStore]:
        yield FileObjectStore(self.folder / "objects", use_noted_after)


@dataclass(frozen=True)
class Gcs:
    fixtures: ClassVar[tuple[str, ...]] = ("storage",)
    decides_races: ClassVar[bool] = False  # Cloud Storage does, but its emulator ignores the preconditions of a rewrite
    folder: Path
    bucket: str = field(default_factory=new_bucket)

    @contextmanager
    def open(self, use_noted_after: timedelta = USE_NOTED_AFTER) -> Iterator[GcsObjectStore]:
        yield GcsObjectStore(self.bucket, "test", use_noted_after=use_noted_after)


@dataclass(frozen=True)
class GcsWithStaging(Gcs):
    """With a second bucket for objects that are deleted soon."""

    staging_bucket: str = field(default_factory=new_bucket)

    @contextmanager
    def open(self, use_noted_after: timedelta = USE_NOTED_AFTER) -> Iterator[GcsObjectStore]:
        yield GcsObjectStore(self.bucket, "test", self.staging_bucket, use_noted_after)


@dataclass(frozen=True)
class S3:
    fixtures: ClassVar[tuple[str, ...]] = ("s3",)
    decides_races: ClassVar[bool] = True
    folder: Path
    bucket: str = field(default_factory=new_s3_bucket)

    @contextmanager
    def open(self, use_noted_after: timedelta = USE_NOTED_AFTER) -> Iterator[S3ObjectStore]:
        yield S3ObjectStore(self.bucket, os.environ["AWS_ENDPOINT_URL_S3"], use_noted_after)


@dataclass(frozen=True)
class SqliteJobs:
    fixtures: ClassVar[tuple[str, ...]] = ()
    folder: Path

    @contextmanager
    def open(self) -> Iterator[JobStore]:
        database = SqliteDatabase(self.folder / "jobs.sqlite")
        yield SqliteJobStore(database)
        database.close()


@dataclass(frozen=True)
class SqliteQueue:
    fixtures: ClassVar[tuple[str, ...]] = ()
    folder: Path
    returns_within_seconds: float = 1.0
    delivers_within_seconds: float = 0.0

    @contextmanager
    def open(self) -> Iterator[JobQueue]:
        database = SqliteDatabase(self.folder / "jobs.sqlite")
        lease = timedelta(seconds=self.returns_within_seconds)
        yield SqliteJobQueue(
            database, self.folder / "wake", lambda: datetime.now(UTC), lease=lease, extend_every=lease / 5
        )
        database.close()


@dataclass(frozen=True)
class FirestoreJobs:
    fixtures: ClassVar[tuple[str, ...]] = ("firestore",)
    folder: Path
    project: str = field(default_factory=new_project)

    @contextmanager
    def open(self) -> Iterator[JobStore]:
        yield FirestoreJobStore(self.project, "(default)")


@dataclass(frozen=True)
class PubSub:
    fixtures: ClassVar[tuple[str, ...]] = ("pubsub",)
    folder: Path
    project: str = field(default_factory=new_project)
    returns_within_seconds: float = 10.0  # the shortest possible lease
    delivers_within_seconds: float = 0.5

    @contextmanager
    def open(self) -> Iterator[JobQueue]:
        queue = PubSubJobQueue(
            self.project, "executor", timedelta(hours=1), timedelta(seconds=self.returns_within_seconds)
        )
        queue.create(CONTRACT_POOLS, max_deliveries=100)
        yield queue


OBJECT_BACKENDS: list[Callable[[Path], ObjectBackend]] = [Files, GcsWithStaging, S3]
JOB_BACKENDS: list[Callable[[Path], JobBackend]] = [SqliteJobs, FirestoreJobs]
QUEUE_BACKENDS: list[Callable[[Path], QueueBackend]] = [SqliteQueue, PubSub]


def _run(environment: Mapping[str, str], target: Callable[..., object], *arguments: Any) -> None:
    # The emulators' addresses may be newer than the process that forked this one.
    os.environ.update(environment)
    target(*arguments)


def _process(target: Callable[..., object], *arguments: Any) -> BaseProcess:
    return PROCESSES.Process(target=_run, args=(dict(os.environ), target, *arguments), daemon=True)


@contextmanager
def in_process(target: Callable[..., object], *arguments: Any) -> Iterator[BaseProcess]:
    """Run `target` in a new process, which is killed at the end of the block."""
    process = _process(target, *arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def in_processes(count: int, target: Callable[..., object], *arguments: Any) -> None:
    """Run `target` concurrently in several processes, each with its number, and assert that all succeed."""
    processes = [_process(target, number, *arguments) for number in range(count)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(TIMEOUT_SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * count
