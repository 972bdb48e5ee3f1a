"""The settings of the server and the worker: a frozen object, read from the environment once, at process start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from cloud_executor.model.access.quota import Limits
from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW
from cloud_executor.model.jobs.pool import NETWORKS, WorkerPool
from cloud_executor.settings import values as forms
from cloud_executor.settings.checks import check_together
from cloud_executor.settings.environment import PROJECT_VARIABLE, field_values
from cloud_executor.settings.errors import InvalidSetting, parse_environment, parse_pools
from cloud_executor.settings.field import setting
from cloud_executor.settings.values import GOOGLE, OPEN, TOKEN

DEFAULT_POOL = "default"
"""Name of the only worker pool if EXECUTOR_POOLS is not set."""

GCS_INLINE_LIMIT = 8 * 2**20
"""Default inline limit with Cloud Storage, in bytes; a function can stream responses of about 10 MiB."""

DEFAULT_LARGEST_ZIP = 50 * 2**30
"""Default size of the largest zip that is composed in a bucket, in bytes."""


class Push(NamedTuple):
    """Who may push dead letters, and the audience of the tokens that prove it."""

    account: str
    audience: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is the environment variable `EXECUTOR_<FIELD IN CAPITALS>`."""

    data: Path = setting(
        Path("executor-data"), forms.path, "a folder", "Folder of the embedded backends: blobs, jobs, and the queue."
    )
    objects: str = setting(
        "files",
        forms.one_of("files", "gcs", "s3"),
        "files, gcs, or s3",
        "Object store for blobs: local files, Cloud Storage, or an S3 service.",
    )
    jobs: str = setting(
        "sqlite",
        forms.one_of("sqlite", "google"),
        "sqlite or google",
        "Store for jobs, their output, and workers, and the queue: SQLite, or Firestore and Pub/Sub.",
    )
    project: str | None = setting(
        None,
        str,
        "a Google Cloud project",
        "Project of the bucket, the database, and the topics.",
        shown_default=f"`{PROJECT_VARIABLE}`",
    )
    bucket: str | None = setting(None, str, "a bucket name", "Bucket for blobs, with gcs or s3.")
    staging_bucket: str | None = setting(
        None,
        str,
        "a bucket name",
        "Bucket for uploads in flight and composed zips, with gcs. It should have the location and storage class of "
        "`EXECUTOR_BUCKET`, and no soft delete.",
        shown_default="`EXECUTOR_BUCKET`",
    )
    s3_endpoint: str | None = setting(
        None, str, "a URL", "URL of an S3 service other than Amazon's, for example MinIO."
    )
    firestore_database: str = setting("(default)", str, "a database id", "Firestore database for jobs.")
    topic_prefix: str = setting(
        "cloud-executor",
        forms.topic_prefix,
        "3 to 200 letters, digits, dots, or hyphens, starting with a letter but not goog",
        "Prefix for the names of Pub/Sub topics and subscriptions.",
    )
    worker_region: str | None = setting(
        None,
        str,
        "a Google Cloud region",
        "Region of the worker pools' instance groups and autoscalers, `<EXECUTOR_TOPIC_PREFIX>-<pool>`. A new job then "
        "requests a machine at once.",
        shown_default="none; only the autoscalers add machines",
    )
    longest_job: timedelta = setting(
        timedelta(days=1),
        forms.seconds,
        "a whole number of seconds",
        "Time that Pub/Sub keeps a running job's message from other workers. A job may run longer, but a fleet that "
        "scales with the backlog then no longer counts it.",
    )
    sweep_url: str | None = setting(
        None,
        forms.url,
        "a URL that starts with https:// or http://",
        "URL of the function `sweep`, which removes the machine of an idle worker.",
        shown_default="none; idle machines stay",
    )
    push_account: str | None = setting(
        None,
        str,
        "an e-mail address",
        "Service account as which Pub/Sub pushes dead letters to the function `dead_letter`.",
    )
    push_audience: str | None = setting(
        None, str, "a string", "Audience of the identity tokens with which Pub/Sub pushes dead letters."
    )
    push_unverified: bool = setting(
        False,
        forms.switch,
        "true or false",
        "Whether anyone may push dead letters, for the Pub/Sub emulator, which sends no tokens.",
    )
    inline_limit: int | None = setting(
        None,
        forms.count,
        "a whole number of bytes",
        "Size of the largest download that is served directly, with gcs. Larger downloads redirect to the bucket.",
        shown_default=f"none; with gcs, {GCS_INLINE_LIMIT}",
    )
    largest_zip: int = setting(
        DEFAULT_LARGEST_ZIP,
        forms.at_least_one,
        "a whole number of bytes above 0",
        "Size of the largest zip that is composed in the bucket, with gcs. The files of larger artifacts are "
        "downloaded one by one.",
    )
    nonce: str | None = setting(
        None, str, "a string", "Shared secret that every request to the executor API must carry.", secret=True
    )
    worker_nonce: str | None = setting(
        None,
        str,
        "a string",
        "Shared secret that the requests of external workers must carry: `POST worker`, `update`, and `output`. It "
        "gives no other right, except to read a job, and `EXECUTOR_NONCE` does not replace it.",
        shown_default="`EXECUTOR_NONCE`",
        secret=True,
    )
    auth: frozenset[str] = setting(
        frozenset({OPEN}),
        forms.some_of(OPEN, TOKEN, GOOGLE),
        "one or more of open, token, and google, separated by commas",
        "How callers identify themselves: see [Authentication](security.md#authentication).",
        shown_default="open",
    )
    allow_open: bool = setting(
        False, forms.yes_or_no, "yes or no", "Whether a server that others can reach may run jobs for anyone who asks."
    )
    token_pepper: str = setting(
        "", str, "a string", "Secret with which tokens are hashed. Changing it invalidates all tokens.", secret=True
    )
    admin_token: str | None = setting(
        None,
        str,
        "a string",
        "Token of an administrator, the user `admin`, that is valid without being stored; with token. It consists of "
        "`cex_` and at least 32 random letters and digits.",
        secret=True,
    )
    google_audiences: frozenset[str] = setting(
        frozenset(),
        forms.names,
        "audiences separated by commas",
        "Audiences of accepted ID tokens, such as the server's address, and of IAP's assertions, "
        "`/projects/<number>/…`; with google.",
    )
    users: frozenset[str] = setting(
        frozenset(),
        forms.accounts,
        "addresses and domains separated by commas, such as ada@example.org, domain:example.org",
        "Google accounts that may use the server.",
    )
    admins: frozenset[str] = setting(
        frozenset(), forms.accounts, "as for `EXECUTOR_USERS`", "Google accounts that may do everything."
    )
    quota_bytes_per_day: int | None = setting(
        None,
        forms.count,
        "a whole number of bytes",
        "Bytes that each user may upload per day, in UTC; see [Quotas](security.md#quotas).",
        shown_default="no limit",
    )
    quota_bytes_stored: int | None = setting(
        None,
        forms.count,
        "a whole number of bytes",
        "Size of all files that each user may have stored.",
        shown_default="no limit",
    )
    quota_jobs_stored: int | None = setting(
        None,
        forms.count,
        "a whole number",
        "Number of jobs that each user may have, including finished ones.",
        shown_default="no limit",
    )
    quota_jobs_waiting: int | None = setting(
        None, forms.count, "a whole number", "Number of waiting jobs of each user.", shown_default="no limit"
    )
    quota_jobs_running: int | None = setting(
        None,
        forms.count,
        "a whole number",
        "Number of running jobs of each user; further jobs wait. Server, workers, and `sweep` need the same value.",
        shown_default="no limit",
    )
    quota_requests_per_minute: int | None = setting(
        None,
        forms.count,
        "a whole number",
        "Number of requests per minute of each user to one process of the server.",
        shown_default="no limit",
    )
    proxies: int | None = setting(
        None,
        forms.count,
        "a whole number",
        "Number of proxies in front of the server that append to `X-Forwarded-For`. It tells callers apart "
        "when failed attempts are throttled.",
        shown_default="0; in Cloud Run, 1",
    )
    allowed_hosts: frozenset[str] = setting(
        frozenset(),
        forms.names,
        "host names separated by commas, or *",
        "Host names that the server accepts, in addition to the names of the loopback interface. "
        "Requests that carry the nonce may use any name.",
        shown_default="the `--host` of `executor up`",
    )
    allowed_origins: frozenset[str] = setting(
        frozenset(),
        forms.origins,
        "origins separated by commas, such as https://webgme.example.org, or *",
        "Origins of the web pages that may use the server from a browser.",
        shown_default="the server's own",
    )
    worker_refresh_interval: timedelta = setting(
        timedelta(seconds=5),
        forms.milliseconds,
        "a whole number of milliseconds",
        "Interval between the check-ins of an external worker. A worker not seen for five intervals is lost.",
    )
    clear_output_timeout: timedelta | None = setting(
        timedelta(seconds=60),
        forms.milliseconds_or_never,
        "a whole number of milliseconds, or -1 for never",
        "Time between the end of a job and the deletion of its output segments.",
    )
    label_jobs: Path | None = setting(
        None,
        forms.path,
        "a JSON file",
        "File that maps each label to the hash of the blob whose job gives a worker that label. It is reread when it "
        "changes.",
    )
    allow_list_all: bool = setting(
        True,
        forms.switch,
        "true or false",
        "Whether `GET /rest/blob/metadata?all=1` lists blobs that are not public. With tokens or accounts, users see "
        "only their own.",
    )
    allow_delete: bool | None = setting(
        None,
        forms.yes_or_no,
        "yes or no",
        "Whether users may delete their finished jobs, and administrators blobs.",
        shown_default="yes with sqlite, no with google",
    )
    keep_jobs: timedelta | None = setting(
        None,
        forms.days,
        "a whole number of days above 0",
        "Age at which `executor gc` and its schedule delete finished jobs, and blobs that nothing needs: see "
        "[Deleting old data](operations.md#deleting-old-data).",
        shown_default="none; everything is kept",
    )
    worker_labels: frozenset[str] = setting(
        frozenset(), forms.names, "labels separated by commas", "Labels that our own workers offer."
    )
    external_workers: bool | None = setting(
        None,
        forms.switch,
        "true or false",
        "Whether external workers may run the jobs of every pool that has no `externalWorkers` of its own.",
        shown_default="false; true without `EXECUTOR_POOLS`; `executor up` sets false, or true with `--slots 0`",
    )
    lease: timedelta = setting(
        timedelta(seconds=30),
        forms.seconds,
        "a whole number of seconds",
        "Time that a worker may be silent before its job goes to another worker.",
    )
    retries: int = setting(
        3,
        forms.count,
        "a whole number",
        "Number of times that a job is run again after a lost attempt: its worker vanished, or a service that it "
        "needed stayed unreachable.",
    )
    queue_window: int = setting(
        DEFAULT_WINDOW,
        forms.at_least_one,
        "a whole number above 0",
        "Maximum number of each user's waiting jobs in the queue of a worker pool; the others follow one by one, so "
        "that users share the workers. Raise it if one user's short jobs have to fill several times as many slots.",
    )

    stop_seconds: float = setting(
        4.5,
        forms.positive,
        "a number of seconds above 0",
        "Time that a worker that is told to stop has to interrupt its commands and return its jobs. It must be less "
        "than the time after which the worker is killed.",
    )

    sandbox: str = setting(
        "process",
        forms.one_of("process", "container"),
        "process or container",
        "Isolation of each job's command: a process with a clean environment, or a container.",
    )
    image: str | None = setting(None, str, "an image name", "Image for the containers of jobs.")
    network: str = setting("none", forms.one_of(*NETWORKS), "none or bridge", "Network of the containers of jobs.")
    container_runtime: str | None = setting(
        None,
        str,
        "a runtime of the container engine",
        "Runtime of the containers of jobs, such as gVisor's `runsc`.",
        shown_default="the engine's default",
    )
    job_cpus: float = setting(1.0, forms.positive, "a number above 0", "Processors that a job's container may use.")
    job_memory: int = setting(
        2048, forms.at_least_one, "a whole number of MiB above 0", "Memory limit of a job's container."
    )
    job_processes: int = setting(
        1024, forms.at_least_one, "a whole number above 0", "Limit of processes and threads in a job's container."
    )
    job_disk: int = setting(
        10240,
        forms.at_least_one,
        "a whole number of MiB above 0",
        "Disk limit of a job's folder, with or without a container. A command that exceeds it is stopped, and a larger "
        "source is not fetched.",
    )
    job_env: Mapping[str, str] | None = setting(
        None,
        str,
        "a JSON object of strings",
        "Variables for the commands of all jobs, such as licenses and proxies: see [Environment](#environment).",
        secret=True,
    )
    pools: tuple[WorkerPool, ...] = setting(
        (),
        str,
        "a JSON list",
        "Worker pools, in order of preference: see [Worker pools](#worker-pools).",
        shown_default=f"one pool, `{DEFAULT_POOL}`, from the settings above",
    )

    @property
    def deployment(self) -> str | None:
        """Name of one of several deployments in a Google Cloud project; None without Pub/Sub."""
        return self.topic_prefix if self.jobs == "google" else None

    @property
    def leave_audience(self) -> str:
        """Audience of the identity tokens with which machines leave: another deployment's tokens are worthless here."""
        return f"https://cloud-executor.invalid/{self.project}/{self.topic_prefix}/leave"

    @property
    def push(self) -> Push | None:
        """Who may push dead letters; None: anyone. Raises InvalidSetting if nothing says so."""
        if self.push_unverified:
            return None
        if self.push_account is None or self.push_audience is None:
            raise InvalidSetting(
                "EXECUTOR_PUSH_ACCOUNT and EXECUTOR_PUSH_AUDIENCE must be set, because anyone could push dead letters "
                "otherwise. With an emulator, set EXECUTOR_PUSH_UNVERIFIED=true."
            )
        return Push(self.push_account, self.push_audience)

    @property
    def worker_pools(self) -> tuple[WorkerPool, ...]:
        """The pools of EXECUTOR_POOLS, or else a single one. Without containers, they have no images."""
        pools = self.pools or (self._pool_of_settings(),)
        if self.sandbox == "container":
            return pools
        return tuple(replace(pool, image=None, images=()) for pool in pools)

    @property
    def allows_deletion(self) -> bool:
        """Whether callers may delete data."""
        return self.jobs == "sqlite" if self.allow_delete is None else self.allow_delete

    @property
    def quotas(self) -> Limits:
        """The limits of a user for whom an administrator has set no others."""
        return Limits(**{name: getattr(self, f"quota_{name}") for name in Limits.__struct_fields__})

    @property
    def has_quotas(self) -> bool:
        """Whether users have limits, or administrators can set some."""
        return self.quotas.any or self.auth != {OPEN}

    @property
    def is_open(self) -> bool:
        """Whether anyone who reaches the server can run commands."""
        return OPEN in self.auth and self.nonce is None

    def _pool_of_settings(self) -> WorkerPool:
        return WorkerPool(
            DEFAULT_POOL,
            labels=self.worker_labels,
            image=self.image,
            network=self.network,
            runtime=self.container_runtime,
            cpus=self.job_cpus,
            memory_mib=self.job_memory,
            processes=self.job_processes,
            disk_mib=self.job_disk,
            external_workers=self.external_workers is not False,
            env=self.job_env or {},
            max_retries=self.retries,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises InvalidSetting; its message names the variable."""
        values = field_values(fields(cls), environ)
        pools = values.pop("pools", None)
        if "job_env" in values:
            values["job_env"] = parse_environment(values["job_env"])
        settings = cls(**values)
        if pools is not None:
            defaults = replace(settings._pool_of_settings(), external_workers=settings.external_workers is True)
            settings = replace(settings, pools=parse_pools(pools, defaults))
        check_together(settings)
        if settings.objects == "gcs" and settings.inline_limit is None:
            return replace(settings, inline_limit=GCS_INLINE_LIMIT)
        return settings
