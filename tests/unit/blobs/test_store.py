"""Tests for storing, resolving, and deleting blobs, on files and on a store that counts its calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest
from stored_blobs import NOON, artifact, counting, file, keys, link, sha1

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs.downloads import (
    MAX_LINK_DEPTH,
    ContentDownload,
    Downloads,
    FileNotInArtifact,
    TooManyLinks,
    ZipDownload,
)
from cloud_executor.blobs.keys import content_key, metadata_key
from cloud_executor.blobs.store import SMALL_CONTENT_BYTES, BlobNotFound, BlobStore, ContentMissing
from cloud_executor.blobs.upkeep import TEMPORARY_LIFETIME, BlobUpkeep
from cloud_executor.errors import NotFound, Unavailable
from cloud_executor.model.blobs.metadata import BlobMetadata, ContentType
from cloud_executor.ports import ObjectStore

LARGE = 3 * SMALL_CONTENT_BYTES


@pytest.fixture
def objects(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


@pytest.fixture
def blobs(objects: FileObjectStore) -> BlobStore:
    return BlobStore(objects, lambda: NOON)


def read(blobs: BlobStore, download: ContentDownload | ZipDownload) -> bytes:
    assert isinstance(download, ContentDownload)
    with blobs.open_content(download.content_hash) as content:
        return content.read()


@pytest.mark.parametrize("size", [0, 1, SMALL_CONTENT_BYTES, SMALL_CONTENT_BYTES + 1, LARGE])
@pytest.mark.parametrize("chunk_bytes", [1000, SMALL_CONTENT_BYTES, 10 * LARGE])
def test_a_file_is_stored_under_the_hashes_of_its_bytes_and_metadata(
    blobs: BlobStore, objects: FileObjectStore, size: int, chunk_bytes: int
) -> None:
    content = bytes(i % 251 for i in range(size)) if size < 10_000 else bytes(size)
    stored = blobs.create_file("x.txt", (content[i : i + chunk_bytes] for i in range(0, size, chunk_bytes)))
    assert stored.metadata == BlobMetadata.for_file("x.txt", size, sha1(content))
    assert stored.last_modified == NOON
    assert keys(objects) == {content_key(sha1(content)), metadata_key(stored.hash)}
    assert read(blobs, Downloads(blobs).resolve(stored.hash)) == content
    assert blobs.metadata(stored.hash).canonical == stored.canonical


def test_the_layout_is_the_same_as_in_webgme(blobs: BlobStore, tmp_path: Path) -> None:
    stored = file(blobs, b"hello\n", "hello.txt")
    assert (tmp_path / "wg-content/f5/72d396fae9206628714fb2ce00f72e94f2258f").read_bytes() == b"hello\n"
    assert (tmp_path / "wg-metadata" / stored.hash[:2] / stored.hash[2:]).read_bytes() == stored.canonical


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_file_that_is_stored_again_is_not_written_again(objects: FileObjectStore, size: int) -> None:
    blobs, _ = counting(objects)
    first = file(blobs, bytes(size))
    before = {info.key: info for info in objects.list("")}
    again = file(blobs, bytes(size))
    other = file(blobs, bytes(size), "other.txt")
    assert again.hash == first.hash
    assert {info.key: info for info in objects.list("") if info.key in before} == before
    assert keys(objects) == before.keys() | {metadata_key(other.hash)}


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("size", [0, 10, SMALL_CONTENT_BYTES, LARGE])
def test_an_interrupted_upload_leaves_nothing(blobs: BlobStore, objects: FileObjectStore, size: int) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, size, 64 * 1024):
            yield bytes(min(64 * 1024, size - start))
        raise Interrupted

    with pytest.raises(Interrupted):
        blobs.create_file("x", chunks())
    assert keys(objects) == set()


def test_a_small_file_takes_one_call_and_a_large_file_three(objects: FileObjectStore) -> None:
    blobs, store = counting(objects)
    file(blobs, b"x")
    assert store.calls == {"put_all": 1}
    store.calls.clear()
    file(blobs, bytes(LARGE))
    assert store.calls == {"put": 2, "move": 1}


@pytest.mark.parametrize("blob_hash", ["", "x", "0" * 40, "A" * 40, "../" * 13 + "x", "0" * 41, "\0" * 40])
def test_an_unknown_or_invalid_hash_is_not_found(blobs: BlobStore, blob_hash: str) -> None:
    for call in (blobs.metadata, Downloads(blobs).resolve):
        with pytest.raises(BlobNotFound):
            call(blob_hash)


@pytest.mark.parametrize("stored", [b"", b"null", b"[]", b"garbage", b"\xff"])
def test_invalid_metadata_is_not_a_blob(blobs: BlobStore, objects: FileObjectStore, stored: bytes) -> None:
    objects.put(metadata_key("1" * 40), [stored])
    with pytest.raises(BlobNotFound):
        blobs.metadata("1" * 40)
    assert list(blobs.list_metadata(everything=True)) == []


def test_the_list_contains_public_blobs_or_all_blobs(blobs: BlobStore) -> None:
    private = file(blobs, b"x").hash
    public = blobs.create_metadata(BlobMetadata.parse(b'{"isPublic":true,"content":"%b"}' % (b"0" * 40))).hash
    assert {blob.hash for blob in blobs.list_metadata(everything=False)} == {public}
    assert {blob.hash for blob in blobs.list_metadata(everything=True)} == {public, private}


def test_the_list_is_read_while_it_is_consumed(objects: FileObjectStore) -> None:
    blobs, store = counting(objects)
    for number in range(10):
        file(blobs, b"x", f"{number}")
    store.calls.clear()
    listed = blobs.list_metadata(everything=True)
    next(listed)
    assert store.calls == {"list": 1, "read": 1}


def test_a_link_resolves_to_its_target_with_the_name_of_the_link(blobs: BlobStore) -> None:
    target = file(blobs, b"target", "target.txt").hash
    found = Downloads(blobs).resolve(link(blobs, link(blobs, target, "inner.csv"), "outer.md"))
    assert (found.name, read(blobs, found)) == ("outer.md", b"target")


@pytest.mark.parametrize(("links", "found"), [(MAX_LINK_DEPTH - 1, True), (MAX_LINK_DEPTH, False)])
def test_links_are_followed_up_to_the_maximum_depth(blobs: BlobStore, links: int, found: bool) -> None:
    blob_hash = file(blobs, b"target").hash
    for _ in range(links):
        blob_hash = link(blobs, blob_hash)
    if found:
        assert read(blobs, Downloads(blobs).resolve(blob_hash)) == b"target"
    else:
        with pytest.raises(TooManyLinks):
            Downloads(blobs).resolve(blob_hash)


def crafted(objects: ObjectStore, blob_hash: str, document: bytes) -> str:
    """Store metadata under a hash that is not its own, which requires access to the store."""
    objects.put(metadata_key(blob_hash), [document])
    return blob_hash


def test_a_circle_of_links_is_rejected(blobs: BlobStore, objects: FileObjectStore) -> None:
    one, other = "1" * 40, "2" * 40
    crafted(objects, one, b'{"content":"%b","contentType":"softLink"}' % other.encode())
    crafted(objects, other, b'{"content":"%b","contentType":"softLink"}' % one.encode())
    around = artifact(blobs, a=(one, ContentType.SOFT_LINK))
    for path in (None, "a"):
        with pytest.raises(TooManyLinks):
            Downloads(blobs).resolve(around, path)
    with pytest.raises(TooManyLinks):
        Downloads(blobs).resolve(one)


def test_a_blob_that_is_in_an_artifact_twice_is_not_a_circle(blobs: BlobStore) -> None:
    target = file(blobs, b"x").hash
    inner = artifact(blobs, a=(target, ContentType.SOFT_LINK))
    outer = artifact(blobs, a=(inner, ContentType.SOFT_LINK), b=(inner, ContentType.SOFT_LINK))
    found = Downloads(blobs).resolve(outer)
    assert isinstance(found, ZipDownload)
    assert len(found.members) == 2


@pytest.mark.parametrize("concurrency", [1, 8])
def test_each_nested_artifact_is_looked_up_once(objects: FileObjectStore, concurrency: int) -> None:
    blobs, store = counting(objects, concurrency)
    blob_hash = nested(blobs, 25)
    store.calls.clear()
    found = Downloads(blobs).resolve(blob_hash)
    assert isinstance(found, ZipDownload)
    assert found.size > 2**25
    assert store.calls["read"] < 500
    assert next(found.chunks()).startswith(b"PK")


def nested(blobs: BlobStore, levels: int) -> str:
    """An artifact that contains another artifact twice, which contains another one twice, and so on."""
    blob_hash = file(blobs, b"x").hash
    for _ in range(levels):
        both = (blob_hash, ContentType.SOFT_LINK)
        blob_hash = artifact(blobs, a=both, b=both)
    return blob_hash


def test_deeply_nested_artifacts_are_rejected(blobs: BlobStore) -> None:
    with pytest.raises(TooManyLinks):
        Downloads(blobs).resolve(nested(blobs, MAX_LINK_DEPTH - 2))


def test_a_path_must_equal_a_key_of_the_artifact(blobs: BlobStore) -> None:
    content = file(blobs, b"by link").hash
    by_hash = sha1(b"by hash")
    file(blobs, b"by hash")
    found = artifact(blobs, **{"dir/a.txt": (content, ContentType.SOFT_LINK), "b": (by_hash, ContentType.OBJECT)})
    assert read(blobs, Downloads(blobs).resolve(found, "dir/a.txt")) == b"by link"
    assert Downloads(blobs).resolve(found, "dir/a.txt").name == "a.txt"
    assert read(blobs, Downloads(blobs).resolve(found, "b")) == b"by hash"
    for path in ("a.txt", "dir", "dir/", "./b", "B", "b/"):
        with pytest.raises(FileNotInArtifact):
            Downloads(blobs).resolve(found, path)


@pytest.mark.parametrize("kind", [ContentType.OBJECT, ContentType.SOFT_LINK])
def test_a_download_with_a_missing_part_is_rejected_before_it_starts(blobs: BlobStore, kind: ContentType) -> None:
    there = file(blobs, b"x").hash
    found = artifact(blobs, a=(there, ContentType.SOFT_LINK), z=("3" * 40, kind))
    for path in (None, "z"):
        with pytest.raises(ContentMissing):
            Downloads(blobs).resolve(found, path)
    assert read(blobs, Downloads(blobs).resolve(found, "a")) == b"x"


@pytest.mark.parametrize(
    "document",
    [
        b'{"content":"%b","contentType":"folder"}' % (b"4" * 40),
        b'{"content":{"a":{"content":"%b","contentType":"complex"}},"contentType":"complex"}' % (b"4" * 40),
        b'{"content":{"a":null},"contentType":"complex"}',
        b'{"content":"../../etc/passwd","contentType":"object"}',
        b'{"content":{"a":{"content":"../../etc/passwd","contentType":"object"}},"contentType":"complex"}',
        b"{}",
        b'{"content":',
    ],
)
def test_malformed_metadata_in_the_store_is_not_found(
    blobs: BlobStore, objects: FileObjectStore, document: bytes
) -> None:
    blob_hash = crafted(objects, "5" * 40, document)
    for path in (None, "a"):
        with pytest.raises(NotFound):
            Downloads(blobs).resolve(blob_hash, path)
    assert blobs.metadata(blob_hash).canonical == document


def test_the_artifact_hash_identifies_a_zip_and_the_content_hash_a_file(blobs: BlobStore) -> None:
    stored = file(blobs, b"x")
    found = artifact(blobs, a=(stored.hash, ContentType.SOFT_LINK))
    assert Downloads(blobs).resolve(found).identity == found
    assert Downloads(blobs).resolve(found, "a").identity == Downloads(blobs).resolve(stored.hash).identity == sha1(b"x")


def test_a_zip_has_its_announced_size(blobs: BlobStore) -> None:
    files = {f"dir/{size}": (file(blobs, bytes(size)).hash, ContentType.SOFT_LINK) for size in (0, 5, LARGE)}
    inner = artifact(blobs, **files)
    found = Downloads(blobs).resolve(artifact(blobs, **files, inner=(inner, ContentType.SOFT_LINK)))
    assert isinstance(found, ZipDownload)
    assert found.size == sum(map(len, found.chunks()))


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_files_of_a_zip_are_looked_up_concurrently_if_the_store_allows_it(
    objects: FileObjectStore, concurrency: int
) -> None:
    blobs, store = counting(objects, concurrency)
    files = {f"{number}": (file(blobs, b"%d" % number).hash, ContentType.SOFT_LINK) for number in range(50)}
    found = artifact(blobs, **files)
    store.threads.clear()
    download = Downloads(blobs).resolve(found)
    assert isinstance(download, ZipDownload)
    assert [member.name for member in download.members] == sorted(files, key=int)
    assert (len(store.threads - {threading.get_ident()}) > 0) == (concurrency > 1)


def test_a_missing_part_is_reported_from_any_thread(objects: FileObjectStore) -> None:
    blobs, _ = counting(objects, 8)
    files = {f"{number}": (f"{number:040}", ContentType.OBJECT) for number in range(20)}
    with pytest.raises(ContentMissing):
        Downloads(blobs).resolve(artifact(blobs, **files))


def test_contents_are_found_by_hash(blobs: BlobStore) -> None:
    file(blobs, b"0123456789")
    assert blobs.has_content(sha1(b"0123456789"))
    assert not blobs.has_content(sha1(b"other"))
    opened: AbstractContextManager[BinaryIO] = blobs.open_content(sha1(b"0123456789"), 7)
    with opened as content:
        assert content.read() == b"789"
    with pytest.raises(ContentMissing):
        blobs.open_content(sha1(b"other"))


def test_one_call_deletes_a_limited_number_of_objects_and_the_next_continues(
    objects: FileObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_executor.blobs.upkeep.MAX_DELETES", 2)
    for name in "abc":
        objects.put(f"wg-temp/{name}", [b"half an upload"])
    later = BlobStore(objects, lambda: datetime.now(UTC) + 2 * TEMPORARY_LIFETIME)
    assert [BlobUpkeep(later).delete_abandoned_uploads() for _ in range(3)] == [2, 1, 0]


def test_only_abandoned_uploads_are_deleted_after_a_day(objects: FileObjectStore) -> None:
    stored_at = datetime.now(UTC)
    blobs = BlobStore(objects, lambda: stored_at)
    stored = file(blobs, b"x")
    objects.put("wg-temp/abandoned", [b"half an upload"])
    almost = BlobStore(objects, lambda: stored_at + TEMPORARY_LIFETIME - timedelta(minutes=1))
    later = BlobStore(objects, lambda: stored_at + TEMPORARY_LIFETIME + timedelta(minutes=1))
    assert BlobUpkeep(almost).delete_abandoned_uploads() == 0
    assert BlobUpkeep(later).delete_abandoned_uploads() == 1
    assert BlobUpkeep(later).delete_abandoned_uploads() == 0
    assert keys(objects) == {content_key(sha1(b"x")), metadata_key(stored.hash)}


def test_a_deletion_whose_grants_stay_can_be_repeated(blobs: BlobStore) -> None:
    stored = file(blobs, b"x")
    forgotten = []

    def fail(_: str) -> None:
        raise Unavailable

    with pytest.raises(Unavailable):
        blobs.delete(stored.hash, fail)
    blobs.delete(stored.hash, forgotten.append)
    assert forgotten == [stored.hash]
    with pytest.raises(BlobNotFound):
        blobs.delete(stored.hash, forgotten.append)
    assert forgotten == [stored.hash]
