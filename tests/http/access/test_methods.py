"""The methods of authentication, alone and together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from credentials import UNKNOWN, Callers, bearer
from http_server import until
from in_process import open_client

from cloud_executor.model.access.caller import OPERATOR, Caller, Role
from cloud_executor.settings import InvalidSetting
from functions.access import decisions, throttle
from functions.access.credentials import Credential, Kind

EXECUTOR, BLOB, TOKENS = "/rest/executor", "/rest/blob/metadata", "/rest/tokens"
NONCE = {"x-executor-nonce": "long enough nonce"}


def test_open_ignores_all_credentials(tmp_path: Path) -> None:
    with open_client(tmp_path) as client:
        for path in (EXECUTOR, BLOB):
            assert (
                client.get(path, headers={"Authorization": f"Bearer {UNKNOWN}", "x-api-token": "x"}).status_code == 200
            )
        assert client.get(TOKENS).status_code == 404


def test_open_and_tokens_rejects_only_invalid_tokens(tmp_path: Path) -> None:
    with open_client(tmp_path, auth="open, token") as client:
        admin = Callers.of(tmp_path).headers(role=Role.ADMIN)
        for path in (EXECUTOR, BLOB):
            assert client.get(path).status_code == 200
            assert client.get(path, headers={"Authorization": "Bearer a.b.c"}).status_code == 200
            assert client.get(path, headers=bearer(UNKNOWN)).status_code == 401
        assert client.get(TOKENS).status_code == 403
        assert client.get(TOKENS, headers=admin).status_code == 200


@pytest.mark.parametrize(("role", "lists"), [(Role.USER, False), (Role.WORKER, False), (Role.ADMIN, True)])
def test_only_administrators_list_the_blobs_of_users(tmp_path: Path, role: Role, lists: bool) -> None:
    with open_client(tmp_path, auth="token") as client:
        callers = Callers.of(tmp_path)
        stored = client.post("/rest/blob/createFile/x", data=b"private", headers=callers.headers("ada")).json
        found = client.get(f"{BLOB}?all=1", headers=callers.headers("eve", role)).json
        assert list(found) == (list(stored) if lists else [])


@pytest.mark.parametrize(
    ("auth", "cached"), [("open", "public"), ("token", "private"), ("open,token", "private")], ids=range(3)
)
def test_shared_caches_may_keep_files_only_without_users(tmp_path: Path, auth: str, cached: str) -> None:
    with open_client(tmp_path, auth=auth) as client:
        headers = Callers.of(tmp_path).headers("ada")
        stored = client.post("/rest/blob/createFile/x", data=b"private", headers=headers).json
        for verb in ("view", "download"):
            path = f"/rest/blob/{verb}/{next(iter(stored))}"
            for condition, status in (({}, 200), ({"Range": "bytes=1-2"}, 206), ({"If-None-Match": "*"}, 304)):
                with client.get(path, headers={**headers, **condition}) as response:
                    assert response.status_code == status
                    assert response.headers["Cache-Control"] == f"{cached}, max-age=31536000, immutable"


def test_the_nonce_keeps_its_meaning(tmp_path: Path) -> None:
    with open_client(tmp_path, nonce=NONCE["x-executor-nonce"]) as client:
        assert client.get(BLOB).status_code == 200
        for headers in ({}, {"x-executor-nonce": "wrong"}, bearer(UNKNOWN)):
            assert client.get(EXECUTOR, headers=headers).status_code == 403
        assert client.get(EXECUTOR, headers=NONCE).status_code == 200
        assert client.post(f"{EXECUTOR}/worker", json={"clientId": "w"}, headers=NONCE).status_code == 200


def test_the_nonce_makes_a_guest_beside_tokens(tmp_path: Path) -> None:
    with open_client(tmp_path, auth="token", nonce=NONCE["x-executor-nonce"]) as client:
        user = Callers.of(tmp_path).headers()
        for path in (EXECUTOR, BLOB):
            missing = client.get(path)
            assert missing.status_code == 401
            assert "x-executor-nonce" in missing.text
            assert client.get(path, headers={"x-executor-nonce": "wrong"}).status_code == 403
            # WebGME's clients send the token of their own server with the nonce.
            assert client.get(path, headers={**NONCE, "Authorization": "Bearer a.b.c"}).status_code == 200
            assert client.get(path, headers=user).status_code == 200
        assert client.get(TOKENS, headers=NONCE).status_code == 403


def test_the_administrators_token_of_the_settings_is_valid_beside_stored_ones(tmp_path: Path) -> None:
    token = f"cex_{'Deployment1' * 4}"
    with open_client(tmp_path, auth="token", admin_token=token) as client:
        created = client.post(TOKENS, json={"name": "x", "user": "ada", "role": "user"}, headers=bearer(token)).json
        assert client.get(EXECUTOR, headers=bearer(created["token"])).status_code == 200
        assert client.get(TOKENS, headers=bearer(created["token"])).status_code == 403
        for other in (UNKNOWN, token[:-1], f"{token}1", token.lower()):
            assert client.get(TOKENS, headers=bearer(other)).status_code == 401
        assert [found["createdBy"] for found in client.get(TOKENS, headers=bearer(token)).json["tokens"]] == ["admin"]


def test_a_revoked_token_stops_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "KEPT_SECONDS", 0.2)
    callers = Callers.of(tmp_path)
    token = callers.token()
    with open_client(tmp_path, auth="token") as client:
        assert client.get(EXECUTOR, headers=bearer(token)).status_code == 200
        (record,) = callers.tokens.all()
        callers.tokens.revoke(record.id, OPERATOR)
        until(lambda: client.get(EXECUTOR, headers=bearer(token)).status_code == 401)


def test_decisions_are_kept_for_a_minute_at_most() -> None:
    now = 0.0
    kept = decisions.Decisions(lambda: now)
    credential, caller = Credential(Kind.TOKEN, UNKNOWN), Caller("ada", frozenset({Role.USER}))
    kept.keep(credential, caller, float("inf"))
    now = 59.0
    assert kept.get(credential) == caller
    assert kept.get(Credential(Kind.ID_TOKEN, UNKNOWN)) is None
    now = 60.0
    assert kept.get(credential) is None


def test_a_kept_decision_does_not_outlive_its_token(tmp_path: Path) -> None:
    callers = Callers.of(tmp_path)
    token = callers.token(lifetime=timedelta(milliseconds=300))
    with open_client(tmp_path, auth="token") as client:
        client.get(EXECUTOR, headers=bearer(token))
        # Less than the time for which a decision is kept.
        until(lambda: client.get(EXECUTOR, headers=bearer(token)).status_code == 401, seconds=30)
        assert client.get(EXECUTOR, headers=bearer(token)).text.startswith("The token has expired")


def test_failed_attempts_are_throttled_per_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "BURST", 5)
    monkeypatch.setattr(throttle, "REFILL_SECONDS", 1000.0)
    callers = Callers.of(tmp_path)
    known, new = callers.token(), callers.token()
    with open_client(tmp_path, auth="token", proxies="1") as client:
        assert client.get(EXECUTOR, headers=bearer(known)).status_code == 200

        def attempt(token: str, sender: str) -> int:
            response = client.get(EXECUTOR, headers={**bearer(token), "X-Forwarded-For": f"192.0.2.9, {sender}"})
            if response.status_code == 429:
                assert int(response.headers["Retry-After"]) >= 1
            return response.status_code

        assert [attempt(UNKNOWN, "192.0.2.1") for _ in range(7)] == [401] * 5 + [429] * 2
        assert attempt(new, "192.0.2.1") == 200
        assert attempt(known, "192.0.2.1") == 200
        assert attempt(new, "192.0.2.2") == 200
        assert [attempt(UNKNOWN, f"2001:db8::{number}") for number in range(1, 7)] == [401] * 5 + [429]


def test_attempts_return_with_time() -> None:
    now = 0.0
    attempts = throttle.Throttle(lambda: now)
    for _ in range(throttle.BURST):
        attempts.check("a")
        attempts.count("a")
    with pytest.raises(throttle.TooManyAttempts) as caught:
        attempts.check("a")
    now += caught.value.retry_after
    attempts.check("a")


@pytest.mark.parametrize("target", ["api", "blob", "executor"])
def test_an_open_server_is_refused_in_cloud_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setenv("K_SERVICE", "function")
    for settings in ({}, {"auth": "open,token"}):
        with (
            pytest.raises(InvalidSetting, match="Anyone who can reach this server"),
            open_client(tmp_path, target, **settings),
        ):
            pass
    for settings in ({"auth": "token"}, {"nonce": "long enough nonce"}, {"allow_open": "yes"}):
        with open_client(tmp_path, target, **settings):
            pass


@pytest.mark.parametrize("host", [None, "0.0.0.0"], ids=range(2))
def test_an_open_server_is_refused_unless_it_listens_on_the_loopback_interface(
    tmp_path: Path, host: str | None
) -> None:
    """Without an address, as under another WSGI server, the server may be reachable."""
    with pytest.raises(InvalidSetting, match="Anyone who can reach"), open_client(tmp_path, host=host):
        pass
    with open_client(tmp_path, host=host, allow_open="yes"):
        pass


def test_functions_without_clients_start_in_cloud_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SERVICE", "function")
    with open_client(tmp_path, "sweep") as client:
        assert client.post("/").status_code == 200


def test_a_server_that_needs_credentials_has_any_name(tmp_path: Path) -> None:
    page = {"Host": "lab.example.org"}
    with open_client(tmp_path, auth="token") as client:
        user = Callers.of(tmp_path).headers()
        assert client.get(EXECUTOR, headers={**page, **user}).status_code == 200
        foreign = {**page, **user, "Origin": "https://page.example"}
        assert client.post(f"{EXECUTOR}/create/x", json={}, headers=foreign).status_code == 403
    with open_client(tmp_path, auth="open,token") as client:
        assert client.get(EXECUTOR, headers=page).status_code == 403
