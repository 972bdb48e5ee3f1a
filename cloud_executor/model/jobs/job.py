"""A job, its output, and what is recorded about it. `transitions` says how a job changes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from cloud_executor.errors import Conflict
from cloud_executor.model.access.owner import GUEST, id_in


class Status(StrEnum):
    """Statuses with a meaning. An update may set any other string, which counts as not finished."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    CANCELED = "CANCELED"
    FAILED_TO_EXECUTE = "FAILED_TO_EXECUTE"
    FAILED_TO_GET_SOURCE_METADATA = "FAILED_TO_GET_SOURCE_METADATA"
    FAILED_SOURCE_COULD_NOT_BE_OBTAINED = "FAILED_SOURCE_COULD_NOT_BE_OBTAINED"
    FAILED_CREATING_SOURCE_ZIP = "FAILED_CREATING_SOURCE_ZIP"
    FAILED_UNZIP = "FAILED_UNZIP"
    FAILED_EXECUTOR_CONFIG = "FAILED_EXECUTOR_CONFIG"
    FAILED_TO_ARCHIVE_FILE = "FAILED_TO_ARCHIVE_FILE"
    FAILED_TO_SAVE_JOINT_ARTIFACT = "FAILED_TO_SAVE_JOINT_ARTIFACT"
    FAILED_TO_ADD_OBJECT_HASHES = "FAILED_TO_ADD_OBJECT_HASHES"
    FAILED_TO_SAVE_ARTIFACT = "FAILED_TO_SAVE_ARTIFACT"


DOCUMENT_FIELDS = (
    *("hash", "resultHashes", "resultSuperSet", "userId", "status", "createTime", "startTime", "finishTime", "worker"),
    *("labels", "outputNumber", "cancelRequested", "error", "name", "tags", "waitingFor", "attempt", "exitCode"),
    *("durations", "peakMemoryMiB", "logs", "warnings"),
)
"""All fields that a job's document can have."""

FINISHED = frozenset(Status) - {Status.CREATED, Status.RUNNING}


class StaleAttempt(Conflict):
    """This attempt no longer owns the job."""


class OutputRemains(Conflict):
    """The canceled job still has output, which must be deleted first."""


class NotClaimable(Conflict):
    """The job is finished, runs on another worker, or belongs to another pool."""


class NotFinished(Conflict):
    """The job has not finished; wait until it has, or cancel it, before you delete it."""


class JobRuns(Conflict):
    """The job runs; wait until it has finished, or cancel it, before you run it again."""


class Durations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Duration of each step of the last attempt, in seconds; None for a step that it did not reach."""

    queued: float | None = None
    """From the creation of the job to the start of the attempt."""
    fetch: float | None = None
    """Until the job's files are in place."""
    run: float | None = None
    """The command, including the overhead of its sandbox."""
    archive: float | None = None
    """Until the results are stored."""


_HASHED = "sha256:"


