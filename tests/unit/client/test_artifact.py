"""Test uploads of folders as artifacts: which files are sent."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_executor.client import Client
from cloud_executor.client.errors import InvalidSource, ServerError
from cloud_executor.client.transfer import artifact


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class BlobServer:
    """A fake of the blob API that stores contents in memory."""

    def __init__(self, *, tells_missing: bool = True) -> None:
        self.tells_missing = tells_missing
        self.contents: set[str] = set()
        self.sent: list[str] = []
        self.calls: Counter[str] = Counter()
        self.document: Any = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        action = request.url.path.split("/")[3]
        self.calls[action] += 1
        if action == "missing":
            if not self.tells_missing:
                return httpx.Response(404)
            hashes = json.loads(body)["contents"]
            return httpx.Response(200, json={"missing": [found for found in hashes if found not in self.contents]})
        if action == "createFile":
            self.contents.add(sha1(body))
            self.sent.append(request.url.path.rpartition("/")[2])
            return httpx.Response(200, json={"file": {}})
        assert action == "createMetadata"
        self.document = json.loads(body)
        return httpx.Response(200, json={"the artifact": {}})


def client_of(server: Any) -> Client:
    return Client("http://server.example", transport=httpx.MockTransport(server))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    (path / "deep" / "er").mkdir(parents=True)
    (path / "a.txt").write_bytes(b"one")
    (path / "deep" / "b.txt").write_bytes(b"one")
    (path / "deep" / "er" / "ü.txt").write_bytes(b"another")
    (path / "empty").touch()
    return path


def test_an_artifact_contains_all_files_of_the_folder(folder: Path) -> None:
    server = BlobServer()
    assert client_of(server).upload_artifact(folder) == "the artifact"
    assert server.document == {
        "name": "results.zip",
        "size": 13,
        "mime": "application/zip",
        "content": {
            "a.txt": {"content": sha1(b"one"), "contentType": "object"},
            "deep/b.txt": {"content": sha1(b"one"), "contentType": "object"},
            "deep/er/ü.txt": {"content": sha1(b"another"), "contentType": "object"},
            "empty": {"content": sha1(b""), "contentType": "object"},
        },
        "contentType": "complex",
    }
    assert server.contents == {sha1(b"one"), sha1(b"another"), sha1(b"")}


def test_only_new_files_are_sent(folder: Path) -> None:
    server = BlobServer()
    client_of(server).upload_artifact(folder)
    assert len(server.sent) == 3
    server.sent.clear()
    server.calls.clear()
    client_of(server).upload_artifact(folder, "again")
    assert server.calls == {"missing": 1, "createMetadata": 1}
    (folder / "new.txt").write_bytes(b"new")
    client_of(server).upload_artifact(folder)
    assert server.sent == ["new.txt"]


def test_missing_contents_are_queried_in_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "HASHES_PER_REQUEST", 2)
    server = BlobServer()
    client_of(server).upload_artifact(folder)
    assert server.calls["missing"] == 4
    assert server.contents == {sha1(b"one"), sha1(b"another"), sha1(b"")}


def test_a_server_without_the_missing_route_receives_each_content_once(folder: Path) -> None:
    server = BlobServer(tells_missing=False)
    client_of(server).upload_artifact(folder)
    assert sorted(server.contents) == sorted({sha1(b"one"), sha1(b"another"), sha1(b"")})
    assert len(server.sent) == 3


def test_an_empty_folder_becomes_an_empty_artifact(tmp_path: Path) -> None:
    server = BlobServer()
    client_of(server).upload_artifact(tmp_path, "empty")
    assert (server.document["name"], server.document["content"]) == ("empty.zip", {})
    assert server.calls == {"createMetadata": 1}


def test_a_file_that_changes_during_the_upload_is_reported(folder: Path) -> None:
    class Changing(BlobServer):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            response = super().__call__(request)
            (folder / "a.txt").write_bytes(b"changed")
            (folder / "deep" / "b.txt").write_bytes(b"changed")
            return response

    server = Changing()
    with pytest.raises(InvalidSource, match="was changed"):
        client_of(server).upload_artifact(folder)
    assert server.document is None


def test_links_and_pipes_are_rejected_before_anything_is_sent(folder: Path) -> None:
    server = BlobServer()
    (folder / "link").symlink_to("a.txt")
    with pytest.raises(InvalidSource, match="link is a link"):
        client_of(server).upload_artifact(folder)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidSource, match="pipe is a link"):
        client_of(server).upload_artifact(folder)
    assert server.calls == {}


@pytest.mark.parametrize("document", [None, [], {}, {"missing": 5}, {"missing": ["0" * 40]}])
def test_an_invalid_response_raises_server_error(folder: Path, document: object) -> None:
    with pytest.raises(ServerError):
        client_of(lambda _: httpx.Response(200, json=document)).upload_artifact(folder)
