"""Tests for manifests, the stored lists of the files in large artifacts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stored_blobs import NOON, artifact, counting, file, keys, link, sha1

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs.downloads import Downloads, ZipDownload
from cloud_executor.blobs.keys import content_key, manifest_key
from cloud_executor.blobs.store import BlobStore, ContentMissing
from cloud_executor.blobs.upkeep import ZIP_LIFETIME, BlobUpkeep
from cloud_executor.errors import StorageFull
from cloud_executor.model.blobs.metadata import BlobMetadata, ContentType


@pytest.fixture
def objects(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


@pytest.fixture
def blobs(objects: FileObjectStore) -> BlobStore:
    return BlobStore(objects, lambda: NOON)


def many_files(blobs: BlobStore, count: int = 300, start: int = 0) -> dict[str, tuple[str, ContentType]]:
    """The files of an artifact. Only files numbered `start` and higher are stored."""
    files = {}
    for number in range(count):
        content = b"%d" % number
        stored = (
            file(blobs, content) if number >= start else BlobMetadata.for_file("x.txt", len(content), sha1(content))
        )
        files[f"dir\\{number}\ud800"] = (stored.hash, ContentType.SOFT_LINK)
    return files


def zip_of(blobs: BlobStore, blob_hash: str) -> bytes:
    found = Downloads(blobs).resolve(blob_hash)
    assert isinstance(found, ZipDownload)
    content = b"".join(found.chunks())
    assert found.size == len(content)
    return content


def test_the_files_of_a_large_artifact_are_looked_up_when_it_is_created_and_not_when_it_is_downloaded(
    objects: FileObjectStore,
) -> None:
    blobs, store = counting(objects)
    made = artifact(blobs, **many_files(blobs))
    with ThreadPoolExecutor(1) as background:
        Downloads(blobs, background).prepare(blobs.metadata(made))
    store.calls.clear()
    found = Downloads(blobs).resolve(made)
    assert store.calls == {"read": 2, "use": 1}  # the use of what was just read makes no call
    content = zip_of(blobs, made)
    objects.delete(manifest_key(made))
    store.calls.clear()
    looked_up = Downloads(blobs).resolve(made)
    assert store.calls["stat"] == 300
    assert isinstance(found, ZipDownload)
    assert isinstance(looked_up, ZipDownload)
    assert (found.name, found.identity, found.size) == (looked_up.name, looked_up.identity, looked_up.size)
    assert [member.name for member in found.members] == [member.name for member in looked_up.members]
    assert zip_of(blobs, made) == content


def test_a_manifest_is_created_only_when_all_contents_are_stored(objects: FileObjectStore) -> None:
    blobs, store = counting(objects)
    made = artifact(blobs, **many_files(blobs, start=1))
    with ThreadPoolExecutor(1) as background:
        Downloads(blobs, background).prepare(blobs.metadata(made))
    for _ in range(2):
        with pytest.raises(ContentMissing):
            Downloads(blobs).resolve(made)
    file(blobs, b"0")
    Downloads(blobs).resolve(made)
    store.calls.clear()
    Downloads(blobs).resolve(made)
    assert store.calls == {"read": 2, "use": 1}  # the use of what was just read makes no call


@pytest.mark.parametrize("concurrency", [1, 8])
def test_without_background_threads_the_first_download_creates_the_manifest(
    objects: FileObjectStore, concurrency: int
) -> None:
    blobs, store = counting(objects, concurrency)
    files = many_files(blobs)
    store.calls.clear()
    made = artifact(blobs, **files)
    assert store.calls == {"put": 1}
    Downloads(blobs).resolve(made)
    store.calls.clear()
    Downloads(blobs).resolve(made)
    assert store.calls == {"read": 2, "use": 1}  # the use of what was just read makes no call


@pytest.mark.parametrize("count", [10, 150])
def test_the_files_of_a_small_artifact_are_looked_up_for_each_download(objects: FileObjectStore, count: int) -> None:
    blobs, _ = counting(objects)
    made = artifact(blobs, **many_files(blobs, count))
    zip_of(blobs, made)
    assert keys(objects).isdisjoint({manifest_key(made)})
    objects.delete(content_key(sha1(b"0")))
    with pytest.raises(ContentMissing):
        Downloads(blobs).resolve(made)


def test_a_link_to_an_artifact_gives_the_zip_the_name_of_the_link(blobs: BlobStore) -> None:
    made = artifact(blobs, **many_files(blobs))
    through = link(blobs, made, "other" + "r" * 20_000)
    assert Downloads(blobs).resolve(through).name.startswith("other")
    assert Downloads(blobs).resolve(made).name == "art.zip"
    assert zip_of(blobs, through) == zip_of(blobs, made)


def test_a_large_artifact_with_a_nested_artifact_can_be_downloaded(blobs: BlobStore, objects: FileObjectStore) -> None:
    inner = artifact(blobs, a=(file(blobs, b"x").hash, ContentType.SOFT_LINK))
    made = artifact(blobs, **many_files(blobs), inner=(inner, ContentType.SOFT_LINK))
    content = zip_of(blobs, made)
    assert zip_of(blobs, made) == content
    assert not list(objects.list("wg-zip/"))


@pytest.mark.parametrize("stored", [b"", b"garbage", b"\x91\x01"])
def test_an_invalid_manifest_is_ignored(blobs: BlobStore, objects: FileObjectStore, stored: bytes) -> None:
    made = artifact(blobs, **many_files(blobs))
    content = zip_of(blobs, made)
    objects.delete(manifest_key(made))
    objects.put(manifest_key(made), [stored])
    assert zip_of(blobs, made) == content


def test_a_download_succeeds_even_if_its_manifest_cannot_be_stored(
    blobs: BlobStore, objects: FileObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = artifact(blobs, **many_files(blobs))
    content = zip_of(blobs, made)
    objects.delete(manifest_key(made))

    def full(_: object) -> None:
        raise StorageFull

    monkeypatch.setattr(objects, "put_all", full)
    assert zip_of(blobs, made) == content


def test_a_manifest_is_deleted_after_eight_days(blobs: BlobStore, objects: FileObjectStore) -> None:
    made = artifact(blobs, **many_files(blobs))
    content = zip_of(blobs, made)
    later = BlobStore(objects, lambda: datetime.now(UTC) + ZIP_LIFETIME + timedelta(minutes=1))
    assert BlobUpkeep(later).delete_old_zips() == 1
    assert zip_of(blobs, made) == content
    assert BlobUpkeep(later).delete_old_zips() == 1


def test_an_artifact_can_be_created_while_the_process_is_shutting_down(blobs: BlobStore) -> None:
    background = ThreadPoolExecutor(1)
    background.shutdown()
    made = artifact(blobs, **many_files(blobs))
    Downloads(blobs, background).prepare(blobs.metadata(made))
    assert zip_of(blobs, made)
