"""Test the store that stores small blobs together."""

from __future__ import annotations

from pathlib import Path

import pytest
from shattered import colliding_contents
from stored_blobs import NOON, keys

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs import delayed
from cloud_executor.blobs.delayed import DelayedBlobStore, NotStored
from cloud_executor.blobs.store import BlobStore, ContentDiffers
from cloud_executor.model.blobs.metadata import BlobMetadata


@pytest.fixture
def objects(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


@pytest.fixture
def store(objects: FileObjectStore) -> DelayedBlobStore:
    return DelayedBlobStore(objects, lambda: NOON)


def test_blobs_are_stored_by_flush(objects: FileObjectStore, store: DelayedBlobStore) -> None:
    plain = BlobStore(objects, lambda: NOON)
    artifact = BlobMetadata.for_artifact("a", {})
    made = [store.create_file("a", [b"1"]), *store.create_files([("b", b"2")]), store.create_metadata(artifact)]
    assert keys(objects) == set()
    store.flush()
    assert [plain.metadata(blob.hash).canonical for blob in made] == [blob.canonical for blob in made]
    assert len(keys(objects)) == 5
    store.flush()
    assert len(keys(objects)) == 5


def test_too_many_or_too_large_ones_are_stored_earlier(
    objects: FileObjectStore, store: DelayedBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delayed, "MAX_WAITING_OBJECTS", 4)
    store.create_file("a", [b"1"])
    assert keys(objects) == set()
    store.create_file("b", [b"2"])
    assert len(keys(objects)) == 4
    monkeypatch.setattr(delayed, "MAX_WAITING_BYTES", 1000)
    store.create_file("c", [b"3" * 1000])
    assert len(keys(objects)) == 6


def test_another_content_with_the_same_sha1_is_not_stored(objects: FileObjectStore, store: DelayedBlobStore) -> None:
    first, second = colliding_contents()
    store.create_file("first", [first])
    with pytest.raises(ContentDiffers):
        store.create_file("second", [second])
    store.flush()
    store.create_file("second", [second])
    with pytest.raises(NotStored):
        store.flush()


def test_blobs_are_reported_once_they_are_stored(objects: FileObjectStore) -> None:
    first, second = colliding_contents()
    reported: list[str] = []
    store = DelayedBlobStore(objects, lambda: NOON, on_stored=lambda metadata: reported.append(metadata.hash))
    blob = store.create_file("first", [first])
    assert reported == []
    store.flush()
    assert reported == [blob.hash]
    store.create_file("second", [second])
    with pytest.raises(NotStored):
        store.flush()
    assert reported == [blob.hash]
