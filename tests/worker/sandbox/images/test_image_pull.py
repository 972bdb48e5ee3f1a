"""Pull images from a real registry, which takes the place of Google's and requires the machine's token."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest
from containers.docker_engine import IMAGE
from google_machine import google_machine
from requirement import lacking
from sandbox_bench import Bench
from servers.running import running
from worker_harness import Stack, until

from cloud_executor.model.jobs.job import Status
from worker_vm.worker.attempt import Interruption
from worker_vm.worker.sandbox.container import registry_credentials
from worker_vm.worker.sandbox.interface import CommandNotStarted, Sandbox

TOKEN = "token of the machine"
OF_TOKEN = "oauth2accesstoken:$2b$04$3UgoJp6ekB9yYsyHri0EAe0x10d25W27jfUA0hL0eufAzcazNolO."
"""User with this password, hashed with bcrypt."""


@dataclass
class Registry:
    image: str
    """Image that the registry has and the engine does not."""
    host: str
    log: Path

    def fetched(self) -> int:
        """Number of times an authorized client fetched the image's manifest."""
        lines = [line for line in self.log.read_text().splitlines() if '"GET /v2/busybox/manifests' in line]
        return sum('" 200 ' in line for line in lines)


@pytest.fixture
def registry(engine: docker.APIClient, tmp_path: Path) -> Iterator[Registry]:
    if shutil.which("docker-registry") is None:
        lacking("docker", "Pulls need the program docker-registry (Debian: docker-registry).")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "users").write_text(f"{OF_TOKEN}\n")
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": host},
        "auth": {"htpasswd": {"realm": "tests", "path": str(tmp_path / "users")}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    log = tmp_path / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(tmp_path / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    found = Registry(f"{host}/busybox:1", host, log)
    try:
        until(lambda: _asks_who_it_is(host))
        engine.tag(IMAGE, f"{host}/busybox", "1")
        credentials = {"username": "oauth2accesstoken", "password": TOKEN}
        for event in engine.push(f"{host}/busybox", "1", stream=True, decode=True, auth_config=credentials):
            assert "error" not in event, event
        engine.remove_image(found.image)
        yield found
    finally:
        process.terminate()
        process.wait(30)
        if engine.images(found.image):
            engine.remove_image(found.image)


def _asks_who_it_is(host: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{host}/v2/", timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return False


@pytest.fixture
def machine(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Google Cloud VM for the worker, with an account that may read the registry."""
    with google_machine() as found:
        found.metadata["instance/service-accounts/default/token"] = json.dumps({"access_token": TOKEN})
        monkeypatch.setenv("GCE_METADATA_HOST", found.address)
        monkeypatch.setattr(registry_credentials, "_GOOGLE", re.compile(re.escape(f"{registry.host}/")))
        yield


def test_an_image_is_pulled_once_with_the_machines_token(
    registry: Registry, machine: None, tmp_path: Path, containers: Callable[..., Sandbox]
) -> None:
    sandbox = containers(image=registry.image)
    with Bench(Stack(tmp_path / "first"), sandbox) as first, Bench(Stack(tmp_path / "second"), sandbox) as second:
        # Both find it missing at the same time, and one of them pulls it.
        with first.running("echo first") as ran:
            assert second.script("echo second").stdout == b"second\n"
        assert ran[0].stdout == b"first\n"
        assert registry.fetched() == 1
        assert first.script("echo again").stdout == b"again\n"
        assert registry.fetched() == 1


def test_an_image_that_the_worker_may_not_read_fails_the_job(
    registry: Registry, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    container_bench.sandbox = containers(image=registry.image)
    with pytest.raises(CommandNotStarted) as raised:
        container_bench.script("true")
    reason = "could not be pulled: it does not exist, or the worker may not read it."
    assert str(raised.value) == f"The image '{registry.image}' {reason}"
    assert registry.fetched() == 0


def test_an_image_that_the_registry_does_not_have_fails_the_job(
    registry: Registry, machine: None, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    image = f"{registry.host}/busybox:none"
    container_bench.sandbox = containers(image=image)
    with pytest.raises(CommandNotStarted, match="could not be pulled: it does not exist"):
        container_bench.script("true")


# A registry that is temporarily unavailable ---------------------------------------------------------------------------


FOR_EVER = 10**9


@dataclass
class Door:
    """A proxy in front of the registry. While it is shut, it responds with an error."""

    image: str
    times: int
    """Number of error responses before it opens."""
    tried: threading.Event
    """Set after the first error response."""


@pytest.fixture
def door(registry: Registry, engine: docker.APIClient, request: pytest.FixtureRequest) -> Iterator[Door]:
    status, text = request.param
    authorization = "Basic " + b64encode(f"oauth2accesstoken:{TOKEN}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/manifests/" in self.path and found.times:
                found.times -= 1
                found.tried.set()
                self.answer(status, {"Content-Type": "application/json"}, text.encode())
                return
            with closing(HTTPConnection(registry.host)) as connection:
                accept = ", ".join(self.headers.get_all("Accept", []))
                connection.request(self.command, self.path, headers={"Accept": accept, "Authorization": authorization})
                answer = connection.getresponse()
                self.answer(answer.status, dict(answer.getheaders()), answer.read())

        do_HEAD = do_GET

        def answer(self, code: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        found = Door(f"{address}/busybox:1", FOR_EVER, threading.Event())
        yield found
    if engine.images(found.image):
        engine.remove_image(found.image)


def errors(code: str, message: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": message}]})


BUSY = (429, errors("TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit: access denied."))
AWAY = (503, errors("UNAVAILABLE", "The service was not found."))
GONE = (404, errors("MANIFEST_UNKNOWN", "manifest unknown"))


@pytest.mark.parametrize("door", [BUSY, (429, "access denied"), AWAY], indirect=True)
def test_a_pull_is_retried_until_the_registry_responds(
    door: Door, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    door.times = 3
    container_bench.sandbox = containers(image=door.image)
    assert container_bench.script("echo ran").stdout == b"ran\n"
    assert door.times == 0


@pytest.mark.parametrize(
    ("door", "reason"),
    [(BUSY, "its registry limits the request rate; try again later"), (AWAY, "its registry cannot be reached")],
    indirect=["door"],
)
def test_an_unavailable_registry_does_not_fail_the_job(
    door: Door, reason: str, stack: Stack, containers: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.retry.retry_while_unavailable.__defaults__", (0.5,))
    job = stack.add_script("echo ran")
    with stack.worker(sandbox=containers(image=door.image)) as worker:
        worker.run_next()
        assert (stack.get(job).status, stack.get(job).lost_attempts, stack.get(job).error) == (Status.CREATED, 1, None)
        for _ in range(stack.jobs.options.retries):
            worker.run_next()
    job = stack.get(job)
    assert job.status == Status.FAILED_TO_EXECUTE
    assert (job.error or "").endswith(f"this reason: The image '{door.image}' could not be pulled: {reason}.")


@pytest.mark.parametrize("door", [GONE], indirect=True)
def test_a_pull_of_a_missing_image_is_not_retried(door: Door, stack: Stack, containers: Callable[..., Sandbox]) -> None:
    job = stack.add_script("echo ran")
    with stack.worker(sandbox=containers(image=door.image)) as worker:
        worker.run_next()
        assert worker.next(0) is None
    job = stack.get(job)
    reason = "could not be pulled: it does not exist, or the worker may not read it."
    assert (job.status, job.error) == (Status.FAILED_TO_EXECUTE, f"The image '{door.image}' {reason}")
    assert FOR_EVER - door.times <= 2, "engines may ask for the head first"


@pytest.mark.parametrize("reason", list(Interruption))
@pytest.mark.parametrize("door", [AWAY], indirect=True)
def test_a_retried_pull_ends_with_the_attempt(
    door: Door, reason: Interruption, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    container_bench.sandbox = containers(image=door.image)
    with container_bench.running("echo ran") as ran:
        assert door.tried.wait(30)
        container_bench.attempt.interrupt(reason)
    assert ran[0].ending.interrupted
    assert ran[0].stdout == b""
