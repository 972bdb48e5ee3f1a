"""What an operator can set: one frozen object, read from the environment once, at the edge of a process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cloud_executor.errors import Invalid
from cloud_executor.model.pool import NETWORKS, WorkerPool, parse_pools

PREFIX = "EXECUTOR_"

DEFAULT_POOL = "default"
"""the only worker pool where the settings name none"""

ELSEWHERE = frozenset({"EXECUTOR_URL", "EXECUTOR_REQUIRE"})
"""variables of that prefix that are not the server's: the client's address, and what the test-suite must not skip"""


PROJECT_VARIABLE = "GOOGLE_CLOUD_PROJECT"
"""names the project for Google's own libraries too; `EXECUTOR_PROJECT` goes before it"""

GCS_INLINE_LIMIT = 8 * 2**20
"""bytes: a function may answer about 10 MiB if it streams"""


class InvalidSetting(Invalid):
    """A setting in the environment is wrong."""


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _milliseconds(text: str) -> timedelta:
    value = timedelta(milliseconds=int(text))
    if value <= timedelta():
        raise ValueError
    return value


def _milliseconds_or_never(text: str) -> timedelta | None:
    return None if text == "-1" else _milliseconds(text)


def _seconds(text: str) -> timedelta:
    return _milliseconds(str(int(text) * 1000))


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _one_of(*names: str) -> Callable[[str], str]:
    return {name: name for name in names}.__getitem__


def _topic_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]{2,199}", text) or text.startswith("goog"):
        raise ValueError
    return text


def _switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _labels(text: str) -> frozenset[str]:
    return frozenset(label for label in (part.strip() for part in text.split(",")) if label)


