"""Tests for direct uploads: which bytes become a blob and which do not."""

from __future__ import annotations

import hashlib
import threading
import uuid
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from direct_store import DirectFileStore
from shattered import colliding_contents

from cloud_executor.blobs.direct_uploads import (
    LARGEST_UPLOAD_BYTES,
    DirectUploads,
    UploadDiffers,
    UploadNotFound,
    UploadSession,
)
from cloud_executor.blobs.keys import content_key, metadata_key
from cloud_executor.blobs.store import MAX_CONTENTS_PER_QUERY, BlobStore, ContentDiffers, StoredBlob
from cloud_executor.blobs.upkeep import TEMPORARY_LIFETIME, BlobUpkeep
from cloud_executor.errors import Invalid, TooLarge, Unavailable
from cloud_executor.model.blobs.metadata import BlobMetadata

CONTENT = bytes(range(256)) * 5000
SHA1 = hashlib.sha1(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + b"x"
UPLOAD_ID = uuid.UUID("6f1bd8c4-2a0e-4b7c-9d35-8e1f60a2c7b9")


@pytest.fixture
def store(tmp_path: Path) -> DirectFileStore:
    return DirectFileStore(tmp_path)


@pytest.fixture
def uploads(store: DirectFileStore) -> DirectUploads:
    return DirectUploads(BlobStore(store, lambda: datetime.now(UTC), store), store)


def begin(uploads: DirectUploads, sha1: str | None = SHA1, size: int = len(CONTENT)) -> UploadSession:
    session = uploads.begin("data.bin", size, sha1, None)
    assert isinstance(session, UploadSession)
    return session


@pytest.mark.parametrize("sha1", [SHA1, None])
def test_a_completed_upload_is_the_blob_that_create_file_makes(
    uploads: DirectUploads, store: DirectFileStore, sha1: str | None
) -> None:
    session = begin(uploads, sha1)
    store.send(session.url, CONTENT)
    stored = uploads.complete(session.id)
    assert stored.metadata == BlobMetadata.for_file("data.bin", len(CONTENT), SHA1)
    assert store.content(content_key(SHA1)) == CONTENT
    assert store.content(metadata_key(stored.hash)) == stored.canonical
    assert store.stat(content_key(SHA1)).crc32 == zlib.crc32(CONTENT)


def test_bytes_that_are_already_stored_need_no_upload(uploads: DirectUploads) -> None:
    first = uploads.blobs.create_file("data.bin", [CONTENT])
    again = uploads.begin("data.bin", len(CONTENT), SHA1, None)
    assert isinstance(again, StoredBlob)
    assert again.hash == first.hash
    other_name = uploads.begin("other.bin", len(CONTENT), SHA1, None)
    assert isinstance(other_name, StoredBlob)
    assert uploads.blobs.metadata(other_name.hash).metadata.name == "other.bin"


def test_a_wrong_size_does_not_reveal_what_is_stored(uploads: DirectUploads, store: DirectFileStore) -> None:
    uploads.blobs.create_file("data.bin", [CONTENT])
    session = begin(uploads, SHA1, 1)
    store.send(session.url, b"x")
    with pytest.raises(UploadDiffers):
        uploads.complete(session.id)


@pytest.mark.parametrize("sent", [b"", CONTENT[:-1], CONTENT + b"x", OTHER])
def test_bytes_other_than_announced_are_deleted(uploads: DirectUploads, store: DirectFileStore, sent: bytes) -> None:
    session = begin(uploads)
    store.send(session.url, sent)
    with pytest.raises(UploadDiffers):
        uploads.complete(session.id)
    assert store.keys() == set()
    with pytest.raises(UploadNotFound):
        uploads.complete(session.id)


def test_completing_an_upload_again_returns_the_same_blob(uploads: DirectUploads, store: DirectFileStore) -> None:
    session = begin(uploads)
    store.send(session.url, CONTENT)
    first = uploads.complete(session.id)
    assert uploads.complete(session.id).hash == first.hash


@pytest.mark.parametrize("step", ["put", "move", "record_crc32"])
@pytest.mark.parametrize("after", [False, True])
def test_an_upload_whose_completion_failed_at_any_step_can_be_completed(
    uploads: DirectUploads, store: DirectFileStore, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    session = begin(uploads)
    store.send(session.url, CONTENT)
    real: Callable[..., Any] = getattr(store, step)

    def broken(*arguments: Any) -> None:
        if after:
            real(*arguments)
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(store, step, broken)
        with pytest.raises(Unavailable):
            uploads.complete(session.id)
    stored = uploads.complete(session.id)
    assert stored.metadata == BlobMetadata.for_file("data.bin", len(CONTENT), SHA1)
    assert store.content(content_key(SHA1)) == CONTENT


def test_simultaneous_completions_both_succeed(
    uploads: DirectUploads, store: DirectFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(uploads)
    store.send(session.url, CONTENT)
    both = threading.Barrier(2, timeout=20)
    real = store.move

    def together(source: str, destination: str) -> None:
        both.wait()
        real(source, destination)

    monkeypatch.setattr(store, "move", together)
    with ThreadPoolExecutor(2) as threads:
        stored = list(threads.map(uploads.complete, [session.id] * 2))
    assert stored[0].hash == stored[1].hash
    assert store.content(content_key(SHA1)) == CONTENT


def test_a_completion_that_another_one_overtakes_returns_its_blob(
    uploads: DirectUploads, store: DirectFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(uploads)
    store.send(session.url, CONTENT)
    real = store.open

    def overtaken(key: str, start: int = 0) -> Any:
        monkeypatch.setattr(store, "open", real)
        uploads.complete(session.id)
        return real(key, start)

    monkeypatch.setattr(store, "open", overtaken)
    assert uploads.complete(session.id).metadata.content_hash == SHA1


def test_an_upload_of_bytes_that_were_stored_in_the_meantime_is_the_same_blob(
    uploads: DirectUploads, store: DirectFileStore
) -> None:
    session = begin(uploads)
    store.send(session.url, CONTENT)
    before = uploads.blobs.create_file("data.bin", [CONTENT])
    assert uploads.complete(session.id).hash == before.hash
    assert not [key for key in store.keys("wg-temp/") if not key.endswith(".verified")]


@pytest.mark.parametrize(
    "upload_id",
    ["", "x", "../wg-content/aa/bb", str(UPLOAD_ID).upper(), UPLOAD_ID.hex, "{" + str(UPLOAD_ID) + "}", "\0"],
)
def test_an_invalid_id_is_not_found_without_asking_the_store(
    uploads: DirectUploads, store: DirectFileStore, upload_id: str
) -> None:
    with pytest.raises(UploadNotFound):
        uploads.complete(upload_id)
    assert store.calls["stat"] == 0


def test_an_upload_without_bytes_is_not_found(uploads: DirectUploads) -> None:
    with pytest.raises(UploadNotFound):
        uploads.complete(begin(uploads).id)
    with pytest.raises(UploadNotFound):
        uploads.complete(str(uuid.uuid4()))


def test_the_temporary_object_of_a_create_file_is_not_an_upload(uploads: DirectUploads, store: DirectFileStore) -> None:
    in_flight = str(uuid.uuid4())
    store.put(f"wg-temp/{in_flight}", [b"half of a createFile"])
    with pytest.raises(UploadNotFound):
        uploads.complete(in_flight)
    assert store.keys() == {f"wg-temp/{in_flight}"}


def test_uploads_and_their_descriptions_are_deleted_after_a_day(uploads: DirectUploads, store: DirectFileStore) -> None:
    done, left = begin(uploads), begin(uploads)
    store.send(done.url, CONTENT)
    store.send(left.url, OTHER)
    stored = uploads.complete(done.id)
    later = BlobStore(store, lambda: datetime.now(UTC) + TEMPORARY_LIFETIME + timedelta(minutes=1), store)
    assert BlobUpkeep(later).delete_abandoned_uploads() == 2
    assert store.keys() == {content_key(SHA1), metadata_key(stored.hash)}
    for session in (done, left):
        with pytest.raises(UploadNotFound):
            uploads.complete(session.id)


def test_a_completed_upload_whose_bytes_were_deleted_is_not_found(
    uploads: DirectUploads, store: DirectFileStore
) -> None:
    session = begin(uploads)
    store.send(session.url, CONTENT)
    uploads.complete(session.id)
    store.delete(content_key(SHA1))
    with pytest.raises(UploadNotFound):
        uploads.complete(session.id)


def test_uploads_are_limited_to_the_largest_object(uploads: DirectUploads) -> None:
    begin(uploads, size=LARGEST_UPLOAD_BYTES)
    with pytest.raises(TooLarge):
        begin(uploads, size=LARGEST_UPLOAD_BYTES + 1)


@pytest.mark.parametrize("name", ["ü\ud800😀", 'a"\\b', "x" * 1000])
def test_any_name_up_to_the_length_limit_is_kept(uploads: DirectUploads, store: DirectFileStore, name: str) -> None:
    session = uploads.begin(name, 3, None, None)
    assert isinstance(session, UploadSession)
    store.send(session.url, b"abc")
    assert uploads.complete(session.id).metadata.name == name


def test_a_name_above_the_length_limit_is_rejected(uploads: DirectUploads) -> None:
    with pytest.raises(Invalid, match="name"):
        uploads.begin("x" * 5000, 3, None, None)


def test_missing_lists_each_missing_content_once_in_order(uploads: DirectUploads) -> None:
    uploads.blobs.create_file("x", [CONTENT])
    absent = [f"{number:040}" for number in range(30)]
    assert uploads.blobs.missing([*absent[::-1], SHA1, *absent]) == absent[::-1]
    assert uploads.blobs.missing([]) == []


def test_missing_accepts_a_limited_number_of_contents(uploads: DirectUploads, store: DirectFileStore) -> None:
    assert (
        len(uploads.blobs.missing([f"{number:040}" for number in range(MAX_CONTENTS_PER_QUERY)]))
        == MAX_CONTENTS_PER_QUERY
    )
    store.calls.clear()
    with pytest.raises(TooLarge):
        uploads.blobs.missing([f"{number:040}" for number in range(MAX_CONTENTS_PER_QUERY + 1)])
    assert store.calls["stat"] == 0


def test_an_upload_with_the_sha1_of_another_content_is_rejected(uploads: DirectUploads, store: DirectFileStore) -> None:
    first, second = colliding_contents()
    uploads.blobs.create_file("first", [first])
    before = store.keys()
    session = begin(uploads, None, len(second))
    store.send(session.url, second)
    with pytest.raises(ContentDiffers):
        uploads.complete(session.id)
    assert store.keys() == before
    with pytest.raises(UploadNotFound):
        uploads.complete(session.id)
    assert store.content(content_key(hashlib.sha1(first).hexdigest())) == first
