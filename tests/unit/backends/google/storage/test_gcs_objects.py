"""Errors of Cloud Storage, and signed URLs."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google.auth
import pytest
import requests
from google.api_core.exceptions import Forbidden, from_http_status
from google.auth import compute_engine
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.storage import Blob
from google.oauth2 import credentials as oauth2
from requests.adapters import HTTPAdapter
from servers.scripted_server import response, scripted_server

from cloud_executor.backends.google.storage.errors import storage_errors
from cloud_executor.backends.google.storage.objects import GcsObjectStore
from cloud_executor.errors import NotFound, QuotaExceeded, Unavailable
from cloud_executor.ports import ObjectInfo, ObjectNotFound

KEY = "wg-content/ab/cdef"

OpenStore = Callable[[str], GcsObjectStore]


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["stat", "open", "read"])
@pytest.mark.parametrize(("status", "error"), [(404, ObjectNotFound), (403, Unavailable), (401, Unavailable)])
def test_an_error_response_is_translated_to_an_error_of_the_port(
    open_store: OpenStore, status: int, error: type[Exception], call: str
) -> None:
    with scripted_server([response(f"{status} Refused", b"secret/path")] * 1000) as server:
        store = open_store(server.url)
        with pytest.raises(error) as raised:
            getattr(store, call)(KEY)
    assert type(raised.value) is error
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("exists", [True, False])
def test_an_object_that_exists_and_may_not_be_replaced_is_found(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    """The worker's account may create objects, but not replace them."""

    def refuse(*_: object, **__: object) -> None:
        raise Forbidden("no storage.objects.delete access")

    monkeypatch.setattr(Blob, "upload_from_string", refuse)
    fields = {"name": KEY, "size": "1", "timeCreated": "2026-01-31T12:00:00Z", "generation": "7", "metageneration": "1"}
    body = json.dumps(fields).encode()
    looked_up = response("200 OK", body, "Content-Type: application/json") if exists else response("404 Not Found")
    with scripted_server([looked_up] * 10) as server:
        store = open_store(server.url)
        if exists:
            assert store.put_all({KEY: b"x"}) == [KEY]
        else:
            with pytest.raises(Unavailable):
                store.put_all({KEY: b"x"})


def test_too_many_requests_exceed_the_quota() -> None:
    with pytest.raises(QuotaExceeded), storage_errors():
        raise from_http_status(429, "slow down")


def test_a_missing_bucket_is_unavailable(open_store: OpenStore) -> None:
    with scripted_server([response("404 Not Found")] * 10) as server:
        store = open_store(server.url)
        with pytest.raises(Unavailable):
            store.put(KEY, [b"x"])
        with pytest.raises(Unavailable):
            list(store.list(""))
        with pytest.raises(Unavailable):
            store.upload_url(KEY, 1, "", None)


def test_a_service_that_cannot_be_reached_is_unavailable(open_store: OpenStore) -> None:
    with socket.socket() as reserved:
        # Bound but not listening: connections are refused, and no other process can take the port.
        reserved.bind(("127.0.0.1", 0))
        store = open_store(f"http://127.0.0.1:{reserved.getsockname()[1]}")
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
    """A download URL, and the URLs requested to sign it."""
    requested: list[str] = []

    def google_response(_: HTTPAdapter, request: Any, **__: object) -> requests.Response:
        requested.append(request.url)
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
    monkeypatch.setattr(HTTPAdapter, "send", google_response)
    url = GcsObjectStore("bucket", "project").download_url(
        "wg-zip/ab/c d.zip", content_type="application/zip", disposition="attachment", lifetime=timedelta(hours=1)
    )
    return url, requested


def test_iam_signs_a_url_for_an_account_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    url, requested = signed(monkeypatch, compute_engine.Credentials(), {})
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
    signing = [request for request in requested if "signBlob" in request]
    assert [urlsplit(request).path for request in signing] == [
        "/v1/projects/-/serviceAccounts/robot@project.example:signBlob"
    ]


def test_a_rejected_signing_request_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        signed(monkeypatch, compute_engine.Credentials(), {"iamcredentials.googleapis.com": 403})


def test_credentials_that_cannot_sign_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        signed(monkeypatch, oauth2.Credentials("a user's token"), {})


def found_object(metageneration: int = 1, used: datetime | None = None) -> bytes:
    """The response with the properties of an old object."""
    fields = {"name": KEY, "size": "1", "timeCreated": "2026-01-31T12:00:00Z", "generation": "7"}
    fields["metageneration"] = str(metageneration)
    metadata = {} if used is None else {"metadata": {"used": used.isoformat()}}
    return response("200 OK", json.dumps(fields | metadata).encode(), "Content-Type: application/json")


def methods(requests: list[str]) -> list[str]:
    return [request.partition(" ")[0] for request in requests]


def test_a_use_that_may_not_be_noted_is_no_error(open_store: OpenStore) -> None:
    with scripted_server([found_object(), response("403 Forbidden")]) as server:
        assert open_store(server.url).use(KEY).size == 1


@pytest.mark.parametrize("status", ["412 Precondition Failed", "429 Too Many Requests"])
def test_a_use_that_another_one_notes_at_the_same_time_is_not_noted_again(open_store: OpenStore, status: str) -> None:
    script = [found_object(), response(status), found_object(2), response(status), found_object(3, datetime.now(UTC))]
    with scripted_server(script) as server:
        open_store(server.url).use(KEY)
        assert methods(server.requests) == ["GET", "PATCH", "GET", "PATCH", "GET"]
        for number, metageneration in ((1, 1), (3, 2)):
            assert "ifGenerationMatch=7" in server.requests[number]
            assert f"ifMetagenerationMatch={metageneration}" in server.requests[number]


def test_only_a_reader_does_without_a_note_that_the_service_keeps_refusing(open_store: OpenStore) -> None:
    known = ObjectInfo(KEY, 1, datetime.now(UTC))
    with scripted_server([found_object(), response("429 Too Many Requests")] * 1000) as server:
        store = open_store(server.url)
        assert store.use(KEY, known).size == 1
        assert "PATCH" in methods(server.requests)
    refused = [found_object(), response("429 Too Many Requests")] * 1000
    with scripted_server(refused) as server, pytest.raises(QuotaExceeded):
        open_store(server.url).use(KEY)


@pytest.mark.parametrize(
    ("status", "gone"), [("204 No Content", True), ("404 Not Found", True), ("412 Changed", False)]
)
def test_an_object_that_was_used_is_not_deleted(open_store: OpenStore, status: str, gone: bool) -> None:
    info = ObjectInfo(KEY, 1, datetime.now(UTC), version="7/2")
    with scripted_server([response(status)] * 10) as server:
        assert open_store(server.url).delete_unused(info) is gone
        (request,) = (found for found in server.requests if found.startswith("DELETE "))
        assert "ifGenerationMatch=7" in request
        assert "ifMetagenerationMatch=2" in request
