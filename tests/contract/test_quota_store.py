"""The contract of QuotaStore, and of JobStore's counts per user, for every backend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulators.projects import new_project

from cloud_executor.backends.google.firestore.quotas import FirestoreQuotaStore
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.quotas import SqliteQuotaStore
from cloud_executor.model.access.quota import Quota
from cloud_executor.ports import QuotaStore

OpenStore = Callable[[], QuotaStore]

USERS = ("ada", "ada@example.org", "a/b", "..", "x" * 300)
MONDAY, TUESDAY, LATER = "2026-03-30", "2026-03-31", "2026-04-08"


@pytest.fixture(params=["sqlite", "firestore"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Function that opens the same store again, as another process does."""
    if request.param == "sqlite":
        return lambda: SqliteQuotaStore(SqliteDatabase(tmp_path / "executor.sqlite"))
    request.getfixturevalue("firestore")
    project = new_project()
    return lambda: FirestoreQuotaStore(project, "(default)")


def test_limits_are_kept_until_they_are_removed(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    assert store.limit_changes("ada") == {}
    store.change_limits("ada", {Quota.JOBS_WAITING: 5, Quota.BYTES_STORED: None}, ())
    store.change_limits("ada", {Quota.JOBS_WAITING: 2**40}, [Quota.JOBS_STORED])
    store.change_limits("bob", {}, [Quota.JOBS_WAITING])
    assert other.limit_changes("ada") == {"jobsWaiting": 2**40, "bytesStored": None}
    assert other.limit_changes("bob") == {}
    other.change_limits("ada", {Quota.BYTES_PER_DAY: 0}, [Quota.JOBS_WAITING])
    assert store.limit_changes("ada") == {"bytesPerDay": 0, "bytesStored": None}


def test_uploads_count_on_their_day(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    for user in USERS:
        assert store.uploaded(user, MONDAY) == 0
        for size in (1, 2**40):
            store.count_upload(user, MONDAY, size)
    for user in USERS:
        assert (other.uploaded(user, MONDAY), other.uploaded(user, TUESDAY)) == (1 + 2**40, 0)
    store.count_upload("ada", TUESDAY, 7)
    assert store.uploaded("ada", TUESDAY) == 7
    store.count_upload("ada", LATER, 8)
    assert (store.uploaded("ada", LATER), store.uploaded("ada", "2026-04-09")) == (8, 0)


def test_simultaneous_uploads_all_count(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda store: store.count_upload("ada", MONDAY, 3), stores * 4))
    assert stores[0].uploaded("ada", MONDAY) == 3 * 16
