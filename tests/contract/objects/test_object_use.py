"""The contract of ObjectStore.use and ObjectStore.delete_unused: an object that is used in the meantime stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from contract_backends import ObjectBackend

from cloud_executor.ports import ObjectInfo, ObjectNotFound, ObjectStore

KEY = "wg-content/ab/cdef"
LARGE = bytes(5_000_000)

AT_ONCE = timedelta(seconds=-5)
"""Every use is noted, also if the clock of the service is late."""


@pytest.fixture
def noting_store(object_backend: ObjectBackend) -> Iterator[ObjectStore]:
    """A store that notes every use."""
    with object_backend.open(AT_ONCE) as store:
        yield store


def listed(store: ObjectStore, key: str = KEY) -> ObjectInfo:
    (info,) = store.list(key)
    return info


def test_an_unused_object_is_deleted(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"bytes"])
    before = listed(object_store)
    assert before.used is not None
    assert abs(datetime.now(UTC) - before.used) < timedelta(minutes=5)
    assert object_store.use(KEY).size == 5
    object_store.put(KEY, [b"bytes"])
    assert listed(object_store).version == before.version
    assert object_store.delete_unused(before)
    assert object_store.delete_unused(before)
    with pytest.raises(ObjectNotFound):
        object_store.stat(KEY)
    with pytest.raises(ObjectNotFound):
        object_store.use(KEY)


USES: list[Callable[[ObjectStore, bytes], object]] = [
    lambda store, content: store.use(KEY),
    lambda store, content: store.put(KEY, [content]),
    lambda store, content: store.put_all({KEY: content}),
    lambda store, content: store.put_all({KEY: content, **{f"wg-temp/{n}": b"" for n in range(20)}}),
    lambda store, content: store.move("wg-temp/other", KEY),
]


@pytest.mark.parametrize("content", [b"bytes", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("use", USES, ids=["use", "put", "put_all", "group", "move"])
def test_an_object_that_is_used_stays(
    noting_store: ObjectStore, use: Callable[[ObjectStore, bytes], object], content: bytes
) -> None:
    noting_store.put(KEY, [content])
    noting_store.put("wg-temp/other", [b"other"])
    modified = noting_store.stat(KEY).modified
    for _ in range(2):
        before = listed(noting_store)
        use(noting_store, content)
        after = listed(noting_store)
        assert after.version != before.version
        assert after.used is not None
        assert before.used is not None
        assert after.used >= before.used
        assert noting_store.read(KEY)[0] == content
        if type(noting_store).__name__ != "S3ObjectStore":  # it has only one time
            assert after.modified == modified
        if type(noting_store).__name__ == "GcsObjectStore":
            continue  # the emulator ignores the condition
        assert not noting_store.delete_unused(before)
        assert noting_store.read(KEY)[0] == content


def test_a_replaced_object_stays(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"bytes"])
    before = listed(object_store)
    object_store.delete(KEY)
    time.sleep(1.1 if type(object_store).__name__ == "S3ObjectStore" else 0.02)  # the precision of its times
    object_store.put(KEY, [b"bytes"])
    if type(object_store).__name__ != "GcsObjectStore":
        assert not object_store.delete_unused(before)
        assert object_store.read(KEY)[0] == b"bytes"
