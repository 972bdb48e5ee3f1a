"""View and download of single files: ranges, conditions, and headers."""

from __future__ import annotations

import hashlib

import pytest
from http_server import Response, Server
from shattered import colliding_contents

CONTENT = bytes(range(256)) * 4
SIZE = len(CONTENT)


@pytest.fixture(scope="module")
def path(server: Server) -> str:
    return f"/rest/blob/view/{server.create_file('bytes.txt', CONTENT)}"


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-4", 2, 5),
        ("bytes=1000-", 1000, SIZE),
        ("bytes=-3", SIZE - 3, SIZE),
        ("bytes=-5000", 0, SIZE),
        ("bytes=1000-5000", 1000, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        ("bytes=0-99999999999999999999", 0, SIZE),
        ("BYTES=0-1", 0, 2),
    ],
)
@pytest.mark.parametrize("verb", ["view", "download"])
def test_a_range_is_206_with_the_requested_bytes(
    server: Server, path: str, verb: str, wanted: str, start: int, end: int
) -> None:
    response = server.get(path.replace("view", verb), {"Range": wanted})
    assert response.status == 206
    assert response["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response["Content-Length"] == str(end - start)
    assert response.body == CONTENT[start:end]


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(server: Server, path: str, wanted: str) -> None:
    response = server.get(path, {"Range": wanted})
    assert (response.status, response.text) == (416, "The range starts beyond the end of the file.")
    assert response["Cache-Control"] is None
    assert response["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "wanted", ["lines=1-2", "bytes=5-2", "bytes=a-b", "bytes", "bytes=", "bytes=1-2,5-6", "bytes=-", "", "x" * 1000]
)
def test_an_invalid_or_multiple_range_is_ignored(server: Server, path: str, wanted: str) -> None:
    response = server.get(path, {"Range": wanted})
    assert (response.status, response.body) == (200, CONTENT)


def test_head_ignores_ranges(server: Server, path: str) -> None:
    response = server.send("HEAD", path, headers={"Range": "bytes=2-4"})
    assert (response.status, response["Content-Length"]) == (200, str(SIZE))


def test_any_range_of_an_empty_file_is_416(server: Server) -> None:
    empty = f"/rest/blob/view/{server.create_file('empty.txt', b'')}"
    assert server.get(empty, {"Range": "bytes=0-"}).status == 416
    response = server.get(empty)
    assert (response.status, response.body, response["Content-Length"]) == (200, b"", "0")


def test_a_range_of_a_large_file_has_the_correct_bytes(server: Server) -> None:
    content = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(100_000))
    blob_hash = server.create_file("large.bin", content)
    for start, end in [(0, 100), (1_000_000, 3_000_001), (len(content) - 10, len(content))]:
        response = server.get(f"/rest/blob/download/{blob_hash}", {"Range": f"bytes={start}-{end - 1}"})
        assert response.body == content[start:end]
    assert server.get(f"/rest/blob/download/{blob_hash}").body == content


def test_if_range_applies_the_range_only_if_the_file_is_unchanged(server: Server, path: str) -> None:
    etag = server.get(path)["ETag"]
    assert etag is not None
    assert server.get(path, {"Range": "bytes=2-4", "If-Range": etag}).status == 206
    for other in (f"W/{etag}", '"other"', "Fri, 01 Jan 2100 00:00:00 GMT", "*"):
        response = server.get(path, {"Range": "bytes=2-4", "If-Range": other})
        assert (response.status, response.body) == (200, CONTENT)


