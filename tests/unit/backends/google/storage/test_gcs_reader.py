"""Downloads from Cloud Storage when a connection breaks or bytes are corrupted."""

from __future__ import annotations

import base64
from collections.abc import Callable

import google_crc32c
import pytest
from servers.scripted_server import response, scripted_server

from cloud_executor.backends.google.storage.objects import GcsObjectStore
from cloud_executor.errors import Unavailable
from cloud_executor.ports import ObjectNotFound

KEY = "wg-content/ab/cdef"

OpenStore = Callable[[str], GcsObjectStore]


def headers_of(data: bytes) -> tuple[str, str]:
    checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
    return f"X-Goog-Hash: crc32c={checksum},md5=AAAA", "X-Goog-Generation: 7"


def test_a_download_resumes_after_a_broken_connection(open_store: OpenStore) -> None:
    headers = headers_of(b"0123456789")
    responses = [
        response("200 OK", b"0123", *headers, length=10),
        response("206 Partial Content", b"45", *headers, length=6),
        response("206 Partial Content", b"6789", *headers),
    ]
    with scripted_server(responses) as server, open_store(server.url).open(KEY) as stream:
        assert stream.read() == b"0123456789"
    assert [request.partition(" HTTP")[0] for request in server.requests] == [
        f"GET /bucket/{KEY}",
        f"GET /bucket/{KEY}?generation=7",
        f"GET /bucket/{KEY}?generation=7",
    ]
    assert "Range" not in server.requests[0]
    assert "Range: bytes=4-\r\n" in server.requests[1]
    assert "Range: bytes=6-\r\n" in server.requests[2]


def test_a_download_fails_if_its_connection_breaks_repeatedly_without_progress(open_store: OpenStore) -> None:
    responses = [response("200 OK", b"", length=10)] * 100
    with (
        scripted_server(responses) as server,
        open_store(server.url).open(KEY) as stream,
        pytest.raises(Unavailable),
    ):
        stream.read()
    assert len(server.requests) < 20


def test_a_download_whose_object_is_deleted_meanwhile_is_not_found(open_store: OpenStore) -> None:
    responses = [response("200 OK", b"0123", length=10), response("404 Not Found")]
    with (
        scripted_server(responses) as server,
        open_store(server.url).open(KEY) as stream,
        pytest.raises(ObjectNotFound),
    ):
        stream.read()


def test_bytes_that_do_not_match_the_checksum_are_an_error(open_store: OpenStore) -> None:
    responses = [response("200 OK", b"01234567x9", *headers_of(b"0123456789"))] * 2
    with scripted_server(responses) as server:
        store = open_store(server.url)
        with store.open(KEY) as stream, pytest.raises(Unavailable):
            stream.read()
        with pytest.raises(Unavailable):
            store.read(KEY)


def test_a_part_of_an_object_is_not_compared_with_the_checksum(open_store: OpenStore) -> None:
    part = response("206 Partial Content", b"789", *headers_of(b"0123456789"))
    with scripted_server([part]) as server, open_store(server.url).open(KEY, 7) as stream:
        assert stream.read() == b"789"
