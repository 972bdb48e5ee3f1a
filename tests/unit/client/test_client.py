"""Test the Python client: its requests, retries, and error messages."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_executor.client import Client, JobInfo
from cloud_executor.client.errors import (
    InvalidAddress,
    InvalidSource,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
    TransferFailed,
    WaitTimeout,
    WrongNonce,
)
from cloud_executor.errors import (
    CloudExecutorError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
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

Reply = httpx.Response | Exception


class Script:
    """A server that sends these replies in order, and then repeats the last one."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        # A response has a stream, which can be read only once.
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)


def client_of(script: Callable[[httpx.Request], httpx.Response], **options: Any) -> Client:
    return Client(URL, transport=httpx.MockTransport(script), **options)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses instead of sleeping."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


def ok(document: object) -> httpx.Response:
    return httpx.Response(200, json=document)


# Retries --------------------------------------------------------------------------------------------------------------


def test_an_unreachable_server_is_retried_and_then_reported(pauses: list[float]) -> None:
    script = Script(httpx.ConnectError("refused"))
    with pytest.raises(ServerUnreachable) as caught:
        client_of(script).job("h")
    assert len(script.requests) == 4
    assert pauses == [0.1, 0.3, 0.8]
    assert str(caught.value) == (
        f"The server at {URL} cannot be reached: start one with `executor up`, "
        "or give its address with --url or EXECUTOR_URL."
    )


def test_a_busy_server_is_retried_after_the_delay_that_it_requests(pauses: list[float]) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "2"})
    assert client_of(Script(busy, httpx.ConnectTimeout("late"), busy, ok(JOB))).job("h").hash == "h"
    assert pauses == [2.0, 0.3, 2.0]


def test_the_delay_that_a_busy_server_requests_is_limited(pauses: list[float]) -> None:
    with pytest.raises(Unavailable):
        client_of(Script(httpx.Response(503, headers={"Retry-After": "86400"}))).job("h")
    assert pauses == [5.0, 5.0, 5.0]


def test_a_limit_that_is_over_soon_is_waited_for(pauses: list[float]) -> None:
    soon, late = (httpx.Response(429, headers={"Retry-After": seconds}) for seconds in ("2", "30"))
    client = client_of(Script(soon, httpx.Response(200, json={**JOB, "secret": "s"})))
    assert client.create_job("h").hash == "h"
    assert pauses == [2.0]
    for response in (late, httpx.Response(429)):
        with pytest.raises(QuotaExceeded):
            client_of(Script(response)).job("h")
    assert pauses == [2.0]


def test_other_failures_are_not_retried(pauses: list[float]) -> None:
    script = Script(httpx.Response(500))
    with pytest.raises(ServerError):
        client_of(script).job("h")
    assert (len(script.requests), pauses) == (1, [])
    with pytest.raises(ServerTimeout):
        client_of(Script(httpx.ReadTimeout("silent"))).job("h")


def test_a_create_request_that_may_have_succeeded_is_not_repeated() -> None:
    script = Script(httpx.ReadError("broken"), ok(JOB))
    with pytest.raises(TransferFailed):
        client_of(script).create_job("h")
    assert len(script.requests) == 1
    # It is repeated if nothing was sent.
    assert client_of(Script(httpx.ConnectError("refused"), ok({**JOB, "secret": "s"}))).create_job("h").secret == "s"


def test_a_broken_upload_is_sent_again_from_the_start() -> None:
    script = Script(httpx.WriteError("broken"), ok({"hash of it": {}}))
    source = io.BytesIO(b"skipped" + b"x" * 3_000_000)
    source.seek(7)
    assert client_of(script).upload_file(source, "ü/x?.bin") == "hash of it"
    assert script.bodies == [b"x" * 3_000_000] * 2
    assert script.requests[1].headers["content-length"] == "3000000"
    assert script.requests[1].url.raw_path == b"/rest/blob/createFile/%C3%BC%2Fx%3F.bin"


def test_a_stream_that_is_not_seekable_is_sent_once() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    script = Script(httpx.WriteError("broken"))
    with pytest.raises(TransferFailed):
        client_of(script).upload_file(Pipe(b"once"), "x")
    assert script.bodies == [b"once"]
    assert script.requests[0].headers["transfer-encoding"] == "chunked"


# Requests -------------------------------------------------------------------------------------------------------------


def test_job_ids_are_encoded_in_the_url() -> None:
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


def test_labels_and_secrets_are_sent_as_json() -> None:
    script = Script(ok(JOB))
    client_of(script).create_job("h", ["gpu", "\udcff"])
    client_of(script).cancel("h", "s")
    assert [json.loads(body) for body in script.bodies] == [{"labels": ["gpu", "\udcff"]}, {"secret": "s"}]
    assert {request.headers["content-type"] for request in script.requests} == {"application/json"}


def test_output_is_requested_within_bounds() -> None:
    body = json.dumps([{"hash": "h", "outputNumber": 3, "output": "\ud800x", "_id": "h+3"}])
    script = Script(httpx.Response(200, text=body))
    (segment,) = client_of(script).output("h", start=-1, end=4)
    assert (segment.number, segment.output) == (3, "\ud800x")
    assert script.requests[0].url.query == b"start=-1&end=4"
    client_of(script).output("h")
    assert script.requests[1].url.query == b""


def test_workers_are_listed() -> None:
    document = {"w_1": {"clientId": "w_1", "lastSeen": 1769860800.5, "labels": ["a"], "jobs": [JOB]}}
    (worker,) = client_of(Script(ok(document))).workers()
    assert (worker.client_id, worker.labels, worker.jobs[0].hash) == ("w_1", ("a",), "h")
    assert worker.last_seen.isoformat() == "2026-01-31T12:00:00.500000+00:00"


