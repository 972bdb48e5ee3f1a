"""Tests of the images: the worker's, run by the command of a worker VM, the functions', and that of compose.yaml."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import pytest
import yaml
from containers.debian_base import BaseMissing, build_image, import_debian
from containers.docker_engine import IMAGE
from emulators.projects import new_project
from requirement import lacking
from stack_process import PROJECT, StackProcess, job_folder, run, until
from walkthrough import walk_through
from worker_machine import machine_file, unit_command, written_files

BASE = "cloud-executor-tests:debian"
WORKER = "cloud-executor-tests:worker"
FUNCTIONS = "cloud-executor-tests:functions"
STACK = "cloud-executor-tests:stack"
BUILD_SECONDS = 600


@dataclass(frozen=True)
class Engine:
    """A Docker Engine that contains the worker's image."""

    address: str
    client: docker.APIClient

    def command(self, *arguments: str | Path) -> list[str]:
        return [str(shutil.which("docker")), "--host", self.address, *map(str, arguments)]


@pytest.fixture(scope="module")
def engine(engine_address: str) -> Iterator[Engine]:
    if shutil.which("docker") is None:
        lacking("docker", "The docker command, which starts the worker, is not installed.")
    with closing(docker.APIClient(base_url=engine_address, timeout=BUILD_SECONDS)) as client:
        try:
            import_debian(engine_address, BASE)
        except BaseMissing as error:
            lacking("docker", str(error))
        build_image(client, path=str(PROJECT), dockerfile="worker_vm/Dockerfile", tag=WORKER, buildargs={"BASE": BASE})
        yield Engine(engine_address, client)


