"""The one place that knows which backend stands behind each port."""

from __future__ import annotations

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.backends.sqlite import SqliteDatabase
from cloud_executor.backends.sqlite_jobs import SqliteJobStore
from cloud_executor.backends.sqlite_queue import SqliteJobQueue
from cloud_executor.blobs import BlobStore
from cloud_executor.jobs import Executor, ExecutorOptions, system_clock
from cloud_executor.model.pool import WorkerPool
from cloud_executor.settings import Settings

DEFAULT_POOL = "default"


def open_blob_store(settings: Settings) -> BlobStore:
    """Blobs over the configured object store."""
    return BlobStore(FileObjectStore(settings.data / "blobs"), system_clock)


def open_executor(settings: Settings) -> Executor:
    """Jobs over the configured job store and queue."""
    database = SqliteDatabase(settings.data / "executor.sqlite")
    return Executor(
        store=SqliteJobStore(database),
        queue=SqliteJobQueue(database, settings.data / "wake", system_clock),
        pools=(WorkerPool(DEFAULT_POOL, settings.worker_labels),),
        options=ExecutorOptions(
            refresh_period=settings.worker_refresh_interval,
            lease=settings.lease,
            max_losses=settings.max_losses,
            clear_output_after=settings.clear_output_timeout,
        ),
    )
