"""A folder as an artifact: what is sent, and what is not."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_executor.client import CloudExecutor, artifact
from cloud_executor.client.errors import InvalidSource, ServerFault


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class BlobServer:
    """What the blob API does with contents."""

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
            asked = json.loads(body)["contents"]
            return httpx.Response(200, json={"missing": [found for found in asked if found not in self.contents]})
        if action == "createFile":
            self.contents.add(sha1(body))
            self.sent.append(request.url.path.rpartition("/")[2])
            return httpx.Response(200, json={"file": {}})
        assert action == "createMetadata"
        self.document = json.loads(body)
        return httpx.Response(200, json={"the artifact": {}})


def client_of(server: Any) -> CloudExecutor:
    return CloudExecutor("http://server.example", transport=httpx.MockTransport(server))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    (path / "deep" / "er").mkdir(parents=True)
    (path / "a.txt").write_bytes(b"one")
    (path / "deep" / "b.txt").write_bytes(b"one")
    (path / "deep" / "er" / "ü.txt").write_bytes(b"another")
    (path / "empty").touch()
    return path


def test_an_artifact_has_all_files_of_the_folder(folder: Path) -> None:
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


def test_only_what_is_new_is_sent(folder: Path) -> None:
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


def test_many_files_are_asked_for_a_part_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "ASKED_AT_ONCE", 2)
    server = BlobServer()
    client_of(server).upload_artifact(folder)
    assert server.calls["missing"] == 4
    assert server.contents == {sha1(b"one"), sha1(b"another"), sha1(b"")}


def test_a_server_that_cannot_tell_gets_each_content_once(folder: Path) -> None:
    server = BlobServer(tells_missing=False)
    client_of(server).upload_artifact(folder)
    assert sorted(server.contents) == sorted({sha1(b"one"), sha1(b"another"), sha1(b"")})
    assert len(server.sent) == 3


def test_an_empty_folder_is_an_empty_artifact(tmp_path: Path) -> None:
    server = BlobServer()
    client_of(server).upload_artifact(tmp_path, "empty")
    assert (server.document["name"], server.document["content"]) == ("empty.zip", {})
    assert server.calls == {"createMetadata": 1}


def test_a_file_that_changes_while_it_is_sent_is_told_of(folder: Path) -> None:
    class Changing(BlobServer):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            answer = super().__call__(request)
            (folder / "a.txt").write_bytes(b"changed")
            (folder / "deep" / "b.txt").write_bytes(b"changed")
            return answer

    server = Changing()
    with pytest.raises(InvalidSource, match="was changed"):
        client_of(server).upload_artifact(folder)
    assert server.document is None


def test_what_is_no_file_is_refused_before_anything_is_sent(folder: Path) -> None:
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
def test_an_answer_that_makes_no_sense_is_a_fault(folder: Path, document: object) -> None:
    with pytest.raises(ServerFault):
        client_of(lambda _: httpx.Response(200, json=document)).upload_artifact(folder)
