"""Which callers may send which requests: every route, with every role and every kind of credential."""

from __future__ import annotations

import json

import pytest
from credentials import UNKNOWN, Callers, Headers, api_token, basic, bearer
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cloud_executor.model.access.caller import Role
from functions.transport.route_list import ROUTES

ALL, PUBLIC = frozenset(Role), None
USERS, WORKERS, ADMINS = ({Role.USER, Role.ADMIN}, {Role.WORKER, Role.ADMIN}, {Role.ADMIN})

ALLOWED = {
    "POST /rest/blob/createFile/<name>": ALL,
    "POST /rest/blob/createMetadata": ALL,
    "GET /rest/blob/metadata/<hash>": ALL,
    "GET /rest/blob/metadata": ALL,
    "GET /rest/blob/view/<hash>": ALL,
    "GET /rest/blob/view/<hash>/<path>": ALL,
    "GET /rest/blob/download/<hash>": ALL,
    "GET /rest/blob/download/<hash>/<path>": ALL,
    "POST /rest/blob/missing": ALL,
    "POST /rest/blob/uploads": ALL,
    "POST /rest/blob/uploads/<id>/complete": ALL,
    "DELETE /rest/blob/<hash>": ADMINS,
    "POST /rest/executor/create/<id>": USERS,
    "GET /rest/executor/info/<id>": ALL,
    "GET /rest/executor": USERS,
    "POST /rest/executor/cancel/<id>": USERS,
    "DELETE /rest/executor/<id>": USERS,
    "GET /rest/executor/output/<id>": USERS,
    "POST /rest/executor/output/<id>": WORKERS,
    "POST /rest/executor/update/<id>": WORKERS,
    "GET /rest/executor/stats": USERS,
    "GET /rest/executor/worker": USERS,
    "POST /rest/executor/worker": WORKERS,
    "POST /rest/tokens": ADMINS,
    "GET /rest/tokens": ADMINS,
    "DELETE /rest/tokens/<id>": ADMINS,
    "GET /rest/quotas/<user>": ADMINS,  # and the user
    "POST /rest/quotas/<user>": ADMINS,
    "GET /rest/routes": PUBLIC,
    "GET /openapi.json": PUBLIC,
}
"""Roles that may use each route; PUBLIC: no credential is needed."""

PROTECTED = [route for route, roles in ALLOWED.items() if roles is not PUBLIC]


def send(client: FlaskClient, route: str, headers: Headers) -> TestResponse:
    method, path = route.split(" ")
    body = b"{}" if method == "POST" else None
    path = path.replace("<", "").replace(">", "")
    return client.open(path, method=method, data=body, headers={"Content-Type": "application/json", **headers})


def test_the_table_has_every_route() -> None:
    assert set(ALLOWED) == set(ROUTES)


@pytest.mark.parametrize("route", ALLOWED, ids=range(len(ALLOWED)))
def test_each_role_may_use_its_routes_only(client: FlaskClient, callers: Callers, route: str) -> None:
    roles = ALLOWED[route]
    for role in Role:
        response = send(client, route, callers.headers(role=role))
        allowed = roles is PUBLIC or role in roles
        assert (response.status_code not in (401, 403)) is allowed or "secret" in response.text, (role, response.text)
        if not allowed:
            assert response.status_code == 403
            assert "needs the role" in response.text


@pytest.mark.parametrize("route", PROTECTED, ids=range(len(PROTECTED)))
def test_no_route_accepts_an_invalid_credential(client: FlaskClient, callers: Callers, route: str) -> None:
    right = callers.token(role=Role.ADMIN)
    credentials = [
        {},
        *(form(token) for form in (bearer, basic, api_token) for token in (UNKNOWN, callers.expired())),
        bearer(callers.revoked()),
        bearer(right[:-1]),
        bearer(right.swapcase()),
        bearer("a.b.c"),
        {"Authorization": right},
        {"Authorization": f"Basic {right}"},
        {"x-executor-nonce": right},
        {"Cookie": f"token={right}"},
    ]
    for headers in credentials:
        response = send(client, route, headers)
        assert response.status_code == 401, headers
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
        assert response.text.endswith(".")
    assert send(client, f"{route}?token={right}&x-api-token={right}", {}).status_code == 401


def test_a_token_is_accepted_in_each_header(client: FlaskClient, callers: Callers) -> None:
    token = callers.token()
    for headers in (
        bearer(token),
        basic(token),
        basic(token, ""),
        api_token(token),
        {"Authorization": f"bearer  {token}"},
    ):
        assert client.get("/rest/executor", headers=headers).status_code == 200


def test_a_foreign_credential_beside_a_token_is_ignored(client: FlaskClient, callers: Callers) -> None:
    headers = {"x-api-token": callers.token(), "Authorization": "Bearer a.b.c"}
    assert client.get("/rest/executor", headers=headers).status_code == 200


def test_a_response_to_the_executor_api_keeps_its_media_type(client: FlaskClient) -> None:
    response = client.get("/rest/executor/info/x")
    assert (response.status_code, response.headers["X-WebGME-Media-Type"]) == (401, "webgme.v1")


def test_preflight_requests_need_no_credential(client: FlaskClient) -> None:
    assert client.options("/rest/executor").status_code == 204


def test_an_admin_manages_tokens(client: FlaskClient, callers: Callers) -> None:
    admin = callers.headers("root", Role.ADMIN)
    made = client.post("/rest/tokens", json={"name": "laptop", "user": "eve", "expiresIn": 3600}, headers=admin)
    token = made.get_json()["token"]
    assert {name: made.get_json()[name] for name in ("user", "role", "createdBy")} == {
        "user": "eve",
        "role": "user",
        "createdBy": "root",
    }
    assert made.headers["Cache-Control"] == "no-store"
    listed = client.get("/rest/tokens", headers=admin)
    assert made.get_json()["id"] in [found["id"] for found in listed.get_json()["tokens"]]
    assert token not in listed.text
    assert "digest" not in listed.text
    path = f"/rest/tokens/{made.get_json()['id']}"
    assert client.delete(path, headers=admin).status_code == 200
    assert client.get("/rest/executor", headers=bearer(token)).status_code == 401
    assert client.delete(path, headers=admin).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "line\nbreak"},
        {"name": "two words"},
        {"name": "x", "user": "no/slash"},
        {"name": "x", "user": "\0"},
        {"name": "x", "role": "root"},
        {"name": "x", "role": ["admin"]},
        {"name": "x", "expiresIn": 0},
        {"name": "x", "expiresIn": 1e300},
    ],
    ids=range(11),
)
def test_an_invalid_token_request_is_rejected(client: FlaskClient, callers: Callers, fields: dict[str, object]) -> None:
    headers = {"Content-Type": "application/json", **callers.headers(role=Role.ADMIN)}
    response = client.post("/rest/tokens", data=json.dumps(fields), headers=headers)
    assert response.status_code == 400
    assert response.text.endswith(".")
