"""The credentials of external workers: a nonce of their own, and a token for each claim."""

from __future__ import annotations

import uuid

import pytest
from http_server import EMBEDDED, Server, StartServer

CLIENT = {"x-executor-nonce": "the clients' nonce"}
WORKER = {"x-executor-nonce": "the workers' nonce"}


@EMBEDDED
@pytest.mark.parametrize("nonce", [{}, {"nonce": CLIENT["x-executor-nonce"]}], ids=["open", "nonce"])
def test_only_workers_may_report_and_they_may_do_nothing_else(start_server: StartServer, nonce: dict[str, str]) -> None:
    server = start_server(worker_nonce=WORKER["x-executor-nonce"], **nonce)
    requests = [
        ("POST", "worker", {"clientId": "w", "availableProcesses": 1}, False),
        ("POST", "update/j", {"status": "RUNNING", "worker": "w"}, False),
        ("POST", "output/j", {"outputNumber": 0, "output": "x"}, False),
        ("GET", "info/j", None, True),
        ("GET", "worker", None, None),
        ("GET", "output/j", None, None),
        ("GET", "", None, None),
        ("POST", "cancel/j", {"secret": "s"}, None),
        ("POST", "create/k", {}, None),
    ]
    assert server.post("/rest/executor/create/j", {}, CLIENT).status == 200
    for method, path, body, for_both in requests:

        def status(headers: dict[str, str]) -> int:
            return server.send(method, f"/rest/executor/{path}", headers=headers, json_body=body).status  # noqa: B023

        wrong = {"x-executor-nonce": "wrong"}
        if for_both is False:
            assert (status(CLIENT), status(wrong), status({}), status(WORKER)) == (403, 403, 403, 200), path
        elif nonce:
            assert (status(wrong), status(WORKER) == 200) == (403, for_both is True), path
            assert for_both or status(WORKER) == 403, path


def start(server: Server, worker: str) -> tuple[str, str]:
    label, job = uuid.uuid4().hex, uuid.uuid4().hex
    server.post(f"/rest/executor/create/{job}", {"labels": [label]})
    check_in = {"clientId": worker, "availableProcesses": 1, "labels": [label]}
    orders = server.post("/rest/executor/worker", check_in).json
    assert orders["jobsToStart"] == [job]
    return job, orders["tokens"][job]


def test_the_token_of_a_claim_is_nowhere_else(server: Server) -> None:
    job, token = start(server, "w")
    for path in (f"info/{job}", "", "worker"):
        assert token not in server.get(f"/rest/executor/{path}").text


def test_reports_with_the_token_of_another_claim_change_nothing(server: Server) -> None:
    job, token = start(server, "w")
    path = f"/rest/executor/update/{job}"
    # The worker gives the job back, and gets it again.
    assert server.post(path, {"status": "CREATED", "worker": "w", "token": token}).status == 200
    labels = server.get(f"/rest/executor/info/{job}").json["labels"]
    orders = server.post("/rest/executor/worker", {"clientId": "w", "availableProcesses": 1, "labels": labels}).json
    newer = orders["tokens"][job]
    assert newer != token
    for wrong in (token, "guessed"):
        output = {"outputNumber": 0, "output": "late", "token": wrong}
        assert server.post(f"/rest/executor/output/{job}", output).status == 200
        assert server.post(path, {"status": "SUCCESS", "worker": "w", "token": wrong}).status == 200
    info = server.get(f"/rest/executor/info/{job}").json
    assert (info["status"], info["outputNumber"]) == ("RUNNING", None)
    output = {"outputNumber": 0, "output": "mine", "token": newer}
    assert server.post(f"/rest/executor/output/{job}", output).status == 200
    assert server.post(path, {"status": "SUCCESS", "worker": "w", "token": newer}).status == 200
    info = server.get(f"/rest/executor/info/{job}").json
    assert (info["status"], info["outputNumber"]) == ("SUCCESS", 0)


def test_a_worker_without_tokens_is_known_by_its_name(server: Server) -> None:
    job, _ = start(server, "w")
    path = f"/rest/executor/update/{job}"
    assert server.post(path, {"status": "SUCCESS", "worker": "other"}).status == 200
    assert server.get(f"/rest/executor/info/{job}").json["status"] == "RUNNING"
    assert server.post(path, {"status": "SUCCESS", "worker": "w"}).status == 200
    assert server.get(f"/rest/executor/info/{job}").json["status"] == "SUCCESS"
