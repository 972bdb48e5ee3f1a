"""The list of routes, and the errors that name the nearest one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from http_server import Server

from cloud_executor.version import VERSION

API_DOCS = Path(__file__).parents[3] / "docs" / "api.md"


@pytest.mark.parametrize(
    ("method", "path", "nearest"),
    [
        ("GET", "/rest/blob/createFile/x", "POST /rest/blob/createFile/<name>"),
        ("POST", "/rest/blob/createfile", "POST /rest/blob/createFile/<name>"),
        ("GET", "/rest/executor/infos/x", "GET /rest/executor/info/<id>"),
        ("DELETE", "/rest/executor/output/x", "GET /rest/executor/output/<id>"),
        ("POST", "/rest/executor/workers", "POST /rest/executor/worker"),
        ("GET", "/rest/executors", "GET /rest/executor"),
        ("GET", "/blob/metadata", "GET /rest/blob/metadata"),
    ],
)
def test_an_unknown_path_names_the_nearest_route_and_the_list(
    server: Server, method: str, path: str, nearest: str
) -> None:
    response = server.send(method, path)
    assert response.status == 404
    assert f"the nearest route is {nearest}. GET " in response.text
    url = re.search(r"GET http://([^/]+)(/\S+) lists all routes", response.text)
    assert url is not None
    listed = server.get(url[2])
    assert listed.status == 200
    assert listed.text.splitlines()[0] == f"Cloud Executor {VERSION}"
    assert nearest in listed.text.splitlines()


def test_every_listed_route_exists_and_is_documented(server: Server) -> None:
    documented = API_DOCS.read_text().replace("[/<path>]", "/<path>").replace("/rest/executor[", "/rest/executor`[")
    for line in server.get("/rest/routes").text.splitlines()[1:]:
        method, path = line.split(" ")
        response = server.send(method, path.replace("<", "").replace(">", ""), b"" if method == "POST" else None)
        assert "Unknown path" not in response.text, line
        assert f"{method} {path.removesuffix('/<path>')}" in documented
