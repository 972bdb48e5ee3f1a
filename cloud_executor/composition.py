"""Composition root: the only module that knows which backend implements each port.

A backend is imported only when it is selected, so that a process neither loads nor needs the libraries of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from cloud_executor.access.grants import Grants
from cloud_executor.access.quotas import Quotas
from cloud_executor.access.tokens import Tokens
from cloud_executor.blobs.downloads import Downloads
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import Clock, system_clock
from cloud_executor.installation import install_command
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.clients import JobClients
from cloud_executor.jobs.external_workers import ExternalWorkers
from cloud_executor.jobs.label_jobs import LabelJobs
from cloud_executor.jobs.options import JobOptions
from cloud_executor.jobs.pools.dead_letters import DeadLetters
from cloud_executor.jobs.pools.fleet import FleetRequests
from cloud_executor.jobs.pools.publisher import Flights, Publisher
from cloud_executor.jobs.pools.waiting import WaitingLine
from cloud_executor.jobs.stats import JobStats
from cloud_executor.jobs.sweep import Sweep
from cloud_executor.model.jobs.fair_share import RunningLimit
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.ports import USE_NOTED_AFTER, GrantStore, Identities, JobQueue, JobStore, QuotaStore, WorkerFleet
from cloud_executor.process.time_jumps import TimeJumps
from cloud_executor.settings import GOOGLE, OPEN, InvalidSetting, Settings

MIN_GAP = timedelta(seconds=1)
"""Shortest pause of a process that counts as a time jump: a busy machine causes shorter ones."""

GAPS_PER_LEASE = 6
"""A shorter pause than this share of a lease does not make a worker lose its lease."""

if TYPE_CHECKING:
    from cloud_executor.backends.google.identity import IdentityTokens
    from cloud_executor.backends.google.instance_groups import InstanceGroups
    from cloud_executor.backends.google.pubsub import PubSubJobQueue
    from cloud_executor.retention.collector import Collector


def open_blobs(settings: Settings, *, prepared: bool = False) -> BlobStore:
    """The blob store on the configured object store. Raises InvalidSetting if its library is not installed.

    With `prepared`, what the first upload would have to create is created now.
    """
    if settings.bucket is None:
        from cloud_executor.backends.files import FileObjectStore

        files = FileObjectStore(settings.data / "blobs")
        if prepared:
            files.prepare()
        return BlobStore(files, system_clock)
    try:
        if settings.objects == "s3":
            from cloud_executor.backends.s3 import S3ObjectStore

            return BlobStore(S3ObjectStore(settings.bucket, settings.s3_endpoint), system_clock)
        from cloud_executor.backends.google.storage.objects import GcsObjectStore
    except ModuleNotFoundError as error:
        raise _not_installed(
            "EXECUTOR_OBJECTS", settings.objects, "s3" if settings.objects == "s3" else "google"
        ) from error
    objects = GcsObjectStore(settings.bucket, settings.project, settings.staging_bucket)
    return BlobStore(objects, system_clock, direct=objects)


def open_collector(settings: Settings, jobs: Jobs | None = None, blobs: BlobStore | None = None) -> Collector:
    """Deletion of old data in the configured stores, or in these ones."""
    from cloud_executor.retention.collector import GRACE, Collector

    jobs = jobs or open_jobs(settings)
    # Results of a job are stored while it runs, long before it names them.
    grace = max(GRACE, settings.longest_job + 2 * USE_NOTED_AFTER)
    return Collector(
        jobs.store,
        blobs or open_blobs(settings),
        jobs.clock,
        jobs.label_jobs,
        forget=open_grant_store(settings).forget,
        grace=grace,
    )


def open_downloads(settings: Settings, blobs: BlobStore) -> Downloads:
    """Downloads for a process that serves clients."""
    # In the cloud, a function gets no CPU after it has responded.
    background = ThreadPoolExecutor(1, "manifests") if settings.bucket is None else None
    return Downloads(blobs, background)


@dataclass(frozen=True)
class Jobs:
    """The use cases of jobs on one job store and queue. Each process uses the ones that it needs."""

    store: JobStore
    queue: JobQueue
    pools: Sequence[WorkerPool]
    options: JobOptions = field(default_factory=JobOptions)
    clock: Clock = system_clock
    label_jobs: Callable[[], Mapping[str, str]] = dict
    """Returns a map from labels to hashes of the blobs whose jobs give a worker that label."""
    lease_clock: Clock | None = None
    """The clock by which leases are judged, the same in all processes; None: `clock`."""
    running_limit: RunningLimit = lambda _: None
    fleet: WorkerFleet | None = None
    """Grows the pools when jobs wait; None: others start the workers."""
    time_jumps: TimeJumps = field(default_factory=TimeJumps)
    """Watched by long-running processes: those with a sweep or with leases."""

    @property
    def clients(self) -> JobClients:
        return JobClients(self.store, self._publisher, self.pools, self.clock, self.label_jobs)

    @property
    def attempts(self) -> Attempts:
        return Attempts(self.store, self._publisher, self.options, self.clock, self._lease_clock)

    @property
    def external_workers(self) -> ExternalWorkers:
        return ExternalWorkers(
            self.store, self._publisher, self.options, self._open_pools, self.clock, self._lease_clock, self.label_jobs
        )

    @property
    def waiting_line(self) -> WaitingLine:
        return WaitingLine(self.store, self.options, self._open_pools, self._lease_clock, self.fleet is not None)

    @property
    def stats(self) -> JobStats:
        return JobStats(self.store, self.pools, self.clock)

    @property
    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.store, self.clock)

    @property
    def sweep(self) -> Sweep:
        return Sweep(
            self.store,
            self._publisher,
            self.pools,
            self.options,
            self.clock,
            self._lease_clock,
            self.label_jobs,
            self.time_jumps,
        )

    @property
    def _open_pools(self) -> frozenset[str]:
        return frozenset(pool.name for pool in self.pools if pool.external_workers)

    @property
    def _lease_clock(self) -> Clock:
        return self.lease_clock or self.clock

    @property
    def _publisher(self) -> Publisher:
        return Publisher(
            self.store,
            self.queue,
            self.clock,
            self._fleet_requests,
            self.options.queue_window,
            self.running_limit,
            self._flights,
        )

    @cached_property
    def _flights(self) -> Flights:
        return Flights()

    @cached_property
    def _fleet_requests(self) -> FleetRequests | None:
        return None if self.fleet is None else FleetRequests(self.fleet, self.store, self.pools)


def open_jobs(settings: Settings) -> Jobs:
    """Jobs on the configured job store and queue. Raises InvalidSetting if their libraries are not installed."""
    store, queue, lease_clock = _open_sqlite(settings) if settings.jobs == "sqlite" else _open_google(settings)
    return Jobs(
        store=store,
        queue=queue,
        pools=settings.worker_pools,
        options=JobOptions(
            refresh_period=settings.worker_refresh_interval,
            lease=settings.lease,
            retries=settings.retries,
            clear_output_after=settings.clear_output_timeout,
            queue_window=settings.queue_window,
        ),
        label_jobs=LabelJobs(settings.label_jobs).current,
        lease_clock=lease_clock,
        running_limit=open_quotas(settings).running_limit,
        fleet=open_instance_groups(settings),
        time_jumps=TimeJumps(max(MIN_GAP, settings.lease / GAPS_PER_LEASE)),
    )


def _open_sqlite(settings: Settings) -> tuple[JobStore, JobQueue, Clock]:
    from cloud_executor.backends.sqlite.clock import open_boot_clock
    from cloud_executor.backends.sqlite.database import SqliteDatabase
    from cloud_executor.backends.sqlite.jobs import SqliteJobStore
    from cloud_executor.backends.sqlite.queue import SqliteJobQueue

    database = SqliteDatabase(settings.data / "executor.sqlite")
    clock = open_boot_clock(settings.data)
    queue = SqliteJobQueue(database, settings.data / "wake", clock)
    limits = settings.quotas if settings.has_quotas else None
    return SqliteJobStore(database, queue, settings.queue_window, limits), queue, clock


def _open_google(settings: Settings) -> tuple[JobStore, JobQueue, Clock]:
    try:
        from cloud_executor.backends.google.firestore.jobs import OUTPUT_LIFETIME, FirestoreJobStore
    except ModuleNotFoundError as error:
        raise _not_installed("EXECUTOR_JOBS", settings.jobs, "google") from error
    lifetime = None if settings.clear_output_timeout is None else OUTPUT_LIFETIME
    store = FirestoreJobStore(settings.project, settings.firestore_database, lifetime)
    return store, _open_pubsub(settings), store.now


def open_instance_groups(settings: Settings) -> InstanceGroups | None:
    """The instance groups of the worker pools; None if the settings name no region."""
    if settings.worker_region is None:
        return None
    from cloud_executor.backends.google.instance_groups import InstanceGroups

    least = {pool.name: pool.min_workers for pool in settings.worker_pools}
    return InstanceGroups(settings.project or "", settings.worker_region, settings.topic_prefix, least)


def open_identity_tokens(audience: str) -> IdentityTokens:
    """The verification of Google's identity tokens for this audience."""
    try:
        from cloud_executor.backends.google.identity import IdentityTokens
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"Identity tokens need libraries that are not installed: run `{install_command('google')}`."
        ) from error
    return IdentityTokens(audience)


