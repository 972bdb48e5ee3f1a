"""Tokens, roles, and ownership on real servers, with the embedded backends and on emulators."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from credentials import UNKNOWN, Headers, api_token, basic, bearer
from http_server import Server, StartServer, until

from cloud_executor import Client
from cloud_executor.access.tokens import Tokens
from cloud_executor.composition import open_tokens
from cloud_executor.model.access.caller import OPERATOR, Role
from cloud_executor.settings import Settings


@dataclass(frozen=True)
class Protected:
    """A server that needs tokens, and its tokens."""

    server: Server
    tokens: Tokens

    def headers(self, user: str, role: Role = Role.USER) -> Headers:
        return bearer(self.tokens.create(user, user, role, None, OPERATOR)[0])


@pytest.fixture
def protected(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Protected:
    server = start_server(auth="token", token_pepper="pepper", external_workers="true")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Protected(server, open_tokens(Settings.from_env(server.environment)))


def test_credentials_roles_and_owners(protected: Protected) -> None:
    server, tokens = protected.server, protected.tokens
    ada, bob = protected.headers("ada"), protected.headers("bob")
    worker, root = protected.headers("ada", Role.WORKER), protected.headers("root", Role.ADMIN)
    past = replace(tokens, clock=lambda: tokens.clock() - timedelta(days=2))
    expired = past.create("old", "ada", Role.ADMIN, timedelta(days=1), OPERATOR)[0]
    other_pepper = replace(tokens, pepper="other").create("x", "x", Role.ADMIN, None, OPERATOR)[0]
    for path in ("/rest/blob/metadata", "/rest/executor", "/rest/tokens"):
        for headers in ({}, bearer(UNKNOWN), basic(expired), api_token(expired), bearer(other_pepper)):
            assert server.get(path, headers).status == 401
        assert server.get(path, root).status == 200
    uploaded = server.send("POST", "/rest/blob/createFile/a", b"x", ada)
    assert uploaded.status == 200
    blob = uploaded.blob_hash
    assert server.get(f"/rest/blob/view/{blob}", bob).body == b"x"
    labels = {"labels": ["of-no-pool"]}
    for headers in (ada, bob):
        assert "secret" in server.post(f"/rest/executor/create/{blob}", labels, headers).json
    assert server.post(f"/rest/executor/create/{blob}", labels, worker).status == 403
    assert server.post(f"/rest/executor/cancel/{blob}", {}, ada).status == 200
    assert server.get(f"/rest/executor/info/{blob}", ada).json["status"] == "CANCELED"
    assert server.get(f"/rest/executor/info/{blob}", bob).json["status"] == "CREATED"
    assert server.get(f"/rest/executor/info/{blob}", root).status == 404
    assert server.get(f"/rest/executor/output/{blob}?user=bob", ada).status == 403
    everyone = {f"ada/{blob}", f"bob/{blob}"}
    for path in ("/rest/executor?user=*", "/rest/executor?user=*&limit=5"):
        assert set(server.get(path, root).json) == everyone
    assert list(server.get("/rest/executor?limit=5", bob).json) == [blob]
    check_in = {"clientId": "w", "availableProcesses": 5, **labels}
    assert server.post("/rest/executor/worker", check_in, worker).json["jobsToStart"] == []
    bobs = protected.headers("bob", Role.WORKER)
    assert server.post("/rest/executor/worker", check_in, bobs).json["jobsToStart"] == [blob]
    segment = {"outputNumber": 0, "output": "of bob"}
    assert server.post(f"/rest/executor/output/{blob}", segment, bobs).status == 200
    assert [found["output"] for found in server.get(f"/rest/executor/output/{blob}", bob).json] == ["of bob"]
    assert server.get(f"/rest/executor/output/{blob}", ada).json == []


def test_grants_and_limits(protected: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = protected.server
    ada, bob, root = protected.headers("ada"), protected.headers("bob"), protected.headers("root", Role.ADMIN)
    limits = server.post("/rest/quotas/ada", {"jobsWaiting": 1, "bytesPerDay": 1000}, root).json
    blob = server.send("POST", "/rest/blob/createFile/a", b"x", ada).blob_hash
    sha1 = hashlib.sha1(b"x").hexdigest()
    entry = {"content": sha1, "contentType": "object"}
    artifact = {"name": "a.zip", "contentType": "complex", "content": {"a": entry}}
    shared = server.post("/rest/blob/createMetadata", artifact, ada).blob_hash
    for headers, absent, status in ((ada, [], 200), (bob, [sha1], 404), (root, [], 200)):
        assert server.post("/rest/blob/missing", {"contents": [sha1]}, headers).json == {"missing": absent}
        assert server.post("/rest/blob/createMetadata", entry, headers).status == status
    assert {blob, shared} < server.get("/rest/blob/metadata?all=1", ada).json.keys()
    assert server.get("/rest/blob/metadata?all=1", bob).json == {}
    # A user may use an artifact of another user whose hash is known.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    token = protected.tokens.create("bob", "bob", Role.USER, None, OPERATOR)[0]
    with Client(f"http://127.0.0.1:{server.port}", token=token) as client:
        job = client.submit(["true"], inputs={"data": shared}, labels=["of-no-pool"])
    assert server.get(f"/rest/blob/view/{job.hash}/data/a", bob).body == b"x"
    for number, status in enumerate((200, 429)):
        created = server.post(f"/rest/executor/create/{number}", {"labels": ["of-no-pool"]}, ada)
        assert created.status == status
    assert "EXECUTOR_QUOTA_JOBS_WAITING" in created.text
    assert server.send("POST", "/rest/blob/createFile/b", b"y" * 1000, ada).status == 429
    found = server.get("/rest/quotas/ada", ada).json
    assert found["limits"] == limits["limits"]
    assert found["used"] == {**limits["used"], **found["used"], "jobsStored": 1, "jobsWaiting": 1}
    assert 1 < found["used"]["bytesPerDay"] < found["used"]["bytesStored"] < 1000


def test_a_revoked_token_is_rejected(protected: Protected) -> None:
    server = protected.server
    root = protected.headers("root", Role.ADMIN)
    made = server.post("/rest/tokens", {"name": "eve"}, root).json
    assert server.send("DELETE", f"/rest/tokens/{made['id']}", headers=root).status == 200
    # No process has kept a decision about it.
    until(lambda: server.get("/rest/executor", bearer(made["token"])).status == 401)
    assert made["id"] not in [found["id"] for found in server.get("/rest/tokens", root).json["tokens"]]
