"""Large transfers between our client and a bucket: the function, Google's client library, and a storage emulator."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from flask.testing import FlaskClient
from in_process import open_client

from cloud_executor import Client
from cloud_executor.backends.google.storage.objects import GcsObjectStore
from cloud_executor.blobs.keys import content_key, zip_key
from cloud_executor.blobs.store import BlobStore
from cloud_executor.client.transfer import upload
from cloud_executor.errors import Invalid

LIMIT = 1_000_000
LARGE = bytes(range(256)) * 12_000
SHA1 = hashlib.sha1(LARGE).hexdigest()
FUNCTION = "http://function.example"


@pytest.fixture
def objects(storage: str) -> GcsObjectStore:
    bucket = f"bucket-{uuid4()}"
    objects = GcsObjectStore(bucket, "project", f"{bucket}-staging")
    objects.create()
    return objects


@pytest.fixture
def function(objects: GcsObjectStore, tmp_path: Path) -> Iterator[FlaskClient]:
    blobs = BlobStore(objects, lambda: datetime.now(UTC), objects)
    with open_client(tmp_path, blobs=blobs, inline_limit=str(LIMIT)) as client:
        yield client


class Network(httpx.BaseTransport):
    """Routes requests to the function in this process, or over the real network to the emulator."""

    def __init__(self, function: FlaskClient) -> None:
        self._function = function
        self._real = httpx.HTTPTransport()
        self.breaks: list[int] = []
        """Numbers of the pieces after which the connection breaks, which loses their responses."""
        self.pieces = 0
        self.function_bytes = 0
        """Total size of the bodies that the function received and sent, in bytes."""

    def close(self) -> None:
        self._real.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != "function.example":
            response = self._real.handle_request(request)
            if request.method == "PUT":
                self.pieces += 1
                if self.pieces in self.breaks:
                    response.read()
                    response.close()
                    raise httpx.ReadError("broken")
            return response
        body = request.read()
        headers: Any = [(name, value) for name, value in request.headers.items() if name != "host"]
        with self._function.open(
            request.url.raw_path.decode(), method=request.method, headers=headers, data=body
        ) as given:
            content = given.get_data()
            self.function_bytes += len(body) + len(content)
            return httpx.Response(given.status_code, headers=list(given.headers), content=content)


@pytest.fixture
def network(function: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(upload, "DIRECT_BYTES", LIMIT)
    monkeypatch.setattr(upload, "PIECE_BYTES", 1024 * 1024)
    return Network(function)


@pytest.fixture
def client(network: Network) -> Iterator[Client]:
    with Client(FUNCTION, transport=network) as client:
        yield client


def test_a_large_file_bypasses_the_function_in_both_directions(
    client: Client, network: Network, objects: GcsObjectStore, tmp_path: Path
) -> None:
    blob_hash = client.upload_file(io.BytesIO(LARGE), "large.bin")
    assert objects.stat(content_key(SHA1)).crc32 == zlib.crc32(LARGE)
    client.download(blob_hash, tmp_path / "large.bin")
    assert (tmp_path / "large.bin").read_bytes() == LARGE
    assert client.tail(blob_hash, "large.bin", 100) == LARGE[-100:]
    assert network.pieces == 3
    assert network.function_bytes < 10_000
    assert client.upload_file(io.BytesIO(LARGE), "large.bin") == blob_hash
    assert network.pieces == 3


def test_an_upload_succeeds_even_if_its_last_response_is_lost(client: Client, network: Network) -> None:
    # Only the last response is lost, because the emulator mistakes the status check of an upload for its end. The fake
    # upload session in tests/unit/client/test_upload.py responds the way the service does.
    network.breaks = [3]
    blob_hash = client.upload_file(io.BytesIO(LARGE), "large.bin")
    assert b"".join(client.chunks(blob_hash)) == LARGE


def test_bytes_that_do_not_match_the_announced_hash_are_rejected(
    client: Client, objects: GcsObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload.Source, "sha1", lambda _: "0" * 40)
    with pytest.raises(Invalid, match="differ from the announced size or sha1"):
        client.upload_file(io.BytesIO(LARGE), "large.bin")
    assert list(objects.list("")) == []


def test_the_zip_of_a_large_folder_is_composed_in_the_bucket(
    client: Client, network: Network, objects: GcsObjectStore, tmp_path: Path
) -> None:
    files = {f"dir/{number:02}.bin": b"%02d" % number * 50_000 for number in range(40)}
    files |= {"large.bin": LARGE, "small ü.txt": b"small", "empty": b""}
    folder = tmp_path / "folder"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    artifact = client.upload_artifact(folder)
    network.function_bytes = 0
    client.download(artifact, tmp_path / "art.zip")
    assert network.function_bytes < 10_000
    subprocess.run(["unzip", "-tqq", str(tmp_path / "art.zip")], check=True)
    with zipfile.ZipFile(tmp_path / "art.zip") as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == files
    assert [info.key for info in objects.list("wg-zip/")] == [zip_key(artifact)]
    assert [info.key for info in objects.list("wg-temp/") if not info.key.endswith(".verified")] == []
