"""Containers on an engine without `docker-init`, and what the worker does while none can be started."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers.docker_engine import IMAGE, required_engine
from requirement import lacking
from sandbox_bench import Bench
from worker_harness import Stack, until

from cloud_executor.errors import Unavailable
from cloud_executor.settings import InvalidSetting
from worker_vm.worker.sandbox import check
from worker_vm.worker.sandbox.check import wait_for_sandbox
from worker_vm.worker.sandbox.container import init_process
from worker_vm.worker.sandbox.container.engine import ContainerEngine
from worker_vm.worker.sandbox.container.sandbox import ContainerSandbox


@pytest.fixture(scope="module")
def engine_without_init() -> Iterator[str]:
    with required_engine(init=False) as address:
        yield address


@pytest.fixture
def bench(engine_without_init: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("DOCKER_HOST", engine_without_init)
    with Bench(Stack(tmp_path), ContainerSandbox(ContainerEngine(), IMAGE, "none", gpus=0)) as found:
        yield found


def test_the_workers_own_init_process_starts_the_command_and_reaps_its_children(bench: Bench) -> None:
    if init_process.own_program() is None:
        lacking("docker", "The program tini-static is not installed (Debian: tini).")
    orphan = "(sleep 0.01 &); sleep 0.3"
    script = f"{orphan}; echo $$; cat /proc/1/comm; cat /proc/[0-9]*/status | grep -c 'State:.Z'; exit 3"
    ran = bench.script(script)
    shell, init, zombies = ran.stdout.decode().split()
    assert (ran.ending.exit_code, init, zombies) == (3, "job-init", "0")
    assert shell != "1"
    unwritable = bench.script("echo x > /sbin/job-init")
    assert unwritable.ending.exit_code != 0


def test_without_a_program_of_its_own_such_an_engine_starts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.sandbox.container.init_process.own_program", lambda: None)
    monkeypatch.setattr("worker_vm.worker.sandbox.container.sandbox.ENGINE_RETRY_SECONDS", 0.1)
    with pytest.raises(Unavailable):
        bench.script("true")


# The check at the start ----------------------------------------------------------------------------------------------


def test_the_check_is_repeated_until_it_succeeds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(check, "PAUSE_SECONDS", 0.01)
    results = iter([Unavailable("The engine sleeps."), InvalidSetting("The image is missing."), None])
    reports: list[str | None] = []

    def once() -> None:
        result = next(results)
        if result is not None:
            raise result

    wait_for_sandbox(once, reports.append, threading.Event())
    assert reports == ["The engine sleeps.", "The image is missing.", None]
    assert [record.__dict__["reason"] for record in caplog.records] == reports[:2]


def test_a_stopping_worker_ends_the_wait() -> None:
    stopping = threading.Event()

    def once() -> None:
        stopping.set()
        raise Unavailable

    wait_for_sandbox(once, lambda _: None, stopping)


def test_the_health_page_says_why_no_container_can_be_started(
    engine_address: str,
    tmp_path: Path,
) -> None:
    """The worker takes no job meanwhile, and a signal stops it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    stack = Stack(tmp_path)
    pools = json.dumps([{"name": "default", "image": "a b"}])
    settings = {"EXECUTOR_SANDBOX": "container", "EXECUTOR_POOLS": pools, "DOCKER_HOST": engine_address}
    sentence = "The worker pool default cannot run jobs. The image 'a b' could not be pulled"

    def page() -> str | None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 503
                return error.read().decode()
        except OSError:
            pass
        return None

    job = stack.add_script("true")
    with stack.program("--slots", "1", "--check", "--health-port", str(port), **settings) as worker:
        assert sentence in until(page)
        until(lambda: sentence in stack.log.read_text())
        assert stack.get(job).status == "CREATED"
        worker.process.terminate()
        assert worker.wait() == 0
