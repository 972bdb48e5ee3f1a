"""Uploads that go directly to the object store, and downloads that are redirected to it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from direct_store import DirectFileStore
from flask.testing import FlaskClient
from http_server import EMBEDDED, Server
from in_process import open_client

from cloud_executor.blobs.keys import content_key, zip_key
from cloud_executor.blobs.store import BlobStore

LIMIT = 100_000
SMALL = bytes(range(250)) * (LIMIT // 250)
LARGE = SMALL + b"x"
SHA1 = hashlib.sha1(LARGE).hexdigest()

Response = Any
"""Response of werkzeug's test client."""


@pytest.fixture
def store(tmp_path: Path) -> DirectFileStore:
    return DirectFileStore(tmp_path / "blobs")


@pytest.fixture
def client(store: DirectFileStore, tmp_path: Path) -> Iterator[FlaskClient]:
    blobs = BlobStore(store, lambda: datetime.now(UTC), store)
    with open_client(tmp_path, blobs=blobs, inline_limit=str(LIMIT)) as client:
        yield client


def get(client: FlaskClient, path: str, headers: dict[str, str] | None = None) -> Response:
    """Send a GET request; return the response after reading and closing it."""
    with client.get(path, headers=headers) as response:
        response.get_data()
        return response


def create_file(client: FlaskClient, name: str, content: bytes) -> str:
    response = client.post(f"/rest/blob/createFile/{name}", data=content)
    assert response.status_code == 200
    return str(next(iter(response.get_json())))


def create_artifact(client: FlaskClient, **files: str) -> str:
    content = {path: {"content": found, "contentType": "softLink"} for path, found in files.items()}
    document = {"name": "art.zip", "content": content, "contentType": "complex"}
    response = client.post("/rest/blob/createMetadata", data=json.dumps(document))
    return str(next(iter(response.get_json())))


def start_upload(client: FlaskClient, **fields: object) -> Response:
    announced = {"name": "data.bin", "size": len(LARGE), "sha1": SHA1, **fields}
    return client.post("/rest/blob/uploads", json={name: value for name, value in announced.items() if value != ...})


def is_sentence(response: Response, status: int) -> bool:
    return (
        response.status_code == status
        and response.content_type == "text/plain; charset=utf-8"
        and response.text.endswith(".")
        and "/" not in response.text.replace("docs/api.md", "")
    )


# Uploads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sha1", [SHA1, None, ...])
def test_a_direct_upload_has_the_same_response_as_create_file(
    client: FlaskClient, store: DirectFileStore, sha1: object
) -> None:
    started = start_upload(client, sha1=sha1)
    assert started.status_code == 201
    store.send(started.get_json()["url"], LARGE)
    completed = client.post(f"/rest/blob/uploads/{started.get_json()['id']}/complete")
    assert completed.status_code == 200
    (blob_hash,) = completed.get_json()
    assert blob_hash == create_file(client, "data.bin", LARGE)
    assert completed.get_json()[blob_hash]["content"] == SHA1
    again = client.post(f"/rest/blob/uploads/{started.get_json()['id']}/complete/")
    assert (again.status_code, list(again.get_json())) == (200, [blob_hash])


def test_stored_bytes_need_not_be_sent_again(client: FlaskClient) -> None:
    blob_hash = create_file(client, "data.bin", LARGE)
    response = start_upload(client)
    assert (response.status_code, list(response.get_json())) == (200, [blob_hash])


def test_an_allowed_page_from_another_origin_can_upload(store: DirectFileStore, tmp_path: Path) -> None:
    blobs = BlobStore(store, lambda: datetime.now(UTC), store)
    page = "https://page.example"
    with open_client(tmp_path, blobs=blobs, inline_limit=str(LIMIT), allowed_origins=page) as client:
        client.post("/rest/blob/uploads", json={"name": "x", "size": 1}, headers={"Origin": page})
        start_upload(client)
    assert store.origins == [page, None]