def open_tokens(settings: Settings) -> Tokens:
    """Access tokens in the configured job store. Raises InvalidSetting if its library is not installed."""
    if settings.jobs == "sqlite":
        from cloud_executor.backends.sqlite.database import SqliteDatabase
        from cloud_executor.backends.sqlite.tokens import SqliteTokenStore

        database = SqliteDatabase(settings.data / "executor.sqlite")
        return Tokens(SqliteTokenStore(database), settings.token_pepper, system_clock)
    try:
        from cloud_executor.backends.google.firestore.tokens import FirestoreTokenStore
    except ModuleNotFoundError as error:
        raise _not_installed("EXECUTOR_JOBS", settings.jobs, "google") from error
    store = FirestoreTokenStore(settings.project, settings.firestore_database)
    return Tokens(store, settings.token_pepper, system_clock)


def open_grants(settings: Settings) -> Grants:
    """Grants of contents in the configured job store, which is opened when a user needs it."""
    return Grants(
        cache(partial(open_grant_store, settings)),
        has_users=settings.auth != {OPEN},
        counts_guests=settings.quotas.bytes_stored is not None,
    )


def open_quotas(settings: Settings) -> Quotas:
    """Limits of users in the configured job store, which is opened when it is needed."""

    def open_store() -> QuotaStore:
        if settings.jobs == "sqlite":
            from cloud_executor.backends.sqlite.database import SqliteDatabase
            from cloud_executor.backends.sqlite.quotas import SqliteQuotaStore

            return SqliteQuotaStore(SqliteDatabase(settings.data / "executor.sqlite"))
        from cloud_executor.backends.google.firestore.quotas import FirestoreQuotaStore

        return FirestoreQuotaStore(settings.project, settings.firestore_database)

    return Quotas(
        cache(open_store),
        cache(partial(open_grant_store, settings)),
        settings.quotas,
        system_clock,
        enabled=settings.has_quotas,
    )


