from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from identity.google_provider import AUDIENCE, IAP_AUDIENCE, Provider

from cloud_executor.backends.google import accounts
from cloud_executor.backends.google.accounts import (
    ID_TOKEN_CERTIFICATES,
    GoogleIdentities,
    InvalidIdentity,
    StrippedToken,
)
from cloud_executor.errors import Unavailable

LONG_SECONDS = 30.0


@pytest.fixture(scope="module")
def google() -> Provider:
    return Provider()


@pytest.fixture
def verifier(google: Provider) -> GoogleIdentities:
    return GoogleIdentities({AUDIENCE, IAP_AUDIENCE}, google.request())


def test_an_id_token_names_its_account(google: Provider, verifier: GoogleIdentities) -> None:
    private = verifier.of_id_token(google.id_token())
    assert (private.address, private.domain) == ("ada@example.org", None)
    assert time.time() + 500 < private.expires.timestamp() < time.time() + 700
    assert verifier.of_id_token(google.id_token(hd="Example.org")).domain == "example.org"
    assert verifier.of_id_token(google.id_token(iss="accounts.google.com")).address == "ada@example.org"


def test_a_service_account_belongs_to_its_project(google: Provider, verifier: GoogleIdentities) -> None:
    found = verifier.of_id_token(google.id_token(email="job@project.iam.gserviceaccount.com"))
    assert found.domain == "project.iam.gserviceaccount.com"


def test_an_assertion_of_the_proxy_names_its_account(google: Provider, verifier: GoogleIdentities) -> None:
    found = verifier.of_assertion(google.assertion(hd="example.org"))
    assert (found.address, found.domain) == ("ada@example.org", "example.org")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://other.example.org"},
        {"aud": None},
        {"aud": [AUDIENCE]},
        {"iss": "https://evil.example.org"},
        {"iss": "https://cloud.google.com/iap"},
        {"iss": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "never"},
        {"iat": int(time.time()) + 3600},
        {"email": None},
        {"email": ["ada@example.org"]},
        {"email_verified": None},
        {"email_verified": "true"},
    ],
    ids=range(14),
)
def test_other_id_tokens_are_rejected(google: Provider, verifier: GoogleIdentities, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidIdentity):
        verifier.of_id_token(google.id_token(**changes))


def test_a_token_of_one_kind_is_not_accepted_as_the_other(google: Provider, verifier: GoogleIdentities) -> None:
    with pytest.raises(InvalidIdentity):
        verifier.of_assertion(google.id_token(iss="https://cloud.google.com/iap", aud=IAP_AUDIENCE))
    with pytest.raises(InvalidIdentity):
        verifier.of_id_token(google.assertion(iss="https://accounts.google.com", aud=AUDIENCE, email_verified=True))


def test_a_changed_or_foreign_token_is_rejected(google: Provider, verifier: GoogleIdentities) -> None:
    header, payload, signature = google.id_token().split(".")
    other = google.id_token(email="eve@example.org").split(".")[1]
    unsigned = "eyJhbGciOiJub25lIn0"
    for token in (
        f"{header}.{other}.{signature}",
        f"{unsigned}.{payload}.",
        f"{header}.{payload}.",
        "a.b.c",
        "..",
        "é.é.é",
    ):
        with pytest.raises(InvalidIdentity):
            verifier.of_id_token(token)
    with pytest.raises(InvalidIdentity):
        verifier.of_id_token(Provider().id_token())
    with pytest.raises(StrippedToken, match="X-Serverless-Authorization"):
        verifier.of_id_token(f"{header}.{payload}.SIGNATURE_REMOVED_BY_GOOGLE")


def test_certificates_are_kept(google: Provider, verifier: GoogleIdentities) -> None:
    google.fetched.clear()
    for _ in range(3):
        verifier.of_id_token(google.id_token())
        verifier.of_assertion(google.assertion())
    assert len(google.fetched) == 2


def test_a_new_key_is_fetched_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    google = Provider()
    verifier = GoogleIdentities({AUDIENCE}, google.request())
    verifier.of_id_token(google.id_token())
    google.key_id = "second"
    with pytest.raises(InvalidIdentity):
        verifier.of_id_token(google.id_token())
    assert len(google.fetched) == 1
    monkeypatch.setattr(accounts, "RENEWAL_SECONDS", 0.0)
    assert verifier.of_id_token(google.id_token()).address == "ada@example.org"
    assert len(google.fetched) == 2


def test_a_slow_fetch_delays_only_tokens_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    google, fetching, go_on = Provider(), threading.Event(), threading.Event()
    fetch = google.request()

    def slow_fetch(url: str, *arguments: Any, **options: Any) -> Any:
        if google.key_id == "second" and url == ID_TOKEN_CERTIFICATES:
            fetching.set()
            assert go_on.wait(LONG_SECONDS)
        return fetch(url, *arguments, **options)

    request: Any = slow_fetch
    verifier = GoogleIdentities({AUDIENCE, IAP_AUDIENCE}, request)
    old = google.id_token()
    verifier.of_id_token(old)
    monkeypatch.setattr(accounts, "RENEWAL_SECONDS", 0.0)
    google.key_id = "second"
    new = google.id_token()
    with ThreadPoolExecutor(4) as pool:
        try:
            waiting = [pool.submit(verifier.of_id_token, new)]
            assert fetching.wait(LONG_SECONDS)
            waiting.append(pool.submit(verifier.of_id_token, new))
            for verify, token in ((verifier.of_id_token, old), (verifier.of_assertion, google.assertion())):
                assert pool.submit(verify, token).result(LONG_SECONDS).address == "ada@example.org"
        finally:
            go_on.set()
        assert [future.result(LONG_SECONDS).address for future in waiting] == ["ada@example.org"] * 2


def test_certificates_stay_if_their_renewal_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    google = Provider()
    verifier = GoogleIdentities({AUDIENCE}, google.request())
    old = google.id_token()
    verifier.of_id_token(old)
    monkeypatch.setattr(accounts, "RENEWAL_SECONDS", 0.0)
    google.key_id, google.status = "second", 500
    with pytest.raises(Unavailable):
        verifier.of_id_token(google.id_token())
    assert verifier.of_id_token(old).address == "ada@example.org"


def test_without_certificates_nothing_is_decided() -> None:
    google = Provider(status=500)
    verifier = GoogleIdentities({AUDIENCE}, google.request())
    with pytest.raises(Unavailable):
        verifier.of_id_token(google.id_token())
    google.status = 200
    assert verifier.of_id_token(google.id_token()).address == "ada@example.org"
