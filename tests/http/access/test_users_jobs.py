"""Jobs and workers belong to users: ids are per user, and nobody but an administrator reaches another user's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from credentials import Callers, Headers
from flask.testing import FlaskClient
from in_process import open_client
from werkzeug.test import TestResponse

from cloud_executor.composition import open_jobs
from cloud_executor.model.access.caller import Role
from cloud_executor.model.access.owner import key_of
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.settings import Settings

NONCE = {"x-executor-nonce": "long enough nonce"}
LABELS = {"labels": ["of-no-pool"]}


class Api:
    """Requests of one caller."""

    def __init__(self, client: FlaskClient, headers: Headers) -> None:
        self._client = client
        self._headers = headers

    def get(self, path: str) -> TestResponse:
        return self._client.get(f"/rest/executor/{path}", headers=self._headers)

    def post(self, path: str, fields: object = None) -> TestResponse:
        return self._client.post(f"/rest/executor/{path}", json=fields or {}, headers=self._headers)

    def create(self, job: str, query: str = "") -> Mapping[str, Any]:
        response = self.post(f"create/{job}{query}", LABELS)
        assert response.status_code == 200, response.text
        return response.get_json()

    def check_in(self, name: str, slots: int = 0, running: tuple[str, ...] = ()) -> Mapping[str, Any]:
        fields = {"clientId": name, "availableProcesses": slots, "runningJobs": running, **LABELS}
        response = self.post("worker", fields)
        assert response.status_code == 200, response.text
        return response.get_json()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    with open_client(tmp_path, auth="token", nonce=NONCE["x-executor-nonce"], external_workers="true") as opened:
        yield opened


@pytest.fixture
def api(client: FlaskClient, tmp_path: Path) -> Callable[..., Api]:
    callers = Callers.of(tmp_path)
    return lambda user, role=Role.USER: Api(client, callers.headers(user, role))


@pytest.fixture
def guest(client: FlaskClient) -> Api:
    return Api(client, NONCE)


def test_two_users_with_the_same_content_have_two_jobs(api: Callable[..., Api], guest: Api) -> None:
    job = uuid.uuid4().hex
    owners = {"ada": api("ada"), "bob": api("bob"), "guest": guest}
    for user, caller in owners.items():
        made = caller.create(job)
        assert (made["hash"], made["userId"], "secret" in made) == (job, [user], True)
        assert "secret" not in caller.create(job)
    assert api("ada").post(f"cancel/{job}").status_code == 200
    assert [caller.get(f"info/{job}").get_json()["status"] for caller in owners.values()] == [
        Status.CANCELED,
        Status.CREATED,
        Status.CREATED,
    ]
    for user, caller in owners.items():
        (name, document), *others = caller.get("").get_json().items()
        assert (name, document["userId"], others) == (job, [user], [])
        assert list(caller.get("?limit=10").get_json()) == [job]


def test_another_users_job_does_not_exist(api: Callable[..., Api], guest: Api) -> None:
    api("ada").create("adas")
    guest.create("guests")
    requests = [("get", "info"), ("get", "output"), ("post", "cancel"), ("post", "update"), ("post", "output")]
    for job, user in (("adas", "ada"), ("guests", "guest")):
        for verb, route in requests:
            role = Role.WORKER if verb == "post" and route != "cancel" else Role.USER
            path, fields = f"{route}/{job}", {"outputNumber": 0, "output": "x", "status": "SUCCESS"}
            for caller in [api("eve", role), *([guest] if user != "guest" else [])]:
                response = caller.get(path) if verb == "get" else caller.post(path, fields)
                assert response.status_code == 404, (job, route)
            named = f"{path}?user={user}"
            response = api("eve", role).get(named) if verb == "get" else api("eve", role).post(named, fields)
            assert response.status_code == 403, (job, route)
    for path in ("?user=ada", "?user=*", "worker?user=ada", "worker?user=*", "?limit=5&user=ada"):
        assert api("eve").get(path).status_code == 403
        assert guest.get(path).status_code == 403
    assert api("eve").post("create/x?user=ada", LABELS).status_code == 403
    assert api("ada").get("info/adas").get_json()["status"] == Status.CREATED


def test_a_guest_cannot_forge_a_key(api: Callable[..., Api], guest: Api) -> None:
    api("ada").create("adas")
    forged = key_of("ada", "adas").replace("\0", "%00")
    for response in (guest.get(f"info/{forged}"), guest.get(f"output/{forged}"), guest.post(f"cancel/{forged}")):
        assert response.status_code == 400
    assert guest.post(f"create/{forged}", LABELS).status_code == 400
    assert guest.post(f"update/{forged}", {"status": "SUCCESS"}).status_code == 400
    assert guest.post(f"update/{forged}?user=ada", {"status": "SUCCESS"}).status_code == 403
    worker = {"clientId": key_of("ada", "w"), "runningJobs": []}
    assert guest.post("worker", worker).status_code == 400
    for user in ("a%00b", "*"):
        assert api("root", Role.ADMIN).get(f"info/x?user={user}").status_code == 400


def test_an_admin_reaches_the_jobs_of_each_user(api: Callable[..., Api], guest: Api) -> None:
    root = api("root", Role.ADMIN)
    for caller in (api("ada"), api("bob"), guest, root):
        caller.create("same")
    assert [found["userId"] for found in root.get("").get_json().values()] == [["root"]]
    assert [found["userId"] for found in root.get("?user=ada").get_json().values()] == [["ada"]]
    everyone = {f"{user}/same": [user] for user in ("ada", "bob", "guest", "root")}
    for path in ("?user=*", "?user=*&limit=10"):
        assert {name: found["userId"] for name, found in root.get(path).get_json().items()} == everyone
    first = root.get("?limit=1&user=ada")
    assert list(first.get_json()) == ["same"]
    assert root.post("cancel/same?user=bob").status_code == 200
    assert root.get("info/same?user=bob").get_json()["status"] == Status.CANCELED
    assert api("ada").get("info/same").get_json()["status"] == Status.CREATED
    assert root.create("other", "?user=bob")["userId"] == ["bob"]


def test_pages_of_one_users_jobs_lead_to_the_next(api: Callable[..., Api]) -> None:
    root = api("root", Role.ADMIN)
    for job in range(3):
        api("ada").create(f"a{job}")
        api("bob").create(f"b{job}")
    found: list[str] = []
    path = "?limit=1&user=ada"
    for _ in range(10):
        page = root.get(path)
        found += page.get_json()
        if "Link" not in page.headers:
            break
        path = page.headers["Link"].partition(">")[0].partition("?")[2].join(("?", ""))
    assert found == ["a0", "a1", "a2"]


def test_an_owner_cancels_without_the_secret_and_a_guest_does_not(api: Callable[..., Api], guest: Api) -> None:
    api("ada").create("adas")
    secret = guest.create("guests")["secret"]
    assert guest.post("cancel/guests").status_code == 403
    assert guest.post("cancel/guests", {"secret": secret}).status_code == 200
    assert api("ada").post("cancel/adas").status_code == 200


def test_external_workers_get_the_jobs_of_their_user_only(api: Callable[..., Api], guest: Api) -> None:
    owners = {"ada": api("ada"), "bob": api("bob"), "guest": guest}
    workers = {"ada": api("ada", Role.WORKER), "bob": api("bob", Role.WORKER), "guest": guest}
    for user, caller in owners.items():
        caller.create("same")
        caller.create(f"only-{user}")
    for user, worker in workers.items():
        orders = worker.check_in("w", slots=5)
        assert set(orders["jobsToStart"]) == {"same", f"only-{user}"}
        assert set(orders["tokens"]) == {"same", f"only-{user}"}
    assert workers["ada"].post("update/only-bob", {"worker": "w", "status": "SUCCESS"}).status_code == 404
    report = {"worker": "w", "status": "SUCCESS", "resultHashes": {"all": "0" * 40}}
    assert workers["ada"].post("output/same", {"outputNumber": 0, "output": "of ada"}).status_code == 200
    assert workers["ada"].post("update/same", report).status_code == 200
    documents = {user: caller.get("info/same").get_json() for user, caller in owners.items()}
    assert {user: found["status"] for user, found in documents.items()} == {
        "ada": Status.SUCCESS,
        "bob": Status.RUNNING,
        "guest": Status.RUNNING,
    }
    assert {found["worker"] for found in documents.values()} == {"w"}
    for user, caller in owners.items():
        assert set(caller.get("?limit=5&worker=w").get_json()) == {"same", f"only-{user}"}
    assert owners["ada"].get("output/same").get_json() == [
        {"hash": "same", "outputNumber": 0, "output": "of ada", "_id": "same+0"}
    ]
    assert owners["bob"].get("output/same").get_json() == []
    assert owners["bob"].post("cancel/same").status_code == 200
    assert workers["ada"].check_in("w", running=("same",))["jobsToCancel"] == []
    assert workers["bob"].check_in("w", running=("same",))["jobsToCancel"] == ["same"]


def test_each_user_sees_their_own_workers(api: Callable[..., Api], guest: Api) -> None:
    for worker in (api("ada", Role.WORKER), api("bob", Role.WORKER), guest):
        worker.check_in("w")
    api("bob", Role.WORKER).check_in("w2")
    own_pool = [name for name in guest.get("worker").get_json() if name.startswith("pool:")]
    assert [name for name in api("ada").get("worker").get_json() if name not in own_pool] == ["w"]
    entries = api("bob").get("worker").get_json()
    assert {name: entries[name]["userId"] for name in ("w", "w2")} == {"w": ["bob"], "w2": ["bob"]}
    everyone = api("root", Role.ADMIN).get("worker?user=*").get_json()
    assert {"ada/w", "bob/w", "bob/w2", "guest/w"} <= everyone.keys()
    assert everyone["ada/w"]["clientId"] == "w"


def test_our_own_worker_shows_ones_own_jobs(client: FlaskClient, api: Callable[..., Api], tmp_path: Path) -> None:
    jobs = open_jobs(Settings(data=tmp_path))
    for user in ("ada", "bob"):
        assert jobs.clients.create("same", (), user)[1]
        jobs.attempts.claim(key_of(user, "same"), "our worker")
    jobs.attempts.record_worker(WorkerRecord("our worker", jobs.clock(), pool="default", slots=2))
    entry = api("ada").get("worker").get_json()["our worker"]
    assert [(job["hash"], job["userId"]) for job in entry["jobs"]] == [("same", ["ada"])]


def test_jobs_of_before_there_were_users_are_the_guests(tmp_path: Path) -> None:
    with open_client(tmp_path, external_workers="true") as client:
        open_api = Api(client, {})
        secret = open_api.create("old")["secret"]
    with open_client(tmp_path, auth="token", nonce=NONCE["x-executor-nonce"], external_workers="true") as client:
        guest = Api(client, NONCE)
        assert list(guest.get("").get_json()) == ["old"]
        assert guest.check_in("w", slots=1)["jobsToStart"] == ["old"]
        assert guest.post("cancel/old", {"secret": secret}).status_code == 200
        root = Api(client, Callers.of(tmp_path).headers("root", Role.ADMIN))
        assert root.get("info/old?user=guest").get_json()["cancelRequested"] is True
