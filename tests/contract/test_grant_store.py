"""The contract of GrantStore, for every backend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulators.projects import new_project

from cloud_executor.backends.google.firestore.grants import RECORDS_PER_CALL, FirestoreGrantStore
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.backends.sqlite.grants import SqliteGrantStore
from cloud_executor.ports import GrantStore

OpenStore = Callable[[], GrantStore]

A, B, C = ("a" * 40, "b" * 40, "c" * 40)


@pytest.fixture(params=["sqlite", "firestore"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Function that opens the same store again, as another process does."""
    if request.param == "sqlite":
        return lambda: SqliteGrantStore(SqliteDatabase(tmp_path / "executor.sqlite"))
    request.getfixturevalue("firestore")
    project = new_project()
    return lambda: FirestoreGrantStore(project, "(default)")


def test_a_user_has_what_was_granted_to_this_user(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    assert (store.granted("ada", [A]), store.bytes_of("ada")) == (frozenset(), 0)
    store.grant("ada", {A: 10, B: 2**40})
    store.grant("bob", {A: 10})
    for opened in (store, other):
        assert opened.granted("ada", [A, B, C]) == {A, B}
        assert opened.granted("bob", [C, A]) == {A}
        assert opened.granted("eve", [A, B, C]) == frozenset()
        assert opened.granted("ada", []) == frozenset()
        assert [opened.bytes_of(user) for user in ("ada", "bob", "eve")] == [10 + 2**40, 10, 0]


def test_a_repeated_grant_counts_once(open_store: OpenStore) -> None:
    store = open_store()
    store.grant("ada", {A: 10})
    store.grant("ada", {A: 10, B: 5})
    store.grant("ada", {B: 5})
    store.grant("ada", {})
    assert store.bytes_of("ada") == 15


def test_simultaneous_grants_count_once(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda store: store.grant("ada", {A: 10, B: 5}), stores * 2))
    assert stores[0].granted("ada", [A, B]) == {A, B}
    assert stores[0].bytes_of("ada") == 15


def test_a_forgotten_content_is_nobodys(open_store: OpenStore) -> None:
    store = open_store()
    store.forget(A)
    store.grant("ada", {A: 10, B: 5})
    store.grant("bob", {A: 10})
    store.forget(A)
    open_store().forget(A)
    assert (store.granted("ada", [A, B]), store.granted("bob", [A, B])) == ({B}, frozenset())
    assert (store.bytes_of("ada"), store.bytes_of("bob")) == (5, 0)
    store.grant("bob", {A: 10})
    assert (store.granted("bob", [A]), store.bytes_of("bob")) == ({A}, 10)


def test_there_can_be_more_contents_than_one_call_takes(open_store: OpenStore) -> None:
    store = open_store()
    contents = [f"{number:040x}" for number in range(2 * RECORDS_PER_CALL + 1)]
    store.grant("ada", dict.fromkeys(contents, 3))
    assert store.granted("ada", [*contents, A]) == frozenset(contents)
    assert store.bytes_of("ada") == 3 * len(contents)


def test_any_user_can_have_grants(open_store: OpenStore) -> None:
    store = open_store()
    users = ["ada@example.org", "a/b", "..", "~", "x" * 300, "a", "a:b"]
    for size, user in enumerate(users):
        store.grant(user, {A: size})
    assert [store.bytes_of(user) for user in users] == list(range(len(users)))
