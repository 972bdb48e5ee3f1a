"""The executor API for clients."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from http_server import EMBEDDED, Server, StartServer, until
from job_requests import NO_WORKER, cancel, create, info, new_id, segments, update

UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize(
    "job",
    [
        *("911", "a/b", "../../etc/passwd", "ü", "😀", "\0", "a\nb", "%2F", " ", "+", ".", "__proto__", "{}"),
        *("é" * 496, "a'b\"c;--", "\u202e"),
    ],
)
def test_a_jobs_id_can_be_any_string(server: Server, job: str) -> None:
    job = f"{job}{new_id()}"
    secret = create(server, job)["secret"]
    assert info(server, job)["hash"] == job
    path = quote(job, safe="")
    assert server.post(f"/rest/executor/output/{path}", {"outputNumber": 0, "output": "x"}).text == "OK"
    assert segments(server, job) == [{"hash": job, "outputNumber": 0, "output": "x", "_id": f"{job}+0"}]
    assert job in server.get("/rest/executor/").json
    assert cancel(server, path, secret).text == "OK"
    assert info(server, job)["status"] == "CANCELED"


def test_exactly_one_of_many_concurrent_creates_creates_the_job(server: Server) -> None:
    for _ in range(5):
        job = new_id()
        with ThreadPoolExecutor(16) as threads:
            responses = list(threads.map(lambda _, job=job: create(server, job), range(16)))
        secrets = [response.pop("secret") for response in responses if "secret" in response]
        assert len(secrets) == 1
        assert all(response == responses[0] for response in responses)
        assert cancel(server, job, secrets[0]).status == 200


def test_exactly_one_of_many_concurrent_creates_recreates_a_canceled_job(server: Server) -> None:
    for _ in range(5):
        job = new_id()
        old = create(server, job)["secret"]
        server.post(f"/rest/executor/output/{job}", {"outputNumber": 3, "output": "old"})
        cancel(server, job, old)
        with ThreadPoolExecutor(16) as threads:
            responses = list(threads.map(lambda _, job=job: create(server, job), range(16)))
        secrets = [response["secret"] for response in responses if "secret" in response]
        assert len(secrets) == 1
        assert {response["status"] for response in responses} == {"CREATED"}
        assert info(server, job)["outputNumber"] is None
        assert segments(server, job) == []
        assert cancel(server, job, old).status == 403
        assert cancel(server, job, secrets[0]).status == 200


def test_a_secret_is_shown_once_and_nowhere_else(server: Server) -> None:
    job, worker = new_id(), new_id()
    label = new_id()
    secret = create(server, job, {"labels": [label]})["secret"]
    assert UUID.fullmatch(secret)
    seen = [
        server.post(f"/rest/executor/create/{job}", {"labels": [label]}),
        server.post("/rest/executor/worker", {"clientId": worker, "availableProcesses": 9, "labels": [label]}),
        server.post(f"/rest/executor/output/{job}", {"outputNumber": 0, "output": "x"}),
        server.post("/rest/executor/worker", {"clientId": worker, "runningJobs": [job]}),
        *(
            server.get(f"/rest/executor/{path}")
            for path in ("", f"info/{job}", f"output/{job}", "worker", "?status=RUNNING", "?status=RUNNING&limit=1000")
        ),
        cancel(server, job, "wrong"),
        cancel(server, job, secret),
        server.get(f"/rest/executor/info/{job}"),
        server.get("/rest/executor/worker"),
        update(server, job, status="CANCELED"),
        server.get("/rest/executor/?status=CANCELED"),
    ]
    for response in seen:
        assert secret not in response.text
        assert not any(secret in value for value in response.headers.values())
        assert '"secret"' not in response.text
        assert '"_id"' not in response.text or isinstance(response.json, list)
    created_again = create(server, job, {"labels": [label]})
    assert created_again["secret"] != secret


def test_only_info_says_how_many_jobs_are_ahead_of_a_job_that_waits_for_a_pool(server: Server) -> None:
    jobs = [new_id() for _ in range(3)]
    created = [create(server, job, {}) for job in jobs]
    assert all("jobsAhead" not in document for document in created)
    counts = [info(server, job)["jobsAhead"] for job in jobs]
    # Jobs of other tests may wait in the same pool.
    assert sorted(counts) == [min(counts), min(counts) + 1, min(counts) + 2]
    assert info(server, jobs[0]).get("waitingReason", "no worker") == "no worker"
    assert "jobsAhead" not in server.get("/rest/executor?status=CREATED").json[jobs[0]]
    for job, document in zip(jobs, created, strict=True):
        cancel(server, job, document["secret"])
        assert "jobsAhead" not in info(server, job)
    external = new_id()
    create(server, external)
    assert "jobsAhead" not in info(server, external)


@pytest.mark.parametrize("secret", ["", "wrong", None, 5, True, [], {}, ["x"], "ü", "\ud800"])
def test_only_the_secret_cancels(server: Server, secret: object) -> None:
    job = new_id()
    own = create(server, job)["secret"]
    assert cancel(server, job, secret).status == 403
    assert cancel(server, job, own.upper()).status == 403
    assert cancel(server, job, own + " ").status == 403
    assert server.send("POST", f"/rest/executor/cancel/{job}", own.encode()).status == 403
    assert info(server, job)["status"] == "CREATED"


def test_a_waiting_job_is_canceled_at_once_and_never_started(server: Server) -> None:
    job, label = new_id(), new_id()
    secret = create(server, job, {"labels": [label]})["secret"]
    for _ in range(2):
        assert cancel(server, job, secret).text == "OK"
    found = info(server, job)
    assert found["status"] == "CANCELED"
    assert found["finishTime"] is not None
    assert "cancelRequested" not in found
    worker = {"clientId": new_id(), "availableProcesses": 5, "labels": [label]}
    assert server.post("/rest/executor/worker", worker).json["jobsToStart"] == []


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED_TO_EXECUTE", "FAILED_UNZIP", "RUNNING", "ANY"])
def test_only_canceled_jobs_are_recreated(server: Server, status: str) -> None:
    job = new_id()
    create(server, job)
    update(server, job, status=status, worker="w")
    again = create(server, job)
    assert "secret" not in again
    assert again["status"] == status


def test_a_finished_job_never_changes(server: Server) -> None:
    job = new_id()
    secret = create(server, job)["secret"]
    update(server, job, status="SUCCESS", resultHashes={"all": "0" * 40}, finishTime="2020-01-01T00:00:05.000Z")
    recorded = info(server, job)
    for status in ("RUNNING", "CREATED", "FAILED_TO_EXECUTE", "CANCELED", "SUCCESS", "ANY"):
        assert update(server, job, status=status, worker="other", resultHashes={}, labels=["x"]).text == "OK"
    assert cancel(server, job, secret).text == "OK"
    assert info(server, job) == recorded


def test_an_update_changes_only_the_given_fields_and_unsets_none(server: Server) -> None:
    job = new_id()
    before = create(server, job)
    fields: dict[str, object] = {"status": "RUNNING", "worker": "w", "startTime": "2020-01-01T00:00:00.000Z"}
    fields |= {"outputNumber": 0, "resultHashes": {}, "resultSuperSet": "0" * 40}
    update(server, job, **fields)
    running = info(server, job)
    del before["secret"], before["waitingFor"]
    assert running == before | fields
    update(server, job, status=None, worker="", startTime=0, labels=[], resultHashes=[], outputNumber=None)
    update(server, job, resultSuperSet=None)
    update(server, job, outputNumber="")
    update(server, job, outputNumber=[])
    update(server, job, userId=["eve"], createTime="1999", secret="x", hash="y", _id="z", cancelRequested=True)
    assert info(server, job) == running


def test_updates_from_a_worker_that_lost_its_job_are_ignored(server: Server) -> None:
    job = new_id()
    create(server, job)
    update(server, job, status="RUNNING", worker="new")
    assert update(server, job, status="FAILED_TO_EXECUTE", worker="old").text == "OK"
    assert info(server, job)["status"] == "RUNNING"


def test_an_update_does_not_lose_a_cancel(server: Server) -> None:
    job = new_id()
    secret = create(server, job)["secret"]
    update(server, job, status="RUNNING", worker="w")
    cancel(server, job, secret)
    update(server, job, startTime="2020-01-01T00:00:00.000Z")
    assert info(server, job)["cancelRequested"] is True
    update(server, job, status="CANCELED")
    assert "cancelRequested" not in info(server, job)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 5},
        {"status": ["x"]},
        {"worker": {}} | {"startTime": True},
        {"resultHashes": ["x"]},
        {"resultHashes": {"a": 5}},
        {"resultHashes": "x"},
        {"labels": "x"},
        {"labels": [5]},
        {"outputNumber": "1"},
        {"outputNumber": 1.5},
        {"outputNumber": True},
        {"outputNumber": 1e300},
        {"status": "\ud800"},
        {"labels": ["\ud800"]},
        {"resultHashes": {"\udfff": "x"}},
    ],
)
def test_a_field_of_the_wrong_type_is_400_and_changes_nothing(server: Server, fields: dict[str, object]) -> None:
    job = new_id()
    create(server, job)
    before = info(server, job)
    response = update(server, job, **fields)
    assert response.status == 400
    assert response.text.endswith(".")
    assert info(server, job) == before


@pytest.mark.parametrize("labels", ["x", 5, {"x": 1}, [None], [["x"]], ["\ud800"], True])
def test_labels_of_the_wrong_type_do_not_create_a_job(server: Server, labels: object) -> None:
    job = new_id()
    response = server.post(f"/rest/executor/create/{job}", {"labels": labels})
    assert response.status == 400
    assert server.get(f"/rest/executor/info/{job}").status == 404


@pytest.mark.parametrize("path", ["info", "output", "update", "cancel"])
def test_an_unknown_job_is_404(server: Server, path: str) -> None:
    job = new_id()
    responses = [server.post(f"/rest/executor/{path}/{job}", {"secret": "x", "output": "x", "outputNumber": 0})]
    if path in ("info", "output"):
        responses = [server.get(f"/rest/executor/{path}/{job}"), *([] if path == "info" else responses)]
    for response in responses:
        assert response.status == 404
        assert response.text.endswith(".")
    create(server, job)
    assert segments(server, job) == []


def test_output_is_returned_by_number_and_range(server: Server) -> None:
    job = new_id()
    create(server, job)
    for number in (2, 0, -1, 10, 1):
        server.post(f"/rest/executor/output/{job}", {"outputNumber": number, "output": f"{number}\n"})
        assert info(server, job)["outputNumber"] == number
    numbers = {
        "": [-1, 0, 1, 2, 10],
        "?start=1": [1, 2, 10],
        "?start=1&end=2": [1],
        "?end=1": [-1, 0],
        "?start=2&end=1": [],
        "?start=1abc&end=1e3": [],
        "?start=%201&end=+11": [1, 2, 10],
        "?start=-1": [-1, 0, 1, 2, 10],
        "?end=-1": [],
        "?start=0": [0, 1, 2, 10],
        "?end=0": [-1],
        "?start=x&end=y": [-1, 0, 1, 2, 10],
        "?start=99999999999999999999999": [],
        "?start=-99999999999999999999999": [-1, 0, 1, 2, 10],
    }
    for query, expected in numbers.items():
        assert [segment["outputNumber"] for segment in segments(server, job, query)] == expected, query


def test_a_repeated_segment_replaces_the_earlier_one(server: Server) -> None:
    job = new_id()
    create(server, job)
    for output in ("old", "new", "\ud800 lone surrogate \0"):
        server.post(f"/rest/executor/output/{job}", {"outputNumber": 7, "output": output, "hash": "x", "_id": "y"})
        assert segments(server, job) == [{"hash": job, "outputNumber": 7, "output": output, "_id": f"{job}+7"}]


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"output": "x"}, {"outputNumber": 0}, {"output": 5, "outputNumber": 0}),
        *({"output": "x", "outputNumber": number} for number in ("0", 0.5, None, True, 2**60)),
        {"output": None, "outputNumber": 0},
    ],
)
def test_a_segment_of_the_wrong_type_is_400_and_not_stored(server: Server, body: object) -> None:
    job = new_id()
    create(server, job)
    response = server.post(f"/rest/executor/output/{job}", body)
    assert response.status == 400
    assert response.text.endswith(".")
    assert segments(server, job) == []
    assert info(server, job)["outputNumber"] is None


def test_only_the_output_of_finished_jobs_is_cleared(start_server: StartServer) -> None:
    server = start_server(clear_output_timeout="100")
    for job in ("ab", "abc", "a"):
        create(server, job)
        server.post(f"/rest/executor/output/{job}", {"outputNumber": 0, "output": job})
    update(server, "ab", status="SUCCESS")
    until(lambda: info(server, "ab")["outputNumber"] is None)
    assert segments(server, "ab") == []
    assert [segment["output"] for segment in segments(server, "abc") + segments(server, "a")] == ["abc", "a"]
    assert info(server, "abc")["outputNumber"] == 0


def test_lists_filter_by_exact_status(server: Server) -> None:
    status, job, other = new_id(), new_id(), new_id()
    create(server, job)
    create(server, other)
    update(server, job, status=status)
    update(server, other, status=status.upper())
    assert server.get(f"/rest/executor?status={status}").json.keys() == {job}
    assert server.get("/rest/executor/?status=no%20such").json == {}
    assert {job, other} <= server.get("/rest/executor/?status=").json.keys()


def test_pages_cover_all_jobs(start_server: StartServer) -> None:
    server = start_server()
    jobs = [f"job {number}/ü&?" for number in range(25)]
    for job in jobs:
        create(server, job)
    update(server, quote(jobs[0], safe=""), status="SUCCESS")
    assert list(server.get("/rest/executor/").json) == jobs
    for status, expected in (("", jobs), ("CREATED", jobs[1:])):
        found: list[str] = []
        path = f"/rest/executor/?limit=10&status={status}"
        while path:
            response = server.get(path)
            assert len(response.json) <= 10
            found += response.json
            link = re.fullmatch('<(.+)>; rel="next"', response["Link"] or "")
            path = link[1] if link else ""
        assert found == expected


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1.5", "limit=%C2%B2", "limit=9&after=x"),
        *("limit=000000001999999", f"limit={'9' * 5000}"),
    ],
)
def test_invalid_paging_parameters_are_400(server: Server, query: str) -> None:
    response = server.get(f"/rest/executor/?{query}")
    assert response.status == 400
    assert response.text.endswith(".")


@EMBEDDED
def test_every_request_needs_the_nonce_if_one_is_configured(start_server: StartServer) -> None:
    server = start_server(nonce="geheim2")
    wrong = [{}, *({"x-executor-nonce": nonce} for nonce in ("", "wrong", "geheim", "GEHEIM"))]
    for path in ("", "info/x", "worker", "create/x", "update/x", "cancel/x", "output/x", "unknown", "info/%zz"):
        for method in ("GET", "POST", "PUT"):
            for headers in wrong:
                response = server.send(method, f"/rest/executor/{path}", b"", headers)
                assert response.status == 403
                assert response["X-WebGME-Media-Type"] == "webgme.v1"
                assert "geheim" not in response.text
    assert server.get("/rest/blob/metadata").status == 200


@EMBEDDED
def test_requests_with_the_nonce_succeed(start_server: StartServer) -> None:
    server = start_server(nonce="secret nonce")
    headers = {"X-Executor-Nonce": "secret nonce"}
    assert server.post("/rest/executor/create/x", {}, headers).status == 200
    assert server.get("/rest/executor/info/x", headers).json["hash"] == "x"
    assert json.loads(server.get("/rest/executor/", headers).body).keys() == {"x"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"create/{'é' * 513}", {}),
        ("create/x", {"labels": ["a"] * 65}),
        ("create/x", {"labels": ["a" * 257]}),
        ("update/x", {"status": "S" * 257}),
        ("update/x", {"worker": "w" * 257}),
        ("update/x", {"startTime": "t" * 257}),
        ("update/x", {"resultHashes": {str(number): "h" for number in range(10_001)}}),
        ("update/x", {"resultHashes": {"a": "h" * 513}}),
        ("update/x", {"resultHashes": {"a" * 513: "h"}}),
        ("worker", {"clientId": "c" * 257}),
        ("worker", {"clientId": "c", "runningJobs": ["j"] * 1001}),
        ("worker", {"clientId": "c", "labels": ["a"] * 65}),
    ],
    ids=range(12),
)
def test_stored_fields_have_a_limited_size(server: Server, path: str, body: object) -> None:
    response = server.post(f"/rest/executor/{quote(path)}", body)
    assert response.status == 400
    assert "must not have more than" in response.text


def test_a_request_with_fields_has_a_limited_size(server: Server) -> None:
    assert server.post("/rest/executor/create/x", {"other": "x" * 1024 * 1024}).status == 413


def test_a_finished_job_runs_again_on_request(server: Server) -> None:
    job = new_id()
    create(server, job)
    update(server, job, status="RUNNING", worker="w")
    assert server.post(f"/rest/executor/create/{job}?rerun=true").status == 409
    results = {"all": "0" * 40}
    update(server, job, status="SUCCESS", worker="w", resultHashes=results)
    again = server.post(f"/rest/executor/create/{job}?rerun=true")
    assert info(server, job)["resultHashes"] == results
    assert (again.status, again.json["status"], again.json["labels"]) == (200, "CREATED", NO_WORKER["labels"])
    assert again.json["secret"]
    assert server.post(f"/rest/executor/create/{job}?rerun=perhaps").status == 400
