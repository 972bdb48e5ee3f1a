"""A content that has the SHA-1 of another stored content is rejected, and nothing takes its place."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from shattered import colliding_contents

from cloud_executor.blobs.keys import CONTENT_PREFIX, TEMPORARY_PREFIX
from cloud_executor.blobs.store import SMALL_CONTENT_BYTES, BlobStore, ContentDiffers
from cloud_executor.ports import ObjectStore

LARGE = SMALL_CONTENT_BYTES + 1000


@pytest.fixture
def blobs(object_store: ObjectStore) -> BlobStore:
    return BlobStore(object_store, lambda: datetime.now(UTC))


@pytest.mark.parametrize("size", [320, LARGE], ids=["small", "large"])
def test_the_second_content_is_rejected_and_the_first_stays(blobs: BlobStore, size: int) -> None:
    first, second = colliding_contents(size)
    blobs.create_file("first", [first])
    with pytest.raises(ContentDiffers):
        blobs.create_file("second", [second])
    blobs.create_file("again", [first])
    with blobs.open_content(hashlib.sha1(first).hexdigest()) as content:
        assert content.read() == first
    assert [info.size for info in blobs.objects.list(CONTENT_PREFIX)] == [size]
    assert list(blobs.objects.list(TEMPORARY_PREFIX)) == []


@pytest.mark.parametrize("others", [0, 40])
def test_the_second_content_is_rejected_among_others(blobs: BlobStore, others: int) -> None:
    first, second = colliding_contents()
    files = [(f"{number}", b"%d" % number) for number in range(others)]
    blobs.create_files([*files, ("first", first)])
    blobs.create_files([*files, ("again", first)])
    with pytest.raises(ContentDiffers):
        blobs.create_files([*files, ("second", second)])


def test_two_contents_of_one_batch_are_rejected(blobs: BlobStore) -> None:
    first, second = colliding_contents()
    with pytest.raises(ContentDiffers):
        blobs.create_files([("first", first), ("second", second)])
    assert list(blobs.objects.list(CONTENT_PREFIX)) == []


def test_a_content_is_compared_by_its_crc32_or_its_bytes(blobs: BlobStore) -> None:
    first, second = colliding_contents(LARGE)
    sha1 = hashlib.sha1(first).hexdigest()
    assert not blobs.has_same_content(sha1, LARGE, None, lambda: [first])
    blobs.create_file("first", [first])
    assert blobs.has_same_content(sha1, LARGE, None, lambda: [first[:10], first[10:]])
    for size, content in ((LARGE, second), (LARGE + 1, first + b"x")):
        with pytest.raises(ContentDiffers):
            blobs.has_same_content(sha1, size, None, lambda content=content: [content])  # type: ignore[misc]  # mypy cannot infer it
