"""Requests that wait for a change of a job: `info?wait=` and `output?wait=`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from http_server import EMBEDDED, PROCESSES, Response, Server, StartServer, until
from job_requests import create, new_id, update

from functions.fair_worker import THREADS

LONG_SECONDS = 20
"""A wait that a test ends: a response after less than this was not sent because the time was up."""


@pytest.fixture
def job(server: Server) -> str:
    return new_job(server)


def new_job(server: Server) -> str:
    job = new_id()
    create(server, job)
    return job


def put_output(server: Server, job: str, number: int) -> None:
    segment = {"outputNumber": number, "output": f"line {number}\n"}
    assert server.post(f"/rest/executor/output/{job}", segment).text == "OK"


def info(server: Server, job: str, query: str) -> Response:
    return server.get(f"/rest/executor/info/{job}?{query}")


def output(server: Server, job: str, query: str) -> Response:
    return server.get(f"/rest/executor/output/{job}?{query}")


@contextmanager
def in_background(request: object, *arguments: object) -> Iterator[Future[Response]]:
    """Send a request that waits, and yield its response once it has had time to begin."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(request, *arguments)  # type: ignore[arg-type]
        time.sleep(0.3)  # If it has not begun, it returns at once, and the test passes without need.
        yield future


def test_info_returns_when_the_status_changes(server: Server, job: str) -> None:
    started = time.monotonic()
    with in_background(info, server, job, f"wait={LONG_SECONDS}") as response:
        update(server, job, worker="w", status="RUNNING")
        found = response.result()
    assert found.json["status"] == "RUNNING"
    assert found["X-Executor-Wait"] == str(LONG_SECONDS)
    assert time.monotonic() - started < LONG_SECONDS


def test_info_returns_when_there_is_output(server: Server, job: str) -> None:
    update(server, job, worker="w", status="RUNNING")
    with in_background(info, server, job, f"wait={LONG_SECONDS}&status=RUNNING&outputNumber=null") as response:
        put_output(server, job, 0)
        assert response.result().json["outputNumber"] == 0
    with in_background(info, server, job, f"wait={LONG_SECONDS}&status=RUNNING&outputNumber=0") as response:
        put_output(server, job, 1)
        assert response.result().json["outputNumber"] == 1


@pytest.mark.parametrize("known", ["status=RUNNING", "outputNumber=3", "status=CREATED&outputNumber=0"])
def test_info_returns_at_once_if_the_client_knows_another_state(server: Server, job: str, known: str) -> None:
    started = time.monotonic()
    response = info(server, job, f"wait={LONG_SECONDS}&{known}")
    assert response.json["status"] == "CREATED"
    assert response["X-Executor-Wait"] == str(LONG_SECONDS)
    assert time.monotonic() - started < LONG_SECONDS


def test_requests_for_a_finished_job_return_at_once(server: Server, job: str) -> None:
    update(server, job, worker="w", status="SUCCESS")
    started = time.monotonic()
    assert info(server, job, f"wait={LONG_SECONDS}&status=SUCCESS").json["status"] == "SUCCESS"
    assert output(server, job, f"start=0&wait={LONG_SECONDS}").json == []
    assert time.monotonic() - started < LONG_SECONDS


def test_a_job_that_does_not_change_is_returned_when_the_time_is_up(server: Server, job: str) -> None:
    started = time.monotonic()
    assert info(server, job, "wait=0.5").json == info(server, job, "").json
    assert output(server, job, "wait=0.5").json == []
    assert time.monotonic() - started >= 1
    assert info(server, job, "wait=0")["X-Executor-Wait"] == "0"
    assert info(server, job, "")["X-Executor-Wait"] is None
    assert output(server, job, "")["X-Executor-Wait"] is None


def test_output_returns_when_there_is_more(server: Server, job: str) -> None:
    update(server, job, worker="w", status="RUNNING")
    put_output(server, job, 0)
    assert len(output(server, job, f"start=0&wait={LONG_SECONDS}").json) == 1
    with in_background(output, server, job, f"start=1&wait={LONG_SECONDS}") as response:
        put_output(server, job, 1)
        found = response.result()
    assert [segment["outputNumber"] for segment in found.json] == [1]
    assert found["X-Executor-Wait"] == str(LONG_SECONDS)


def test_output_returns_when_the_job_ends(server: Server, job: str) -> None:
    started = time.monotonic()
    with in_background(output, server, job, f"start=0&wait={LONG_SECONDS}") as response:
        update(server, job, worker="w", status="FAILED_TO_EXECUTE")
        assert response.result().json == []
    assert time.monotonic() - started < LONG_SECONDS


def test_a_wait_for_an_unknown_job_is_404(server: Server) -> None:
    assert info(server, new_id(), "wait=9").status == 404
    assert output(server, new_id(), "wait=9").status == 404


@pytest.mark.parametrize("wait", ["26", "25.001", "-1", "x", "1e1", "nan", "999999999999", "%C2%B2"])
def test_an_invalid_wait_is_400(server: Server, job: str, wait: str) -> None:
    for response in (info(server, job, f"wait={wait}"), output(server, job, f"wait={wait}")):
        assert (response.status, response.text) == (400, "wait must be a number of seconds from 0 to 25.")


@pytest.mark.parametrize("number", ["x", "1.5", "-", "1 2"])
def test_an_invalid_known_output_number_is_400(server: Server, job: str, number: str) -> None:
    assert info(server, job, f"wait=1&outputNumber={number.replace(' ', '%20')}").status == 400


@EMBEDDED
def test_half_of_the_threads_wait_and_other_requests_are_answered(start_server: StartServer) -> None:
    server = start_server()
    job = new_job(server)
    most = PROCESSES * THREADS // 2
    started = time.monotonic()
    with ThreadPoolExecutor(2 * most) as threads:
        waiting = [threads.submit(info, server, job, f"wait={LONG_SECONDS}&status=CREATED") for _ in range(2 * most)]
        # All threads of a process can be busy for a moment, but not until the end of the waits.
        until(lambda: sum(request.done() for request in waiting) >= most)
        assert info(server, job, "").status == 200
        update(server, job, worker="w", status="RUNNING")
        granted = [request.result()["X-Executor-Wait"] for request in waiting]
    assert granted.count(str(LONG_SECONDS)) <= most
    assert granted.count("0") >= most
    assert time.monotonic() - started < LONG_SECONDS


@EMBEDDED
def test_a_server_that_stops_ends_the_waits(start_server: StartServer) -> None:
    server = start_server()
    job = new_job(server)
    with in_background(info, server, job, f"wait={LONG_SECONDS}") as response:
        os.kill(server.process_id, signal.SIGTERM)
        # A process that is still busy after STOP_SECONDS is killed, and sends no response.
        assert response.result().json["status"] == "CREATED"
