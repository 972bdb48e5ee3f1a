"""Test that the work of resolving one download is bounded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stored_blobs import NOON, artifact, counting, file, link

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs.downloads import MAX_LINK_DEPTH, ContentDownload, Downloads, TooManyLinks, ZipDownload
from cloud_executor.blobs.store import BlobStore
from cloud_executor.model.blobs.metadata import ContentType


def test_each_link_is_resolved_once(tmp_path: Path) -> None:
    blobs, store = counting(FileObjectStore(tmp_path))
    target = file(blobs, b"x").hash
    for _ in range(40):
        target = link(blobs, target)
    made = artifact(blobs, **{f"f{number}": (target, ContentType.SOFT_LINK) for number in range(150)})
    store.calls.clear()
    found = Downloads(blobs).resolve(made)
    assert isinstance(found, ZipDownload)
    assert {(member.name, member.size) for member in found.members} == {(f"f{number}", 1) for number in range(150)}
    assert all(member.source.name == member.name for member in found.members)
    assert sum(store.calls.values()) <= 45


def test_links_to_one_artifact_keep_their_names(tmp_path: Path) -> None:
    blobs = BlobStore(FileObjectStore(tmp_path), lambda: NOON)
    inner = artifact(blobs, a=(file(blobs, b"x").hash, ContentType.SOFT_LINK))
    made = artifact(blobs, one=(inner, ContentType.SOFT_LINK), two=(inner, ContentType.SOFT_LINK))
    found = Downloads(blobs).resolve(made)
    assert isinstance(found, ZipDownload)
    assert [member.source.name for member in found.members] == ["one", "two"]


def test_the_lookups_of_a_download_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore(FileObjectStore(tmp_path), lambda: NOON)
    files = {f"f{n}": (file(blobs, b"%d" % n).hash, ContentType.SOFT_LINK) for n in range(10)}
    made = artifact(blobs, **files)
    monkeypatch.setattr("cloud_executor.blobs.downloads.MAX_LOOKUPS", 20)
    assert isinstance(Downloads(blobs).resolve(made), ZipDownload)
    monkeypatch.setattr("cloud_executor.blobs.downloads.MAX_LOOKUPS", 19)
    with pytest.raises(TooManyLinks):
        Downloads(blobs).resolve(made)


def test_known_artifacts_do_not_extend_the_depth(tmp_path: Path) -> None:
    """Entries that are resolved first must not serve as a deeper start for later ones."""
    blobs = BlobStore(FileObjectStore(tmp_path), lambda: NOON)
    chain = [artifact(blobs, a=(file(blobs, b"x").hash, ContentType.SOFT_LINK))]
    for _ in range(2 * MAX_LINK_DEPTH):
        chain.append(artifact(blobs, a=(chain[-1], ContentType.SOFT_LINK)))
    entries = {f"f{number:03}": (found, ContentType.SOFT_LINK) for number, found in enumerate(chain)}
    with pytest.raises(TooManyLinks):
        Downloads(blobs).resolve(artifact(blobs, **entries))


def test_waiting_preparations_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_executor.blobs.downloads.MAX_PREPARATIONS", 3)
    blobs = BlobStore(FileObjectStore(tmp_path), lambda: NOON)
    content = file(blobs, b"x").hash
    made = artifact(blobs, **{f"f{number}": (content, ContentType.SOFT_LINK) for number in range(300)})
    resolved: list[str] = []
    gate = threading.Event()

    class Waiting(Downloads):
        def resolve(self, metadata_hash: str, path: str | None = None) -> ContentDownload | ZipDownload:
            gate.wait()
            resolved.append(metadata_hash)
            return super().resolve(metadata_hash, path)

    with ThreadPoolExecutor(1) as background:
        downloads = Waiting(blobs, background)
        for _ in range(10):
            downloads.prepare(blobs.metadata(made))
        gate.set()
    assert len(resolved) == 3
    with ThreadPoolExecutor(1) as background:
        Waiting(blobs, background, downloads._preparations).prepare(blobs.metadata(made))
    assert len(resolved) == 4