def test_the_nonce_is_sent_to_the_executor_api_and_the_token_to_both_apis() -> None:
    script = Script(ok({"h": {}}))
    with client_of(script, nonce="n", token="t") as client:
        client.upload_file(io.BytesIO(), "x")
        with pytest.raises(ServerError):
            client.job("h")
    blob, executor = script.requests
    assert (blob.headers.get("x-executor-nonce"), blob.headers["x-api-token"]) == (None, "t")
    assert (executor.headers["x-executor-nonce"], executor.headers["x-api-token"]) == ("n", "t")


def test_a_redirected_download_does_not_send_the_secrets() -> None:
    def script(request: httpx.Request) -> httpx.Response:
        if request.url.host == "server.example":
            seen.append(request)
            return httpx.Response(302, headers={"Location": "https://bucket.example/o?signature=x"})
        seen.append(request)
        return httpx.Response(200, content=b"bytes")

    seen: list[httpx.Request] = []
    assert b"".join(client_of(script, token="t").chunks("h")) == b"bytes"
    assert [request.headers.get("x-api-token") for request in seen] == ["t", None]


def test_endless_redirects_are_an_error() -> None:
    with pytest.raises(ServerError, match="redirects"):
        list(client_of(Script(httpx.Response(302, headers={"Location": "/again"}))).chunks("h"))


@pytest.mark.parametrize("url", ["", "server", "ftp://server", "http://", "http://[::1", "http://server:port"])
def test_an_invalid_address_is_rejected(url: str) -> None:
    with pytest.raises(InvalidAddress):
        Client(url)


def test_an_upload_needs_a_name() -> None:
    with pytest.raises(InvalidSource):
        client_of(Script(ok({}))).upload_file(io.BytesIO())


def test_uploads_take_their_names_from_files_and_folders(tmp_path: Path) -> None:
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


# Responses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (503, Unavailable),
        (507, StorageFull),
        (418, ServerError),
        (500, ServerError),
    ],
)
def test_an_error_response_becomes_an_error_with_the_servers_message(
    status: int, error_class: type[CloudExecutorError]
) -> None:
    with pytest.raises(CloudExecutorError) as caught:
        client_of(Script(httpx.Response(status, text="Because of this.\n"))).job("h")
    assert type(caught.value) is error_class
    assert str(caught.value) == "Because of this."


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(404, html="<h1>nothing here</h1>"),
        httpx.Response(404, text="a\nb"),
        httpx.Response(404, text="x" * 501),
        httpx.Response(404),
    ],
)
def test_a_body_that_is_not_one_sentence_is_not_shown(response: httpx.Response) -> None:
    with pytest.raises(NotFound, match=r"^The server responded with 404 Not Found\.$"):
        client_of(Script(response)).job("h")


def test_a_missing_and_a_wrong_nonce_have_different_messages() -> None:
    script = Script(httpx.Response(403, text="The header x-executor-nonce is missing or wrong."))
    with pytest.raises(WrongNonce, match="give it with --nonce"):
        client_of(script).job("h")
    with pytest.raises(WrongNonce, match="rejected the nonce"):
        client_of(script, nonce="n").job("h")


@pytest.mark.parametrize(
    "document", [None, [], "string", {}, {**JOB, "resultHashes": 5}, {**JOB, "labels": 5}, {"hash": "h"}]
)
def test_an_invalid_job_document_raises_server_error(document: object) -> None:
    with pytest.raises(ServerError):
        client_of(Script(ok(document))).job("h")
    with pytest.raises(ServerError):
        client_of(Script(httpx.Response(200, text="not JSON"))).job("h")


def test_a_job_from_an_older_server_can_be_read() -> None:
    job = JobInfo.from_wire({"hash": "h", "status": "SUCCESS", "resultHashes": {"all": "x"}, "_id": "1"})
    assert (job.finished, job.succeeded, job.result_hashes, job.error) == (True, True, {"all": "x"}, None)


def test_the_repr_of_a_job_hides_its_secret() -> None:
    assert "hidden" not in repr(JobInfo.from_wire({**JOB, "secret": "hidden"}))


# Waiting --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[list[float]]:
    """A clock that advances only during pauses."""
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))
    yield pauses


def test_wait_returns_the_finished_job_and_reports_every_poll(clock: list[float]) -> None:
    script = Script(ok(JOB), ok({**JOB, "status": "RUNNING"}), ok({**JOB, "status": "FAILED_UNZIP"}))
    seen: list[str] = []
    job = client_of(script).wait("h", on_status=lambda found: seen.append(found.status))
    assert (job.status, job.finished, job.succeeded) == ("FAILED_UNZIP", True, False)
    assert seen == ["CREATED", "RUNNING", "FAILED_UNZIP"]


def test_wait_polls_at_growing_intervals(clock: list[float]) -> None:
    with pytest.raises(WaitTimeout):
        client_of(Script(ok(JOB))).wait("h", timeout_seconds=30)
    assert clock[0] == 0.02
    assert clock == sorted(clock[:-1]) + clock[-1:]
    assert max(clock) == 1.0
    assert sum(clock) == pytest.approx(30)


def test_wait_tolerates_a_restart_of_the_server(clock: list[float]) -> None:
    outage = [httpx.ConnectError("refused")] * 40
    assert client_of(Script(ok(JOB), *outage, ok({**JOB, "status": "SUCCESS"}))).wait("h").succeeded
    with pytest.raises(ServerUnreachable):
        client_of(Script(ok(JOB), *outage, httpx.ConnectError("refused"))).wait("h")
    assert sum(clock) < 200


def test_wait_fails_at_once_for_an_unknown_job(clock: list[float]) -> None:
    with pytest.raises(NotFound):
        client_of(Script(httpx.Response(404))).wait("h")
    assert clock == []
