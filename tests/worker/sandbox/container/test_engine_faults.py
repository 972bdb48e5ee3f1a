"""An engine that is temporarily unavailable: no command counts as ended because of it, and no container is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
import pytest
from containers.docker_engine import IMAGE
from sandbox_bench import Bench
from servers.tcp_proxy import TcpProxy
from worker_harness import WAIT_SECONDS, Stack

from cloud_executor.errors import Unavailable
from worker_vm.worker.attempt import Interruption
from worker_vm.worker.sandbox.container.engine import ContainerEngine
from worker_vm.worker.sandbox.interface import Sandbox

AWAY_SECONDS = 1.0


@pytest.fixture
def way(engine: docker.APIClient, engine_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """The worker's connection to the engine; the test's own client has another one."""
    with closing(TcpProxy(engine_address.removeprefix("unix://"))) as proxy:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{proxy.address}")
        yield proxy


@pytest.fixture
def far_bench(way: TcpProxy, tmp_path: Path, containers: Callable[..., Sandbox]) -> Iterator[Bench]:
    with Bench(Stack(tmp_path), containers()) as found:
        yield found


def test_a_command_waits_for_an_unavailable_engine(way: TcpProxy, far_bench: Bench) -> None:
    way.cut()
    back = threading.Timer(AWAY_SECONDS, way.restore)
    back.start()
    assert far_bench.script("echo fine").stdout == b"fine\n"
    back.join()


def test_waiting_for_the_engine_can_be_interrupted(way: TcpProxy, far_bench: Bench) -> None:
    way.cut()
    interrupt = threading.Timer(AWAY_SECONDS, far_bench.attempt.interrupt, [Interruption.RELEASED])
    interrupt.start()
    # The engine stays away, so only the interruption ends the wait.
    assert far_bench.script("true").ending.interrupted
    interrupt.join()


@contextmanager
def broken(way: TcpProxy, *, back: bool) -> Iterator[None]:
    """Break the connections to the engine when the block's command runs. `back`: new connections are possible."""
    running = threading.Event()

    def breaks() -> None:
        assert running.wait(WAIT_SECONDS)
        way.cut()
        if back:
            way.restore()

    # Memory is only sampled while the command runs.
    way.when_sent(b"/stats?", 0, running.set)
    thread = threading.Thread(target=breaks)
    thread.start()
    try:
        yield
    finally:
        thread.join(WAIT_SECONDS)


def test_a_broken_connection_does_not_count_as_the_end_of_the_command(way: TcpProxy, far_bench: Bench) -> None:
    with broken(way, back=True), pytest.raises(Unavailable):
        far_bench.script("sleep 60")


def test_a_container_that_could_not_be_removed_is_removed_by_the_next_command(
    way: TcpProxy, far_bench: Bench, engine: docker.APIClient
) -> None:
    with broken(way, back=False), pytest.raises(Unavailable):
        far_bench.script("sleep 60")
    far_bench.__exit__(None, None, None)
    assert len(engine.containers()) == 1
    way.restore()
    with Bench(far_bench.stack, far_bench.sandbox) as following:
        assert following.script("echo fine").stdout == b"fine\n"
    assert engine.containers(all=True) == []


def remove_anyhow(engine: docker.APIClient, container: str) -> None:
    # Either request may be the first.
    with suppress(docker.errors.APIError):
        engine.remove_container(container, force=True)


def test_removing_a_container_waits_for_another_removal_in_progress(engine: docker.APIClient) -> None:
    ours = ContainerEngine()
    for _ in range(5):
        container = engine.create_container(IMAGE, "sleep 60", healthcheck={"test": ["NONE"]})["Id"]
        engine.start(container)
        other = threading.Thread(target=remove_anyhow, args=(engine, container))
        other.start()
        ours.remove(container)
        assert [found["Id"] for found in engine.containers(all=True)] == []
        other.join()