def test_bytes_that_do_not_match_the_hash_are_400_and_leave_nothing(
    client: FlaskClient, store: DirectFileStore
) -> None:
    started = start_upload(client).get_json()
    store.send(started["url"], LARGE[::-1])
    assert is_sentence(client.post(f"/rest/blob/uploads/{started['id']}/complete"), 400)
    assert is_sentence(client.post(f"/rest/blob/uploads/{started['id']}/complete"), 404)
    assert store.keys() == set()


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"name": ...}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x" * 10_000}, "name"),
        ({"size": ...}, "size"),
        ({"size": -1}, "size"),
        ({"size": 1.5}, "size"),
        ({"size": True}, "size"),
        ({"size": "1"}, "size"),
        ({"sha1": "x"}, "sha1"),
        ({"sha1": SHA1.upper() + "A"}, "sha1"),
        ({"sha1": 5}, "sha1"),
    ],
)
def test_an_invalid_upload_announcement_is_400(
    client: FlaskClient, store: DirectFileStore, fields: dict[str, object], word: str
) -> None:
    response = start_upload(client, **fields)
    assert is_sentence(response, 400)
    assert word in response.text
    assert store.keys() == set()


def test_an_upload_larger_than_any_object_is_413(client: FlaskClient) -> None:
    assert is_sentence(start_upload(client, size=10**15), 413)
    assert is_sentence(start_upload(client, size=2**53 - 1), 413)


@pytest.mark.parametrize("route", ["uploads", "missing"])
@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"text", b'{"name":', b"\xff", b'"x"'])
def test_a_body_that_is_not_a_json_object_is_400(client: FlaskClient, route: str, body: bytes) -> None:
    assert is_sentence(client.post(f"/rest/blob/{route}", data=body), 400)


@pytest.mark.parametrize(
    "upload_id", ["x", "..%2F..%2Fpasswd", "%00", "%zz", "%ff", "00000000-0000-4000-8000-000000000000"]
)
def test_an_unknown_upload_is_404(client: FlaskClient, upload_id: str) -> None:
    assert is_sentence(client.post(f"/rest/blob/uploads/{upload_id}/complete"), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "uploads"),
        ("GET", "missing"),
        ("PUT", "uploads"),
        ("GET", "uploads/00000000-0000-4000-8000-000000000000/complete"),
        ("POST", "uploads/00000000-0000-4000-8000-000000000000"),
        ("POST", "uploads/00000000-0000-4000-8000-000000000000/complete/x"),
        ("POST", "missing/x"),
    ],
)
def test_other_methods_and_paths_of_these_routes_are_404(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(f"/rest/blob/{path}", method=method)
    assert response.status_code == 404
    assert response.text.startswith("Unknown path or method; the nearest route is ")


@EMBEDDED
def test_a_server_with_the_file_backend_rejects_direct_uploads_with_a_hint(server: Server) -> None:
    for path in ("uploads", "uploads/00000000-0000-4000-8000-000000000000/complete"):
        response = server.post(f"/rest/blob/{path}", {"name": "x", "size": 1})
        assert response.status == 404
        assert "createFile" in response.text


# Missing --------------------------------------------------------------------------------------------------------------


def test_missing_contents_are_reported_by_every_backend(server: Server) -> None:
    server.create_file("x", LARGE)
    absent = [f"{number:040}" for number in range(3)]
    assert server.post("/rest/blob/missing", {"contents": [absent[1], SHA1, *absent]}).json == {
        "missing": [absent[1], absent[0], absent[2]]
    }
    assert server.post("/rest/blob/missing", {"contents": []}).json == {"missing": []}


@pytest.mark.parametrize("contents", [..., None, "x", {}, ["x"], [SHA1.upper() + "A"], [5], [None], [[SHA1]]])
def test_contents_that_are_not_a_list_of_hashes_are_400(client: FlaskClient, contents: object) -> None:
    response = client.post("/rest/blob/missing", json={} if contents == ... else {"contents": contents})
    assert is_sentence(response, 400)


def test_too_many_contents_are_413(client: FlaskClient) -> None:
    contents = [f"{number:040}" for number in range(10_001)]
    assert is_sentence(client.post("/rest/blob/missing", json={"contents": contents}), 413)
    assert len(client.post("/rest/blob/missing", json={"contents": contents[1:]}).get_json()["missing"]) == 10_000


# Downloads ------------------------------------------------------------------------------------------------------------


def redirected(response: Response) -> tuple[str, str, str]:
    """Key, type, and disposition in the URL to which the response redirects."""
    assert response.status_code == 302, response
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers
    address = urlsplit(response.headers["Location"])
    query = parse_qs(address.query, keep_blank_values=True)
    return address.path[1:], query["type"][0], query["disposition"][0]


@pytest.mark.parametrize("verb", ["view", "download"])
def test_a_file_above_the_limit_is_redirected_and_a_smaller_one_is_not(client: FlaskClient, verb: str) -> None:
    small = get(client, f"/rest/blob/{verb}/{create_file(client, 'small.txt', SMALL)}")
    assert (small.status_code, small.data) == (200, SMALL)
    response = get(client, f"/rest/blob/{verb}/{create_file(client, 'large.txt', LARGE)}")
    disposition = 'attachment; filename="large.txt"' if verb == "download" else ""
    assert redirected(response) == (content_key(SHA1), "text/plain", disposition)


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "data.xml"])
def test_a_redirected_document_is_an_attachment(client: FlaskClient, name: str) -> None:
    """The bucket sends it without the header that keeps a page from running scripts."""
    response = get(client, f"/rest/blob/view/{create_file(client, name, LARGE)}")
    assert redirected(response)[2] == f'attachment; filename="{name}"'


