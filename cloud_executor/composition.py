"""The one place that knows which backend stands behind each port.

Backends are imported where they are chosen: none costs a process that does not use it anything, and none has to be
installed for another.
"""

from __future__ import annotations

from cloud_executor.blobs import BlobStore
from cloud_executor.jobs import Executor, ExecutorOptions, system_clock
from cloud_executor.model.pool import WorkerPool
from cloud_executor.ports import JobQueue, JobStore
from cloud_executor.settings import InvalidSetting, Settings

DEFAULT_POOL = "default"


def open_blob_store(settings: Settings) -> BlobStore:
    """Blobs over the configured object store. Raises InvalidSetting if its library is not installed."""
    if settings.bucket is None:
        from cloud_executor.backends.files import FileObjectStore

        return BlobStore(FileObjectStore(settings.data / "blobs"), system_clock)
    try:
        if settings.objects == "s3":
            from cloud_executor.backends.s3 import S3ObjectStore

            return BlobStore(S3ObjectStore(settings.bucket, settings.s3_endpoint), system_clock)
        from cloud_executor.backends.gcs import GcsObjectStore
    except ModuleNotFoundError as error:
        raise _not_installed(
            "EXECUTOR_OBJECTS", settings.objects, "s3" if settings.objects == "s3" else "google"
        ) from error
    objects = GcsObjectStore(settings.bucket, settings.project)
    return BlobStore(objects, system_clock, direct=objects)


def open_executor(settings: Settings) -> Executor:
    """Jobs over the embedded job store and queue."""
    store, queue = _open_sqlite(settings)
    return Executor(
        store=store,
        queue=queue,
        pools=(WorkerPool(DEFAULT_POOL, settings.worker_labels),),
        options=ExecutorOptions(
            refresh_period=settings.worker_refresh_interval,
            lease=settings.lease,
            max_losses=settings.max_losses,
            clear_output_after=settings.clear_output_timeout,
        ),
    )


def _open_sqlite(settings: Settings) -> tuple[JobStore, JobQueue]:
    from cloud_executor.backends.sqlite import SqliteDatabase
    from cloud_executor.backends.sqlite_jobs import SqliteJobStore
    from cloud_executor.backends.sqlite_queue import SqliteJobQueue

    database = SqliteDatabase(settings.data / "executor.sqlite")
    queue = SqliteJobQueue(database, settings.data / "wake", system_clock)
    return SqliteJobStore(database, outbox=queue), queue


def _not_installed(variable: str, value: str, extra: str) -> InvalidSetting:
    return InvalidSetting(
        f"{variable}={value} needs libraries that are not installed: pip install 'cloud-executor[{extra}]'."
    )
