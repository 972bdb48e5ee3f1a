"""Test large uploads: directly to the storage, over broken connections, and through servers without direct uploads."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cloud_executor.client import Client
from cloud_executor.client.errors import ServerError, TransferFailed
from cloud_executor.client.transfer import upload
from cloud_executor.errors import Forbidden, Invalid

PIECE = 1000
CONTENT = bytes(range(256)) * 40
STORAGE = "https://storage.example/session"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "DIRECT_BYTES", 2000)
    monkeypatch.setattr(upload, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(upload, "READ_BYTES", 300)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses instead of sleeping."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


class Cloud:
    """A fake server and its storage, with resumable sessions like those of Cloud Storage."""

    def __init__(self, *failures: Any) -> None:
        self.failures = list(failures)
        """Failures of the next pieces: an error, a response, or the number of bytes that arrive before an error."""
        self.sessions: dict[str, bytearray] = {}
        self.stored: dict[str, bytes] = {}
        self.completions: list[httpx.Response | Exception] = []
        """Responses to the first requests that complete an upload; later ones succeed."""
        self.calls: Counter[str] = Counter()
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host == "storage.example":
            return self._piece(str(request.url), request)
        body = request.read()
        action = request.url.path.removeprefix("/rest/blob/").partition("/")[0]
        self.calls[action if not request.url.path.endswith("/complete") else "complete"] += 1
        if action == "createFile":
            return self._blob(body)
        if request.url.path == "/rest/blob/uploads":
            return self._begin(json.loads(body))
        if self.completions:
            completion = self.completions.pop(0)
            if isinstance(completion, Exception):
                raise completion
            return completion
        return self._blob(bytes(self.sessions[f"{STORAGE}/{request.url.path.split('/')[4]}"]))

    def _begin(self, announcement: dict[str, Any]) -> httpx.Response:
        if announcement["sha1"] in self.stored:
            return self._blob(self.stored[announcement["sha1"]])
        url = f"{STORAGE}/{len(self.sessions)}"
        self.sessions[url] = bytearray()
        return httpx.Response(201, json={"id": str(len(self.sessions) - 1), "url": url})

    def _blob(self, content: bytes) -> httpx.Response:
        sha1 = hashlib.sha1(content).hexdigest()
        self.stored[sha1] = content
        return httpx.Response(200, json={f"blob of {sha1}": {}})

    def _piece(self, url: str, request: httpx.Request) -> httpx.Response:
        session = self.sessions[url]
        content_range = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", request.headers["content-range"])
        assert content_range is not None
        self.calls["piece" if content_range[1] else "status"] += 1
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        if isinstance(failure, httpx.Response):
            return failure
        body = request.read()
        if content_range[1]:
            assert int(content_range[1]) == len(session)
            assert int(content_range[2]) - int(content_range[1]) + 1 == len(body)
            session += body if failure is None else body[:failure]
            if failure is not None:
                raise httpx.WriteError("broken")
        if len(session) == int(content_range[3]):
            return httpx.Response(200, json={})
        return httpx.Response(308, headers={"Range": f"bytes=0-{len(session) - 1}"} if session else {})


def client_of(cloud: Any, **options: Any) -> Client:
    return Client("http://server.example", transport=httpx.MockTransport(cloud), **options)


def blob_of(content: bytes) -> str:
    return f"blob of {hashlib.sha1(content).hexdigest()}"


def test_a_large_file_is_sent_to_the_storage_in_pieces() -> None:
    cloud = Cloud()
    stream = io.BytesIO(b"skipped" + CONTENT)
    stream.seek(7)
    assert client_of(cloud).upload_file(stream, "ü/x.bin") == blob_of(CONTENT)
    assert cloud.calls == {"uploads": 1, "piece": 11, "complete": 1}
    assert json.loads(cloud.requests[0].content) == {
        "name": "ü/x.bin",
        "size": len(CONTENT),
        "sha1": hashlib.sha1(CONTENT).hexdigest(),
    }


def test_a_small_file_is_sent_through_the_server() -> None:
    cloud = Cloud()
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT[:2000]), "x") == blob_of(CONTENT[:2000])
    assert cloud.calls == {"createFile": 1}


def test_stored_content_is_not_sent_again() -> None:
    cloud = Cloud()
    for name in ("x", "y"):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), name)
    assert cloud.calls == {"uploads": 2, "piece": 11, "complete": 1}


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_direct_uploads_receives_the_file_itself(status: int) -> None:
    def without(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status) if request.url.path == "/rest/blob/uploads" else cloud(request)

    cloud = Cloud()
    assert client_of(without).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls == {"createFile": 1}
    assert cloud.requests[0].headers["content-length"] == str(len(CONTENT))


def test_the_storage_does_not_receive_the_secrets() -> None:
    cloud = Cloud()
    client_of(cloud, token="t", nonce="n").upload_file(io.BytesIO(CONTENT), "x")
    for request in cloud.requests:
        to_storage = request.url.host == "storage.example"
        assert request.headers.get("x-api-token") == (None if to_storage else "t")
        assert "x-executor-nonce" not in request.headers


@pytest.mark.parametrize(
    "failures",
    [
        [httpx.WriteError("broken")],
        [None, 500, None, httpx.ReadTimeout("silent")],
        [0, httpx.ConnectError("refused"), 999],
        [httpx.Response(503), httpx.Response(500), httpx.Response(429), httpx.Response(408)],
        [None] * 10 + [httpx.ReadError("the last response was lost")],
    ],
)
def test_an_upload_resumes_where_the_connection_broke(failures: list[Any]) -> None:
    cloud = Cloud(*failures)
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls["status"] >= 1
    assert cloud.calls["uploads"] == 1


def test_a_lost_response_to_the_last_piece_is_recovered() -> None:
    class LastResponseLost(Cloud):
        def _piece(self, url: str, request: httpx.Request) -> httpx.Response:
            response = super()._piece(url, request)
            if response.status_code == 200 and self.calls["status"] == 0:
                raise httpx.ReadError("broken")
            return response

    cloud = LastResponseLost()
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls == {"uploads": 1, "piece": 11, "status": 1, "complete": 1}


def test_an_upload_that_makes_progress_is_resumed_without_limit(pauses: list[float]) -> None:
    failures = [failure for _ in range(30) for failure in (400, None)]
    assert client_of(Cloud(*failures)).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert set(pauses) == {upload.RESUME_SECONDS[0]}


@pytest.mark.parametrize(
    "failure", [httpx.WriteError("broken"), httpx.Response(503), httpx.Response(308), httpx.ConnectError("refused")]
)
def test_an_upload_without_progress_fails(pauses: list[float], failure: Any) -> None:
    cloud = Cloud(*[failure] * 100)
    with pytest.raises(TransferFailed):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")
    assert pauses == list(upload.RESUME_SECONDS)


@pytest.mark.parametrize("status", [404, 410])
def test_an_expired_session_is_replaced_a_limited_number_of_times(status: int) -> None:
    cloud = Cloud(None, None, httpx.Response(status))
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls["uploads"] == 2
    cloud = Cloud(*[httpx.Response(status)] * 100)
    with pytest.raises(TransferFailed):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")
    assert cloud.calls["uploads"] == upload.MAX_SESSIONS


def test_an_upload_that_the_server_has_deleted_is_repeated() -> None:
    cloud = Cloud()
    cloud.completions = [httpx.Response(404)]
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls["uploads"] == 2


def test_a_completion_is_repeated_if_its_response_is_lost() -> None:
    cloud = Cloud()
    cloud.completions = [httpx.ReadError("broken"), httpx.Response(503)]
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert (cloud.calls["uploads"], cloud.calls["complete"]) == (1, 3)


def test_a_completion_has_a_long_timeout() -> None:
    cloud = Cloud()
    client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")
    assert cloud.requests[-1].extensions["timeout"]["read"] == upload.VERIFY_SECONDS
    assert cloud.requests[0].extensions["timeout"]["read"] < 300


def test_content_that_the_server_rejects_is_reported() -> None:
    cloud = Cloud()
    cloud.completions = [httpx.Response(400, text="The content differs.")]
    with pytest.raises(Invalid, match="The content differs"):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(403, text="<Error>SignatureDoesNotMatch</Error>"),
        httpx.Response(204),
        httpx.Response(308, headers={"Range": f"bytes=0-{len(CONTENT)}"}),
        httpx.Response(308, headers={"Range": "bytes=5-10"}),
        httpx.Response(308, headers={"Range": "nonsense"}),
    ],
)
def test_an_invalid_response_of_the_storage_raises_server_error(response: httpx.Response) -> None:
    with pytest.raises(ServerError):
        client_of(Cloud(response)).upload_file(io.BytesIO(CONTENT), "x")


@pytest.mark.parametrize("document", [{}, [], {"id": "x"}, None, {"url": "x"}])
def test_an_invalid_session_document_raises_server_error(document: object) -> None:
    with pytest.raises(ServerError):
        client_of(lambda _: httpx.Response(201, json=document)).upload_file(io.BytesIO(CONTENT), "x")


def test_an_invalid_session_url_raises_server_error() -> None:
    response = httpx.Response(201, json={"id": "x", "url": "https://[::1"})
    with pytest.raises(ServerError):
        client_of(lambda _: response).upload_file(io.BytesIO(CONTENT), "x")


def test_a_rejected_upload_is_reported() -> None:
    with pytest.raises(Forbidden):
        client_of(lambda _: httpx.Response(403)).upload_file(io.BytesIO(CONTENT), "x")


class Pipe(io.RawIOBase):
    """A stream that can be read once, in small chunks."""

    def __init__(self, content: bytes) -> None:
        self._chunks: Iterator[bytes] = (content[i : i + 77] for i in range(0, len(content), 77))

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._chunks, b"")


@pytest.mark.parametrize("size", [0, 77, 2000, 2001, len(CONTENT)])
def test_a_stream_of_unknown_length_is_sent_whole(size: int) -> None:
    cloud = Cloud()
    pipe: Any = Pipe(CONTENT[:size])
    assert client_of(cloud).upload_file(pipe, "x") == blob_of(CONTENT[:size])
    assert cloud.calls["complete"] == (size > 2000)
