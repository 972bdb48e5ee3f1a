"""What the adapter of Cloud Storage does where the service or a connection fails, and how it signs URLs."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google.auth
import google_crc32c
import pytest
import requests
from google.api_core.exceptions import from_http_status
from google.auth import compute_engine
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2 import credentials as oauth2
from requests.adapters import HTTPAdapter
from scripted_server import response as answer
from scripted_server import scripted_server
from storage_server import StorageServer, storage_server

from cloud_executor.backends.google.storage import errors as gcs_errors
from cloud_executor.backends.google.storage import objects as gcs
from cloud_executor.backends.google.storage import reader as gcs_reader
from cloud_executor.backends.google.storage import upload as gcs_upload
from cloud_executor.backends.google.storage.errors import storage_errors
from cloud_executor.backends.google.storage.objects import PIECE_BYTES, GcsObjectStore
from cloud_executor.errors import NotFound, QuotaExceeded, Unavailable
from cloud_executor.ports import ObjectNotFound

KEY = "wg-content/ab/cdef"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are repeated at once, and not for long."""
    retry = gcs_errors.RETRY.with_delay(initial=0.001, maximum=0.01).with_timeout(0.5)
    monkeypatch.setitem(gcs_errors.CALL, "retry", retry)
    for module in (gcs, gcs_reader, gcs_upload):
        monkeypatch.setattr(module, "RETRY", retry)


def store_at(url: str, monkeypatch: pytest.MonkeyPatch) -> GcsObjectStore:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    return GcsObjectStore("bucket", "test")


# Uploads --------------------------------------------------------------------------------------------------------------

DATA = random.Random(1).randbytes(2 * PIECE_BYTES + 1000)


@pytest.fixture
def server() -> Iterator[StorageServer]:
    with storage_server() as server:
        yield server


@pytest.fixture
def store(server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> GcsObjectStore:
    return store_at(server.url, monkeypatch)


def sends(server: StorageServer) -> int:
    return sum(request.startswith("PUT") for request in server.requests)


@pytest.mark.parametrize("size", [PIECE_BYTES + 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1000])
def test_a_large_object_is_sent_in_pieces(server: StorageServer, store: GcsObjectStore, size: int) -> None:
    store.put(KEY, [DATA[:size]])
    assert bytes(server.received) == DATA[:size]
    assert server.finished
    assert sends(server) == -(-size // PIECE_BYTES)


@pytest.mark.parametrize(
    "script",
    [[262144], [0], [PIECE_BYTES, 262144, 262144], ["lost"], ["503", "500", "429"], [PIECE_BYTES, PIECE_BYTES, "lost"]],
    ids=["in part", "nothing", "later ones in part", "an answer lost", "errors that pass", "the last answer lost"],
)
def test_an_upload_goes_on_where_the_service_stopped(
    server: StorageServer, store: GcsObjectStore, script: list[int | str]
) -> None:
    server.script = script
    store.put(KEY, [DATA])
    assert bytes(server.received) == DATA
    assert server.finished


@pytest.mark.parametrize(
    ("script", "error"), [(["403"], Unavailable), (["503"] * 1000, Unavailable), (["429"] * 1000, QuotaExceeded)]
)
def test_an_upload_that_cannot_go_on_is_canceled(
    server: StorageServer, store: GcsObjectStore, script: list[int | str], error: type[Exception]
) -> None:
    server.script = script
    with pytest.raises(error) as raised:
        store.put(KEY, [DATA])
    assert type(raised.value) is error
    assert server.requests[-1] == "DELETE /session"
    assert not server.finished


def test_an_upload_that_makes_no_progress_ends(server: StorageServer, store: GcsObjectStore) -> None:
    server.script = [0] * 1000
    with pytest.raises(Unavailable):
        store.put(KEY, [DATA])
    assert sends(server) < 100


def test_an_upload_onto_what_came_there_meanwhile_succeeds(server: StorageServer, store: GcsObjectStore) -> None:
    server.script = [PIECE_BYTES, PIECE_BYTES, "412"]
    store.put(KEY, [DATA])
    assert not any(request.startswith("PATCH") for request in server.requests)


@pytest.mark.parametrize("error", [ValueError, Unavailable, KeyboardInterrupt])
def test_an_upload_whose_chunks_fail_is_canceled(
    server: StorageServer, store: GcsObjectStore, error: type[BaseException]
) -> None:
    def chunks() -> Iterator[bytes]:
        yield DATA
        raise error

    with pytest.raises(error):
        store.put(KEY, chunks())
    assert server.requests[-1] == "DELETE /session"
    assert not server.finished


def test_what_arrived_otherwise_than_it_was_sent_is_deleted(server: StorageServer, store: GcsObjectStore) -> None:
    server.received += b"x"  # as if a first byte had got lost, and another were in its place
    with pytest.raises(Unavailable):
        store.put(KEY, [DATA])
    deletions = [request.partition("?")[0] for request in server.requests if request.startswith("DELETE")]
    assert deletions[0].endswith("/o/wg-content%2Fab%2Fcdef")


# Downloads ------------------------------------------------------------------------------------------------------------


def headers_of(data: bytes) -> tuple[str, str]:
    checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
    return f"X-Goog-Hash: crc32c={checksum},md5=AAAA", "X-Goog-Generation: 7"


def test_a_download_goes_on_where_its_connection_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = headers_of(b"0123456789")
    answers = [
        answer("200 OK", b"0123", *headers, length=10),
        answer("206 Partial Content", b"45", *headers, length=6),
        answer("206 Partial Content", b"6789", *headers),
    ]
    with scripted_server(answers) as server, store_at(server.url, monkeypatch).open(KEY) as stream:
        assert stream.read() == b"0123456789"
    assert [request.partition(" HTTP")[0] for request in server.requests] == [
        f"GET /bucket/{KEY}",
        f"GET /bucket/{KEY}?generation=7",
        f"GET /bucket/{KEY}?generation=7",
    ]
    assert "Range" not in server.requests[0]
    assert "Range: bytes=4-\r\n" in server.requests[1]
    assert "Range: bytes=6-\r\n" in server.requests[2]


def test_a_download_that_breaks_off_again_and_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [answer("200 OK", b"", length=10)] * 100
    with (
        scripted_server(answers) as server,
        store_at(server.url, monkeypatch).open(KEY) as stream,
        pytest.raises(Unavailable),
    ):
        stream.read()
    assert len(server.requests) < 20


def test_a_download_of_an_object_that_goes_away_meanwhile_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [answer("200 OK", b"0123", length=10), answer("404 Not Found")]
    with (
        scripted_server(answers) as server,
        store_at(server.url, monkeypatch).open(KEY) as stream,
        pytest.raises(ObjectNotFound),
    ):
        stream.read()


def test_bytes_that_are_not_those_that_were_stored_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [answer("200 OK", b"01234567x9", *headers_of(b"0123456789"))] * 2
    with scripted_server(answers) as server:
        store = store_at(server.url, monkeypatch)
        with store.open(KEY) as stream, pytest.raises(Unavailable):
            stream.read()
        with pytest.raises(Unavailable):
            store.read(KEY)


def test_a_part_is_not_compared_with_the_checksum_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    part = answer("206 Partial Content", b"789", *headers_of(b"0123456789"))
    with scripted_server([part]) as server, store_at(server.url, monkeypatch).open(KEY, 7) as stream:
        assert stream.read() == b"789"


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["stat", "open", "read"])
@pytest.mark.parametrize(("status", "error"), [(404, ObjectNotFound), (403, Unavailable), (401, Unavailable)])
def test_what_the_service_refuses_is_an_error_of_the_port(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception], call: str
) -> None:
    with scripted_server([answer(f"{status} Refused", b"secret/path")] * 1000) as server:
        store = store_at(server.url, monkeypatch)
        with pytest.raises(error) as raised:
            getattr(store, call)(KEY)
    assert type(raised.value) is error
    assert "secret" not in str(raised.value)


