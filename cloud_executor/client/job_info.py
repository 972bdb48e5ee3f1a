"""Jobs, output segments, and workers, as the API returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from cloud_executor.client.errors import ServerError

SUCCESS = "SUCCESS"
CANCELED = "CANCELED"
CREATED = "CREATED"
MOST_AHEAD = 1000
"""Number of jobs ahead up to which servers count."""

_REASONS = {"machine starting": "a machine is starting", "no worker": "no worker is running"}
_UNFINISHED = frozenset({CREATED, "RUNNING"})


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job. Times are strings in the server's format: `2026-01-31T12:00:00.000Z`."""

    hash: str
    status: str
    result_hashes: Mapping[str, str]
    """Blob hashes by artifact name; empty until the job has results."""
    create_time: str | None
    start_time: str | None
    finish_time: str | None
    worker: str | None
    labels: tuple[str, ...]
    output_number: int | None
    """Number of the last output segment."""
    cancel_requested: bool
    error: str | None
    """Reason for the failure, in one sentence."""
    logs: Mapping[str, str]
    """Blob hashes of the whole output, for the keys `stdout` and `stderr`; empty if no command was run."""
    warnings: tuple[str, ...]
    """Sentences about missing results, such as an artifact that matches no file."""
    exit_code: int | None
    """Exit code of the command; None if it has not ended, or if a signal ended it."""
    attempt: int
    """Number of times that a worker has taken the job."""
    durations: Mapping[str, float]
    """Duration of each step of the last attempt, in seconds: `queued`, `fetch`, `run`, `archive`."""
    peak_memory_mib: int | None
    """Peak memory of the command in MiB, if the server knows it."""
    waiting_for: tuple[str, ...] | None
    """Labels that no worker pool has, so that the job waits for an external worker; None if it does not."""
    jobs_ahead: int | None
    """Number of jobs that are likely to start before a waiting job, as far as the server counts; None if unknown."""
    waiting_reason: str | None
    """Why no job can start: `machine starting`, or `no worker`; None if a worker runs, or if unknown."""
    name: str | None
    tags: tuple[str, ...]
    secret: str | None = field(repr=False)
    """Secret that cancels the job; only in the response to the request that created it."""
    document: Mapping[str, Any] = field(repr=False, compare=False)
    """The whole JSON document, without the secret."""

    @classmethod
    def from_wire(cls, document: Any) -> Self:  # noqa: ANN401 - JSON, checked here
        """Read a JSON document. Raises ServerError."""
        try:
            return cls(
                hash=document["hash"],
                status=document["status"],
                result_hashes=dict(document.get("resultHashes") or {}),
                create_time=document.get("createTime"),
                start_time=document.get("startTime"),
                finish_time=document.get("finishTime"),
                worker=document.get("worker"),
                labels=tuple(document.get("labels") or ()),
                output_number=document.get("outputNumber"),
                cancel_requested=bool(document.get("cancelRequested")),
                error=document.get("error"),
                logs=dict(document.get("logs") or {}),
                warnings=tuple(document.get("warnings") or ()),
                exit_code=document.get("exitCode"),
                attempt=int(document.get("attempt") or 0),
                durations=dict(document.get("durations") or {}),
                peak_memory_mib=document.get("peakMemoryMiB"),
                waiting_for=None if document.get("waitingFor") is None else tuple(document["waitingFor"]),
                jobs_ahead=None if document.get("jobsAhead") is None else int(document["jobsAhead"]),
                waiting_reason=document.get("waitingReason"),
                name=document.get("name"),
                tags=tuple(document.get("tags") or ()),
                secret=document.get("secret"),
                document={name: value for name, value in document.items() if name != "secret"},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServerError from error

    @property
    def finished(self) -> bool:
        return self.status not in _UNFINISHED

    @property
    def waiting_note(self) -> str | None:
        """What a waiting job waits for, in a few words that can change with every poll; None if unknown."""
        if self.status != CREATED:
            return None
        if self.waiting_reason is not None:
            return _REASONS.get(self.waiting_reason, self.waiting_reason)
        if not self.jobs_ahead:
            return None
        count = f"{self.jobs_ahead}{'+' if self.jobs_ahead >= MOST_AHEAD else ''}"
        return f"{count} job{'' if self.jobs_ahead == 1 else 's'} ahead"

    @property
    def succeeded(self) -> bool:
        return self.status == SUCCESS


@dataclass(frozen=True, slots=True)
class OutputSegment:
    """A numbered piece of a job's standard output."""

    number: int
    output: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says about itself."""

    version: str | None
    date: str | None
    """Its time, in the form of the HTTP header `Date`."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker, at the time it was last seen."""

    client_id: str
    last_seen: datetime
    labels: tuple[str, ...]
    jobs: tuple[JobInfo, ...]
    """Jobs that it is running."""
    pool: str | None = None
    """Worker pool, for the server's own workers."""
    slots: int | None = None
    """Number of jobs that it runs at the same time, if it is known."""

    @classmethod
    def from_wire(cls, document: Any) -> Self:  # noqa: ANN401 - JSON, checked here
        """Read a JSON document. Raises ServerError."""
        try:
            return cls(
                client_id=document["clientId"],
                last_seen=datetime.fromtimestamp(document["lastSeen"], UTC),
                labels=tuple(document.get("labels") or ()),
                jobs=tuple(map(JobInfo.from_wire, document.get("jobs") or ())),
                pool=document.get("pool"),
                slots=document.get("slots"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ServerError from error
