"""Test `executor run` against a scripted server: outages, signals, and errors of this machine."""

from __future__ import annotations

import io
import json
import os
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_executor.cli import run as run_module
from cloud_executor.cli.interrupt import interruptible
from cloud_executor.cli.run import RunOptions
from cloud_executor.client import Client
from cloud_executor.client import transport as transport_module
from cloud_executor.client.source.job_source import Source
from cloud_executor.errors import Conflict, Unavailable

Reply = httpx.Response | Exception
REFUSED = httpx.ConnectError("refused")


def result_zip(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server:
    """A server with one job, which ends at the third poll. `fail` replaces a request's response."""

    def __init__(self) -> None:
        self.ending: dict[str, Any] = {"status": "SUCCESS", "resultHashes": {"all": "r"}}
        self.polls = 0
        self.requests: list[str] = []
        self.results = result_zip(a="1", b="2")
        self.fail: Callable[[str, int], Reply | None] = lambda path, number: None
        """Called with the path and the number of requests to it, from 1."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append(path)
        reply = self.fail(path, self.requests.count(path))
        if isinstance(reply, Exception):
            raise reply
        if reply is not None:
            return reply
        match path.split("/")[3]:
            case "createFile":
                return httpx.Response(200, json={"h": {}})
            case "create":
                again = self.requests.count(path) > 1
                return httpx.Response(200, json={"hash": "h", "status": "CREATED"} | ({} if again else {"secret": "s"}))
            case "info":
                self.polls += 1
                return httpx.Response(
                    200, json={"hash": "h", "status": "CREATED"} | (self.ending if self.polls > 2 else {})
                )
            case "download":
                if path.endswith("job_stdout.txt"):
                    return httpx.Response(200, content=b"output\n")
                return httpx.Response(200, content=self.results) if path.endswith("/r") else httpx.Response(404)
        return httpx.Response(200, json={})

    @property
    def client(self) -> Client:
        return Client("http://server.example", transport=httpx.MockTransport(self))


def run(client: Client, path: Path, labels: tuple[str, ...], out: Path | None, **options: Any) -> int:
    return run_module.run(client, Source(path), RunOptions(labels=labels, out=out, **options))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "executor_config.json").write_text(json.dumps({"cmd": "true", "resultArtifacts": []}))
    return tmp_path / "job"


class Clock:
    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only pauses advance."""
    clock = Clock()
    monkeypatch.setattr("time.sleep", clock.sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    return clock


def outage(of: str, clock: Clock, seconds: float, reply: Reply = REFUSED) -> Callable[[str, int], Reply | None]:
    """An outage that begins with the first request to paths with this prefix, and affects every request."""
    began: list[float] = []

    def fail(path: str, number: int) -> Reply | None:
        if path.startswith(of) and not began:
            began.append(clock.now)
        return reply if began and clock.now < began[0] + seconds else None

    return fail


@pytest.mark.parametrize("reply", [REFUSED, httpx.Response(502), httpx.Response(503), httpx.Response(504)])
@pytest.mark.parametrize(
    "path",
    ["/rest/executor/info", "/rest/executor/worker", "/rest/blob/download/r/job_stdout", "/rest/blob/download/r"],
)
def test_no_request_of_a_run_fails_because_the_server_restarts(
    server: Server, job: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, path: str, reply: Reply
) -> None:
    monkeypatch.setattr(run_module, "NO_WORKER_SECONDS", 0.0)
    server.fail = outage(path, clock, 30, reply)
    assert run(server.client, job, (), job.parent / "out") == 0
    assert clock.now >= 30
    assert path in "\n".join(server.requests)
    assert sorted(file.name for file in (job.parent / "out").iterdir()) == ["a", "b"]


def test_a_server_that_restarts_while_the_job_is_created_gets_the_request_again(
    server: Server, job: Path, clock: Clock
) -> None:
    server.fail = outage("/rest/executor/create", clock, 30)
    assert run(server.client, job, (), None) == 0


def test_a_lost_response_to_create_does_not_lose_the_job(
    server: Server, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail = lambda path, number: httpx.ReadError("broken") if "/create/" in path and number == 1 else None
    assert run(server.client, job, (), None) == 0
    assert "Job h already exists" in capsys.readouterr().err


def test_a_server_that_never_responded_is_reported_soon(server: Server, job: Path, clock: Clock) -> None:
    server.fail = lambda path, number: REFUSED
    with pytest.raises(Unavailable):
        run(server.client, job, (), None)
    assert clock.now == pytest.approx(sum(transport_module.RETRY_SECONDS))


def test_a_long_outage_ends_the_wait(
    server: Server, job: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail = outage("/rest/executor/info", clock, 1e6)
    with pytest.raises(Unavailable):
        run(server.client, job, (), None)
    assert 60 < clock.now < 70
    assert capsys.readouterr().err.splitlines()[-1] == "The job continues. Run the same command again to wait for it."


def test_no_worker_is_reported_after_an_outage(
    server: Server, job: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "NO_WORKER_SECONDS", 0.01)
    server.ending = {"status": "CREATED"}

    def fail(path: str, number: int) -> Reply | None:
        if path.endswith("/worker") and number == 1:
            return httpx.Response(500)
        if path.endswith("/worker"):
            server.ending, server.polls = {"status": "SUCCESS"}, 0
        return None

    server.fail = fail
    assert run(server.client, job, (), None) == 0
    shown = capsys.readouterr().err
    assert shown.count("No worker is available") == 1
    assert shown.count("CREATED, waiting for a worker\n") == 1


@pytest.mark.parametrize(
    ("existing", "wanted", "sentence"),
    [
        ([], ("gpu",), "Job h already exists with the same content and no labels. Add --rerun to run it again "),
        (["a", "b"], ("gpu", "a"), "Job h already exists with the same content and the labels a, b. Add --rerun to "),
        (["gpu", "a"], ("a", "gpu"), None),
        (["gpu"], (), None),
    ],
)
def test_labels_that_an_existing_job_does_not_have_are_rejected(
    server: Server, job: Path, existing: list[str], wanted: tuple[str, ...], sentence: str | None
) -> None:
    created = httpx.Response(200, json={"hash": "h", "status": "SUCCESS", "labels": existing})
    server.fail = lambda path, number: created if "/create/" in path else None
    if sentence is None:
        assert run(server.client, job, wanted, None) == 0
        return
    with pytest.raises(Conflict) as caught:
        run(server.client, job, wanted, None)
    assert str(caught.value).startswith(sentence)


def test_another_attempt_is_announced(server: Server, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = [{"attempt": 1, "worker": "a"}, {"attempt": 1, "worker": "a"}, {"attempt": 2, "worker": "b"}]

    def fail(path: str, number: int) -> Reply | None:
        if "/info/" in path and number <= len(documents):
            return httpx.Response(200, json={"hash": "h", "status": "RUNNING", **documents[number - 1]})
        return None

    server.fail, server.polls = fail, 2
    assert run(server.client, job, (), None) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[lines.index("RUNNING on a") :][:3] == [
        "RUNNING on a",
        "The worker was lost, so the job runs again (attempt 2).",
        "RUNNING on b",
    ]


def test_a_job_that_was_run_again_is_not_announced_as_lost(
    server: Server, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = [{"attempt": 1, "status": "CREATED"}, {"attempt": 2, "status": "RUNNING", "worker": "b"}]

    def fail(path: str, number: int) -> Reply | None:
        if "/info/" in path and number <= len(documents):
            return httpx.Response(200, json={"hash": "h", **documents[number - 1]})
        return None

    server.fail, server.polls = fail, 1
    assert run(server.client, job, (), None) == 0
    assert "RUNNING on b" in (shown := capsys.readouterr().err)
    assert "lost" not in shown


# Signals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("path", "sentence", "canceled"),
    [
        ("createFile", "Stopped before the job was created.", False),
        ("create", "Canceled the job.", True),
        ("info", "Canceled the job.", True),
        ("download", "Stopped. The job has ended with SUCCESS, and its results remain on the server.", False),
    ],
)
def test_a_signal_says_what_happens_to_the_job(
    server: Server,
    job: Path,
    number: signal.Signals,
    path: str,
    sentence: str,
    canceled: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(requested: str, count: int) -> None:
        if requested.split("/")[3] == path and count == 1:
            os.kill(os.getpid(), number)

    server.fail = fail
    before = signal.getsignal(number)
    assert run(server.client, job, (), job.parent / "out") == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == sentence
    assert ("/rest/executor/cancel/h" in server.requests) is canceled
    assert list((job.parent / "out").iterdir()) == []
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_wait_for_the_response_to_create(
    server: Server, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(requested: str, _: int) -> None:
        if "/create/" in requested:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    server.fail = fail
    assert run(server.client, job, (), None) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "Stopped while the job was created, so it may run."


def test_a_cancel_that_fails_is_reported(server: Server, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(path: str, count: int) -> Reply | None:
        if "/info/" in path:
            os.kill(os.getpid(), signal.SIGTERM)
        return httpx.Response(500, text="Internal.") if "/cancel/" in path else None

    server.fail = fail
    assert run(server.client, job, (), None) == 143
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "The job may continue, because the cancel was not confirmed. Internal."


def test_a_closed_terminal_does_not_prevent_the_cancel(
    server: Server, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Closed())

    def fail(path: str, count: int) -> None:
        if "/info/" in path and count == 2:
            os.kill(os.getpid(), signal.SIGHUP)

    server.fail = fail
    assert run(server.client, job, (), None) == 129
    assert server.requests[-1] == "/rest/executor/cancel/h"


def test_nohup_keeps_its_effect() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# Errors after the end of the job --------------------------------------------------------------------------------------


def conflict(server: Server, out: Path) -> str:
    (out / "b").mkdir(parents=True)
    return f"{out / 'b'} cannot be used: is a directory."


def damaged(server: Server, out: Path) -> str:
    server.results = server.results[:-4]
    return "The zip with the results is damaged: download it again."


def missing(server: Server, out: Path) -> str:
    server.ending["resultHashes"] = {"all": "r", "other": "gone"}
    return "The server responded with 404 Not Found."


@pytest.mark.parametrize("prepare", [conflict, damaged, missing])
@pytest.mark.parametrize(("status", "code"), [("SUCCESS", 3), ("FAILED_TO_EXECUTE", 1)])
def test_results_that_cannot_be_stored_leave_no_files_and_have_their_own_exit_code(
    server: Server,
    job: Path,
    prepare: Callable[[Server, Path], str],
    status: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = job.parent / "out"
    server.ending["status"] = status
    sentence = prepare(server, out)
    assert run(server.client, job, (), out) == code
    found = capsys.readouterr()
    assert found.err.splitlines()[-1] == f"Error: {sentence}"
    assert [path for path in out.rglob("*") if not path.is_dir()] == []
    assert {path.name for path in out.iterdir()} <= {"b"}
    assert found.out == "output\n"


def test_a_folder_that_disappears_is_named(server: Server, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = job.parent / "out"

    def fail(path: str, _: int) -> None:
        if path.endswith("job_stdout.txt"):
            out.rmdir()

    server.fail = fail
    assert run(server.client, job, (), out) == 3
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {out} cannot be used: no such file or directory."