def test_too_many_requests_are_a_fault_of_their_own() -> None:
    with pytest.raises(QuotaExceeded), storage_errors():
        raise from_http_status(429, "slow down")


def test_a_missing_bucket_is_no_fault_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server([answer("404 Not Found")] * 10) as server:
        store = store_at(server.url, monkeypatch)
        with pytest.raises(Unavailable):
            store.put(KEY, [b"x"])
        with pytest.raises(Unavailable):
            list(store.list(""))
        with pytest.raises(Unavailable):
            store.upload_url(KEY, 1, "", None)


def test_a_service_that_cannot_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server([]) as server:
        url = server.url
    store = store_at(url, monkeypatch)
    for call in (store.stat, store.open, store.delete, lambda key: store.put(key, [b"x"])):
        with pytest.raises(Unavailable):
            call(KEY)


def test_missing_credentials_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> Any:
        raise DefaultCredentialsError("see https://cloud.example")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(Unavailable) as raised:
        GcsObjectStore("bucket", "test").stat(KEY)
    assert not isinstance(raised.value, NotFound)


# Signed URLs ----------------------------------------------------------------------------------------------------------


def signed(monkeypatch: pytest.MonkeyPatch, credentials: object, statuses: dict[str, int]) -> tuple[str, list[str]]:
    """A download URL, and the requests that were made for it."""
    asked: list[str] = []

    def answer_of_google(_: HTTPAdapter, request: Any, **__: object) -> requests.Response:
        asked.append(request.url)
        host = urlsplit(request.url).hostname or ""
        response = requests.Response()
        response.status_code = statuses.get(host, 200)
        is_universe = request.url.endswith("/universe-domain")
        response.headers["Content-Type"] = "text/plain" if is_universe else "application/json"
        content = {
            "email": "robot@project.example",
            "scopes": [],
            "access_token": "a token",
            "expires_in": 3600,
            "signedBlob": base64.b64encode(b"a signature").decode(),
        }
        response._content = b"googleapis.com" if is_universe else json.dumps(content).encode()
        response.request = request
        return response

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, "project"))
    monkeypatch.setattr(HTTPAdapter, "send", answer_of_google)
    url = GcsObjectStore("bucket", "project").download_url(
        "wg-zip/ab/c d.zip", content_type="application/zip", disposition="attachment", lifetime=timedelta(hours=1)
    )
    return url, asked


def test_a_url_is_signed_by_the_account_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    url, asked = signed(monkeypatch, compute_engine.Credentials(), {})
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.hostname, parts.path) == (
        "https",
        "storage.googleapis.com",
        "/bucket/wg-zip/ab/c%20d.zip",
    )
    assert query["response-content-type"] == ["application/zip"]
    assert query["response-content-disposition"] == ["attachment"]
    assert query["X-Goog-Expires"] == ["3600"]
    assert query["X-Goog-Credential"][0].startswith("robot@project.example/")
    assert query["X-Goog-Signature"] == [b"a signature".hex()]
    signing = [request for request in asked if "signBlob" in request]
    assert [urlsplit(request).path for request in signing] == [
        "/v1/projects/-/serviceAccounts/robot@project.example:signBlob"
    ]


def test_a_refusal_to_sign_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        signed(monkeypatch, compute_engine.Credentials(), {"iamcredentials.googleapis.com": 403})


def test_credentials_that_cannot_sign_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        signed(monkeypatch, oauth2.Credentials("a user's token"), {})