def _setting(
    default: Any,  # noqa: ANN401 - of the field's own type, which dataclasses cannot express
    parse: Callable[[str], object],
    form: str,
    meaning: str,
    *,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - as above
    return field(
        default=default,
        repr=not secret,
        metadata={"parse": parse, "form": form, "meaning": meaning},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is the environment variable `EXECUTOR_<FIELD IN CAPITALS>`."""

    data: Path = _setting(
        Path("executor-data"), _path, "a folder", "where the embedded backends keep blobs, jobs and the queue"
    )
    objects: str = _setting(
        "files", _one_of("files", "gcs", "s3"), "files, gcs or s3", "where the bytes of blobs are kept"
    )
    jobs: str = _setting(
        "sqlite",
        _one_of("sqlite", "google"),
        "sqlite or google",
        "Where jobs, their output, and their queue are kept: in SQLite, or in Firestore and Pub/Sub.",
    )
    project: str | None = _setting(None, str, "a Google Cloud project", "whose bucket, database and topics are used")
    bucket: str | None = _setting(None, str, "a bucket's name", "the bucket that gcs or s3 keeps blobs in")
    s3_endpoint: str | None = _setting(
        None, str, "a URL", "where an S3 service other than that of Amazon is, for example MinIO"
    )
    firestore_database: str = _setting(
        "(default)", str, "a database's id", "the Firestore database that firestore keeps jobs in"
    )
    topic_prefix: str = _setting(
        "cloud-executor",
        _topic_prefix,
        "3 to 200 letters, digits, hyphens and dots that begin with a letter",
        "what the names of the topics and subscriptions of pubsub begin with",
    )
    longest_job: timedelta = _setting(
        timedelta(days=1), _seconds, "seconds", "how long pubsub keeps a running job's message from other workers"
    )
    inline_limit: int | None = _setting(
        None, _count, "bytes", "how large an answer may be that is not a redirect to the bucket, where gcs keeps blobs"
    )
    nonce: str | None = _setting(
        None, str, "a text", "shared secret that every request to the executor API must carry", secret=True
    )
    worker_refresh_interval: timedelta = _setting(
        timedelta(seconds=5),
        _milliseconds,
        "milliseconds",
        "how often external workers ask for work; one not seen for five intervals is lost",
    )
    clear_output_timeout: timedelta | None = _setting(
        timedelta(seconds=60),
        _milliseconds_or_never,
        "milliseconds, or -1 for never",
        "how long after a job's end its output segments are deleted",
    )
    label_jobs: Path | None = _setting(
        None, _path, "a JSON file", "label -> hash of the blob whose job gives a worker that label"
    )
    allow_list_all: bool = _setting(
        True, _switch, "true or false", "whether GET /rest/blob/metadata?all=1 lists the blobs that are not public"
    )
    worker_labels: frozenset[str] = _setting(
        frozenset(), _labels, "labels, separated by commas", "what our own workers offer to jobs"
    )
    lease: timedelta = _setting(
        timedelta(seconds=30), _seconds, "seconds", "how long a worker may be silent before its job goes to another"
    )
    retries: int = _setting(
        3,
        _count,
        "a number",
        "how often a job whose worker vanished, or waited in vain for a service, is tried again before it has failed",
    )

    sandbox: str = _setting(
        "process",
        _one_of("process", "container"),
        "process or container",
        "what is around the commands of jobs: nothing but a clean environment, or a container each",
    )
    image: str | None = _setting(None, str, "an image's name", "what the containers of jobs are made of")
    network: str = _setting("none", _one_of(*NETWORKS), "none or bridge", "which network the containers of jobs have")
    job_cpus: float = _setting(1.0, _positive, "a number above 0", "how many processors a job's container may use")
    job_memory: int = _setting(2048, _at_least_one, "MiB", "how much memory a job's container may use")
    job_processes: int = _setting(
        1024, _at_least_one, "a number", "how many processes and threads a job's container may have at once"
    )
    job_disk: int = _setting(
        10240,
        _at_least_one,
        "MiB",
        "how much a job's folder may hold, in a container or not, before it is ended; a larger source is not fetched",
    )
    pools: tuple[WorkerPool, ...] = _setting((), str, "a JSON list", "the worker pools, in order of preference")

    @property
    def worker_pools(self) -> tuple[WorkerPool, ...]:
        """The pools that are named, or else the only one. Images are only those of containers."""
        pools = self.pools or (self._pool_of_settings(),)
        if self.sandbox == "container":
            return pools
        return tuple(replace(pool, image=None, images=()) for pool in pools)

    def _pool_of_settings(self) -> WorkerPool:
        return WorkerPool(
            DEFAULT_POOL,
            labels=self.worker_labels,
            image=self.image,
            network=self.network,
            cpus=self.job_cpus,
            memory_mib=self.job_memory,
            processes=self.job_processes,
            disk_mib=self.job_disk,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises InvalidSetting with a sentence that names the variable."""
        known = {PREFIX + found.name.upper(): found for found in fields(cls)}
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known.keys() | ELSEWHERE)
        if unknown:
            raise InvalidSetting(f"{unknown[0]} is not a setting; the settings are {', '.join(sorted(known))}.")
        values: dict[str, Any] = {}
        for name, found in known.items():
            text = environ.get(name)
            if not text:
                continue
            try:
                values[found.name] = found.metadata["parse"](text)
            except (ValueError, KeyError, OverflowError):
                raise InvalidSetting(f"{name} must be {found.metadata['form']}, not {text[:80]!r}.") from None
        values.setdefault("project", environ.get(PROJECT_VARIABLE) or None)
        pools = values.pop("pools", None)
        settings = cls(**values)
        if pools is not None:
            settings = replace(settings, pools=_parse_pools(pools, settings._pool_of_settings()))
        _check(settings)
        if settings.objects == "gcs" and settings.inline_limit is None:
            return replace(settings, inline_limit=GCS_INLINE_LIMIT)
        return settings


def _parse_pools(text: str, defaults: WorkerPool) -> tuple[WorkerPool, ...]:
    try:
        return parse_pools(f"{PREFIX}POOLS", text, defaults)
    except Invalid as error:
        raise InvalidSetting(str(error)) from None


def _check(settings: Settings) -> None:
    """Whether they go together. Raises InvalidSetting."""
    if settings.objects != "files" and settings.bucket is None:
        raise InvalidSetting(
            f"EXECUTOR_BUCKET must be a bucket's name, because EXECUTOR_OBJECTS is {settings.objects}."
        )
    if settings.objects == "files" and settings.bucket is not None:
        raise InvalidSetting("EXECUTOR_BUCKET is set, but EXECUTOR_OBJECTS is files: set that to gcs or s3.")
    if settings.objects != "s3" and settings.s3_endpoint is not None:
        raise InvalidSetting(
            f"EXECUTOR_S3_ENDPOINT is set, but EXECUTOR_OBJECTS is {settings.objects}: set that to s3."
        )
    if settings.s3_endpoint is not None and not settings.s3_endpoint.startswith(("http://", "https://")):
        raise InvalidSetting("EXECUTOR_S3_ENDPOINT must be a URL that begins with http:// or https://.")
    if settings.jobs == "google" and settings.project is None:
        raise InvalidSetting("EXECUTOR_PROJECT must be a Google Cloud project, because EXECUTOR_JOBS is google.")
    if settings.jobs == "google" and settings.objects == "files":
        raise InvalidSetting(
            "EXECUTOR_OBJECTS must be gcs or s3, because EXECUTOR_JOBS is google: workers on other machines cannot"
            " read local files."
        )
    if settings.sandbox == "container":
        for place, pool in enumerate(settings.worker_pools):
            if pool.image is None:
                variable = f"EXECUTOR_POOLS[{place}].image or EXECUTOR_IMAGE" if settings.pools else "EXECUTOR_IMAGE"
                raise InvalidSetting(f"{variable} must be an image's name, because EXECUTOR_SANDBOX is container.")
