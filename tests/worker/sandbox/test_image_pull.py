"""Images that come from a registry: a real one, which stands in for Google's and asks for the machine's token."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker_engine import IMAGE
from google_machine import google_machine
from requirement import lacking
from sandbox_bench import Bench
from worker_harness import Stack, until

from worker_vm.worker.sandbox import registry_credentials
from worker_vm.worker.sandbox.port import CommandNotStarted, Sandbox

TOKEN = "token of the machine"
OF_TOKEN = "oauth2accesstoken:$2b$04$3UgoJp6ekB9yYsyHri0EAe0x10d25W27jfUA0hL0eufAzcazNolO."
"""the user whose password is that, as bcrypt has it"""


@dataclass
class Registry:
    image: str
    """that it has, and the engine has not"""
    host: str
    log: Path

    def fetched(self) -> int:
        """How often it has given the image's manifest to who may read it."""
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
    """The worker is on a machine of Google's, whose account may read the registry."""
    with google_machine() as found:
        found.metadata["instance/service-accounts/default/token"] = json.dumps({"access_token": TOKEN})
        monkeypatch.setenv("GCE_METADATA_HOST", found.address)
        monkeypatch.setattr(registry_credentials, "_GOOGLE", re.compile(re.escape(f"{registry.host}/")))
        yield


def test_an_image_is_pulled_once_with_the_token_of_the_machine(
    registry: Registry, machine: None, tmp_path: Path, containers: Callable[..., Sandbox]
) -> None:
    sandbox = containers(image=registry.image)
    with Bench(Stack(tmp_path / "first"), sandbox) as first, Bench(Stack(tmp_path / "second"), sandbox) as second:
        # Both at once find it missing, and one of them brings it.
        with first.running("echo first") as ran:
            assert second.script("echo second").stdout == b"second\n"
        assert ran[0].stdout == b"first\n"
        assert registry.fetched() == 1
        assert first.script("echo again").stdout == b"again\n"
        assert registry.fetched() == 1


def test_who_may_not_read_an_image_is_told(
    registry: Registry, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    container_bench.sandbox = containers(image=registry.image)
    with pytest.raises(CommandNotStarted) as raised:
        container_bench.script("true")
    reason = "could not be pulled: there is no such image, or the worker may not read it."
    assert str(raised.value) == f"The image '{registry.image}' {reason}"
    assert registry.fetched() == 0


def test_an_image_that_the_registry_does_not_have_is_told(
    registry: Registry, machine: None, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    image = f"{registry.host}/busybox:none"
    container_bench.sandbox = containers(image=image)
    with pytest.raises(CommandNotStarted, match="could not be pulled: there is no such image"):
        container_bench.script("true")
