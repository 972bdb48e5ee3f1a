"""The backends that the contract suites run against. One that joins is a class like these and an entry in its list."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.backends.sqlite import SqliteDatabase
from cloud_executor.backends.sqlite_jobs import SqliteJobStore
from cloud_executor.backends.sqlite_queue import SqliteJobQueue
from cloud_executor.ports import JobQueue, JobStore, ObjectStore

SPAWN = multiprocessing.get_context("spawn")

PATIENCE_SECONDS = 30
"""after which a test gives up on something that ought to happen at once"""


class ObjectBackend(Protocol):
    """Can be sent to another process, which then opens the same store."""

    def open(self) -> AbstractContextManager[ObjectStore]: ...


class JobBackend(Protocol):
    def open(self) -> AbstractContextManager[JobStore]: ...


class QueueBackend(Protocol):
    @property
    def returns_within_seconds(self) -> float:
        """How long a dead process's message may stay away."""

    def open(self) -> AbstractContextManager[JobQueue]: ...


@dataclass(frozen=True)
class Files:
    folder: Path

    @contextmanager
    def open(self) -> Iterator[ObjectStore]:
        yield FileObjectStore(self.folder / "objects")


@dataclass(frozen=True)
class SqliteJobs:
    folder: Path

    @contextmanager
    def open(self) -> Iterator[JobStore]:
        database = SqliteDatabase(self.folder / "jobs.sqlite")
        yield SqliteJobStore(database)
        database.close()


@dataclass(frozen=True)
class SqliteQueue:
    folder: Path
    returns_within_seconds: float = 1.0

    @contextmanager
    def open(self) -> Iterator[JobQueue]:
        database = SqliteDatabase(self.folder / "jobs.sqlite")
        lease = timedelta(seconds=self.returns_within_seconds)
        yield SqliteJobQueue(
            database, self.folder / "wake", lambda: datetime.now(UTC), lease=lease, extend_every=lease / 5
        )
        database.close()


OBJECT_BACKENDS: list[Callable[[Path], ObjectBackend]] = [Files]
JOB_BACKENDS: list[Callable[[Path], JobBackend]] = [SqliteJobs]
QUEUE_BACKENDS: list[Callable[[Path], QueueBackend]] = [SqliteQueue]


@contextmanager
def in_process(target: Callable[..., object], *arguments: Any) -> Iterator[BaseProcess]:
    """Runs `target` in a process of its own, which does not outlive the block."""
    process = SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def in_processes(count: int, target: Callable[..., object], *arguments: Any) -> None:
    """Runs `target` in several processes at once, each told its number, until all have succeeded."""
    processes = [SPAWN.Process(target=target, args=(number, *arguments), daemon=True) for number in range(count)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(PATIENCE_SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * count
