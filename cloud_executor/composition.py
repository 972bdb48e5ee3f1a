"""The one place that knows which backend stands behind each port.

Backends are imported where they are chosen: none costs a process that does not use it anything, and none has to be
installed for another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cloud_executor.blobs.store import BlobStore
from cloud_executor.jobs.clients import Executor, ExecutorOptions, system_clock
from cloud_executor.jobs.label_jobs import LabelJobs
from cloud_executor.ports import JobQueue, JobStore
from cloud_executor.settings import InvalidSetting, Settings

if TYPE_CHECKING:
    from cloud_executor.backends.google.pubsub import PubSubJobQueue


def open_blob_store(settings: Settings, *, serves: bool = False) -> BlobStore:
    """Blobs over the configured object store. Raises InvalidSetting if its library is not installed.

    `serves`: this process answers clients, for whom it makes manifests before they ask.
    """
    if settings.bucket is None:
        from cloud_executor.backends.files import FileObjectStore

        # Not in the cloud, where a function has no processor once it has answered.
        background = ThreadPoolExecutor(1, "manifests") if serves else None
        return BlobStore(FileObjectStore(settings.data / "blobs"), system_clock, background=background)
    try:
        if settings.objects == "s3":
            from cloud_executor.backends.s3 import S3ObjectStore

            return BlobStore(S3ObjectStore(settings.bucket, settings.s3_endpoint), system_clock)
        from cloud_executor.backends.google.storage.objects import GcsObjectStore
    except ModuleNotFoundError as error:
        raise _not_installed(
            "EXECUTOR_OBJECTS", settings.objects, "s3" if settings.objects == "s3" else "google"
        ) from error
    objects = GcsObjectStore(settings.bucket, settings.project)
    return BlobStore(objects, system_clock, direct=objects)


def open_executor(settings: Settings) -> Executor:
    """Jobs over the configured job store and queue. Raises InvalidSetting if their libraries are not installed."""
    store, queue = _open_sqlite(settings) if settings.jobs == "sqlite" else _open_google(settings)
    return Executor(
        store=store,
        queue=queue,
        pools=settings.worker_pools,
        options=ExecutorOptions(
            refresh_period=settings.worker_refresh_interval,
            lease=settings.lease,
            max_losses=settings.max_losses,
            clear_output_after=settings.clear_output_timeout,
        ),
        label_jobs=LabelJobs(settings.label_jobs).current,
    )


def _open_sqlite(settings: Settings) -> tuple[JobStore, JobQueue]:
    from cloud_executor.backends.sqlite.database import SqliteDatabase
    from cloud_executor.backends.sqlite.jobs import SqliteJobStore
    from cloud_executor.backends.sqlite.queue import SqliteJobQueue

    database = SqliteDatabase(settings.data / "executor.sqlite")
    queue = SqliteJobQueue(database, settings.data / "wake", system_clock)
    return SqliteJobStore(database, outbox=queue), queue


def _open_google(settings: Settings) -> tuple[JobStore, JobQueue]:
    try:
        from cloud_executor.backends.google.firestore.jobs import OUTPUT_LIFETIME, FirestoreJobStore
    except ModuleNotFoundError as error:
        raise _not_installed("EXECUTOR_JOBS", settings.jobs, "google") from error
    lifetime = None if settings.clear_output_timeout is None else OUTPUT_LIFETIME
    store = FirestoreJobStore(settings.project, settings.firestore_database, lifetime)
    return store, _open_pubsub(settings)


def create_in_emulators(settings: Settings, max_deliveries: int) -> JobQueue:
    """Make what Terraform makes in the cloud: the pools' topics, and the bucket if it is one of Cloud Storage.

    The queue, whose pool DEAD_LETTER brings the messages that were delivered too often.
    """
    queue = _open_pubsub(settings)
    if settings.objects == "gcs":
        from cloud_executor.backends.google.storage.objects import GcsObjectStore

        GcsObjectStore(settings.bucket or "", settings.project).create()
    queue.create([pool.name for pool in settings.worker_pools], max_deliveries)
    return queue


def _open_pubsub(settings: Settings) -> PubSubJobQueue:
    try:
        from cloud_executor.backends.google.pubsub import PubSubJobQueue
    except ModuleNotFoundError as error:
        raise _not_installed("EXECUTOR_QUEUE", settings.queue, "google") from error
    # Settings are refused that choose it without a project.
    return PubSubJobQueue(settings.project or "", settings.topic_prefix, settings.longest_job)


def _not_installed(variable: str, value: str, extra: str) -> InvalidSetting:
    return InvalidSetting(
        f"{variable}={value} needs libraries that are not installed: pip install 'cloud-executor[{extra}]'."
    )
