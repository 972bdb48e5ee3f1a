from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from containers.docker_engine import IMAGE
from sandbox_bench import Bench
from worker_harness import Stack

from worker_vm.worker.sandbox.container.engine import ContainerEngine
from worker_vm.worker.sandbox.container.sandbox import ContainerSandbox
from worker_vm.worker.sandbox.interface import Sandbox
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox


@pytest.fixture
def engine(engine_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.APIClient]:
    """A client of the engine that the worker also uses. No container may be left at the end."""
    monkeypatch.setenv("DOCKER_HOST", engine_address)
    client = docker.APIClient(base_url=engine_address)
    try:
        yield client
        assert client.containers(all=True) == []
    finally:
        for container in client.containers(all=True):
            client.remove_container(container["Id"], force=True)
        client.close()


def container_sandbox(image: str = IMAGE, network: str = "none") -> Sandbox:
    return ContainerSandbox(ContainerEngine(), image, network, gpus=0)


@pytest.fixture
def containers(engine: docker.APIClient) -> Callable[..., Sandbox]:
    """Creates container sandboxes."""
    return container_sandbox


@pytest.fixture(params=["process", "container"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "process":
        return ProcessSandbox()
    request.getfixturevalue("engine")
    return container_sandbox()


@pytest.fixture
def bench(tmp_path: Path, sandbox: Sandbox) -> Iterator[Bench]:
    with Bench(Stack(tmp_path), sandbox) as found:
        yield found


@pytest.fixture
def container_bench(tmp_path: Path, containers: Callable[..., Sandbox]) -> Iterator[Bench]:
    with Bench(Stack(tmp_path), containers()) as found:
        yield found
