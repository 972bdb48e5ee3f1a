"""A web page that the user of a server visits can neither use the server nor read its responses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from http_server import EMBEDDED, Server, StartServer

PAGE = "https://evil.example"
FOREIGN = [{"Origin": PAGE}, {"Origin": "null"}, {"Host": "rebound.evil.example"}, {"Sec-Fetch-Site": "cross-site"}]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: next(iter(headers)))
def test_a_page_cannot_upload_and_create_a_job(server: Server, headers: Mapping[str, str]) -> None:
    simple = {"Content-Type": "text/plain", **headers}
    for path, body in (("/rest/blob/createFile/x.zip", b"zip"), ("/rest/executor/create/from-a-page", b"")):
        response = server.send("POST", path, body, simple)
        assert response.status == 403
        assert response.text.endswith(".")
        assert response["Access-Control-Allow-Origin"] is None
    assert server.get("/rest/executor/info/from-a-page").status == 404


def test_a_page_cannot_read(server: Server, readable: list[str]) -> None:
    for path in [*readable, "/", "/rest/unknown", "/rest/executor/info/%zz", "/robots.txt"]:
        for method in ("GET", "HEAD", "OPTIONS"):
            response = server.send(method, path, b"", {"Origin": PAGE})
            assert response["Access-Control-Allow-Origin"] is None, (method, path)
            assert response["Cross-Origin-Resource-Policy"] == "same-origin", (method, path)
        assert server.get(path, {"Host": "rebound.evil.example"}).status == 403, path


@EMBEDDED
def test_a_page_of_an_allowed_origin_can_use_the_server(start_server: StartServer) -> None:
    server = start_server(allowed_origins=f"https://other.example,{PAGE}", allowed_hosts="jobs.example")
    for path in ("/", "/rest/blob/createFile/x", "/rest/executor/create/x", "/nowhere"):
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        response = server.send("OPTIONS", path, headers=asked)
        assert (response.status, response.body) == (204, b"")
        assert response["Access-Control-Allow-Origin"] == PAGE
        assert {"GET", "POST", "HEAD"} <= set((response["Access-Control-Allow-Methods"] or "").split(", "))
        names = {name.strip().lower() for name in (response["Access-Control-Allow-Headers"] or "").split(",")}
        assert {"content-type", "x-executor-nonce", "x-api-token", "authorization"} <= names
    created = server.send("POST", "/rest/executor/create/x", b"", {"Origin": PAGE, "Host": "jobs.example"})
    assert created.status == 200
    assert (created["Access-Control-Allow-Origin"], created["Vary"]) == (PAGE, "Origin")


@EMBEDDED
def test_every_origin_can_be_allowed(start_server: StartServer) -> None:
    server = start_server(allowed_origins="*")
    for method, path in (("GET", "/nowhere"), ("OPTIONS", "/"), ("POST", "/rest/blob/createFile/x")):
        assert server.send(method, path, b"", {"Origin": PAGE})["Access-Control-Allow-Origin"] == "*"
