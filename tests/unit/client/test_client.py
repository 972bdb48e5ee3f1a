"""The Python client: what it asks, how long it tries, and what it says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_executor.client import CloudExecutor, JobInfo
from cloud_executor.client import client as client_module
from cloud_executor.client.errors import (
    InvalidAddress,
    InvalidSource,
    ServerFault,
    ServerSilent,
    ServerUnreachable,
    TransferBroken,
    WaitedTooLong,
    WrongNonce,
)
from cloud_executor.errors import (
    CloudExecutorError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    StorageFull,
    TooLarge,
    Unavailable,
)

URL = "http://server.example:8888"

JOB = {
    "hash": "h",
    "resultHashes": [],
    "resultSuperSet": None,
    "userId": ["guest"],
    "status": "CREATED",
    "createTime": "2026-01-31T12:00:00.000Z",
    "startTime": None,
    "finishTime": None,
    "worker": None,
    "labels": [],
    "outputNumber": None,
}

Answer = httpx.Response | Exception


class Script:
    """Answers in order; the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # Each has a stream of its own.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def client_of(script: Callable[[httpx.Request], httpx.Response], **options: Any) -> CloudExecutor:
    return CloudExecutor(URL, transport=httpx.MockTransport(script), **options)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of them really."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


def ok(document: object) -> httpx.Response:
    return httpx.Response(200, json=document)


# Trying again ---------------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_tried_a_few_times_and_told_of(pauses: list[float]) -> None:
    script = Script(httpx.ConnectError("refused"))
    with pytest.raises(ServerUnreachable) as caught:
        client_of(script).job("h")
    assert len(script.requests) == 4
    assert pauses == [0.1, 0.3, 0.8]
    assert str(caught.value) == (
        f"The server at {URL} cannot be reached: start one with `executor up`, "
        "or say where it is with --url or EXECUTOR_URL."
    )


def test_a_busy_server_is_tried_again_when_it_asks_for_it(pauses: list[float]) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "2"})
    assert client_of(Script(busy, httpx.ConnectTimeout("late"), busy, ok(JOB))).job("h").hash == "h"
    assert pauses == [2.0, 0.3, 2.0]


def test_a_busy_server_is_not_waited_for_without_end(pauses: list[float]) -> None:
    with pytest.raises(Unavailable):
        client_of(Script(httpx.Response(503, headers={"Retry-After": "86400"}))).job("h")
    assert pauses == [5.0, 5.0, 5.0]


def test_other_answers_are_not_asked_for_again(pauses: list[float]) -> None:
    script = Script(httpx.Response(500))
    with pytest.raises(ServerFault):
        client_of(script).job("h")
    assert (len(script.requests), pauses) == (1, [])
    with pytest.raises(ServerSilent):
        client_of(Script(httpx.ReadTimeout("silent"))).job("h")


def test_a_create_is_not_repeated_when_it_may_have_been_done() -> None:
    script = Script(httpx.ReadError("broken"), ok(JOB))
    with pytest.raises(TransferBroken):
        client_of(script).create_job("h")
    assert len(script.requests) == 1
    # When nothing was sent it is.
    assert client_of(Script(httpx.ConnectError("refused"), ok({**JOB, "secret": "s"}))).create_job("h").secret == "s"


def test_an_upload_that_broke_is_sent_again_from_its_start() -> None:
    script = Script(httpx.WriteError("broken"), ok({"hash of it": {}}))
    source = io.BytesIO(b"skipped" + b"x" * 3_000_000)
    source.seek(7)
    assert client_of(script).upload_file(source, "ü/x?.bin") == "hash of it"
    assert script.bodies == [b"x" * 3_000_000] * 2
    assert script.requests[1].headers["content-length"] == "3000000"
    assert script.requests[1].url.raw_path == b"/rest/blob/createFile/%C3%BC%2Fx%3F.bin"


def test_a_stream_that_cannot_be_rewound_is_sent_once() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    script = Script(httpx.WriteError("broken"))
    with pytest.raises(TransferBroken):
        client_of(script).upload_file(Pipe(b"once"), "x")
    assert script.bodies == [b"once"]
    assert script.requests[0].headers["transfer-encoding"] == "chunked"