def test_a_file_that_the_client_already_has_is_304(server: Server, path: str) -> None:
    etag = server.get(path)["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            response = server.send(method, path, headers={"If-None-Match": str(known)})
            assert (response.status, response.body) == (304, b"")
            assert response["ETag"] == etag
            assert response["Cache-Control"] == server.get(path)["Cache-Control"]
    response = server.get(path, {"If-None-Match": '"other"'})
    assert (response.status, response.body) == (200, CONTENT)


def test_the_etag_depends_only_on_the_bytes(server: Server, path: str) -> None:
    same = server.create_file("another-name.bin", CONTENT)
    other = server.create_file("bytes.txt", CONTENT + b"x")
    etag = server.get(path)["ETag"]
    assert etag is not None
    assert etag.startswith('"')
    assert server.get(f"/rest/blob/download/{same}")["ETag"] == etag
    assert server.get(f"/rest/blob/download/{other}")["ETag"] != etag


def test_files_are_cacheable_forever_and_sandboxed(server: Server, path: str) -> None:
    for headers in ({}, {"Range": "bytes=1-2"}):
        response = server.get(path, headers)
        assert response["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Content-Security-Policy"] == "sandbox"
    assert server.get(path)["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("name", "attached"), [("a.html", False), ("a.txt", False), ("a.zip", True), ("a.unknown", True), ("a", True)]
)
def test_view_displays_inline_what_a_browser_can_display(server: Server, name: str, attached: bool) -> None:
    blob_hash = server.create_file(name, b"<p>")
    assert ("Content-Disposition" in server.get(f"/rest/blob/view/{blob_hash}").headers) == attached
    assert server.get(f"/rest/blob/download/{blob_hash}")["Content-Disposition"] == f'attachment; filename="{name}"'


@pytest.mark.parametrize(
    ("segment", "disposition"),
    [
        ("a%22b%5Cc.txt", 'attachment; filename="c.txt"'),
        ("a%22b.txt", 'attachment; filename="a\\"b.txt"'),
        ("%E2%82%AC.txt", "attachment; filename=\"?.txt\"; filename*=UTF-8''%E2%82%AC.txt"),
        ("%C3%BC.txt", 'attachment; filename="ü.txt"'),
        ("%0D%0AX-Evil:1.txt", "attachment; filename=\"??X-Evil:1.txt\"; filename*=UTF-8''%0D%0AX-Evil%3A1.txt"),
        ("a%2525b.txt", "attachment; filename=\"a%25b.txt\"; filename*=UTF-8''a%2525b.txt"),
    ],
)
def test_any_name_gives_a_valid_header(server: Server, segment: str, disposition: str) -> None:
    response = server.get(f"/rest/blob/download/{server.create_file(segment, b'x')}")
    assert response["Content-Disposition"] == disposition
    assert response["X-Evil"] is None


@pytest.mark.parametrize("name", ["\ud800.txt", "a\udc00b\ud800"])
def test_a_name_with_a_lone_surrogate_gives_a_valid_header(server: Server, name: str) -> None:
    content = hashlib.sha1(CONTENT).hexdigest()
    server.create_file("x", CONTENT)
    blob_hash = server.create_metadata({"name": name, "content": content})
    response = server.get(f"/rest/blob/download/{blob_hash}")
    assert (response.status, response.body) == (200, CONTENT)
    assert (response["Content-Disposition"] or "").startswith('attachment; filename="')


def not_found(response: Response) -> bool:
    return (
        response.status == 404
        and response.text.endswith(".")
        and response["Content-Type"] == "text/plain; charset=utf-8"
    )


@pytest.mark.parametrize(
    "blob_hash",
    ["0" * 40, "x", "0" * 39, "0" * 41, "A" * 40, "..%2F..%2Fpasswd", "%00", "a,b", "%F0%9F%98%80"],
)
def test_an_unknown_hash_is_404(server: Server, blob_hash: str) -> None:
    for verb in ("metadata", "view", "download"):
        assert not_found(server.get(f"/rest/blob/{verb}/{blob_hash}"))


def test_a_missing_content_is_404(server: Server) -> None:
    for content_type in ("object", "softLink"):
        blob_hash = server.create_metadata({"name": "x", "content": "1" * 40, "contentType": content_type})
        for method in ("GET", "HEAD"):
            assert server.send(method, f"/rest/blob/view/{blob_hash}").status == 404
        assert not_found(server.get(f"/rest/blob/view/{blob_hash}/path"))
        assert not_found(server.get(f"/rest/blob/view/{blob_hash}", {"Range": "bytes=0-"}))


def test_a_path_in_a_single_file_changes_only_its_headers(server: Server, path: str) -> None:
    response = server.get(f"{path}/dir/other.html")
    assert (response.body, response["Content-Type"]) == (CONTENT, "text/html")


def test_a_file_with_the_sha1_of_another_file_is_rejected(server: Server) -> None:
    first, second = colliding_contents()
    found = server.create_file("first", first)
    response = server.send("POST", "/rest/blob/createFile/second", second)
    assert (response.status, response.text) == (
        409,
        "Another content with the same SHA-1 is already stored, so this one cannot be; change the file.",
    )
    assert server.create_file("first", first) == found
    assert server.get(f"/rest/blob/view/{found}").body == first


@pytest.mark.parametrize("destination", ["script", "worker", "serviceworker", "object"])
def test_a_page_cannot_run_a_stored_file(server: Server, destination: str) -> None:
    script = server.create_file("script.js", b"alert()")
    artifact = server.create_artifact("all", {"script.js": ("softLink", script)})
    for path in (f"view/{script}", f"view/{artifact}/script.js", f"download/{script}"):
        response = server.get(f"/rest/blob/{path}", {"Sec-Fetch-Dest": destination})
        assert response.status == 403
        assert response.text.startswith("A web page may not run a stored file")
        for shown in ({}, {"Sec-Fetch-Dest": "document"}, {"Sec-Fetch-Dest": "image"}):
            assert server.get(f"/rest/blob/{path}", shown).body == b"alert()"
