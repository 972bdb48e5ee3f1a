"""Each entry point as the platform starts it: with functions-framework, and only requirements.txt installed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from servers.function_process import function

from cloud_executor.composition import open_jobs
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.message import encode_message
from cloud_executor.settings import Settings

BLOB, EXECUTOR = "/rest/blob/metadata", "/rest/executor/worker"


def started(programs: Path, data: Path, target: str) -> AbstractContextManager[httpx.Client]:
    return function(programs, target, {"EXECUTOR_DATA": str(data), "EXECUTOR_PUSH_UNVERIFIED": "true"})


@pytest.fixture(scope="module")
def dead_letters(clean_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with started(clean_environment, tmp_path_factory.mktemp("data"), "dead_letter") as client:
        yield client


def dead_letter(data: object) -> dict[str, object]:
    """The body with which Pub/Sub pushes a message."""
    return {"message": {"data": data, "messageId": "1"}, "subscription": "projects/p/subscriptions/s"}


def push(client: httpx.Client, body: object) -> httpx.Response:
    return client.post("/", json=body)


@pytest.mark.parametrize(
    ("target", "served", "unknown"), [("blob", BLOB, EXECUTOR), ("executor", EXECUTOR, BLOB), ("api", BLOB, "/unknown")]
)
def test_each_target_serves_its_own_api(
    clean_environment: Path, tmp_path: Path, target: str, served: str, unknown: str
) -> None:
    with started(clean_environment, tmp_path, target) as client:
        assert client.get(served).json() == {}
        assert client.get(unknown).status_code == 404


def test_a_sweep_repairs_and_reports(clean_environment: Path, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    jobs = open_jobs(settings)
    jobs.clients.create("lost")
    replace(jobs, lease_clock=lambda: datetime.now(UTC) - timedelta(hours=1)).attempts.claim(
        "lost", "a worker that vanishes"
    )
    with started(clean_environment, tmp_path, "sweep") as client:
        report = client.post("/").raise_for_status().json()
        assert report["returned"] == 1
        assert jobs.clients.get("lost").status == Status.CREATED
        again = client.post("/any/address").raise_for_status().json()
        assert set(again.values()) == {0}
        assert client.get("/").status_code == 404


def test_a_dead_letter_returns_its_waiting_job(clean_environment: Path, tmp_path: Path) -> None:
    jobs = open_jobs(Settings(data=tmp_path))
    for job_hash in ("waiting", "running"):
        jobs.clients.create(job_hash)
    jobs.attempts.claim("running", "a worker")
    with started(clean_environment, tmp_path, "dead_letter") as client:
        for job_hash in ("waiting", "running"):
            assert push(client, dead_letter(base64.b64encode(encode_message(job_hash)).decode())).is_success
    returned = jobs.clients.get("waiting")
    assert (returned.status, returned.dead_letters) == (Status.CREATED, 1)
    assert jobs.clients.get("running").status == Status.RUNNING


@pytest.mark.parametrize(
    "body",
    [
        dead_letter("not base64!"),
        dead_letter(None),
        dead_letter(""),
        dead_letter("dW5rbm93bg=="),
        dead_letter(base64.b64encode(encode_message("unknown")).decode()),
        {},
        [],
        "text",
    ],
    ids=["not base64", "no data", "empty", "not JSON", "unknown job", "no message", "list", "string"],
)
def test_a_malformed_message_is_acknowledged_so_that_it_is_not_redelivered(
    dead_letters: httpx.Client, body: object
) -> None:
    assert push(dead_letters, body).is_success
