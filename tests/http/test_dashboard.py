"""The dashboard's files over HTTP: what is sent, how it is cached, and how much it is."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from in_process import open_client

PROJECT = Path(__file__).parents[2]
STATIC = PROJECT / "functions" / "dashboard" / "static"
FILES = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file())
OWN_SCRIPTS = [name for name in FILES if name.endswith(".js") and name != "vendor.js"]
LARGEST_TOTAL = 100_000
"""Size of all files as they are sent, in bytes."""

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self' https://storage.googleapis.com",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}
ACCEPT_GZIP = {"Accept-Encoding": "br, gzip;q=0.8"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    with open_client(tmp_path_factory.mktemp("dashboard")) as opened:
        yield opened


@pytest.fixture(scope="module")
def prefix(client: FlaskClient) -> str:
    """The address of all files of this version."""
    found = re.search(r'"(dashboard/[0-9a-f]{16}/)app\.js"', client.get("/").text)
    assert found is not None
    return "/" + found[1]


def test_the_page_has_a_strict_policy(client: FlaskClient) -> None:
    response = client.get("/?from=a-bookmark")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    directives = response.headers["Content-Security-Policy"].split("; ")
    assert dict(directive.split(" ", 1) for directive in directives) == POLICY
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_with_its_type(client: FlaskClient, prefix: str, name: str) -> None:
    response = client.get(prefix + name)
    assert response.status_code == 200
    if name != "index.html":
        assert response.data == (STATIC / name).read_bytes()
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    types = {
        "html": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
        "txt": "text/plain",
    }
    assert response.mimetype == types[name.rpartition(".")[2]]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_of_another_version_gets_the_files_but_does_not_keep_them(client: FlaskClient, prefix: str) -> None:
    other = client.get("/dashboard/0123456789abcdef/app.js")
    assert (other.status_code, other.headers["Cache-Control"]) == (200, "no-cache")
    assert other.data == client.get(prefix + "app.js").data
    assert client.get("/").headers["Cache-Control"] == "no-cache"


def test_files_are_compressed_for_clients_that_accept_it(client: FlaskClient) -> None:
    plain, compressed = client.get("/"), client.get("/", headers=ACCEPT_GZIP)
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == plain.data
    assert compressed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert client.get("/", headers={"Accept-Encoding": "gzip;q=0"}).data == plain.data


@pytest.mark.parametrize("accepted", [{}, ACCEPT_GZIP], ids=["plain", "gzip"])
def test_an_unchanged_file_is_not_sent_again(client: FlaskClient, accepted: dict[str, str]) -> None:
    etag = client.get("/", headers=accepted).headers["ETag"]
    again = client.get("/", headers={"If-None-Match": etag, **accepted})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert client.get("/", headers={"If-None-Match": '"other"', **accepted}).status_code == 200


def test_the_two_representations_have_different_etags(client: FlaskClient) -> None:
    assert client.get("/").headers["ETag"] != client.get("/", headers=ACCEPT_GZIP).headers["ETag"]


def test_head_has_the_length_and_no_body(client: FlaskClient) -> None:
    response = client.head("/", headers=ACCEPT_GZIP)
    assert (response.status_code, response.data) == (200, b"")
    assert int(response.headers["Content-Length"]) == len(client.get("/", headers=ACCEPT_GZIP).data)


def test_files_outside_the_folder_are_not_served(client: FlaskClient, prefix: str) -> None:
    for path in ("../routes.py", "..%2Froutes.py", "core/../app.js", "core", "", "nothing.js", "app.js/x"):
        assert client.get(prefix + path).status_code == 404
    assert client.post("/").status_code == 404
    assert client.post(prefix + "app.js").status_code == 404


def test_a_foreign_host_gets_no_page(client: FlaskClient) -> None:
    assert client.get("/", headers={"Host": "rebound.example.org"}).status_code == 403


def test_the_page_needs_no_nonce_but_the_jobs_do(tmp_path: Path) -> None:
    with open_client(tmp_path, nonce="a-long-random-nonce") as client:
        assert client.get("/").status_code == 200
        assert client.get("/rest/executor/worker").status_code == 403


def test_all_files_together_are_small(client: FlaskClient, prefix: str) -> None:
    sent = [len(client.get(prefix + name, headers=ACCEPT_GZIP).data) for name in FILES]
    assert sum(sent) < LARGEST_TOTAL


def test_the_page_loads_all_modules_at_once(client: FlaskClient) -> None:
    """A module that is missing in the list would be loaded only after the one that imports it."""
    page = (STATIC / "index.html").read_text()
    listed = re.findall(r'<link rel="modulepreload" href="dashboard/(.+?)" />', page)
    assert sorted([*listed, "app.js"]) == [name for name in FILES if name.endswith(".js")]
    assert sorted(re.findall(r'rel="stylesheet" href="dashboard/(.+?)"', page)) == [
        name for name in FILES if name.endswith(".css")
    ]


@pytest.mark.parametrize("name", OWN_SCRIPTS)
def test_no_script_turns_strings_into_markup_or_code(name: str) -> None:
    source = (STATIC / name).read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTMLUnsafe|srcdoc"
    assert re.findall(forbidden, source) == []
    assert len(source.splitlines()) <= 450


def test_the_libraries_have_their_licenses() -> None:
    licenses = (STATIC / "vendor.LICENSES.txt").read_text()
    for name in ("preact", "htm", "uplot", "anser", "client-zip"):
        assert re.search(rf"^{name} [0-9.]+ \((MIT|Apache-2\.0)\)$", licenses, re.MULTILINE)
