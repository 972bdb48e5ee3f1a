"""What the use cases of blobs cost: requests to Cloud Storage, counted where they leave the client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract_backends import Gcs
from requests.adapters import HTTPAdapter

from cloud_executor.blobs.store import BlobStore, ZipDownload
from cloud_executor.clock import system_clock
from cloud_executor.model.metadata import ArtifactFile, BlobMetadata, ContentType

OF_THE_BUCKET = re.compile(r"/storage/v1/b/[^/?]+(\?.*)?")

LARGE = 5_000_000
"""bytes: in two pieces"""


@pytest.fixture
def blobs(storage: str, tmp_path: Path) -> Iterator[BlobStore]:
    with Gcs(tmp_path).open() as store:
        yield BlobStore(store, system_clock, direct=store)


@pytest.fixture
def calls(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests for objects, as they come to be made: method and path."""
    made: list[str] = []
    send = HTTPAdapter.send

    def counted(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
        # Once in its life, and in no call of ours, the library asks where the bucket is.
        if not OF_THE_BUCKET.fullmatch(request.path_url):
            made.append(f"{request.method} {request.path_url}")
        return send(adapter, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", counted)
    return made


def test_a_small_upload_is_two_calls(blobs: BlobStore, calls: list[str]) -> None:
    blobs.create_file("a.txt", [b"some bytes"])
    assert len(calls) == 2


def test_a_small_upload_of_what_is_there_is_two_calls(blobs: BlobStore, calls: list[str]) -> None:
    blobs.create_file("a.txt", [b"some bytes"])
    calls.clear()
    blobs.create_file("a.txt", [b"some bytes"])
    assert len(calls) == 2


def test_a_large_upload_is_ten_calls_and_one_more_for_each_further_piece(blobs: BlobStore, calls: list[str]) -> None:
    blobs.create_file("a.bin", [bytes(LARGE)])
    # Is it there? a session, two pieces, the CRC-32; to move it: its size, is it there? the copy, the deletion; and the
    # metadata.
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
    download = blobs.download(blob.hash)
    with blobs.open_content(download.content_hash) as content:
        assert content.read() == b"some bytes"
    assert len(calls) == 3


def test_an_artifact_of_many_files_is_looked_up_once(blobs: BlobStore, calls: list[str]) -> None:
    blob = blobs.create_file("a.txt", [b"some bytes"])
    files = {f"{number}.txt": ArtifactFile(blob.hash, 10, ContentType.SOFT_LINK) for number in range(200)}
    artifact = blobs.create_metadata(BlobMetadata.for_artifact("art", files))
    calls.clear()
    first = blobs.download(artifact.hash)
    # The artifact, its manifest, which is not there, for each file two, and the manifest.
    assert len(calls) == 2 + 2 * 200 + 1
    calls.clear()
    second = blobs.download(artifact.hash)
    assert len(calls) == 2
    assert isinstance(first, ZipDownload)
    assert isinstance(second, ZipDownload)
    assert b"".join(second.chunks()) == b"".join(first.chunks())


def test_asking_what_is_missing_is_one_call_for_each_content(blobs: BlobStore, calls: list[str]) -> None:
    asked = [f"{number:040x}" for number in range(20)]
    assert blobs.missing(asked) == asked
    assert len(calls) == 20


def test_a_list_of_a_thousand_is_one_call(blobs: BlobStore, calls: list[str]) -> None:
    blobs.objects.put_all({f"wg-temp/{number}": b"" for number in range(1000)})
    calls.clear()
    assert len(list(blobs.objects.list("wg-temp/"))) == 1000
    assert len(calls) == 1
