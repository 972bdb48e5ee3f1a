"""Artifacts: their zips, their files, and the links in them."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from http_server import Response, Server

from cloud_executor.blobs.downloads import MAX_LINK_DEPTH

EMPTY_ZIP_BYTES = 22


def opened(response: Response) -> zipfile.ZipFile:
    assert response.status == 200, response
    assert response["Content-Length"] == str(len(response.body))
    return zipfile.ZipFile(io.BytesIO(response.body))


def contents(response: Response) -> dict[str, bytes]:
    with opened(response) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def store_crafted(server: Server, document: object) -> str:
    """Store metadata that no client could have sent; return its hash."""
    return store_as(server, hashlib.sha1(json.dumps(document).encode()).hexdigest(), document)


def store_as(server: Server, blob_hash: str, document: object) -> str:
    server.objects.put(f"wg-metadata/{blob_hash[:2]}/{blob_hash[2:]}", [json.dumps(document).encode()])
    return blob_hash


def link_to(blob_hash: str) -> dict[str, object]:
    return {"name": "link.txt", "content": blob_hash, "contentType": "softLink"}


def artifact_of(**entries: tuple[str, str]) -> dict[str, object]:
    content = {path: {"content": found, "contentType": kind} for path, (kind, found) in entries.items()}
    return {"name": "crafted.zip", "content": content, "contentType": "complex"}


def test_a_zip_has_all_files_and_the_announced_length(server: Server, tmp_path: Path) -> None:
    names = ["a.txt", "dir/b.bin", "dir/deep/ü漢😀.txt", "9", "10", "01", "name with space", "constructor"]
    files = {name: (name * 1000).encode() for name in names} | {"empty": b"", "large.bin": bytes(3 * 1024 * 1024)}
    entries = {}
    for name, content in files.items():
        blob_hash = server.create_file("x", content)
        entries[name] = ("object", hashlib.sha1(content).hexdigest()) if "a" in name else ("softLink", blob_hash)
    artifact = server.create_artifact("all.zip", entries)
    for verb in ("view", "download"):
        response = server.get(f"/rest/blob/{verb}/{artifact}")
        assert contents(response) == files
        assert response["Content-Type"] == "application/zip"
        assert response["Content-Disposition"] == 'attachment; filename="all.zip"'
    archive = tmp_path / "all.zip"
    archive.write_bytes(response.body)
    subprocess.run(["unzip", "-tqq", str(archive)], check=True)
    with opened(response) as found:
        for entry in found.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert entry.external_attr >> 16 == 0o100644
            assert entry.flag_bits & 0x800


def test_an_artifact_always_gives_the_same_zip(server: Server) -> None:
    artifact = server.create_artifact("same.zip", {"a": ("softLink", server.create_file("a", b"x" * 2_000_000))})
    first, second = (server.get(f"/rest/blob/view/{artifact}") for _ in range(2))
    assert first.body == second.body
    etag = first["ETag"]
    assert etag is not None
    assert server.get(f"/rest/blob/view/{artifact}", {"If-None-Match": etag}).status == 304
    assert server.get(f"/rest/blob/view/{artifact}", {"Range": "bytes=0-3"}).body == first.body
    assert first["Accept-Ranges"] is None


def test_head_returns_the_length_of_a_zip(server: Server) -> None:
    artifact = server.create_artifact("head.zip", {"a": ("softLink", server.create_file("a", b"x" * 100))})
    head = server.send("HEAD", f"/rest/blob/download/{artifact}")
    assert head["Content-Length"] == str(len(server.get(f"/rest/blob/download/{artifact}").body))


def test_an_artifact_without_files_is_an_empty_zip(server: Server) -> None:
    response = server.get(f"/rest/blob/download/{server.create_artifact('none.zip', {})}")
    assert len(response.body) == EMPTY_ZIP_BYTES
    assert contents(response) == {}


def test_a_path_selects_exactly_that_file(server: Server) -> None:
    file = server.create_file("inner.html", b"<p>")
    names = ["dir/b.txt", "a//b", "./a", "a/", "../up", "Caps", "50%", "dir", "é"]
    artifact = server.create_artifact("paths.zip", dict.fromkeys(names, ("softLink", file)))
    existing = ["dir/b.txt", "dir%2Fb.txt", "a//b", "./a", "a/", "..%2Fup", "../up", "Caps", "50%25", "dir", "%C3%A9"]
    for path in existing:
        assert server.get(f"/rest/blob/view/{artifact}/{path}").body == b"<p>", path
    for path in [
        "b.txt",
        "dir/",
        "dir/b.txt/",
        "a/b",
        "caps",
        "50%2525",
        "e%CC%81",
        "paths.zip",
        "dir%252Fb.txt",
        "__proto__",
    ]:
        response = server.get(f"/rest/blob/view/{artifact}/{path}")
        assert (response.status, response.text.endswith(".")) == (404, True), path


def test_a_files_headers_come_from_the_last_segment_of_its_path(server: Server) -> None:
    file = server.create_file("inner.html", b"<p>")
    artifact = server.create_artifact("headers.zip", {"dir/b.csv": ("softLink", file)})
    response = server.get(f"/rest/blob/download/{artifact}/dir%2Fb.csv")
    assert response["Content-Type"] == "text/csv"
    assert response["Content-Disposition"] == 'attachment; filename="b.csv"'
    ranged = server.get(f"/rest/blob/view/{artifact}/dir/b.csv", {"Range": "bytes=1-1"})
    assert (ranged.status, ranged.body) == (206, b"p")


def test_links_are_followed_through_many_levels(server: Server) -> None:
    blob_hash = server.create_file("target.bin", b"target")
    for number in range(50):
        blob_hash = server.create_metadata({"name": f"{number}.txt", "content": blob_hash, "contentType": "softLink"})
    response = server.get(f"/rest/blob/download/{blob_hash}")
    assert (response.body, response["Content-Disposition"]) == (b"target", 'attachment; filename="49.txt"')


def test_an_artifact_inside_an_artifact_is_a_zip_inside_the_zip(server: Server) -> None:
    inner = server.create_artifact("inner.zip", {"a.txt": ("softLink", server.create_file("a.txt", b"inside"))})
    link = server.create_metadata({"name": "link", "content": inner, "contentType": "softLink"})
    outer = server.create_artifact("outer.zip", {"sub.zip": ("softLink", link), "again/sub.zip": ("softLink", inner)})
    response = server.get(f"/rest/blob/view/{outer}")
    found = contents(response)
    assert found.keys() == {"sub.zip", "again/sub.zip"}
    for packed in found.values():
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            assert archive.read("a.txt") == b"inside"
    assert server.get(f"/rest/blob/view/{outer}/sub.zip").body == found["sub.zip"]
    assert server.get(f"/rest/blob/view/{outer}/sub.zip/a.txt").status == 404


def test_circular_links_are_404(server: Server) -> None:
    one, other, artifact = "c1" * 20, "c2" * 20, "c3" * 20
    store_as(server, one, link_to(other))
    store_as(server, other, link_to(one))
    store_as(server, artifact, artifact_of(self=("softLink", artifact)))
    loop = server.create_artifact("loop.zip", {"a": ("softLink", one)})
    around = server.create_artifact("around.zip", {"a": ("softLink", artifact)})
    for path in (one, other, artifact, f"{artifact}/self", loop, f"{loop}/a", around):
        for method in ("GET", "HEAD"):
            assert server.send(method, f"/rest/blob/view/{path}").status == 404, path


def test_too_many_links_are_404(server: Server) -> None:
    blob_hash = server.create_file("target.bin", b"target")
    for _ in range(MAX_LINK_DEPTH + 10):
        blob_hash = store_crafted(server, link_to(blob_hash))
    assert server.get(f"/rest/blob/view/{blob_hash}").status == 404


@pytest.mark.parametrize("kind", ["object", "softLink"])
def test_an_artifact_with_a_missing_part_is_404_before_the_first_byte(server: Server, kind: str) -> None:
    existing = server.create_file("existing.txt", b"existing")
    artifact = server.create_artifact("lacks.zip", {"a.txt": ("softLink", existing), "z.txt": (kind, "2" * 40)})
    for method in ("GET", "HEAD"):
        assert server.send(method, f"/rest/blob/download/{artifact}").status == 404
    assert server.get(f"/rest/blob/download/{artifact}/z.txt").status == 404
    assert server.get(f"/rest/blob/download/{artifact}/a.txt").body == b"existing"


def test_names_in_a_zip_never_escape_its_folder(server: Server) -> None:
    names = ["/etc/passwd", "../up", "a/../../up2", "C:\\windows\\x", "..\\..\\y", "./z", "a//b", "..", "C:/w", "/"]
    file = server.create_file("x", b"x")
    artifact = server.create_artifact("evil.zip", dict.fromkeys(names, ("softLink", file)))
    for name in contents(server.get(f"/rest/blob/view/{artifact}")):
        assert not name.startswith("/")
        assert "\\" not in name
        assert ":" not in name
        assert not {"", ".", ".."} & set(name.split("/"))


@pytest.mark.parametrize(
    "document",
    [
        {"content": "3" * 40, "contentType": "folder"},
        {"content": None, "contentType": "complex"},
        {"content": {"a": None}, "contentType": "complex"},
        {"content": {"a": {"content": "../../../etc/passwd", "contentType": "object"}}, "contentType": "complex"},
        {"content": {"a": {"content": "4" * 40, "contentType": "complex"}}, "contentType": "complex"},
        {"content": "../../wg-temp/x", "contentType": "object"},
        {"content": 7, "contentType": "object"},
        [],
        None,
    ],
)
def test_invalid_metadata_in_the_store_is_404(server: Server, document: object) -> None:
    blob_hash = store_crafted(server, document)
    for path in (blob_hash, f"{blob_hash}/a"):
        assert server.get(f"/rest/blob/view/{path}").status == 404
    assert isinstance(server.get("/rest/blob/metadata?all=1").json, dict)


def test_a_thousand_files_fit_in_one_zip(server: Server) -> None:
    file = server.create_file("x", b"x" * 100)
    artifact = server.create_artifact("many.zip", {f"dir{i % 10}/{i}.txt": ("softLink", file) for i in range(1000)})
    assert len(contents(server.get(f"/rest/blob/view/{artifact}"))) == 1000
