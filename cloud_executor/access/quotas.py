"""The limits of users: check them, and change them (docs/security.md: Quotas)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cloud_executor.clock import Clock
from cloud_executor.errors import Invalid
from cloud_executor.model.access import quota as quotas
from cloud_executor.model.access.caller import Caller
from cloud_executor.model.access.quota import Limits, Quota, day_of
from cloud_executor.model.documents.json_fields import whole_number
from cloud_executor.model.jobs.job import Status
from cloud_executor.ports import GrantStore, JobStore, QuotaStore

logger = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""Longest time for which limits are remembered, in seconds: a change takes effect within this time."""

COUNTED_SECONDS = 10.0
"""Longest time for which a number of jobs is remembered, in seconds."""

UNCOUNTED_SHARE = 100
"""Jobs are counted again after one in this many of the jobs that are left until the limit."""

MAX_KEPT = 10_000
"""Number of users whose limits, and counts that are remembered."""

DEFAULT = "default"
"""Value of a limit that is set to the operator's default."""

COUNTED_JOBS = 1_000_000
"""Largest number of jobs that the usage of a user shows."""

_JOBS: Mapping[Quota, tuple[Status, ...]] = {
    Quota.JOBS_STORED: (),
    Quota.JOBS_WAITING: (Status.CREATED,),
    Quota.JOBS_RUNNING: (Status.RUNNING,),
}
"""Statuses of the jobs that count; none: all."""


@dataclass(slots=True)
class _Kept:
    """What is remembered about a user."""

    limits: Limits
    until: float


@dataclass(slots=True)
class _Allowance:
    """The number of jobs that may be created before the stored ones are counted again."""

    left: int
    until: float


@dataclass(frozen=True, slots=True)
class Quotas:
    """The use cases of limits. Safe for concurrent use.

    Without `enabled`, there are no limits, and no method but those for administrators reads or writes anything.
    """

    open_store: Callable[[], QuotaStore]
    open_grants: Callable[[], GrantStore]
    defaults: Limits
    clock: Clock
    enabled: bool = True
    now: Callable[[], float] = time.monotonic
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _allowances: dict[tuple[str, Quota], _Allowance] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def limits(self, user: str) -> Limits:
        """The limits of a user, which can be a minute old."""
        if not self.enabled:
            return self.defaults
        kept = self._kept.get(user)
        if kept is None or self.now() >= kept.until:
            kept = _Kept(self._current(user), self.now() + KEPT_SECONDS)
            with self._lock:
                if len(self._kept) >= MAX_KEPT:
                    self._kept.clear()
                self._kept[user] = kept
        return kept.limits

    # Uploads --------------------------------------------------------------------------------------------------------

    def check_upload(self, user: str, size: int) -> int | None:
        """Check that the user may upload so many bytes. Returns how many they may upload; None: any number.

        Uploads that run at the same time can exceed a limit together. Raises LimitReached.
        """
        limits = self.limits(user)
        left = []
        if limits.bytes_per_day is not None:
            used = self.open_store().uploaded(user, day_of(self.clock()))
            left.append(self._left(Quota.BYTES_PER_DAY, user, limits, used, size))
        if limits.bytes_stored is not None:
            left.append(self._left(Quota.BYTES_STORED, user, limits, self.open_grants().bytes_of(user), size))
        return min(left, default=None)

    def limited(self, user: str, size: int | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of an upload of this size (None: unknown). Raises LimitReached as soon as they are too many."""
        left = self.check_upload(user, size or 0)
        if left is None:
            yield from chunks
            return
        received = 0
        for chunk in chunks:
            received += len(chunk)
            if received > left:
                self.check_upload(user, received)
            yield chunk

    def count_upload(self, user: str, size: int) -> None:
        """Count the bytes of an upload."""
        if self.limits(user).bytes_per_day is not None:
            self.open_store().count_upload(user, day_of(self.clock()), size)

    # Jobs -----------------------------------------------------------------------------------------------------------

    def check_create(self, user: str, store: JobStore) -> None:
        """Check that the user may create a job. Raises LimitReached."""
        limits = self.limits(user)
        for quota in (Quota.JOBS_STORED, Quota.JOBS_WAITING):
            limit = limits.of(quota)
            if limit is not None and not self._takes_from_allowance(user, quota):
                used = store.count(user, _JOBS[quota], limit)
                quotas.check(quota, user, limits, used, 1, self.clock())
                self._allow(user, quota, (limit - used - 1) // UNCOUNTED_SHARE)

    def running_limit(self, user: str) -> int | None:
        """The maximum number of running jobs of a user; None: no limit."""
        return self.limits(user).jobs_running

    # Administration -------------------------------------------------------------------------------------------------

    def change(self, user: str, given: Mapping[str, object], by: Caller) -> None:
        """Set limits of a user: a number, None for no limit, or DEFAULT for the operator's default. Raises Invalid."""
        unknown = sorted(given.keys() - set(Quota))
        if unknown:
            raise Invalid(f"{unknown[0][:100]!r} is not a limit; the limits are {', '.join(Quota)}.")
        removed = [name for name, value in given.items() if value == DEFAULT]
        changes = {
            name: None if value is None else whole_number(name, value, least=0)
            for name, value in given.items()
            if name not in removed
        }
        self.open_store().change_limits(user, changes, removed)
        with self._lock:
            self._kept.pop(user, None)
            for quota in Quota:
                self._allowances.pop((user, quota), None)
        fields = {"action": "change_quota", "user": by.user, "address": by.address, "owner": user}
        logger.info("audit", extra={**fields, "limits": dict(given)})

    def document(self, user: str, store: JobStore) -> dict[str, object]:
        """The limits and the usage of a user, as the API shows them."""
        changed = self.open_store().limit_changes(user)
        used = {
            Quota.BYTES_PER_DAY: self.open_store().uploaded(user, day_of(self.clock())),
            Quota.BYTES_STORED: self.open_grants().bytes_of(user),
            **{quota: store.count(user, statuses, COUNTED_JOBS) for quota, statuses in _JOBS.items()},
        }
        limits = self.defaults.changed(changed)
        return {
            "user": user,
            "limits": {quota: limits.of(quota) for quota in Quota},
            "used": used,
            "changed": [quota for quota in Quota if quota in changed],
        }

    def _current(self, user: str) -> Limits:
        return self.defaults.changed(self.open_store().limit_changes(user))

    def _left(self, quota: Quota, user: str, limits: Limits, used: int, size: int) -> int:
        quotas.check(quota, user, limits, used, size, self.clock())
        return (limits.of(quota) or 0) - used

    def _takes_from_allowance(self, user: str, quota: Quota) -> bool:
        with self._lock:
            allowance = self._allowances.get((user, quota))
            if allowance is None or allowance.left < 1 or self.now() >= allowance.until:
                return False
            allowance.left -= 1
            return True

    def _allow(self, user: str, quota: Quota, jobs: int) -> None:
        with self._lock:
            if len(self._allowances) >= MAX_KEPT:
                self._allowances.clear()
            self._allowances[(user, quota)] = _Allowance(jobs, self.now() + COUNTED_SECONDS)
