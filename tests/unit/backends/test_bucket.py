"""How all bucket stores split uploads into requests (cloud_executor/backends/bucket.py)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cloud_executor.backends.bucket import BucketStore
from cloud_executor.ports import ObjectInfo, ObjectNotFound


class MemoryBucket(BucketStore):
    """A bucket in memory, with pieces of 3, 3, 4, 4, 5, 5, … bytes. Objects are lists of the pieces received."""

    def __init__(self) -> None:
        super().__init__(timedelta(days=1))
        self.objects: dict[str, list[bytes]] = {}

    def stat(self, key: str) -> ObjectInfo:
        if key not in self.objects:
            raise ObjectNotFound
        now = datetime.now(UTC)
        return ObjectInfo(key, sum(map(len, self.objects[key])), now, used=now)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def _piece_bytes(self, number: int) -> int:
        return 3 + number // 2

    def _note_use(self, info: ObjectInfo) -> None:
        raise AssertionError("No object is old.")

    def _put_small(self, key: str, content: bytes) -> bool:
        return self._store(key, [content])

    def _put_large(self, key: str, pieces: Iterator[bytes]) -> bool:
        return self._store(key, list(pieces))

    def _copy(self, source: ObjectInfo, destination: str) -> bool:
        return self._store(destination, self.objects[source.key])

    def _store(self, key: str, pieces: list[bytes]) -> bool:
        return self.objects.setdefault(key, pieces) is pieces


@pytest.mark.parametrize(
    ("chunks", "pieces"),
    [
        ([], [b""]),
        ([b"", b""], [b""]),
        ([b"a", b"b", b"c"], [b"abc"]),
        ([b"abcd"], [b"abc", b"d"]),
        ([b"abcdef"], [b"abc", b"def"]),
        ([b"ab", b"cdefghijk", b"", b"lmnop"], [b"abc", b"def", b"ghij", b"klmn", b"op"]),
    ],
)
def test_an_object_is_sent_in_full_pieces(chunks: list[bytes], pieces: list[bytes]) -> None:
    bucket = MemoryBucket()
    bucket.put("key", chunks)
    assert bucket.objects == {"key": pieces}


def test_a_large_object_that_exists_is_not_sent_again() -> None:
    bucket = MemoryBucket()
    bucket.put("key", [b"first"])
    bucket.put("key", [b"second"])
    assert b"".join(bucket.objects["key"]) == b"first"


@pytest.mark.parametrize("count", [0, 1, 40])
def test_many_small_objects_are_all_put(count: int) -> None:
    bucket = MemoryBucket()
    bucket.put_all({str(number): b"x" for number in range(count)})
    assert bucket.objects == {str(number): [b"x"] for number in range(count)}