# Requests -------------------------------------------------------------------------------------------------------------


def test_a_job_may_have_any_id() -> None:
    script = Script(ok(JOB))
    for job_hash in ("a/b", "ü ?#%41", "..", ".", "\ud800"):
        client_of(script).job(job_hash)
    assert [request.url.raw_path for request in script.requests] == [
        b"/rest/executor/info/a%2Fb",
        b"/rest/executor/info/%C3%BC%20%3F%23%2541",
        b"/rest/executor/info/%2E%2E",
        b"/rest/executor/info/%2E",
        b"/rest/executor/info/%ED%A0%80",
    ]


def test_labels_and_secrets_go_as_json() -> None:
    script = Script(ok(JOB))
    client_of(script).create_job("h", ["gpu", "\udcff"])
    client_of(script).cancel("h", "s")
    assert [json.loads(body) for body in script.bodies] == [{"labels": ["gpu", "\udcff"]}, {"secret": "s"}]
    assert {request.headers["content-type"] for request in script.requests} == {"application/json"}


def test_output_is_asked_for_within_bounds() -> None:
    answer = json.dumps([{"hash": "h", "outputNumber": 3, "output": "\ud800x", "_id": "h+3"}])
    script = Script(httpx.Response(200, text=answer))
    (segment,) = client_of(script).output("h", start=-1, end=4)
    assert (segment.number, segment.output) == (3, "\ud800x")
    assert script.requests[0].url.query == b"start=-1&end=4"
    client_of(script).output("h")
    assert script.requests[1].url.query == b""


def test_workers_are_read() -> None:
    document = {"w_1": {"clientId": "w_1", "lastSeen": 1769860800.5, "labels": ["a"], "jobs": [JOB]}}
    (worker,) = client_of(Script(ok(document))).workers()
    assert (worker.client_id, worker.labels, worker.jobs[0].hash) == ("w_1", ("a",), "h")
    assert worker.last_seen.isoformat() == "2026-01-31T12:00:00.500000+00:00"


def test_the_nonce_is_for_the_executor_api_and_the_token_for_both() -> None:
    script = Script(ok({"h": {}}))
    with client_of(script, nonce="n", token="t") as client:
        client.upload_file(io.BytesIO(), "x")
        with pytest.raises(ServerFault):
            client.job("h")
    blob, executor = script.requests
    assert (blob.headers.get("x-executor-nonce"), blob.headers["x-api-token"]) == (None, "t")
    assert (executor.headers["x-executor-nonce"], executor.headers["x-api-token"]) == ("n", "t")


def test_a_download_goes_where_it_is_sent_without_the_secrets() -> None:
    def script(request: httpx.Request) -> httpx.Response:
        if request.url.host == "server.example":
            seen.append(request)
            return httpx.Response(302, headers={"Location": "https://bucket.example/o?signature=x"})
        seen.append(request)
        return httpx.Response(200, content=b"bytes")

    seen: list[httpx.Request] = []
    assert b"".join(client_of(script, token="t").chunks("h")) == b"bytes"
    assert [request.headers.get("x-api-token") for request in seen] == ["t", None]


def test_a_server_that_redirects_for_ever_is_left() -> None:
    with pytest.raises(ServerFault, match="redirects"):
        list(client_of(Script(httpx.Response(302, headers={"Location": "/again"}))).chunks("h"))


