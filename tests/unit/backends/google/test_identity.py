"""Which identity tokens are accepted."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
from identity.identity_tokens import SIGNER, STRANGER, Issuer, identity_issuer

from cloud_executor.backends.google.identity import IdentityTokens
from cloud_executor.errors import Forbidden, Unavailable

NOW = int(time.time())


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with identity_issuer() as found:
        yield found


def test_a_token_for_the_audience_shows_its_claims(issuer: Issuer) -> None:
    token = SIGNER.token("us", email="a@example.org")
    assert IdentityTokens("us", issuer.certificates).verified(token)["email"] == "a@example.org"


def unsigned(token: str) -> str:
    """The token as Cloud Run passes it on after it has verified it."""
    return token.rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"


def without_algorithm(token: str) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "key"}).encode()).rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


@pytest.mark.parametrize(
    "token",
    [
        SIGNER.token("them"),
        SIGNER.token("us", exp=NOW - 3600, iat=NOW - 7200),
        SIGNER.token("us", iat=NOW + 86_400, exp=NOW + 90_000),
        SIGNER.token("us", iss="https://accounts.example.org"),
        SIGNER.token("us", iss=None),
        SIGNER.token("us", exp=None),
        STRANGER.token("us"),
        unsigned(SIGNER.token("us")),
        without_algorithm(SIGNER.token("us")),
        "",
        "a.b",
        "a.b.c",
        "e30.e30.e30",
        "\u00e9.\u00e9.\u00e9",
        "bnVsbA.bnVsbA.bnVsbA",
    ],
    ids=range(15),
)
def test_other_tokens_are_rejected(issuer: Issuer, token: str) -> None:
    with pytest.raises(Forbidden, match="identity token"):
        IdentityTokens("us", issuer.certificates).verified(token)


def test_without_certificates_no_token_is_judged() -> None:
    with pytest.raises(Unavailable, match="certificates"):
        IdentityTokens("us", "http://127.0.0.1:1").verified(SIGNER.token("us"))
