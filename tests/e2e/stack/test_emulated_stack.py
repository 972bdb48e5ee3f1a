"""`executor up --emulators`: it starts the emulators with the stack and stops them with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from emulators.projects import new_project
from stack_process import (
    PROJECT,
    StackProcess,
    StartStack,
    environment,
    job_folder,
    processes_of,
    run,
    signal_all,
    until,
)

from bench.processes import tree


@pytest.fixture(autouse=True)
def emulators(storage_address: str, firestore_address: str, pubsub_address: str) -> None:
    """Skip the tests if an emulator is missing."""


def test_the_demo_runs_on_emulators_and_ends_them(tmp_path: Path) -> None:
    demo = [sys.executable, "-m", "cloud_executor.cli.demo", "--emulators"]
    variables = environment(TMPDIR=str(tmp_path))
    finished = subprocess.run(demo, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=90)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "executor up --emulators" in finished.stdout
    assert "SUCCESS" in finished.stdout
    assert list(tmp_path.iterdir()) == []
    until(lambda: not processes_of(tmp_path))


def test_the_stack_stops_when_an_emulator_ends_and_blobs_survive_a_restart(
    start_stack: StartStack, tmp_path: Path
) -> None:
    stack = start_stack("--emulators", "--slots", "1")
    assert f"(1 slot, emulators, blobs in {stack.data})" in stack.ready_line
    with stack.client as client:
        blob = client.upload_folder(job_folder(tmp_path / "job", "true"))
    started = tree(stack.process.pid)
    assert len(started) > 4
    storage = [process for process, command in processes_of(stack.data).items() if "fake-gcs" in command.split()[0]]
    assert set(storage) <= set(started)
    signal_all(storage, signal.SIGKILL)
    assert stack.wait() == 1
    last = stack.errors.read_text().splitlines()[-1]
    assert last == "Error: The Cloud Storage emulator has ended; stopping the stack."
    assert not any(is_running(process) for process in started)

    stack = start_stack("--emulators", "--slots", "0")
    assert f"(no worker, emulators, blobs in {stack.data})" in stack.ready_line
    with stack.client as client:
        assert client.create_job(blob).status == "CREATED"
        assert b"".join(client.chunks(blob))
    started = tree(stack.process.pid)
    stack.process.kill()
    until(lambda: not any(is_running(process) for process in started))


def test_a_missing_emulator_is_an_error_that_says_how_to_install_it(tmp_path: Path) -> None:
    for program in ("sh", "cat"):
        (tmp_path / program).symlink_to(f"/bin/{program}")
    finished = run("up", "--emulators", "--port", "0", "--data", tmp_path / "data", PATH=str(tmp_path))
    assert finished.returncode == 2
    assert finished.stdout == b""
    assert b"Error: The " in finished.stderr
    assert b"emulator is missing: install the Google Cloud CLI" in finished.stderr
    assert finished.stderr.count(b"\n") == 1


# The composed stack ---------------------------------------------------------------------------------------------------

COMPOSED = yaml.safe_load((PROJECT / "compose.yaml").read_text())


@pytest.fixture
def composed(
    tmp_path: Path, storage_address: str, firestore_address: str, pubsub_address: str
) -> Iterator[StackProcess]:
    """The service `stack` of compose.yaml with its variables, but with the emulators of the tests."""
    variables: dict[str, Any] = COMPOSED["services"]["stack"]["environment"]
    name = new_project()
    settings = {
        **variables,
        "EXECUTOR_PROJECT": name,
        "EXECUTOR_BUCKET": name,
        "STORAGE_EMULATOR_HOST": f"http://{storage_address}",
        "FIRESTORE_EMULATOR_HOST": firestore_address,
        "PUBSUB_EMULATOR_HOST": pubsub_address,
    }
    with closing(StackProcess(tmp_path / "data", settings=settings)) as stack:
        yield stack


def test_the_composed_stack_creates_its_resources_in_the_emulators(composed: StackProcess, tmp_path: Path) -> None:
    finished = run("run", job_folder(tmp_path / "job", "echo composed"), "--url", composed.url)
    assert (finished.returncode, finished.stdout) == (0, b"composed\n")
    assert not (composed.data / "blobs").exists()
    assert not (composed.data / "executor.sqlite").exists()


def test_the_composed_stack_depends_on_its_emulators_and_names_their_hosts_and_ports() -> None:
    services = COMPOSED["services"]
    stack = services["stack"]
    assert set(stack["depends_on"]) == services.keys() - {"stack"}
    hosts = {name: value for name, value in stack["environment"].items() if name.endswith("_HOST")}
    assert {value.rpartition("/")[2].partition(":")[0] for value in hosts.values()} == services.keys() - {"stack"}
    for address in hosts.values():
        host, port = address.rpartition("/")[2].split(":")
        assert port in services[host]["command"].replace("=", ":").replace(" ", ":").split(":")


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