@pytest.mark.parametrize("url", ["", "server", "ftp://server", "http://", "http://[::1", "http://server:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidAddress):
        CloudExecutor(url)


def test_an_upload_needs_a_name() -> None:
    with pytest.raises(InvalidSource):
        client_of(Script(ok({}))).upload_file(io.BytesIO())


def test_files_are_named_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "job" / "deep").mkdir(parents=True)
    (tmp_path / "job" / "executor_config.json").write_text("{}")
    script = Script(ok({"h": {}}))
    client = client_of(script)
    client.upload_file(tmp_path / "job" / "executor_config.json")
    client.upload_folder(tmp_path / "job" / "deep" / "..")
    client.upload_folder(tmp_path / "job", "other.zip")
    assert [request.url.path.rpartition("/")[2] for request in script.requests] == [
        "executor_config.json",
        "job.zip",
        "other.zip",
    ]
    assert script.bodies[1] == script.bodies[2]


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (503, Unavailable),
        (507, StorageFull),
        (418, ServerFault),
        (500, ServerFault),
    ],
)
def test_an_error_has_the_kind_and_the_sentence_of_the_server(status: int, kind: type[CloudExecutorError]) -> None:
    with pytest.raises(CloudExecutorError) as caught:
        client_of(Script(httpx.Response(status, text="Because of this.\n"))).job("h")
    assert type(caught.value) is kind
    assert str(caught.value) == "Because of this."


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, html="<h1>nothing here</h1>"),
        httpx.Response(404, text="a\nb"),
        httpx.Response(404, text="x" * 501),
        httpx.Response(404),
    ],
)
def test_what_is_no_sentence_is_not_shown(answer: httpx.Response) -> None:
    with pytest.raises(NotFound, match=r"^The server answered 404 Not Found\.$"):
        client_of(Script(answer)).job("h")


def test_a_missing_and_a_wrong_nonce_are_told_apart() -> None:
    script = Script(httpx.Response(403, text="The header x-executor-nonce is missing or wrong."))
    with pytest.raises(WrongNonce, match="give it with --nonce"):
        client_of(script).job("h")
    with pytest.raises(WrongNonce, match="this is not it"):
        client_of(script, nonce="n").job("h")


@pytest.mark.parametrize(
    "document", [None, [], "text", {}, {**JOB, "resultHashes": 5}, {**JOB, "labels": 5}, {"hash": "h"}]
)
def test_a_job_that_is_none_is_a_fault_of_the_server(document: object) -> None:
    with pytest.raises(ServerFault):
        client_of(Script(ok(document))).job("h")
    with pytest.raises(ServerFault):
        client_of(Script(httpx.Response(200, text="no JSON"))).job("h")


def test_a_job_of_an_older_server_is_read_too() -> None:
    job = JobInfo.from_wire({"hash": "h", "status": "SUCCESS", "resultHashes": {"all": "x"}, "_id": "1"})
    assert (job.finished, job.succeeded, job.result_hashes, job.error) == (True, True, {"all": "x"}, None)


def test_a_secret_is_not_shown_by_accident() -> None:
    assert "hidden" not in repr(JobInfo.from_wire({**JOB, "secret": "hidden"}))


# Waiting --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[list[float]]:
    """Time that only passes in pauses."""
    monkeypatch.setattr(client_module.time, "monotonic", lambda: sum(pauses))
    yield pauses


def test_wait_returns_the_finished_job_and_shows_every_look(clock: list[float]) -> None:
    script = Script(ok(JOB), ok({**JOB, "status": "RUNNING"}), ok({**JOB, "status": "FAILED_UNZIP"}))
    seen: list[str] = []
    job = client_of(script).wait("h", on_status=lambda found: seen.append(found.status))
    assert (job.status, job.finished, job.succeeded) == ("FAILED_UNZIP", True, False)
    assert seen == ["CREATED", "RUNNING", "FAILED_UNZIP"]


def test_wait_looks_at_once_and_then_ever_less_often(clock: list[float]) -> None:
    with pytest.raises(WaitedTooLong):
        client_of(Script(ok(JOB))).wait("h", timeout_seconds=30)
    assert clock[0] == 0.02
    assert clock == sorted(clock[:-1]) + clock[-1:]
    assert max(clock) == 1.0
    assert sum(clock) == pytest.approx(30)


def test_wait_bears_a_server_that_is_started_again(clock: list[float]) -> None:
    away = [httpx.ConnectError("refused")] * 40
    assert client_of(Script(ok(JOB), *away, ok({**JOB, "status": "SUCCESS"}))).wait("h").succeeded
    with pytest.raises(ServerUnreachable):
        client_of(Script(ok(JOB), *away, httpx.ConnectError("refused"))).wait("h")
    assert sum(clock) < 200


def test_wait_does_not_wait_for_a_job_that_is_not_there(clock: list[float]) -> None:
    with pytest.raises(NotFound):
        client_of(Script(httpx.Response(404))).wait("h")
    assert clock == []
