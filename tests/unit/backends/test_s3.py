"""Objects of several pieces in S3, and errors of the service."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3.session
import pytest
from servers.scripted_server import response, scripted_server

from cloud_executor.backends import s3 as backend
from cloud_executor.backends.s3 import PIECE_BYTES, S3ObjectStore
from cloud_executor.errors import QuotaExceeded, Unavailable
from cloud_executor.ports import ObjectInfo, ObjectNotFound

KEY = "wg-content/ab/cdef"
BUCKET = "several-pieces"
DATA = random.Random(1).randbytes(2 * PIECE_BYTES + 1000)


@pytest.fixture
def client(s3: str) -> Iterator[Any]:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=found["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def store(client: Any, s3: str) -> S3ObjectStore:
    return S3ObjectStore(BUCKET, s3)


def content(store: S3ObjectStore, key: str) -> bytes:
    with store.open(key) as stream:
        return stream.read()


def unfinished(client: Any) -> list[Any]:
    found: list[Any] = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return found


@pytest.mark.parametrize("size", [PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, len(DATA)])
def test_a_large_object_is_stored_in_pieces(store: S3ObjectStore, client: Any, size: int) -> None:
    store.put(KEY, [DATA[:size]])
    assert content(store, KEY) == DATA[:size]
    assert unfinished(client) == []


def test_a_large_put_whose_chunks_fail_leaves_nothing(store: S3ObjectStore, client: Any) -> None:
    def chunks() -> Iterator[bytes]:
        yield DATA
        raise ValueError

    with pytest.raises(ValueError):
        store.put(KEY, chunks())
    assert list(store.list("")) == []
    assert unfinished(client) == []


def test_a_large_put_keeps_an_object_that_another_writer_stores_first(store: S3ObjectStore, client: Any) -> None:
    def chunks() -> Iterator[bytes]:
        yield DATA
        store.put(KEY, [b"the first"])

    store.put(KEY, chunks())
    assert content(store, KEY) == b"the first"
    assert unfinished(client) == []


@pytest.mark.parametrize("size", [0, 10, len(DATA)])
def test_a_move_copies_the_object_in_parts(
    store: S3ObjectStore, client: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(backend, "COPIED_BYTES", PIECE_BYTES)
    store.put("wg-temp/upload", [DATA[:size]])
    store.move("wg-temp/upload", KEY)
    assert content(store, KEY) == DATA[:size]
    assert [found.key for found in store.list("")] == [KEY]
    assert unfinished(client) == []


def test_a_missing_bucket_is_unavailable(s3: str) -> None:
    store = S3ObjectStore("no-such-bucket", s3)
    with pytest.raises(Unavailable):
        store.put(KEY, [b"x"])
    with pytest.raises(Unavailable):
        list(store.list(""))


def error(status: str, code: str) -> bytes:
    return response(status, f"<Error><Code>{code}</Code></Error>".encode())


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("404 Not Found", "NoSuchKey", ObjectNotFound),
        ("403 Forbidden", "AccessDenied", Unavailable),
        ("400 Bad Request", "SlowDown", QuotaExceeded),
    ],
)
def test_an_error_response_is_translated_to_an_error_of_the_port(
    s3: str, monkeypatch: pytest.MonkeyPatch, status: str, code: str, expected: type[Exception]
) -> None:
    monkeypatch.setattr(backend, "ATTEMPTS", 1)
    with scripted_server([error(status, code)]) as server, pytest.raises(expected) as raised:
        S3ObjectStore(BUCKET, server.url).open(KEY)
    assert type(raised.value) is expected


def test_a_service_without_conditional_writes_is_checked_first(s3: str) -> None:
    responses = [error("501 Not Implemented", "NotImplemented"), response("404 Not Found"), response("200 OK")]
    with scripted_server(responses) as server:
        S3ObjectStore(BUCKET, server.url).put(KEY, [b"x"])
    assert [request.partition(" ")[0] for request in server.requests] == ["PUT", "HEAD", "PUT"]
    assert "If-None-Match" in server.requests[0]
    assert "If-None-Match" not in server.requests[2]


def test_each_noted_use_of_a_large_object_gives_it_another_etag(
    client: Any, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The condition of a deletion compares the ETag."""
    monkeypatch.setattr(backend, "LARGEST_COPY_BYTES", 1)
    monkeypatch.setattr(backend, "COPIED_BYTES", 12 * 2**20)
    store = S3ObjectStore(BUCKET, s3, timedelta(seconds=-5))
    store.put(KEY, [DATA])
    for _ in range(3):
        (before,) = store.list(KEY)
        store.use(KEY)
        (after,) = store.list(KEY)
        assert before.version.partition(" ")[0] != after.version.partition(" ")[0]
        assert content(store, KEY) == DATA


@pytest.mark.parametrize("status", ["412 Precondition Failed", "501 Not Implemented"])
def test_an_object_is_deleted_only_on_a_condition(store: S3ObjectStore, status: str) -> None:
    code = status.partition(" ")[2].replace(" ", "")
    head = response("200 OK", b"", 'ETag: "e"', "Last-Modified: Sat, 31 Jan 2026 12:00:00 GMT", length=5)
    refused = response(status, f"<Error><Code>{code}</Code></Error>".encode(), "Content-Type: application/xml")
    with scripted_server([head, refused]) as server:
        remote = S3ObjectStore(BUCKET, server.url)
        assert not remote.delete_unused(ObjectInfo(KEY, 5, datetime.now(UTC), version='"e" 2026-01-31T12:00:00+00:00'))
        assert 'if-match: "e"' in server.requests[1].lower()
