"""Limits of what a user may use, and the sentences for those who reach them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from cloud_executor.errors import LimitReached

HOUR_SECONDS = 3600
"""Time after which a client may try again if only an administrator can help, in seconds."""

SOON_SECONDS = 30
"""Time after which waiting jobs may have started, in seconds."""


class Quota(StrEnum):
    """What is limited, by its name in the API."""

    BYTES_PER_DAY = "bytesPerDay"
    """Bytes that the user uploads on one day, in UTC."""
    BYTES_STORED = "bytesStored"
    """Size of all distinct contents that the user has."""
    JOBS_STORED = "jobsStored"
    """All jobs of the user, also finished ones."""
    JOBS_WAITING = "jobsWaiting"
    JOBS_RUNNING = "jobsRunning"
    """A job above this limit waits; it is not rejected."""
    REQUESTS_PER_MINUTE = "requestsPerMinute"
    """Requests to one process of the server."""

    @property
    def setting(self) -> str:
        """The setting with the operator's default."""
        return f"EXECUTOR_QUOTA_{self.name}"


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The limits of one user. None: no limit."""

    bytes_per_day: int | None = None
    bytes_stored: int | None = None
    jobs_stored: int | None = None
    jobs_waiting: int | None = None
    jobs_running: int | None = None
    requests_per_minute: int | None = None

    def of(self, quota: Quota) -> int | None:
        found: int | None = getattr(self, quota.name.lower())
        return found

    def changed(self, changes: Mapping[str, int | None]) -> Limits:
        """These limits with the changes that an administrator made for a user, by names in the API."""
        known = {quota.name.lower(): changes[quota] for quota in Quota if quota in changes}
        return msgspec.structs.replace(self, **known)

    @property
    def any(self) -> bool:
        return self != Limits()


_PHRASES: Mapping[Quota, tuple[str, str]] = {
    Quota.BYTES_PER_DAY: ("bytes uploaded per day", "wait until midnight UTC"),
    Quota.BYTES_STORED: ("bytes stored", "delete jobs and files that you no longer need"),
    Quota.JOBS_STORED: ("stored jobs", "delete jobs that you no longer need"),
    Quota.JOBS_WAITING: ("waiting jobs", "wait until some of them have started"),
    Quota.REQUESTS_PER_MINUTE: ("requests per minute", "send fewer requests"),
}


def day_of(now: datetime) -> str:
    """The day to which an upload at this time, in UTC, counts."""
    return now.date().isoformat()


def check(quota: Quota, user: str, limits: Limits, used: int, more: int, now: datetime) -> None:
    """Check that the user, who has used so much of a quota, may use `more`. Raises LimitReached."""
    limit = limits.of(quota)
    if limit is not None and used + more > limit:
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        left = int((midnight - now).total_seconds()) + 1
        seconds = {Quota.BYTES_PER_DAY: left, Quota.JOBS_WAITING: SOON_SECONDS}.get(quota, HOUR_SECONDS)
        raise limit_reached(quota, user, limit, seconds)


def limit_reached(quota: Quota, user: str, limit: int, retry_after: int) -> LimitReached:
    """The error for a request that exceeds this limit."""
    what, advice = _PHRASES[quota]
    return LimitReached(
        f"The limit of {limit} {what} for the user {user} is reached ({quota.setting}); {advice}, or ask an "
        f"administrator to raise it with `executor quota`.",
        retry_after,
    )
