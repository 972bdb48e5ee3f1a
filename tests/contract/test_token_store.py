"""The contract of TokenStore, for every backend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from emulators.projects import new_project
from msgspec.structs import replace

from cloud_executor.backends.google.firestore.tokens import FirestoreTokenStore
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.tokens import SqliteTokenStore
from cloud_executor.errors import Conflict
from cloud_executor.model.access.caller import Role
from cloud_executor.model.access.token import TokenRecord
from cloud_executor.ports import TokenStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
RECORD = TokenRecord(id="1", digest="d", name="läptop", user="ada", role=Role.USER, created=NOW, created_by="root")


@pytest.fixture(params=["sqlite", "firestore"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TokenStore]:
    """Function that opens the same store again, as another process does."""
    if request.param == "sqlite":
        return lambda: SqliteTokenStore(SqliteDatabase(tmp_path / "executor.sqlite"))
    request.getfixturevalue("firestore")
    project = new_project()
    return lambda: FirestoreTokenStore(project, "(default)")


def test_a_record_is_kept_until_it_is_deleted(open_store: Callable[[], TokenStore]) -> None:
    store, other = open_store(), open_store()
    assert store.get("1") is None
    assert list(store.tokens()) == []
    second = replace(RECORD, id="2", role=Role.ADMIN, expires=NOW)
    for record in (RECORD, second):
        store.add(record)
    assert (other.get("1"), other.get("2")) == (RECORD, second)
    assert sorted(other.tokens(), key=lambda record: record.id) == [RECORD, second]
    assert [other.delete("1"), other.delete("1"), store.delete("absent")] == [True, False, False]
    assert store.get("1") is None
    assert list(store.tokens()) == [second]


def test_a_record_is_not_replaced(open_store: Callable[[], TokenStore]) -> None:
    store = open_store()
    store.add(RECORD)
    with pytest.raises(Conflict):
        store.add(replace(RECORD, user="eve"))
    assert store.get("1") == RECORD


def test_any_id_can_be_looked_up(open_store: Callable[[], TokenStore]) -> None:
    store = open_store()
    for token_id in ("", "..", "a/b", "__x__", "x" * 2000, "\0"):
        assert store.get(token_id) is None
        assert store.delete(token_id) is False