@pytest.mark.parametrize(
    ("name", "content_type", "disposition"),
    [
        ("a", "application/octet-stream", 'attachment; filename="a"'),
        ("%C3%BC.zip", "application/zip", "attachment; filename=\"?.zip\"; filename*=UTF-8''%C3%BC.zip"),
        ("%0D%0AX:1.txt", "text/plain", ""),
    ],
)
def test_a_redirected_download_has_the_same_name_and_type_in_ascii(
    client: FlaskClient, name: str, content_type: str, disposition: str
) -> None:
    response = get(client, f"/rest/blob/view/{create_file(client, name, LARGE)}")
    assert redirected(response) == (content_key(SHA1), content_type, disposition)


def test_a_file_of_an_artifact_has_its_own_name(client: FlaskClient) -> None:
    artifact = create_artifact(client, **{"dir/inner.csv": create_file(client, "stored.txt", LARGE)})
    response = get(client, f"/rest/blob/download/{artifact}/dir/inner.csv")
    assert redirected(response) == (content_key(SHA1), "text/csv", 'attachment; filename="inner.csv"')


def test_the_zip_of_a_large_artifact_is_composed(client: FlaskClient, store: DirectFileStore) -> None:
    artifact = create_artifact(client, a=create_file(client, "a", LARGE), b=create_file(client, "b", b"b"))
    for _ in range(2):
        response = get(client, f"/rest/blob/view/{artifact}")
        assert redirected(response) == (zip_key(artifact), "application/zip", 'attachment; filename="art.zip"')
    assert store.calls["compose"] == 1
    with zipfile.ZipFile(io.BytesIO(store.content(zip_key(artifact)))) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == {"a": LARGE, "b": b"b"}


def test_the_zip_of_a_small_artifact_is_streamed(client: FlaskClient, store: DirectFileStore) -> None:
    artifact = create_artifact(client, a=create_file(client, "a", b"a"))
    response = get(client, f"/rest/blob/view/{artifact}")
    assert (response.status_code, response.content_length) == (200, len(response.data))
    assert store.keys("wg-zip/") == set()