def open_grant_store(settings: Settings) -> GrantStore:
    """The records of who has which contents, in the configured job store."""
    if settings.jobs == "sqlite":
        from cloud_executor.backends.sqlite.database import SqliteDatabase
        from cloud_executor.backends.sqlite.grants import SqliteGrantStore

        return SqliteGrantStore(SqliteDatabase(settings.data / "executor.sqlite"))
    from cloud_executor.backends.google.firestore.grants import FirestoreGrantStore

    return FirestoreGrantStore(settings.project, settings.firestore_database)


def open_identities(settings: Settings) -> Identities:
    """Accounts of Google. Raises InvalidSetting if its library is not installed."""
    try:
        from cloud_executor.backends.google.accounts import GoogleIdentities
    except ModuleNotFoundError as error:
        raise _not_installed("EXECUTOR_AUTH", GOOGLE, "google") from error
    return GoogleIdentities(settings.google_audiences)


def create_in_emulators(settings: Settings, max_deliveries: int) -> JobQueue:
    """Create the resources that Terraform creates in the cloud: the pools' topics and, for Cloud Storage, the bucket.

    Returns the queue. Its pool DEAD_LETTER delivers the messages that were delivered too often.
    """
    queue = _open_pubsub(settings)
    if settings.objects == "gcs":
        from cloud_executor.backends.google.storage.objects import GcsObjectStore

        GcsObjectStore(settings.bucket or "", settings.project, settings.staging_bucket).create()
    queue.create([pool.name for pool in settings.worker_pools], max_deliveries)
    return queue


def _open_pubsub(settings: Settings) -> PubSubJobQueue:
    try:
        from cloud_executor.backends.google.pubsub import PubSubJobQueue
    except ModuleNotFoundError as error:
        raise _not_installed("EXECUTOR_JOBS", settings.jobs, "google") from error
    # The settings guarantee a project here.
    return PubSubJobQueue(settings.project or "", settings.topic_prefix, settings.longest_job)


def _not_installed(variable: str, value: str, extra: str) -> InvalidSetting:
    return InvalidSetting(f"{variable}={value} needs libraries that are not installed: run `{install_command(extra)}`.")
