"""Tests for zips that the object store composes: the same bytes as streamed zips, without reading large contents."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from direct_store import DirectFileStore
from hypothesis import given
from hypothesis import strategies as st

from cloud_executor.blobs import zip_composer as composed_zip
from cloud_executor.blobs.crc32 import crc32_combine
from cloud_executor.blobs.downloads import ArtifactMember, ContentDownload, Downloads, ZipDownload
from cloud_executor.blobs.keys import content_key, zip_key
from cloud_executor.blobs.store import BlobStore, ContentMissing
from cloud_executor.blobs.upkeep import ZIP_LIFETIME, BlobUpkeep
from cloud_executor.blobs.zip_composer import LARGEST_ZIP_BYTES, MAX_INLINED_MEMBER_BYTES, REUSE_AGE, ZipComposer
from cloud_executor.blobs.zip_writer import SizeChanged, archive_size
from cloud_executor.errors import TooLarge
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MIB = 1024 * 1024
GIB = 1024 * MIB

FILES = {
    "empty": b"",
    "small.txt": b"small",
    "dir/at the limit": bytes(MAX_INLINED_MEMBER_BYTES),
    "dir/above it": b"x" * (MAX_INLINED_MEMBER_BYTES + 1),
    "whole.bin": b"y" * MIB,
    "large ü😀.bin": bytes(range(256)) * (8 * 1024),
}


@pytest.fixture
def store(tmp_path: Path) -> DirectFileStore:
    return DirectFileStore(tmp_path)


@pytest.fixture
def composer(store: DirectFileStore) -> ZipComposer:
    return ZipComposer(BlobStore(store, lambda: datetime.now(UTC), store), store)


def artifact(blobs: BlobStore, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> str:
    entries = {
        path: ArtifactFile(blobs.create_file("f", [content]).hash, len(content), ContentType.SOFT_LINK)
        for path, content in files.items()
    }
    entries |= {path: ArtifactFile(target, 0, ContentType.SOFT_LINK) for path, target in (links or {}).items()}
    return blobs.create_metadata(BlobMetadata.for_artifact("art", entries)).hash


def archive_of(composer: ZipComposer, artifact_hash: str) -> ZipDownload:
    found = Downloads(composer.blobs).resolve(artifact_hash)
    assert isinstance(found, ZipDownload)
    return found


def streamed(archive: ZipDownload) -> bytes:
    return b"".join(archive.chunks())


def contents(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.parametrize("files", [{}, {"only": b"x"}, {"a": bytes(3 * MIB), "b": bytes(3 * MIB)}, FILES])
def test_a_composed_zip_equals_the_streamed_zip(
    composer: ZipComposer, store: DirectFileStore, files: dict[str, bytes]
) -> None:
    archive = archive_of(composer, artifact(composer.blobs, files))
    key = composer.compose(archive)
    assert key == zip_key(archive.artifact_hash)
    assert store.content(key) == streamed(archive)
    assert store.stat(key).size == archive.size
    assert contents(store.content(key)) == files


def test_unzip_accepts_a_composed_zip(composer: ZipComposer, store: DirectFileStore, tmp_path: Path) -> None:
    key = composer.compose(archive_of(composer, artifact(composer.blobs, FILES)))
    path = tmp_path / "archive.zip"
    path.write_bytes(store.content(key))
    subprocess.run(["unzip", "-tqq", str(path)], check=True)


def test_large_contents_are_parts_and_small_ones_are_sent_as_bytes(
    composer: ZipComposer, store: DirectFileStore
) -> None:
    composer.compose(archive_of(composer, artifact(composer.blobs, FILES)))
    large = {path: content for path, content in FILES.items() if len(content) > MAX_INLINED_MEMBER_BYTES}
    assert {part for part in store.parts if isinstance(part, str)} == {
        content_key(hashlib.sha1(content).hexdigest()) for content in large.values()
    }
    kinds = [type(part) for part in store.parts]
    assert (bytes, bytes) not in set(pairwise(kinds))


def test_the_size_of_contents_sent_as_bytes_is_limited(
    composer: ZipComposer, store: DirectFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composed_zip, "MAX_INLINED_BYTES", 1000)
    monkeypatch.setattr(composed_zip, "GLUE_BYTES", 300)
    archive = archive_of(composer, artifact(composer.blobs, {f"{n:03}": b"%03d" % n * 50 for n in range(30)}))
    assert store.content(composer.compose(archive)) == streamed(archive)
    assert len([part for part in store.parts if isinstance(part, str)]) == 30 - 1000 // 150
    assert max(len(part) for part in store.parts if isinstance(part, bytes)) < 5000


def test_contents_with_a_known_crc32_are_not_read(composer: ZipComposer, store: DirectFileStore) -> None:
    content = bytes(3 * MIB)
    archive_hash = artifact(composer.blobs, {"a": content})
    key = content_key(hashlib.sha1(content).hexdigest())
    store.record_crc32(key, zlib.crc32(content))
    archive = archive_of(composer, archive_hash)
    store.calls.clear()
    composed = composer.compose(archive)
    assert store.calls["open"] == 0
    assert store.content(composed) == streamed(archive)


def test_an_unknown_crc32_is_computed_once(composer: ZipComposer, store: DirectFileStore) -> None:
    content = bytes(3 * MIB)
    one = artifact(composer.blobs, {"a": content})
    other = artifact(composer.blobs, {"b": content})
    for artifact_hash in (one, other):
        composer.compose(archive_of(composer, artifact_hash))
    assert store.calls["record_crc32"] == 1
    assert store.crc32s == {content_key(hashlib.sha1(content).hexdigest()): zlib.crc32(content)}


def test_an_existing_zip_is_not_composed_again(composer: ZipComposer, store: DirectFileStore) -> None:
    archive = archive_of(composer, artifact(composer.blobs, FILES))
    assert composer.compose(archive) == composer.compose(archive)
    assert store.calls["compose"] == 1


def test_simultaneous_requests_compose_the_same_zip(composer: ZipComposer, store: DirectFileStore) -> None:
    archive = archive_of(composer, artifact(composer.blobs, FILES))
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(composer.compose, [archive] * 8)) == {zip_key(archive.artifact_hash)}
    assert store.content(zip_key(archive.artifact_hash)) == streamed(archive)


def test_each_nested_artifact_is_composed_once(composer: ZipComposer, store: DirectFileStore) -> None:
    innermost = artifact(composer.blobs, FILES)
    inner = artifact(composer.blobs, {"x": b"x" * 2 * MIB}, {"i1": innermost, "i2": innermost})
    outer = artifact(composer.blobs, {}, {"a": inner, "b": inner, "c": innermost})
    archive = archive_of(composer, outer)
    key = composer.compose(archive)
    assert store.calls["compose"] == 3
    assert store.content(key) == streamed(archive)
    for made in (innermost, inner):
        assert store.stat(zip_key(made)).crc32 == zlib.crc32(store.content(zip_key(made)))
    assert contents(contents(contents(store.content(key))["a"])["i2"]) == FILES


def test_small_nested_artifacts_are_sent_as_bytes(composer: ZipComposer, store: DirectFileStore) -> None:
    inner = artifact(composer.blobs, {"x": b"x"})
    archive = archive_of(composer, artifact(composer.blobs, {}, {"inner.zip": inner}))
    assert store.content(composer.compose(archive)) == streamed(archive)
    assert store.keys("wg-zip/") == {zip_key(archive.artifact_hash)}


def test_a_nested_zip_without_a_crc32_gets_one(composer: ZipComposer, store: DirectFileStore) -> None:
    inner = artifact(composer.blobs, FILES)
    composer.compose(archive_of(composer, inner))
    assert store.stat(zip_key(inner)).crc32 is None
    archive = archive_of(composer, artifact(composer.blobs, {}, {"inner.zip": inner}))
    assert store.content(composer.compose(archive)) == streamed(archive)


def test_deep_nesting_takes_one_composition_per_level(composer: ZipComposer, store: DirectFileStore) -> None:
    artifact_hash = artifact(composer.blobs, {"x": b"x" * (MAX_INLINED_MEMBER_BYTES + 1)})
    for _ in range(6):
        artifact_hash = artifact(composer.blobs, {}, {"a": artifact_hash, "b": artifact_hash})
    archive = archive_of(composer, artifact_hash)
    assert store.content(composer.compose(archive)) == streamed(archive)
    assert store.calls["compose"] == 7


def test_a_zip_is_composed_again_before_a_download_could_outlast_it(
    composer: ZipComposer, store: DirectFileStore
) -> None:
    archive = archive_of(composer, artifact(composer.blobs, FILES))
    key = composer.compose(archive)
    now = datetime.now(UTC)
    for age, made in ((REUSE_AGE - timedelta(hours=1), 1), (REUSE_AGE + timedelta(hours=1), 2)):
        store.modified[key] = now - age
        assert composer.compose(archive) == key
        assert store.calls["compose"] == made
    assert store.content(key) == streamed(archive)
    assert timedelta(hours=12) < ZIP_LIFETIME - REUSE_AGE


def test_only_zips_are_deleted_after_eight_days(composer: ZipComposer, store: DirectFileStore) -> None:
    archive = archive_of(composer, artifact(composer.blobs, FILES))
    before = store.keys()
    key = composer.compose(archive)
    assert BlobUpkeep(composer.blobs).delete_old_zips() == 0
    store.modified[key] = datetime.now(UTC) - ZIP_LIFETIME - timedelta(minutes=1)
    assert BlobUpkeep(composer.blobs).delete_old_zips() == 1
    assert store.keys() == before


def test_a_deleted_content_is_missing_and_leaves_no_zip(composer: ZipComposer, store: DirectFileStore) -> None:
    content = b"x" * MIB
    archive = archive_of(composer, artifact(composer.blobs, {"a": content, "b": b"y"}))
    store.delete(content_key(hashlib.sha1(content).hexdigest()))
    with pytest.raises(ContentMissing):
        composer.compose(archive)
    assert store.keys("wg-zip/") == set()


def test_a_content_with_a_wrong_size_leaves_no_zip(composer: ZipComposer, store: DirectFileStore) -> None:
    content = b"x" * MIB
    archive = archive_of(composer, artifact(composer.blobs, {"a": content}))
    key = content_key(hashlib.sha1(content).hexdigest())
    store.delete(key)
    store.put(key, [b"truncated"])
    with pytest.raises(SizeChanged):
        composer.compose(archive)
    assert store.keys("wg-zip/") == set()


def huge(name: str, size: int) -> ArtifactMember:
    """A content that claims a size no test can store."""
    source = ContentDownload(name, size, hashlib.sha1(name.encode()).hexdigest(), 0x12345678)
    return ArtifactMember(name, size, lambda: iter(()), source)


def test_sizes_beyond_4_gib_are_written_as_zip64(composer: ZipComposer, store: DirectFileStore) -> None:
    members = (huge("a", 5 * GIB), huge("b", 100 * GIB), huge("c", 2 * MIB))
    archive = ZipDownload("art.zip", "1" * 40, members, archive_size(members))
    for member in members:
        assert isinstance(member.source, ContentDownload)
        store.put(content_key(member.source.content_hash), [b""])
    replace(composer, largest_zip=LARGEST_ZIP_BYTES).compose(archive)
    # The contents read as zeros, so the test reads the central directory without writing the contents.
    sizes = {
        content_key(member.source.content_hash): member.size
        for member in members
        if isinstance(member.source, ContentDownload)
    }
    sparse = SparseFile(store.parts, sizes)
    assert sparse.size == archive.size
    with zipfile.ZipFile(sparse) as opened:
        found = {info.filename: (info.file_size, info.CRC) for info in opened.infolist()}
        assert found == {member.name: (member.size, 0x12345678) for member in members}
        for info in opened.infolist():
            opened.open(info).close()  # reads its local header


class SparseFile(io.RawIOBase):
    """The parts of a composition as a file; objects read as zeros."""

    def __init__(self, parts: list[str | bytes], sizes: dict[str, int]) -> None:
        self._pieces: list[tuple[int, int, bytes | None]] = []
        self._position = 0
        self.size = 0
        for part in parts:
            size = sizes[part] if isinstance(part, str) else len(part)
            self._pieces.append((self.size, size, None if isinstance(part, str) else part))
            self.size += size

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        for start, size, content in self._pieces:
            if start <= self._position < start + size:
                offset = self._position - start
                length = min(len(target), size - offset)
                target[:length] = content[offset : offset + length] if content is not None else bytes(length)
                self._position += length
                return length
        return 0


def test_a_zip_above_the_object_size_limit_is_rejected(composer: ZipComposer, store: DirectFileStore) -> None:
    members = tuple(huge(str(n), LARGEST_ZIP_BYTES // 4) for n in range(4))
    archive = ZipDownload("art.zip", "1" * 40, members, archive_size(members))
    with pytest.raises(TooLarge, match="one by one"):
        composer.compose(archive)
    assert store.calls["compose"] == 0


def test_a_zip_that_repeats_its_contents_is_rejected(composer: ZipComposer, store: DirectFileStore) -> None:
    """One small document can name a large content thousands of times."""
    one = huge("a", GIB)
    for copies, accepted in ((2, True), (3, False)):
        members = (one,) * copies
        archive = ZipDownload("art.zip", str(copies) * 40, members, archive_size(members))
        if accepted:
            composed_zip._check_cost(archive, LARGEST_ZIP_BYTES)
        else:
            with pytest.raises(TooLarge, match="one by one"):
                composer.compose(archive)
    assert store.calls["compose"] == 0


def test_nested_zips_count_as_composed(composer: ZipComposer) -> None:
    archive = ZipDownload("0", "0" * 40, members := (huge("a", GIB),), archive_size(members))
    accepted = []
    for level in range(1, 4):
        source = archive
        members = (ArtifactMember(str(level), source.size, source.chunks, source),)
        archive = ZipDownload(str(level), str(level) * 40, members, archive_size(members))
        try:
            composed_zip._check_cost(archive, LARGEST_ZIP_BYTES)
            accepted.append(level)
        except TooLarge:
            pass
    assert accepted == [1]


def test_the_largest_zip_is_a_setting(composer: ZipComposer) -> None:
    members = (huge("a", GIB),)
    archive = ZipDownload("art.zip", "1" * 40, members, archive_size(members))
    with pytest.raises(TooLarge):
        replace(composer, largest_zip=GIB).compose(archive)


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_the_crc32_of_joined_pieces_equals_the_crc32_of_their_bytes(first: bytes, second: bytes) -> None:
    assert crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@pytest.mark.parametrize("size", [0, 1, MIB, 64 * MIB + 7])
def test_the_crc32_of_a_large_piece_can_be_appended(size: int) -> None:
    piece = bytes(size)
    assert crc32_combine(zlib.crc32(b"head"), zlib.crc32(piece), size) == zlib.crc32(piece, zlib.crc32(b"head"))


def test_crc32_values_of_pieces_larger_than_memory_can_be_combined() -> None:
    gib = zlib.crc32(bytes(64 * MIB))
    doubled, size = gib, 64 * MIB
    while size < 2**42:
        doubled, size = crc32_combine(doubled, doubled, size), 2 * size
    # The result is the same for every way to split the bytes into pieces.
    quarter, length = gib, 64 * MIB
    while length < 2**40:
        quarter, length = crc32_combine(quarter, quarter, length), 2 * length
    rest = crc32_combine(crc32_combine(quarter, quarter, length), quarter, length)
    assert crc32_combine(quarter, rest, 3 * length) == doubled
