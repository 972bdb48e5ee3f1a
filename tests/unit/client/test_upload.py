"""The Python client's large uploads: past the server, across broken connections, or as ever where it cannot."""

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

from cloud_executor.client import CloudExecutor, upload
from cloud_executor.client.errors import ServerFault, TransferBroken
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
    """The pauses that were made, none of them really."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


class Cloud:
    """A server and its storage, with the resumable sessions of Cloud Storage."""

    def __init__(self, *faults: Any) -> None:
        self.faults = list(faults)
        """what happens to the next pieces: an error, a status, or how many of the bytes arrive before an error"""
        self.sessions: dict[str, bytearray] = {}
        self.stored: dict[str, bytes] = {}
        self.completions: list[httpx.Response | Exception] = []
        """answers to completions, before any good one"""
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
            answer = self.completions.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self._blob(bytes(self.sessions[f"{STORAGE}/{request.url.path.split('/')[4]}"]))

    def _begin(self, announced: dict[str, Any]) -> httpx.Response:
        if announced["sha1"] in self.stored:
            return self._blob(self.stored[announced["sha1"]])
        url = f"{STORAGE}/{len(self.sessions)}"
        self.sessions[url] = bytearray()
        return httpx.Response(201, json={"id": str(len(self.sessions) - 1), "url": url})

    def _blob(self, content: bytes) -> httpx.Response:
        sha1 = hashlib.sha1(content).hexdigest()
        self.stored[sha1] = content
        return httpx.Response(200, json={f"blob of {sha1}": {}})

    def _piece(self, url: str, request: httpx.Request) -> httpx.Response:
        session = self.sessions[url]
        place = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", request.headers["content-range"])
        assert place is not None
        self.calls["piece" if place[1] else "asked"] += 1
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, httpx.Response):
            return fault
        body = request.read()
        if place[1]:
            assert int(place[1]) == len(session)
            assert int(place[2]) - int(place[1]) + 1 == len(body)
            session += body if fault is None else body[:fault]
            if fault is not None:
                raise httpx.WriteError("broken")
        if len(session) == int(place[3]):
            return httpx.Response(200, json={})
        return httpx.Response(308, headers={"Range": f"bytes=0-{len(session) - 1}"} if session else {})


def client_of(cloud: Any, **options: Any) -> CloudExecutor:
    return CloudExecutor("http://server.example", transport=httpx.MockTransport(cloud), **options)


def blob_of(content: bytes) -> str:
    return f"blob of {hashlib.sha1(content).hexdigest()}"


def test_a_large_file_goes_past_the_server_in_pieces() -> None:
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


def test_a_small_file_goes_through_the_server() -> None:
    cloud = Cloud()
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT[:2000]), "x") == blob_of(CONTENT[:2000])
    assert cloud.calls == {"createFile": 1}


def test_what_is_there_is_not_sent_again() -> None:
    cloud = Cloud()
    for name in ("x", "y"):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), name)
    assert cloud.calls == {"uploads": 2, "piece": 11, "complete": 1}


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_such_uploads_gets_the_file_itself(status: int) -> None:
    def without(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status) if request.url.path == "/rest/blob/uploads" else cloud(request)

    cloud = Cloud()
    assert client_of(without).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls == {"createFile": 1}
    assert cloud.requests[0].headers["content-length"] == str(len(CONTENT))


def test_the_storage_gets_no_secrets() -> None:
    cloud = Cloud()
    client_of(cloud, token="t", nonce="n").upload_file(io.BytesIO(CONTENT), "x")
    for request in cloud.requests:
        elsewhere = request.url.host == "storage.example"
        assert request.headers.get("x-api-token") == (None if elsewhere else "t")
        assert "x-executor-nonce" not in request.headers


@pytest.mark.parametrize(
    "faults",
    [
        [httpx.WriteError("broken")],
        [None, 500, None, httpx.ReadTimeout("silent")],
        [0, httpx.ConnectError("refused"), 999],
        [httpx.Response(503), httpx.Response(500), httpx.Response(429), httpx.Response(408)],
        [None] * 10 + [httpx.ReadError("the last answer was lost")],
    ],
)
def test_an_upload_goes_on_where_the_connection_broke(faults: list[Any]) -> None:
    cloud = Cloud(*faults)
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls["asked"] >= 1
    assert cloud.calls["uploads"] == 1


def test_a_lost_answer_to_the_last_piece_is_asked_for() -> None:
    class LastAnswerLost(Cloud):
        def _piece(self, url: str, request: httpx.Request) -> httpx.Response:
            answer = super()._piece(url, request)
            if answer.status_code == 200 and self.calls["asked"] == 0:
                raise httpx.ReadError("broken")
            return answer

    cloud = LastAnswerLost()
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls == {"uploads": 1, "piece": 11, "asked": 1, "complete": 1}


def test_breaks_are_borne_as_long_as_something_arrives(pauses: list[float]) -> None:
    faults = [fault for _ in range(30) for fault in (400, None)]
    assert client_of(Cloud(*faults)).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert set(pauses) == {upload.RESUME_SECONDS[0]}


@pytest.mark.parametrize(
    "fault", [httpx.WriteError("broken"), httpx.Response(503), httpx.Response(308), httpx.ConnectError("refused")]
)
def test_an_upload_that_does_not_get_on_ends(pauses: list[float], fault: Any) -> None:
    cloud = Cloud(*[fault] * 100)
    with pytest.raises(TransferBroken):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")
    assert pauses == list(upload.RESUME_SECONDS)


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_ended_is_begun_anew_a_few_times(status: int) -> None:
    cloud = Cloud(None, None, httpx.Response(status))
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls["uploads"] == 2
    cloud = Cloud(*[httpx.Response(status)] * 100)
    with pytest.raises(TransferBroken):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")
    assert cloud.calls["uploads"] == upload.BEGINNINGS


def test_an_upload_that_was_swept_away_is_begun_anew() -> None:
    cloud = Cloud()
    cloud.completions = [httpx.Response(404)]
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert cloud.calls["uploads"] == 2


def test_a_completion_is_repeated_when_its_answer_is_lost() -> None:
    cloud = Cloud()
    cloud.completions = [httpx.ReadError("broken"), httpx.Response(503)]
    assert client_of(cloud).upload_file(io.BytesIO(CONTENT), "x") == blob_of(CONTENT)
    assert (cloud.calls["uploads"], cloud.calls["complete"]) == (1, 3)


def test_a_completion_may_take_long() -> None:
    cloud = Cloud()
    client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")
    assert cloud.requests[-1].extensions["timeout"]["read"] == upload.VERIFY_SECONDS
    assert cloud.requests[0].extensions["timeout"]["read"] < 300


def test_bytes_that_the_server_does_not_take_are_told_of() -> None:
    cloud = Cloud()
    cloud.completions = [httpx.Response(400, text="These are others.")]
    with pytest.raises(Invalid, match="These are others"):
        client_of(cloud).upload_file(io.BytesIO(CONTENT), "x")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(403, text="<Error>SignatureDoesNotMatch</Error>"),
        httpx.Response(204),
        httpx.Response(308, headers={"Range": f"bytes=0-{len(CONTENT)}"}),
        httpx.Response(308, headers={"Range": "bytes=5-10"}),
        httpx.Response(308, headers={"Range": "nonsense"}),
    ],
)
def test_a_storage_that_makes_no_sense_is_a_fault(answer: httpx.Response) -> None:
    with pytest.raises(ServerFault):
        client_of(Cloud(answer)).upload_file(io.BytesIO(CONTENT), "x")


@pytest.mark.parametrize("document", [{}, [], {"id": "x"}, None, {"url": "x"}])
def test_a_beginning_that_makes_no_sense_is_a_fault(document: object) -> None:
    with pytest.raises(ServerFault):
        client_of(lambda _: httpx.Response(201, json=document)).upload_file(io.BytesIO(CONTENT), "x")


def test_an_address_that_is_none_is_a_fault() -> None:
    answer = httpx.Response(201, json={"id": "x", "url": "https://[::1"})
    with pytest.raises(ServerFault):
        client_of(lambda _: answer).upload_file(io.BytesIO(CONTENT), "x")


def test_a_refusal_is_told_of() -> None:
    with pytest.raises(Forbidden):
        client_of(lambda _: httpx.Response(403)).upload_file(io.BytesIO(CONTENT), "x")


class Pipe(io.RawIOBase):
    """A stream that gives a little at a time, once."""

    def __init__(self, content: bytes) -> None:
        self._chunks: Iterator[bytes] = (content[i : i + 77] for i in range(0, len(content), 77))

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._chunks, b"")


@pytest.mark.parametrize("size", [0, 77, 2000, 2001, len(CONTENT)])
def test_a_stream_without_an_end_in_sight_is_sent_whole(size: int) -> None:
    cloud = Cloud()
    pipe: Any = Pipe(CONTENT[:size])
    assert client_of(cloud).upload_file(pipe, "x") == blob_of(CONTENT[:size])
    assert cloud.calls["complete"] == (size > 2000)