def hashed_secret(secret: str) -> str:
    """What is stored of a job's secret: a reader of the database cannot cancel the job."""
    return _HASHED + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One command to run. Times that clients see are strings, as they were received; internal times are datetimes."""

    hash: str
    """The job's key (`key_of`): its id, or, if its owner is not the guest, the owner and the id."""
    create_time: str
    secret: str
    """Hash of the secret that allows its holder to cancel the job (`hashed_secret`).

    The create that made the job returns the secret itself, once. Jobs of earlier versions are stored with it.
    """
    user_id: str = GUEST
    status: str = Status.CREATED
    labels: tuple[str, ...] = ()
    """Labels that a worker must offer to run the job."""
    name: str | None = None
    """Name that its owner gave the job."""
    tags: tuple[str, ...] = ()
    """Strings by which its owner finds the job."""
    result_hashes: dict[str, str] | None = None
    """Artifact name -> blob hash; None until there are results."""
    result_super_set: str | None = None
    """Stored and shown for external workers (docs/protocol.md: Job document); our workers do not set it."""
    start_time: str | None = None
    finish_time: str | None = None
    worker: str | None = None
    """Key of the worker that claimed the job: its client id, as in `WorkerRecord`."""
    output_number: int | None = None
    """Number of the output segment that arrived last."""
    cancel_requested: bool = False
    error: str | None = None
    """One sentence on why the job failed."""
    exit_code: int | None = None
    """Exit code of the command; None if a signal ended it."""
    durations: Durations | None = None
    peak_memory_mib: int | None = None
    """Peak memory of the command in MiB, as far as the sandbox can tell."""
    logs: dict[str, str] | None = None
    """`stdout`, `stderr` -> blob hash of the whole output of the last attempt; None if no command was run."""
    warnings: tuple[str, ...] = ()
    """Sentences about results that the job's owner may miss."""
    pool: str | None = None
    """Worker pool that the job is published to; None: it waits for an external worker."""
    later_pools: tuple[str, ...] = ()
    """Pools that the job moves to, in this order, if it needs more than its pool allows."""
    attempt: int = 0
    """Number of claims so far; a write from an older attempt is rejected."""
    lost_attempts: int = msgspec.field(default=0, name="losses")  # the name in existing stores
    """Number of attempts that ended because their worker vanished or a service was unavailable."""
    excused: float = 0.0
    """Part of the lost attempts that does not count against the retries, because the job was probably not the cause."""
    claim_token: str | None = None
    """Token of the claim that began the last attempt: the same claim, made again, is the same attempt."""
    worker_token: str | None = None
    """Hash of the token that an external worker got with its claim (`hashed_secret`), for its reports."""
    dead_letters: int = 0
    """Number of messages that the queue gave up on since the last attempt."""
    retries: int | None = None
    """Maximum number of lost attempts, from the job's own files; None: as the settings say."""
    lease_expires: datetime | None = None
    """Expiry of the attempt's lease; None for external workers, which are tracked by `last_seen`."""
    published_at: datetime | None = None
    """Time at which a message for the job was last put into the queue; None: it has to be published."""
    publishes: int = 0
    """Number of messages that were put into the queue since the last attempt."""
    start_by: datetime | None = None
    """Time until which the external worker has to report on the job, or name it when it checks in; None: it has."""
    output_expires: datetime | None = None
    """Time at which the output may be deleted."""
    trace: str | None = None
    """Trace id (32 hex digits) of the request that created the job; every log record about the job has it."""

    @property
    def id(self) -> str:
        """What its owner calls the job: normally the hash of the blob with its files, but any string is valid."""
        return id_in(self.hash)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def running(self) -> bool:
        """Whether a worker has the job. An external worker may give it a status of its own."""
        return self.status != Status.CREATED and not self.finished

    @property
    def of_own_worker(self) -> bool:
        """Whether one of our workers has the job, or had it when it ended."""
        return self.lease_expires is not None or (self.finished and self.claim_token is not None)

    def has_secret(self, secret: str) -> bool:
        """Whether this is the job's secret. The comparison takes constant time."""
        given = hashed_secret(secret) if self.secret.startswith(_HASHED) else secret
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.secret.encode())

    def is_claimed_with(self, token: str | None) -> bool:
        """Whether a report with this token belongs to the last claim. WebGME's workers send none."""
        if token is None or self.worker_token is None:
            return token is None
        return hmac.compare_digest(hashed_secret(token), self.worker_token)

    def document(self) -> dict[str, object]:
        """The job as the API shows it, without its secret."""
        document: dict[str, object] = {
            "hash": self.id,
            "resultHashes": [] if self.result_hashes is None else self.result_hashes,
            "resultSuperSet": self.result_super_set,
            "userId": [self.user_id],
            "status": self.status,
            "createTime": self.create_time,
            "startTime": self.start_time,
            "finishTime": self.finish_time,
            "worker": None if self.worker is None else id_in(self.worker),
            "labels": self.labels,
            "outputNumber": self.output_number,
        }
        if self.cancel_requested:
            document["cancelRequested"] = True
        if self.error is not None:
            document["error"] = self.error
        # WebGME's documents lack the following fields; each is present once it has a value.
        if self.name is not None:
            document["name"] = self.name
        if self.tags:
            document["tags"] = self.tags
        if self.status == Status.CREATED and self.pool is None:
            document["waitingFor"] = self.labels
        if self.attempt:
            document["attempt"] = self.attempt
        if self.exit_code is not None:
            document["exitCode"] = self.exit_code
        if self.durations is not None:
            document["durations"] = self.durations
        if self.peak_memory_mib is not None:
            document["peakMemoryMiB"] = self.peak_memory_mib
        if self.logs is not None:
            document["logs"] = self.logs
        if self.warnings:
            document["warnings"] = self.warnings
        return document


class JobUpdate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Fields that an external worker may change. None leaves a field unchanged, so no field can be unset."""

    token: str | None = None
    """Token of the claim that the report belongs to; None: the worker, such as WebGME's, sends none."""

    status: str | None = None
    result_hashes: dict[str, str] | None = None
    result_super_set: str | None = None
    start_time: str | None = None
    finish_time: str | None = None
    worker: str | None = None
    labels: tuple[str, ...] | None = None
    output_number: int | None = None


class OutputSegment(msgspec.Struct, frozen=True):
    """A numbered segment of a job's standard output. Numbers may be negative."""

    job_hash: str
    number: int
    output: str
    """May contain lone surrogates, because external workers send JavaScript strings."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt of one of our workers ended."""

    status: Status
    start_time: datetime | None = None
    finish_time: datetime | None = None
    result_hashes: Mapping[str, str] | None = None
    """Artifact name -> blob hash."""
    error: str | None = None
    """One sentence on why the job failed."""
    exit_code: int | None = None
    durations: Durations | None = None
    peak_memory_mib: int | None = None
    logs: Mapping[str, str] | None = None
    """`stdout`, `stderr` -> blob hash."""
    warnings: tuple[str, ...] = ()
