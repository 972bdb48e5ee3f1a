"""Requests to Cloud Storage that each use case of blobs makes, counted at the edge of the client library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract_backends import Gcs
from requests.adapters import HTTPAdapter

from cloud_executor.blobs.downloads import Downloads, ZipDownload
from cloud_executor.blobs.store import BlobStore
from cloud_executor.clock import system_clock
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType

BUCKET_PATH = re.compile(r"/storage/v1/b/[^/?]+(\?.*)?")

LARGE = 5_000_000
"""Size of a blob that is uploaded in two pieces, in bytes."""


@pytest.fixture
def blobs(storage: str, tmp_path: Path) -> Iterator[BlobStore]:
    with Gcs(tmp_path).open() as store:
        yield BlobStore(store, system_clock, direct=store)


@pytest.fixture
def calls(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Method and path of each request for an object, in order."""
    made: list[str] = []
    send = HTTPAdapter.send

    def counted(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
        # The library itself looks up the bucket's location once.
        if not BUCKET_PATH.fullmatch(request.path_url):
            made.append(f"{request.method} {request.path_url}")
        return send(adapter, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", counted)
    return made


def test_a_small_upload_is_two_calls(blobs: BlobStore, calls: list[str]) -> None:
    blobs.create_file("a.txt", [b"some bytes"])
    assert len(calls) == 2


def test_a_small_upload_of_an_existing_blob_looks_up_its_use_and_reads_it_to_compare(
    blobs: BlobStore, calls: list[str]
) -> None:
    blobs.create_file("a.txt", [b"some bytes"])
    calls.clear()
    blobs.create_file("a.txt", [b"some bytes"])
    assert len(calls) == 5


def test_a_large_upload_in_two_pieces_is_ten_calls(blobs: BlobStore, calls: list[str]) -> None:
    blobs.create_file("a.bin", [bytes(LARGE)])
    # The lookup, the session, two pieces, and the CRC-32; for the move: the size, the lookup, the copy, and the
    # deletion; finally the metadata.
    assert len(calls) == 10
    assert sum("upload_id" in call for call in calls) == 2


def test_metadata_is_one_call(blobs: BlobStore, calls: list[str]) -> None:
    blob = blobs.create_file("a.txt", [b"some bytes"])
    calls.clear()
    blobs.metadata(blob.hash)
    assert len(calls) == 1


def test_a_download_is_three_calls(blobs: BlobStore, calls: list[str]) -> None:
    blob = blobs.create_file("a.txt", [b"some bytes"])
    calls.clear()
    download = Downloads(blobs).resolve(blob.hash)
    with blobs.open_content(download.content_hash) as content:
        assert content.read() == b"some bytes"
    assert len(calls) == 3


def test_an_artifact_of_many_files_is_looked_up_once(blobs: BlobStore, calls: list[str]) -> None:
    files = {
        f"{number}.txt": ArtifactFile(blobs.create_file("a.txt", [b"%3d" % number]).hash, 3, ContentType.SOFT_LINK)
        for number in range(200)
    }
    artifact = blobs.create_metadata(BlobMetadata.for_artifact("art", files))
    calls.clear()
    first = Downloads(blobs).resolve(artifact.hash)
    # The artifact, the lookup of its missing manifest, two for each file, and the upload of the manifest.
    assert len(calls) == 2 + 2 * 200 + 1
    calls.clear()
    second = Downloads(blobs).resolve(artifact.hash)
    assert len(calls) == 2
    assert isinstance(first, ZipDownload)
    assert isinstance(second, ZipDownload)
    assert b"".join(second.chunks()) == b"".join(first.chunks())


def test_looking_up_missing_contents_is_one_call_per_content(blobs: BlobStore, calls: list[str]) -> None:
    contents = [f"{number:040x}" for number in range(20)]
    assert blobs.missing(contents) == contents
    assert len(calls) == 20


def test_listing_hundreds_of_objects_is_one_call(blobs: BlobStore, calls: list[str]) -> None:
    blobs.objects.put_all({f"wg-temp/{number}": b"" for number in range(300)})
    calls.clear()
    assert len(list(blobs.objects.list("wg-temp/"))) == 300
    assert len(calls) == 1
