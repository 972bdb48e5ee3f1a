"""Limits of users: what is rejected, what counts, and who changes the limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from credentials import Callers, Headers
from direct_store import DirectFileStore
from flask.testing import FlaskClient
from in_process import open_client
from werkzeug.test import TestResponse

from cloud_executor.blobs.store import BlobStore
from cloud_executor.model.access.caller import Role

LABELS = {"labels": ["of-no-pool"]}


@dataclass(frozen=True)
class Caller:
    """Requests of one caller."""

    client: FlaskClient
    headers: Headers

    def post(self, path: str, fields: object = None) -> TestResponse:
        return self.client.post(f"/rest/{path}", json=fields or {}, headers=self.headers)

    def get(self, path: str) -> TestResponse:
        return self.client.get(f"/rest/{path}", headers=self.headers)

    def create(self, job: str, query: str = "") -> TestResponse:
        return self.post(f"executor/create/{job}{query}", LABELS)

    def send(self, content: bytes, **options: Any) -> TestResponse:
        return self.client.post("/rest/blob/createFile/a", data=content, headers=self.headers, **options)

    def used(self, user: str) -> dict[str, int]:
        found: dict[str, int] = self.get(f"quotas/{user}").get_json()["used"]
        return found


@dataclass(frozen=True)
class Limited:
    """A server with limits."""

    client: FlaskClient
    callers: Callers

    def caller(self, user: str, role: Role = Role.USER) -> Caller:
        return Caller(self.client, self.callers.headers(user, role) if user != "guest" else {})


@contextmanager
def limited(tmp_path: Path, **limits: int | str) -> Iterator[Limited]:
    store = DirectFileStore(tmp_path / "blobs")
    blobs = BlobStore(store, lambda: datetime.now(UTC), store)
    settings = {"auth": "token", **{name: str(value) for name, value in limits.items()}}
    with open_client(tmp_path, blobs=blobs, **settings) as client:
        yield Limited(client, Callers.of(tmp_path))


def assert_limited(response: TestResponse, setting: str, longest: int = 3600) -> None:
    assert response.status_code == 429, response.text
    assert setting in response.text
    assert response.text.endswith(".")
    assert response.text.count(".") == 1
    assert 0 < int(response.headers["Retry-After"]) <= longest


def test_a_user_creates_jobs_up_to_the_limits(tmp_path: Path) -> None:
    with limited(tmp_path, quota_jobs_waiting=2, quota_jobs_stored=3) as server:
        ada, root = server.caller("ada"), server.caller("root", Role.ADMIN)
        assert [ada.create(job).status_code for job in ("a", "b")] == [200, 200]
        assert_limited(ada.create("c"), "EXECUTOR_QUOTA_JOBS_WAITING", 30)
        assert "secret" not in ada.create("a").get_json()  # a repeated request creates nothing
        assert server.caller("bob").create("a").status_code == 200
        assert_limited(root.create("c", "?user=ada"), "the user ada")
        assert ada.post("executor/cancel/a").status_code == 200
        assert ada.create("c").status_code == 200
        assert ada.post("executor/cancel/b").status_code == 200
        assert_limited(ada.create("d"), "EXECUTOR_QUOTA_JOBS_STORED")
        assert_limited(ada.create("a", "?rerun=true"), "EXECUTOR_QUOTA_JOBS_STORED")
        used = {"bytesPerDay": 0, "bytesStored": 0, "jobsStored": 3, "jobsWaiting": 1, "jobsRunning": 0}
        assert ada.used("ada") == used


def test_bytes_uploaded_per_day_are_limited(tmp_path: Path) -> None:
    with limited(tmp_path, quota_bytes_per_day=100) as server:
        ada = server.caller("ada")
        assert ada.send(b"x" * 60).status_code == 200
        assert_limited(ada.send(b"y" * 60), "EXECUTOR_QUOTA_BYTES_PER_DAY", 86400)
        assert ada.used("ada")["bytesPerDay"] == 60
        assert ada.send(b"x" * 40).status_code == 200
        for response in (
            ada.send(b"z"),
            ada.post("blob/uploads", {"name": "a", "size": 1}),
            ada.post("blob/createMetadata", {"content": "0" * 40, "contentType": "softLink"}),
        ):
            assert_limited(response, "EXECUTOR_QUOTA_BYTES_PER_DAY", 86400)
        assert ada.send(b"").status_code == 200
        assert server.caller("bob").send(b"z").status_code == 200


def test_an_upload_of_unknown_size_ends_at_the_limit(tmp_path: Path) -> None:
    with limited(tmp_path, quota_bytes_per_day=3 * 2**20) as server:
        ada = server.caller("ada")
        environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        sent = ada.send(b"x" * 2**23, environ_overrides=environ, content_length=None)
        assert_limited(sent, "EXECUTOR_QUOTA_BYTES_PER_DAY", 86400)
        assert ada.used("ada")["bytesStored"] == 0


def test_an_announced_upload_counts_at_once(tmp_path: Path) -> None:
    with limited(tmp_path, quota_bytes_per_day=100) as server:
        ada = server.caller("ada")
        assert ada.post("blob/uploads", {"name": "a", "size": 90}).status_code == 201
        assert ada.used("ada")["bytesPerDay"] == 90
        assert_limited(ada.send(b"x" * 20), "EXECUTOR_QUOTA_BYTES_PER_DAY", 86400)


def test_bytes_stored_are_limited(tmp_path: Path) -> None:
    with limited(tmp_path, quota_bytes_stored=1000) as server:
        ada = server.caller("ada")
        for _ in range(3):
            assert ada.send(b"x" * 300).status_code == 200  # the same content counts once
        stored = ada.used("ada")["bytesStored"]
        assert 300 < stored < 700
        assert_limited(ada.send(b"y" * (1001 - stored)), "EXECUTOR_QUOTA_BYTES_STORED")
        assert server.caller("bob").send(b"x" * 300).status_code == 200


def test_requests_per_minute_are_limited(tmp_path: Path) -> None:
    with limited(tmp_path, quota_requests_per_minute=5) as server:
        ada, worker = server.caller("ada"), server.caller("ada", Role.WORKER)
        statuses = [caller.get("executor/info/x").status_code for caller in (ada, worker) * 3]
        assert statuses == [404] * 5 + [429]
        assert_limited(ada.get("blob/metadata"), "EXECUTOR_QUOTA_REQUESTS_PER_MINUTE", 12)
        assert server.caller("bob").get("executor").status_code == 200


def test_an_admin_changes_the_limits_of_a_user(tmp_path: Path) -> None:
    with limited(tmp_path, quota_jobs_waiting=1, quota_bytes_per_day=100) as server:
        ada, bob, root = server.caller("ada"), server.caller("bob"), server.caller("root", Role.ADMIN)
        assert ada.create("a").status_code == 200
        assert_limited(ada.create("b"), "EXECUTOR_QUOTA_JOBS_WAITING")
        changed = root.post("quotas/ada", {"jobsWaiting": 2, "bytesPerDay": None, "jobsStored": 7})
        assert changed.get_json()["limits"] == {
            "bytesPerDay": None,
            "bytesStored": None,
            "jobsStored": 7,
            "jobsWaiting": 2,
            "jobsRunning": None,
            "requestsPerMinute": None,
        }
        assert changed.get_json() == ada.get("quotas/ada").get_json()
        assert changed.get_json()["changed"] == ["bytesPerDay", "jobsStored", "jobsWaiting"]
        assert ada.create("b").status_code == 200
        assert_limited(ada.create("c"), "EXECUTOR_QUOTA_JOBS_WAITING")
        assert ada.send(b"x" * 200).status_code == 200
        assert bob.get("quotas/bob").get_json()["limits"]["jobsWaiting"] == 1
        reset = root.post("quotas/ada", {"jobsWaiting": "default"}).get_json()
        assert (reset["limits"]["jobsWaiting"], reset["limits"]["jobsStored"]) == (1, 7)
        for response in (bob.get("quotas/ada"), bob.post("quotas/bob", {"jobsWaiting": 9}), ada.get("quotas/bob")):
            assert response.status_code == 403
        for fields in ({"jobs": 1}, {"jobsStored": -1}, {"jobsStored": 1.5}, {"jobsStored": "many"}):
            assert root.post("quotas/ada", fields).status_code == 400
        for user in ("a%00b", "x" * 321):
            assert root.get(f"quotas/{user}").status_code == 400


def test_limits_also_apply_to_guests(tmp_path: Path) -> None:
    with limited(tmp_path, auth="open", quota_bytes_stored=500, quota_jobs_waiting=1) as server:
        guest = server.caller("guest")
        assert guest.send(b"x" * 300).status_code == 200
        assert_limited(guest.send(b"y" * 300), "EXECUTOR_QUOTA_BYTES_STORED")
        assert guest.create("a").status_code == 200
        assert_limited(guest.create("b"), "EXECUTOR_QUOTA_JOBS_WAITING")


def test_a_server_without_users_and_limits_counts_nothing(tmp_path: Path) -> None:
    with limited(tmp_path, auth="open") as server:
        guest = server.caller("guest")
        assert guest.send(b"x").status_code == 200
        assert not (tmp_path / "executor.sqlite").exists()
        assert guest.create("a").status_code == 200
        assert json.loads(guest.get("quotas/guest").text)["used"]["bytesPerDay"] == 0
