"""The client's Google identity: where it comes from, when it is refreshed, and who gets it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from identity.identity_tokens import SIGNER

from cloud_executor.client import Client
from cloud_executor.client.account import google_identity
from cloud_executor.client.account.google_identity import GoogleIdentity, NoGoogleIdentity
from cloud_executor.client.errors import InvalidAddress
from cloud_executor.errors import Forbidden

URL = "https://executor-x.a.run.app"


def token(expiry: float, number: int = 0) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expiry, "number": number}).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.signature"


def test_a_token_is_reused_and_replaced_minutes_before_it_expires() -> None:
    now = 1000.0
    fetched: list[str] = []

    def fetch(audience: str) -> str:
        fetched.append(audience)
        return token(now + 3600, len(fetched))

    identity = GoogleIdentity(URL, fetch, lambda: now)
    first = identity.token
    now += 3299
    assert identity.token == first
    now += 2
    second = identity.token
    assert second != first
    assert identity.token == second
    assert fetched == [URL, URL]


@pytest.mark.parametrize("odd", ["opaque", "a.b.c", "e30.e30.e30", "e30.bnVsbA.x"])
def test_a_token_whose_expiry_is_unknown_is_replaced_after_ten_minutes(odd: str) -> None:
    now = 0.0
    fetched: list[str] = []

    def fetch(audience: str) -> str:
        fetched.append(audience)
        return odd

    identity = GoogleIdentity(URL, fetch, lambda: now)
    for now in (1.0, 600.0, 602.0):  # noqa: B007 - the clock
        assert identity.token == odd
    assert len(fetched) == 2


# Where it comes from --------------------------------------------------------------------------------------------------


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs a command gcloud that runs a script. Default credentials and a metadata server are missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    def install(script: str) -> None:
        program = tmp_path / "gcloud"
        program.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
        program.chmod(0o755)

    return install


def test_without_default_credentials_gcloud_names_the_user(gcloud: Callable[[str], None]) -> None:
    gcloud("assert sys.argv[1:] == ['auth', 'print-identity-token']; print('a.b.c')")
    assert google_identity.fetch_token(URL) == "a.b.c"


@pytest.mark.parametrize("script", [None, "sys.exit(1)", "print()"])
def test_without_any_identity_the_error_says_what_to_do(gcloud: Callable[[str], None], script: str | None) -> None:
    if script is not None:
        gcloud(script)
    with pytest.raises(NoGoogleIdentity, match="run `gcloud auth login`, or set GOOGLE_APPLICATION_CREDENTIALS"):
        google_identity.fetch_token(URL)


def test_default_credentials_come_first(gcloud: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    gcloud("print('user')")
    monkeypatch.setattr("google.oauth2.id_token.fetch_id_token", lambda _, audience: f"service account for {audience}")
    assert google_identity.fetch_token(URL) == f"service account for {URL}"


def test_without_google_auth_gcloud_is_asked(gcloud: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    gcloud("print('user')")
    for module in ("google.auth.exceptions", "google.auth.transport.requests", "google.oauth2.id_token"):
        monkeypatch.setitem(sys.modules, module, None)
    assert google_identity.fetch_token(URL) == "user"


# Who gets it ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The audiences for which tokens were fetched."""
    audiences: list[str] = []

    def fetch(audience: str) -> str:
        audiences.append(audience)
        return SIGNER.token(audience, exp=2**32)

    monkeypatch.setattr(google_identity, "fetch_token", fetch)
    return audiences


def test_the_token_is_for_the_server_and_dropped_at_redirects_to_others(fetched: list[str]) -> None:
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            return httpx.Response(302, headers={"Location": "/rest/elsewhere"})
        if len(seen) == 2:
            return httpx.Response(302, headers={"Location": "https://bucket.example/o?signature=x"})
        return httpx.Response(200, content=b"bytes")

    with Client(URL, google_identity=True, transport=httpx.MockTransport(serve)) as client:
        assert b"".join(client.chunks("h")) == b"bytes"
    tokens = [request.headers.get("x-serverless-authorization") for request in seen]
    assert fetched == [URL]
    assert tokens[0] == tokens[1] and tokens[0] is not None and tokens[0].startswith("Bearer ")
    assert tokens[2] is None


def test_no_token_is_sent_unless_requested(fetched: list[str]) -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        assert "x-serverless-authorization" not in request.headers
        return httpx.Response(200, content=b"bytes")

    with Client(URL, transport=httpx.MockTransport(serve)) as client:
        assert b"".join(client.chunks("h")) == b"bytes"
    assert fetched == []


def test_a_token_is_not_sent_in_the_clear(fetched: list[str]) -> None:
    with pytest.raises(InvalidAddress, match="https"):
        Client("http://executor.example", google_identity=True)
    Client("http://127.0.0.1:8888", google_identity=True)


@pytest.mark.parametrize(("identity", "message"), [(False, "--google-identity"), (True, "roles/run.invoker")])
def test_a_rejection_by_googles_front_end_says_what_to_do(fetched: list[str], identity: bool, message: str) -> None:
    def serve(_: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/html; charset=UTF-8", "Server": "Google Frontend"}
        return httpx.Response(403, headers=headers, content=b"<html>Your client does not have permission</html>")

    with (
        Client(URL, google_identity=identity, transport=httpx.MockTransport(serve)) as client,
        pytest.raises(Forbidden, match=message),
    ):
        client.job("h")
