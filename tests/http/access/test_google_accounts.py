"""Accounts that Google vouches for, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from identity.google_provider import AUDIENCE, IAP_AUDIENCE, Provider
from in_process import open_client

from cloud_executor import composition
from cloud_executor.backends.google.accounts import GoogleIdentities
from functions.access import throttle

EXECUTOR, TOKENS = "/rest/executor", "/rest/tokens"


@pytest.fixture(scope="module")
def google() -> Provider:
    return Provider()


@pytest.fixture
def client(google: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    monkeypatch.setattr(
        composition, "open_identities", lambda found: GoogleIdentities(found.google_audiences, google.request())
    )
    settings = {
        "auth": "google,token",
        "google_audiences": f"{AUDIENCE},{IAP_AUDIENCE}",
        "users": "ada@example.org,domain:lab.example.org",
        "admins": "root@example.org",
    }
    with open_client(tmp_path, **settings) as opened:
        yield opened


def statuses(client: FlaskClient, headers: dict[str, str]) -> tuple[int, int]:
    return (client.get(EXECUTOR, headers=headers).status_code, client.get(TOKENS, headers=headers).status_code)


def test_listed_accounts_have_their_roles(client: FlaskClient, google: Provider) -> None:
    def by_token(**changes: object) -> tuple[int, int]:
        return statuses(client, {"Authorization": f"Bearer {google.id_token(**changes)}"})

    def by_proxy(**changes: object) -> tuple[int, int]:
        return statuses(client, {"x-goog-iap-jwt-assertion": google.assertion(**changes)})

    for ask in (by_token, by_proxy):
        assert ask(email="Ada@example.org") == (200, 403)
        assert ask(email="root@example.org") == (200, 200)
        assert ask(email="bob@lab.example.org", hd="lab.example.org") == (200, 403)
        # A private account can have an address in any domain.
        assert ask(email="bob@lab.example.org") == (403, 403)
        assert ask(email="eve@example.org") == (403, 403)
        assert ask(aud="https://other.example.org") == (401, 401)


def test_an_address_without_a_signature_is_ignored(client: FlaskClient) -> None:
    forged = {"x-goog-authenticated-user-email": "accounts.google.com:root@example.org"}
    assert statuses(client, forged) == (401, 401)


def test_an_account_that_is_not_listed_is_told_what_to_do(client: FlaskClient, google: Provider) -> None:
    headers = {"Authorization": f"Bearer {google.id_token(email='eve@example.org')}"}
    assert "EXECUTOR_USERS" in client.get(EXECUTOR, headers=headers).text


def test_attempts_of_accounts_that_are_not_listed_are_throttled(
    client: FlaskClient, google: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "BURST", 3)
    monkeypatch.setattr(throttle, "REFILL_SECONDS", 1000.0)

    def attempt(email: str) -> int:
        headers = {"Authorization": f"Bearer {google.id_token(email=email)}"}
        return client.get(EXECUTOR, headers=headers).status_code

    assert [attempt("eve@example.org") for _ in range(4)] == [403, 403, 403, 429]
    assert attempt("ada@example.org") == 200
