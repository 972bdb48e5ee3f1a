"""docs/how-to/webgme-site.md and webgme-plugin.md: WebGME's own code, through the nginx of the site."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from memory_folders import memory_folder
from nginx_process import accepts_at, free_port, nginx
from node_packages import INSTALL_SECONDS, NODE, installed_modules
from page_shell import blocks
from stack_process import PROJECT, StackProcess, environment, run, started, until

# The first test may have to install the npm packages.
pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 120)

CONFIGURATION = "deploy/webgme/nginx.conf"
HOST = "webgme.example.org"
TOKEN_LINE = "# proxy_set_header x-api-token cex_...;"

SOCKET_SERVER = """
require('http').createServer((request, response) => {
    response.setHeader('x-upgrade', request.headers.connection || 'none');
    response.setHeader('x-authorization', request.headers.authorization || 'none');
    response.end(`WebGME ${request.url}`);
}).listen({path: process.argv[1]});
"""
"""A server on a socket, given in the form of `config.server.handle`."""

DEEPFORGE_MODULES = ("requirejs", "rimraf")


@dataclass(frozen=True)
class Site:
    """WebGME's address on this machine, behind nginx, and the stack that has its blobs and jobs."""

    port: int
    stack: StackProcess
    modules: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def node(self, script: str, *arguments: str | Path) -> str:
        """Run a script of tests/e2e/node, and return what it prints."""
        finished = subprocess.run(
            ["node", NODE / script, *arguments],
            env={**os.environ, "NODE_PATH": str(self.modules)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout


@contextmanager
def site(modules: Path, folder: Path, *options: str, token: str | None = None, **settings: str) -> Iterator[Site]:
    port = free_port()
    with ExitStack() as parts:
        stack = parts.enter_context(closing(StackProcess(folder / "data", "--slots", "2", *options, settings=settings)))
        socket = folder / "webgme.sock"
        parts.enter_context(started("node", "-e", SOCKET_SERVER, socket, env=environment()))
        replacements = {
            "127.0.0.1:8888": f"127.0.0.1:{port}",
            "127.0.0.1:8889": stack.url.removeprefix("http://"),
            "/run/webgme/http.sock": str(socket),
        }
        if token is not None:
            replacements[TOKEN_LINE] = f"proxy_set_header x-api-token {made_token(stack)};"
        until(lambda: accepts_at(socket))
        parts.enter_context(nginx(folder / "nginx", CONFIGURATION, replacements, port))
        yield Site(port, stack, modules)


def made_token(stack: StackProcess, name: str = "webgme") -> str:
    made = run("token", "create", name, "--data", stack.data)
    assert made.returncode == 0, made.stderr
    return made.stdout.decode().strip()


@pytest.fixture(scope="module")
def modules() -> Path:
    return installed_modules(NODE, "--omit=optional")


@pytest.fixture(scope="module")
def open_site(modules: Path) -> Iterator[Site]:
    settings = {"EXECUTOR_ALLOWED_HOSTS": HOST, "EXECUTOR_JOB_ENV": json.dumps({"NODE_PATH": str(modules)})}
    with memory_folder() as folder, site(modules, folder, **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def token_site(modules: Path) -> Iterator[Site]:
    settings = {"EXECUTOR_AUTH": "token", "EXECUTOR_JOB_ENV": json.dumps({"NODE_PATH": str(modules)})}
    with memory_folder() as folder, site(modules, folder, token="webgme", **settings) as opened:
        yield opened


def scenarios(opened: Site, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(opened.node("clients.js", opened.url, folder))
    return found


def test_webgmes_clients_work_through_nginx(open_site: Site, tmp_path: Path) -> None:
    found = scenarios(open_site, tmp_path)
    assert [name for name, result in found.items() if "failed" in result] == []
    assert found["buffers"]["ü &%+#?;=.bin"]["object"] == "\0\xff\r\n"
    assert found["streams"]["received"] == found["streams"]["sent"]
    assert found["jobs"]["stdout"] == "one\ntwo\n"


def test_with_the_sites_token_everything_works_but_reports_of_plugins(token_site: Site, tmp_path: Path) -> None:
    found = scenarios(token_site, tmp_path)
    assert [name for name, result in found.items() if "failed" in result] == ["external"]
    assert found["jobs"]["stdout"] == "one\ntwo\n"
    # The owner needs no secret.
    assert (found["cancel"]["wrong"], found["cancel"]["right"]) == (None, "OK")
    assert len(found["workers"]) == 1
    assert httpx.get(f"{token_site.stack.url}/rest/blob/metadata").status_code == 401
    other = httpx.Client(base_url=token_site.stack.url, headers={"x-api-token": made_token(token_site.stack, "other")})
    with other:
        (others,) = other.post("/rest/blob/createFile/theirs.txt", content=b"theirs").json()
    listed = httpx.get(f"{token_site.url}/rest/blob/metadata", params={"all": "1"}).json()
    assert listed
    assert others not in listed, "only the blobs that this token stored"


@pytest.mark.parametrize("kind_of_site", ["open_site", "token_site"])
def test_deepforges_requests_run_a_job_with_its_node_modules(kind_of_site: str, request: pytest.FixtureRequest) -> None:
    opened: Site = request.getfixturevalue(kind_of_site)
    found = json.loads(opened.node("deepforge_calls.js", str(opened.port), *DEEPFORGE_MODULES))
    output = "working\ndone\n"
    secret = "string"
    assert found == {"status": "SUCCESS", "secret": secret, "shown": output, "stdout": output, "results": {"x": 1}}


def test_webgme_and_the_server_share_the_blob_folder(open_site: Site) -> None:
    ours = httpx.post(f"{open_site.url}/rest/blob/createFile/ours.txt", content=b"written by us\n").json()
    (our_hash,) = ours
    written, read = open_site.node("blob_folder.js", open_site.stack.data / "blobs", our_hash).splitlines()
    assert read == "written by us"
    assert httpx.get(f"{open_site.url}/rest/blob/view/{written}").text == "written by WebGME\n"
    missing = httpx.post(f"{open_site.url}/rest/blob/missing", json={"contents": [content_of(open_site, written)]})
    assert missing.json() == {"missing": []}


def content_of(opened: Site, blob: str) -> str:
    return str(httpx.get(f"{opened.url}/rest/blob/metadata/{blob}").json()["content"])


def test_everything_else_goes_to_webgme_with_web_sockets(open_site: Site) -> None:
    assert httpx.get(f"{open_site.url}/rest/blobs?a=%2F").text == "WebGME /rest/blobs?a=%2F"
    page = httpx.get(open_site.url)
    assert (page.text, page.headers["x-upgrade"]) == ("WebGME /", "close")
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert httpx.get(open_site.url, headers=headers).headers["x-upgrade"] == "upgrade"


def test_browsers_use_the_site_under_its_name(open_site: Site) -> None:
    create = f"{open_site.url}/rest/blob/createFile/a.txt"
    browser = {"Host": HOST, "Origin": f"https://{HOST}"}
    assert httpx.post(create, content=b"a", headers=browser).status_code == 200
    assert httpx.post(create, content=b"a", headers={**browser, "Origin": "https://elsewhere.org"}).status_code == 403


def test_only_webgme_gets_its_sessions(modules: Path, tmp_path: Path) -> None:
    """With the stand-in for WebGME in place of Cloud Executor too, which shows what it gets."""
    socket, port = tmp_path / "webgme.sock", free_port()
    replacements = {
        "127.0.0.1:8888": f"127.0.0.1:{port}",
        "127.0.0.1:8889": f"unix:{socket}",
        "/run/webgme/http.sock": str(socket),
    }
    with started("node", "-e", SOCKET_SERVER, socket, env=environment()):
        until(lambda: accepts_at(socket))
        with nginx(tmp_path / "nginx", CONFIGURATION, replacements, port):
            got = [
                httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Authorization": "Bearer a.b.c"})
                for path in ("/rest/executor/worker", "/rest/BLOB", "/api/user")
            ]
    assert [response.headers["x-authorization"] for response in got] == ["none", "none", "Bearer a.b.c"]


def test_the_function_of_the_page_about_plugins(open_site: Site, tmp_path: Path) -> None:
    function, *_ = blocks(PROJECT / "docs" / "how-to" / "webgme-plugin.md", "js")
    (tmp_path / "run_job.js").write_text(function)
    result = json.loads(open_site.node("plugin_example.js", str(open_site.port), tmp_path / "run_job.js"))
    assert result == {"status": "SUCCESS", "output": "from a plugin\n"}