class WorkerMachine:
    """Runs the commands that systemd runs on a VM, with the VM's folders in a temporary one."""

    def __init__(self, engine: Engine, folder: Path, environment: Mapping[str, str], **values: str) -> None:
        files = written_files(machine_file(environment, image=WORKER, **values))
        self.work = folder / "work"
        self.work.mkdir()
        variables = folder / "worker.env"
        variables.write_text(files["/etc/cloud-executor/worker.env"])
        self._replacements = {
            "/usr/bin/docker": " ".join(engine.command()),
            "/etc/cloud-executor/worker.env": str(variables),
            "/var/run/docker.sock:": engine.address.removeprefix("unix://") + ":",
            "/var/lib/cloud-executor/work": str(self.work),
        }
        self._files = files
        self._images = folder / "disks"
        self.log = folder / "worker.log"

    def command(self, setting: str) -> list[str]:
        """A command of the systemd unit, adapted to this machine."""
        docker = self._replacements["/usr/bin/docker"]
        found: list[str] = []
        for word in unit_command(self._files, setting):
            for prefix, replacement in self._replacements.items():
                if word.startswith(prefix):
                    word = word.replace(prefix, replacement)
            found += word.split(" ") if word.startswith(docker) else [word]
        if "--oom-score-adj" in found and not can_lower_oom_score():
            place = found.index("--oom-score-adj")
            del found[place : place + 2]
        return found

    @contextmanager
    def disks(self) -> Iterator[None]:
        """Make the file systems of the slots. The worker leaves nothing there."""
        (step,) = (step for step in self._steps() if "/etc/cloud-executor/make-disks.sh" in step)
        script = self._images.with_suffix(".sh")
        script.write_text(self._files["/etc/cloud-executor/make-disks.sh"])
        try:
            made = subprocess.run(
                ["bash", script, self.work, self._images, *step[-2:]], capture_output=True, timeout=60
            )
            if made.returncode != 0:
                lacking("docker", f"File systems cannot be mounted here: {made.stderr.decode().strip()}")
            yield
            assert {path.name for path in self.work.glob("*/*")} == {"lost+found"}
        finally:
            for disk in self.work.iterdir():
                subprocess.run(["umount", "--lazy", disk], capture_output=True, timeout=60)

    def _steps(self) -> list[list[str]]:
        unit = self._files["/etc/systemd/system/cloud-executor-worker.service"]
        return [step.split() for step in re.findall(r"^ExecStartPre=(.+)$", unit, re.MULTILINE)]

    @contextmanager
    def worker(self, *mounts: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the worker, with additional mounts."""
        command = self.command("ExecStart")
        image = command.index(WORKER)
        command[image:image] = [f"--volume={mount}" for mount in mounts]
        with self.log.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            subprocess.run(self.command("ExecStop"), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            process.kill()
            process.wait(30)

    def logged(self) -> list[str]:
        """The actions in the worker's log."""
        return [json.loads(line)["action"] for line in self.log.read_text().splitlines() if line.endswith("}")]

    def containers(self, engine: Engine) -> list[str]:
        """IDs of the containers that mount this machine's work folder."""
        containers = engine.client.containers(all=True)
        return [container["Id"] for container in containers if str(self.work) in json.dumps(container["Mounts"])]


def can_lower_oom_score() -> bool:
    """Whether this machine lets programs be killed later than others when memory is short; some containers do not."""
    return subprocess.run(["choom", "--adjust=-900", "true"], check=False, capture_output=True).returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def variables_of(stack: StackProcess) -> dict[str, str]:
    """The environment variables that select the stack's blobs, jobs, and queue."""
    text = Path(f"/proc/{stack.pid_of('functions.serve')}/environ").read_bytes().decode()
    variables = dict(line.split("=", 1) for line in text.split("\0") if line)
    return {
        name: value
        for name, value in variables.items()
        if name.startswith("EXECUTOR_") or name.endswith("_EMULATOR_HOST")
    }


@pytest.fixture
def own_stack(backends: Callable[[], Mapping[str, str]], tmp_path: Path) -> Iterator[StackProcess]:
    """A local stack without a worker."""
    with closing(StackProcess(tmp_path / "data", "--slots", "0", settings=backends())) as stack:
        yield stack


@pytest.mark.timeout(900)  # the first run on a machine creates the base image
def test_worker_image_runs_jobs_in_sibling_containers(engine: Engine, own_stack: StackProcess, tmp_path: Path) -> None:
    port = free_port()
    pool = {"name": "default", "image": IMAGE, "memoryMiB": 64, "processes": 64, "diskMiB": 64}
    variables = {
        **variables_of(own_stack),
        "EXECUTOR_SANDBOX": "container",
        "EXECUTOR_POOLS": json.dumps([pool]),
    }
    values = {"slots": "2", "disks": "2", "disk_mib": "64", "disks_option": "--disks"}
    machine = WorkerMachine(engine, tmp_path, variables, **values, origin_url=own_stack.url, health_port=str(port))
    with machine.disks(), machine.worker(f"{own_stack.data}:{own_stack.data}") as process:
        until(lambda: "start" in machine.logged() or process.poll() is not None)
        assert process.poll() is None, machine.log.read_text()

        walk = tmp_path / "walk"
        walk.mkdir()
        walk_through(own_stack.url, walk)

        # A job runs in the pool's image, on a file system of its own, and cannot access the worker's files.
        script = (
            "pwd; id -u; grep -c '^/dev/loop[0-9]* /job ext4 ' /proc/mounts; "
            "test -e /opt/worker || test -e /var/run/docker.sock || echo isolated"
        )
        look = job_folder(tmp_path / "look", script)
        done = run("run", look, "--url", own_stack.url)
        assert (done.returncode, done.stdout) == (0, b"/job\n65532\n1\nisolated\n"), done.stderr

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as response:
            assert response.status == 200
        check = engine.client.inspect_image(WORKER)["Config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        health = subprocess.run(
            engine.command("exec", "cloud-executor-worker", *check[1:]), capture_output=True, timeout=30
        )
        assert health.returncode == 0, health.stdout + health.stderr

        pid = engine.client.inspect_container("cloud-executor-worker")["State"]["Pid"]
        (resident,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert int(resident) < 200 * 1024

        stopped = subprocess.run(machine.command("ExecStop"), capture_output=True, timeout=60)
        assert (stopped.returncode, process.wait(30)) == (0, 0), stopped.stderr
    assert machine.containers(engine) == []
    assert machine.logged() == ["start", "claim", "finish", "claim", "finish", "stop"]


@pytest.mark.timeout(900)
def test_worker_image_has_labels_and_only_the_workers_files(engine: Engine) -> None:
    image = engine.client.inspect_image(WORKER)
    labels = image["Config"]["Labels"]
    assert {name.removeprefix("org.opencontainers.image.") for name in labels} == {
        "base.name",
        "description",
        "licenses",
        "revision",
        "title",
        "version",
    }
    assert labels["org.opencontainers.image.base.name"] == BASE
    base = engine.client.inspect_image(BASE)
    assert image["Size"] - base["Size"] < 200e6
    listed = engine.command("run", "--rm", "--entrypoint=find", WORKER, "/opt/worker/app", "-name", "*.py")
    files = subprocess.run(listed, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    expected = [*(PROJECT / "cloud_executor").rglob("*.py"), *(PROJECT / "worker_vm").rglob("*.py")]
    assert sorted(files) == sorted(f"/opt/worker/app/{file.relative_to(PROJECT)}" for file in expected)


@pytest.mark.timeout(900)
def test_image_of_the_functions_serves_an_entry_point(engine: Engine, tmp_path: Path) -> None:
    build_image(
        engine.client, path=str(PROJECT), dockerfile="functions/Dockerfile", tag=FUNCTIONS, buildargs={"BASE": BASE}
    )
    port, name = free_port(), "functions"
    variables = {"PORT": port, "K_SERVICE": name, "EXECUTOR_DATA": "/tmp/data", "EXECUTOR_ALLOW_OPEN": "yes"}
    options = [f"--env={variable}={value}" for variable, value in variables.items()]
    log = tmp_path / "functions.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            engine.command("run", "--rm", f"--name={name}", "--network=host", *options, FUNCTIONS, "--target=executor"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or is_healthy(f"{url}/healthz"))
        assert process.poll() is None, log.read_text()
        assert httpx.get(f"{url}/rest/executor/worker").json() == {}
        assert httpx.get(f"{url}/rest/blob/metadata").status_code == 404
        assert "<title>" in httpx.get(url).text, "the dashboard belongs to the entry point"
        user = subprocess.run(engine.command("exec", name, "id", "-un"), capture_output=True, text=True, timeout=60)
        assert user.stdout == "functions\n", user.stderr
    finally:
        subprocess.run(engine.command("stop", name), capture_output=True, timeout=60)
    assert process.wait(30) == 0, log.read_text()


def is_healthy(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url).status_code == 200
    return False


@pytest.mark.timeout(900)
def test_image_of_compose_file_runs_the_local_stack(
    engine: Engine, storage_address: str, firestore_address: str, pubsub_address: str, tmp_path: Path
) -> None:
    service = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]["stack"]
    assert service["build"] == {"context": ".", "dockerfile": "deploy/server/Dockerfile"}
    build_image(
        engine.client, path=str(PROJECT), dockerfile="deploy/server/Dockerfile", tag=STACK, buildargs={"BASE": BASE}
    )
    port, name = free_port(), new_project()
    variables = {
        **service["environment"],
        "EXECUTOR_PROJECT": name,
        "EXECUTOR_BUCKET": name,
        # These replace the names of the other containers in compose.yaml.
        "STORAGE_EMULATOR_HOST": f"http://{storage_address}",
        "FIRESTORE_EMULATOR_HOST": firestore_address,
        "PUBSUB_EMULATOR_HOST": pubsub_address,
    }
    options = [f"--env={variable}={value}" for variable, value in variables.items()]
    command = [str(port) if word == "8888" else word for word in service["command"].split()]
    log = tmp_path / "stack.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            engine.command("run", "--rm", "--init", "--name=stack", "--network=host", *options, STACK, *command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: "is ready at" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        done = run("run", job_folder(tmp_path / "job", "id -un"), "--url", f"http://127.0.0.1:{port}")
        assert (done.returncode, done.stdout) == (0, b"executor\n"), done.stderr
    finally:
        subprocess.run(engine.command("stop", "stack"), capture_output=True, timeout=60)
    assert process.wait(30) == 0, log.read_text()
