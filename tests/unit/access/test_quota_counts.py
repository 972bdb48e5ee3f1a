"""Limits of users: when jobs are counted, what is remembered, and the sentences."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from cloud_executor.access.quotas import COUNTED_SECONDS, KEPT_SECONDS, Quotas
from cloud_executor.errors import LimitReached
from cloud_executor.model.access import quota as rules
from cloud_executor.model.access.caller import OPERATOR
from cloud_executor.model.access.quota import Limits, Quota
from cloud_executor.ports import JobStore
from functions.access.rates import RequestRates

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


@dataclass
class FakeStore:
    """Limits, and a number of jobs, in memory."""

    jobs: int = 0
    counts: int = 0
    reads: int = 0
    changes: dict[str, int | None] = field(default_factory=dict)

    def count(self, user_id: str, statuses: Collection[str], limit: int) -> int:
        self.counts += 1
        return min(self.jobs, limit)

    def limit_changes(self, user: str) -> dict[str, int | None]:
        self.reads += 1
        return dict(self.changes)

    def change_limits(self, user: str, changes: dict[str, int | None], removed: Collection[str]) -> None:
        self.changes |= changes


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def quotas(store: FakeStore, time: Callable[[], float], **limits: int) -> Quotas:
    return Quotas(cast(Any, lambda: store), cast(Any, lambda: None), Limits(**limits), lambda: NOON, now=time)


def create(limited: Quotas, store: FakeStore) -> None:
    limited.check_create("ada", cast(JobStore, store))
    store.jobs += 1


def test_jobs_are_counted_after_a_share_of_those_that_are_left() -> None:
    store = FakeStore()
    limited = quotas(store, Time(), jobs_stored=1000)
    for _ in range(1000):
        create(limited, store)
    assert store.counts < 500
    with pytest.raises(LimitReached):
        create(limited, store)
    # Other processes may create jobs until this one counts again.
    store.jobs, store.counts = 0, 0
    for _ in range(10):
        create(limited, store)
    assert (store.jobs, store.counts) == (10, 1)


def test_an_old_count_is_not_used() -> None:
    store, time = FakeStore(), Time()
    limited = quotas(store, time, jobs_stored=1000)
    create(limited, store)
    create(limited, store)
    time.now += COUNTED_SECONDS
    create(limited, store)
    assert store.counts == 2


def test_limits_are_read_again_after_a_minute_and_a_change() -> None:
    store, time = FakeStore(), Time()
    limited = quotas(store, time, jobs_waiting=1)
    assert [limited.limits("ada").jobs_waiting for _ in range(3)] == [1, 1, 1]
    assert store.reads == 1
    store.changes["jobsWaiting"] = 2
    assert limited.limits("ada").jobs_waiting == 1
    time.now += KEPT_SECONDS
    assert limited.limits("ada").jobs_waiting == 2
    limited.change("ada", {"jobsWaiting": None}, OPERATOR)
    assert limited.limits("ada").jobs_waiting is None


@pytest.mark.parametrize(
    ("quota", "seconds"),
    [
        (Quota.BYTES_PER_DAY, 12 * 3600 + 1),
        (Quota.BYTES_STORED, 3600),
        (Quota.JOBS_STORED, 3600),
        (Quota.JOBS_WAITING, 30),
    ],
)
def test_the_error_names_the_limit_and_its_setting(quota: Quota, seconds: int) -> None:
    limits = Limits(bytes_per_day=7, bytes_stored=7, jobs_stored=7, jobs_waiting=7)
    rules.check(quota, "ada", limits, 5, 2, NOON)
    rules.check(quota, "ada", Limits(), 5, 10**18, NOON)
    with pytest.raises(
        LimitReached, match=f"^The limit of 7 .* for the user ada is reached .{quota.setting}.;"
    ) as error:
        rules.check(quota, "ada", limits, 5, 3, NOON)
    assert error.value.retry_after == seconds


def test_every_quota_is_a_field_and_a_limit_can_be_zero() -> None:
    assert [quota.name.lower() for quota in Quota] == list(Limits.__struct_fields__)
    assert Limits().changed({"jobsWaiting": 0, "unknown": 1}) == Limits(jobs_waiting=0)
    assert Limits(jobs_waiting=0).any
    assert not Limits().any


def test_requests_are_refilled_over_a_minute() -> None:
    time = Time()
    rates = RequestRates(time)
    for _ in range(60):
        rates.count("ada", 60)
    with pytest.raises(LimitReached) as error:
        rates.count("ada", 60)
    assert error.value.retry_after == 1
    rates.count("bob", 60)
    time.now += 1
    rates.count("ada", 60)
    with pytest.raises(LimitReached):
        rates.count("ada", 60)
    with pytest.raises(LimitReached):
        rates.count("eve", 0)