def test_head_describes_large_blobs_without_composing_zips(client: FlaskClient, store: DirectFileStore) -> None:
    file = create_file(client, "large.txt", LARGE)
    response = client.head(f"/rest/blob/view/{file}")
    assert (response.status_code, response.content_length, response.headers["ETag"]) == (200, len(LARGE), f'"{SHA1}"')
    artifact = create_artifact(client, a=file)
    response = client.head(f"/rest/blob/view/{artifact}")
    assert (response.status_code, store.keys("wg-zip/")) == (200, set())
    get(client, f"/rest/blob/view/{artifact}")
    assert response.content_length == len(store.content(zip_key(artifact)))
    assert response.headers["ETag"] == f'"{artifact}"'


def test_a_large_blob_that_the_client_already_has_is_304(client: FlaskClient, store: DirectFileStore) -> None:
    file = create_file(client, "large.txt", LARGE)
    artifact = create_artifact(client, a=file)
    for blob_hash, etag in ((file, SHA1), (artifact, artifact)):
        response = get(client, f"/rest/blob/view/{blob_hash}", headers={"If-None-Match": f'"{etag}"'})
        assert (response.status_code, response.data) == (304, b"")
        response = get(client, f"/rest/blob/view/{blob_hash}", headers={"If-None-Match": '"other"'})
        assert response.status_code == 302


@pytest.mark.parametrize("wanted", ["bytes=5-9", "bytes=-10", f"bytes=1-{LIMIT}"])
def test_a_small_range_of_a_large_file_is_not_redirected(client: FlaskClient, wanted: str) -> None:
    response = get(
        client,
        f"/rest/blob/view/{create_file(client, 'large.txt', LARGE)}",
        headers={"Range": wanted, "If-Range": f'"{SHA1}"'},
    )
    start, end = {"bytes=5-9": (5, 10), "bytes=-10": (-10, None)}.get(wanted, (1, None))
    assert (response.status_code, response.data) == (206, LARGE[start:end])


@pytest.mark.parametrize("condition", [{}, {"If-Range": '"etag of the storage"'}])
def test_a_large_range_is_redirected_and_a_range_beyond_the_end_is_416(
    client: FlaskClient, condition: dict[str, str]
) -> None:
    path = f"/rest/blob/view/{create_file(client, 'large.txt', LARGE)}"
    assert get(client, path, headers={"Range": "bytes=0-", **condition}).status_code == 302
    beyond = get(client, path, headers={"Range": f"bytes={len(LARGE)}-", **condition})
    assert beyond.status_code == (302 if condition else 416)


def test_a_missing_part_is_404_and_not_redirected(client: FlaskClient, store: DirectFileStore) -> None:
    file = create_file(client, "large.txt", LARGE)
    artifact = create_artifact(client, a=file, b=create_file(client, "other", LARGE + b"y"))
    store.delete(content_key(SHA1))
    for path in (file, artifact, f"{artifact}/a"):
        assert is_sentence(get(client, f"/rest/blob/view/{path}"), 404)


def test_without_a_limit_nothing_is_redirected(store: DirectFileStore, tmp_path: Path) -> None:
    blobs = BlobStore(store, lambda: datetime.now(UTC), store)
    with open_client(tmp_path, blobs=blobs) as client:
        response = get(client, f"/rest/blob/view/{create_file(client, 'large.txt', LARGE)}")
        assert (response.status_code, response.data) == (200, LARGE)


def test_a_server_with_the_file_backend_ignores_the_limit(tmp_path: Path) -> None:
    with open_client(tmp_path, inline_limit=str(LIMIT)) as client:
        response = get(client, f"/rest/blob/view/{create_file(client, 'large.txt', LARGE)}")
        assert (response.status_code, response.data) == (200, LARGE)
