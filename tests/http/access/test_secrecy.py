"""No response and no log line contains a credential, whatever happens to the request."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from credentials import UNKNOWN, Callers, Headers, api_token, basic, bearer
from http_server import run_server

from cloud_executor.model.access.caller import Role
from functions.transport.route_list import ROUTES

NONCE = "a nonce that nobody may see"
PEPPER = "a pepper that nobody may see"
ADMIN_TOKEN = f"cex_{'ThatNobodyMaySee' * 2}"


def test_no_response_or_log_line_contains_a_credential(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with run_server(tmp_path, auth="token", nonce=NONCE, token_pepper=PEPPER, admin_token=ADMIN_TOKEN) as server:
        callers = Callers.of(tmp_path, PEPPER)
        tokens = [
            UNKNOWN,
            ADMIN_TOKEN,
            *(callers.token(role=role) for role in Role),
            callers.expired(),
            callers.revoked(),
        ]
        credentials: list[Headers] = [{"x-executor-nonce": NONCE}, {"x-executor-nonce": f"{NONCE}!"}]
        credentials += [form(token) for token in tokens for form in (bearer, basic, api_token)]
        responses = []
        for route in ROUTES:
            method, path = route.split(" ")
            for headers in credentials:
                body = b"not json" if method == "POST" else None
                # A credential in the wrong place must not come back either.
                sent = {"Content-Type": "application/json", "Origin": "https://page.example", **headers}
                for extra in ({}, {"Origin": f"http://127.0.0.1:{server.port}"}):
                    found = server.send(method, quote(path), body, {**sent, **extra})
                    responses.append(f"{found.status} {found.headers} {found.text}")
    secrets = [NONCE, PEPPER, *tokens, *(next(iter(basic(token).values())).split()[1] for token in tokens)]
    log = "".join(capfd.readouterr())
    assert '"message": "audit"' in log
    assert '"message": "request refused"' in log
    for secret in secrets:
        assert not any(secret in response for response in responses)
        assert secret not in log
    for digest in (record.digest for record in callers.tokens.all()):
        assert digest not in log
