"""The trace of a request, in the log lines of the functions that serve it and in the job that it creates."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from failing_stores import failing_jobs
from in_process import open_client

from cloud_executor.composition import Jobs, open_jobs
from cloud_executor.errors import Unavailable
from cloud_executor.model.jobs.message import encode_message
from cloud_executor.settings import Settings

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
GOOGLE = {"X-Cloud-Trace-Context": f"{OTHER}/789;o=1"}

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return open_jobs(Settings(data=tmp_path))


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    """Function that returns the lines logged since its last call."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_job_keeps_the_trace_of_the_request_that_created_it(tmp_path: Path, jobs: Jobs) -> None:
    sent = {
        "w3c": TRACEPARENT,
        "google": GOOGLE,
        "both": TRACEPARENT | GOOGLE,
        "malformed": {"traceparent": "00-${jndi}-\x7f-01"},
        "none": {},
    }
    with open_client(tmp_path, jobs=jobs) as client:
        for job, headers in sent.items():
            response = client.post(f"/rest/executor/create/{job}", headers=headers, buffered=True)
            assert "trace" not in response.text + client.get(f"/rest/executor/info/{job}").text
        # The job exists already and stays unchanged.
        client.post("/rest/executor/create/w3c", headers=GOOGLE, buffered=True)
    traces = {job: jobs.clients.get(job).trace for job in sent}
    assert traces == {"w3c": TRACE, "google": OTHER, "both": TRACE, "malformed": None, "none": None}


def test_a_log_line_has_the_trace_of_its_request_and_the_hash_of_its_job(
    tmp_path: Path, jobs: Jobs, lines: Lines
) -> None:
    failing = replace(jobs, store=failing_jobs(jobs.store, Unavailable()))
    with open_client(tmp_path, jobs=failing) as client:
        for path, headers in [("info/a%2Fb", TRACEPARENT), ("info/a", GOOGLE), ("", {"traceparent": TRACE})]:
            # `buffered` closes the response, as servers do: only then is the request over.
            client.get(f"/rest/executor/{path}", headers=headers, buffered=True)
    found = [(line["action"], line.get("trace"), line.get("job_hash")) for line in lines()]
    assert found == [
        ("request_failed", TRACE, "a/b"),
        ("request_failed", OTHER, "a"),
        ("request_failed", None, None),
    ]


def test_with_a_project_the_trace_has_the_format_of_cloud_logging(tmp_path: Path, jobs: Jobs, lines: Lines) -> None:
    failing = replace(jobs, store=failing_jobs(jobs.store, Unavailable()))
    with open_client(tmp_path, jobs=failing, project="my-project") as client:
        client.post("/rest/executor/create/a", headers=TRACEPARENT, buffered=True)
    (line,) = lines()
    assert line["logging.googleapis.com/trace"] == f"projects/my-project/traces/{TRACE}"
    assert "trace" not in line


def test_a_sweep_logs_jobs_with_their_traces_and_the_rest_with_its_own(
    tmp_path: Path, jobs: Jobs, lines: Lines
) -> None:
    earlier = datetime.now(UTC) - timedelta(hours=1)
    an_hour_ago = replace(jobs, clock=lambda: earlier, lease_clock=lambda: earlier)
    an_hour_ago.clients.create("traced", trace=TRACE)
    an_hour_ago.attempts.claim("traced", "a worker that vanishes")
    with open_client(tmp_path, "sweep", jobs=jobs) as client:
        assert client.post("/", headers=GOOGLE, buffered=True).get_json()["returned"] == 1
    found = [(line["action"], line["trace"], line.get("job_hash"), line.get("worker_id")) for line in lines()]
    lost, *rest = found
    assert lost == ("lose", TRACE, "traced", "a worker that vanishes")
    assert sorted(rest) == [("sweep", OTHER, None, None), ("wait", OTHER, None, None)]


def test_a_dead_letter_is_logged_with_the_trace_of_its_job_or_else_with_its_own(
    tmp_path: Path, jobs: Jobs, lines: Lines
) -> None:
    jobs.clients.create("traced", trace=TRACE)
    with open_client(tmp_path, "dead_letter", jobs=jobs, push_unverified="true") as client:
        for job in ("traced", "unknown"):
            message = {"data": base64.b64encode(encode_message(job)).decode()}
            assert client.post("/", json={"message": message}, headers=GOOGLE, buffered=True).status_code == 204
    found = [(line["action"], line["trace"], line["job_hash"]) for line in lines()]
    assert found == [("give_up", TRACE, "traced"), ("dead_letter", OTHER, "unknown")]
