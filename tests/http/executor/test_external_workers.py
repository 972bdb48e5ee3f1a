"""The protocol of external workers: they poll and learn which jobs to start and which to cancel."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from http_server import EMBEDDED, Server, StartServer, until


def new_id() -> str:
    return uuid.uuid4().hex


def check_in(server: Server, client_id: str, free: object = 0, labels: object = (), running: object = ()) -> Any:
    body = {"clientId": client_id, "availableProcesses": free, "labels": labels, "runningJobs": running}
    response = server.post("/rest/executor/worker", body)
    assert response.status == 200, response
    assert response.json.keys() - {"tokens"} == {"jobsToStart", "refreshPeriod", "labelJobs", "jobsToCancel"}
    assert list(response.json.get("tokens", ())) == response.json["jobsToStart"]
    return response.json


def create(server: Server, *labels: str) -> tuple[str, str]:
    """Create a job that needs these labels; return its hash and secret."""
    job = new_id()
    secret: str = server.post(f"/rest/executor/create/{job}", {"labels": labels}).json["secret"]
    return job, secret


def status(server: Server, job: str) -> Any:
    return server.get(f"/rest/executor/info/{job}").json["status"]


def takes(server: Server, client_id: str, job: str) -> bool:
    return bool(check_in(server, client_id, 1, ["x"])["jobsToStart"] == [job])


def is_forgotten(server: Server, client_id: str) -> bool:
    return client_id not in server.get("/rest/executor/worker").json


def test_a_job_goes_to_only_one_of_many_workers_that_poll_at_once(server: Server) -> None:
    label = new_id()
    jobs = [create(server, label)[0] for _ in range(30)]
    with ThreadPoolExecutor(12) as threads:
        orders = list(threads.map(lambda number: check_in(server, f"{label}-{number}", 3, [label]), range(24)))
    given = [job for order in orders for job in order["jobsToStart"]]
    assert sorted(given) == sorted(jobs)
    listed = server.get("/rest/executor/worker").json
    for number, order in enumerate(orders):
        assert len(order["jobsToStart"]) <= 3
        running = listed[f"{label}-{number}"]["jobs"]
        assert {job["hash"] for job in running} == set(order["jobsToStart"])
        assert {job["worker"] for job in running} <= {f"{label}-{number}"}
        assert {job["status"] for job in running} <= {"RUNNING"}


def test_a_worker_gets_up_to_one_job_per_free_slot_oldest_first(server: Server) -> None:
    label, worker = new_id(), new_id()
    jobs = [create(server, label)[0] for _ in range(5)]
    assert check_in(server, worker, 0, [label])["jobsToStart"] == []
    assert check_in(server, worker, -3, [label])["jobsToStart"] == []
    assert check_in(server, worker, 2, [label])["jobsToStart"] == jobs[:2]
    assert check_in(server, worker, 1.9, [label])["jobsToStart"] == jobs[2:3]
    assert check_in(server, worker, 1e300, [label])["jobsToStart"] == jobs[3:]


def test_a_worker_gets_only_jobs_whose_labels_it_has(server: Server) -> None:
    one, other = new_id(), new_id()
    both, only_one = create(server, one, other)[0], create(server, one)[0]
    assert check_in(server, new_id(), 9, [other])["jobsToStart"] == []
    assert check_in(server, new_id(), 9, [one.upper()])["jobsToStart"] == []
    assert check_in(server, new_id(), 9, [one])["jobsToStart"] == [only_one]
    assert check_in(server, new_id(), 9, [other, "more", one])["jobsToStart"] == [both]


def test_a_worker_is_told_about_its_canceled_jobs_until_they_end(server: Server) -> None:
    label, worker = new_id(), new_id()
    job, secret = create(server, label)
    other, _ = create(server, label)
    assert check_in(server, worker, 9, [label])["jobsToStart"] == [job, other]
    running = [job, other, "unknown", "ü/😀"]
    assert check_in(server, worker, running=running)["jobsToCancel"] == []
    server.post(f"/rest/executor/cancel/{job}", {"secret": secret})
    assert status(server, job) == "RUNNING"
    for _ in range(2):
        assert check_in(server, worker, running=running)["jobsToCancel"] == [job]
    server.post(f"/rest/executor/update/{job}", {"status": "CANCELED", "worker": worker})
    assert check_in(server, worker, running=running)["jobsToCancel"] == []


def test_workers_are_listed_with_their_running_jobs(server: Server) -> None:
    label, worker = new_id(), new_id()
    job, _ = create(server, label)
    started = time.time()
    check_in(server, worker, 1, [label, "ü"])
    found = server.get("/rest/executor/worker").json[worker]
    assert started - 1 <= found.pop("lastSeen") <= time.time() + 1
    running = found.pop("jobs")
    assert found == {"clientId": worker, "labels": [label, "ü"], "userId": ["guest"]}
    assert running == [server.get(f"/rest/executor/info/{job}").json]
    check_in(server, worker, labels=["now these"])
    assert server.get("/rest/executor/worker").json[worker]["labels"] == ["now these"]
    server.post(f"/rest/executor/update/{job}", {"status": "SUCCESS"})
    assert server.get("/rest/executor/worker").json[worker]["jobs"] == []


@pytest.mark.parametrize("empty", [None, "", 0, False, []])
def test_empty_fields_are_ignored(server: Server, empty: object) -> None:
    assert check_in(server, new_id(), empty, empty, empty)["jobsToStart"] == []
    assert server.post("/rest/executor/worker", {"clientId": new_id()}).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        *({"clientId": client_id} for client_id in ("", None, 5, ["x"], "\ud800")),
        *({"availableProcesses": free} for free in ("2", True, [1], {"x": 1})),
        *({"labels": labels} for labels in ("x", [5], {"x": 1})),
        *({"runningJobs": running} for running in ("x", [5], {"x": 1}, ["\ud800"])),
    ],
)
def test_a_field_of_the_wrong_type_is_400(server: Server, fields: dict[str, object]) -> None:
    response = server.post("/rest/executor/worker", {"clientId": "wrong", **fields})
    assert response.status == 400
    assert response.text.endswith(".")
    assert "wrong" not in server.get("/rest/executor/worker").json


def test_a_negative_number_of_free_slots_is_accepted(server: Server) -> None:
    body = b'{"clientId": "%b", "availableProcesses": -1e999}' % new_id().encode()
    assert server.send("POST", "/rest/executor/worker", body, {"Content-Type": "application/json"}).status == 200


def test_a_request_without_a_body_is_400(server: Server) -> None:
    assert server.send("POST", "/rest/executor/worker", b"").status == 400


@EMBEDDED
def test_a_worker_is_told_its_polling_interval(start_server: StartServer) -> None:
    assert check_in(start_server(worker_refresh_interval="1234"), "w")["refreshPeriod"] == 1234


def test_the_jobs_of_a_vanished_worker_go_to_the_next_worker(start_server: StartServer) -> None:
    server = start_server(worker_refresh_interval="100", retries="1")
    job, _ = create(server, "x")
    for worker in ("first", "second"):
        until(partial(takes, server, worker, job))
        server.post(f"/rest/executor/output/{job}", {"outputNumber": 5, "output": worker})
        until(partial(is_forgotten, server, worker))
    found = server.get(f"/rest/executor/info/{job}").json
    assert found["status"] == "FAILED_TO_EXECUTE"
    assert found["error"].endswith(".")
    assert found["finishTime"] is not None


def test_a_worker_that_keeps_polling_keeps_its_jobs(start_server: StartServer) -> None:
    server = start_server(worker_refresh_interval="200")
    job, _ = create(server, "x")
    assert takes(server, "alive", job)
    check_in(server, "gone")
    until(lambda: check_in(server, "alive", running=[job]) and is_forgotten(server, "gone"))
    assert status(server, job) == "RUNNING"


@EMBEDDED
def test_label_jobs_are_reloaded_when_their_file_changes(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "label_jobs.json"
    server = start_server(label_jobs=str(file))
    assert check_in(server, "w")["labelJobs"] == {}
    file.write_text(json.dumps({"matlab": "1" * 40}))
    assert check_in(server, "w")["labelJobs"] == {"matlab": "1" * 40}
    for invalid in ("{", "[]", '{"matlab": 5}', ""):
        file.write_text(invalid)
        for _ in range(4):  # to reach both processes
            assert check_in(server, "w")["labelJobs"] in ({}, {"matlab": "1" * 40})
    file.write_text(json.dumps({"python": "2" * 40, "ü": "3" * 40}))
    for _ in range(4):
        assert check_in(server, "w")["labelJobs"] == {"python": "2" * 40, "ü": "3" * 40}


POOLS = """[{"name": "small", "slots": 2}, {"name": "gpu", "labels": ["gpu", "big"]}]"""


@EMBEDDED
def test_configured_pools_are_listed_even_without_a_running_worker(start_server: StartServer) -> None:
    server = start_server(pools=POOLS)
    check_in(server, "external", labels=["x"])
    listed = server.get("/rest/executor/worker").json
    assert list(listed) == ["pool:small", "pool:gpu", "external"]
    for name, labels, slots in (("small", [], 2), ("gpu", ["big", "gpu"], None)):
        entry = listed[f"pool:{name}"]
        assert abs(entry.pop("lastSeen") - time.time()) < 60
        expected = {"clientId": f"pool:{name}", "labels": labels, "userId": ["guest"], "jobs": [], "pool": name}
        assert entry == expected | ({} if slots is None else {"slots": slots})
    assert listed["external"].keys() == {"clientId", "lastSeen", "labels", "userId", "jobs"}


@EMBEDDED
def test_a_pool_is_listed_with_the_labels_from_label_jobs(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "label_jobs.json"
    file.write_text(json.dumps({"matlab": "1" * 40}))
    listed = start_server(pools=POOLS, label_jobs=str(file)).get("/rest/executor/worker").json
    assert [entry["labels"] for entry in listed.values()] == [["matlab"], ["big", "gpu", "matlab"]]


@EMBEDDED
def test_without_configured_pools_only_workers_are_listed(start_server: StartServer) -> None:
    assert start_server().get("/rest/executor/worker").json == {}


def test_a_job_that_waits_for_an_external_worker_shows_the_labels(server: Server) -> None:
    label = new_id()
    job, _ = create(server, label)
    assert server.get(f"/rest/executor/info/{job}").json["waitingFor"] == [label]
    check_in(server, new_id(), 1, [label])
    assert "waitingFor" not in server.get(f"/rest/executor/info/{job}").json
