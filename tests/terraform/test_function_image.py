"""Tests that the functions' image contains everything that they need.

The functions run as in the image, with the command, files, and settings that functions/Dockerfile and Terraform give
them. Emulators replace Google's services, and contain the bucket, topics, and subscriptions that Terraform creates.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from requirement import lacking
from terraform_program import REPOSITORY, Document, Terraform, environment, of_type, worker_settings
from walkthrough import walk_through

from cloud_executor.model.jobs.message import encode_message
from cloud_executor.model.jobs.transitions import MAX_DEAD_LETTERS

Settings = dict[str, str]

DOCKERFILE = (REPOSITORY / "functions/Dockerfile").read_text()

DEPLOYMENT_GUIDE = (REPOSITORY / "docs/deployment.md").read_text()

START_SECONDS = 60


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that functions/Dockerfile copies."""
    folder = tmp_path_factory.mktemp("app")
    for source, target in re.findall(r"^COPY (\S+) /opt/functions/app/(\S+)$", DOCKERFILE, re.MULTILINE):
        shutil.copytree(REPOSITORY / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def cloud(minimal: list[Document], storage_address: str, firestore_address: str, pubsub_address: str) -> Settings:
    """Addresses of the emulators, which contain the buckets, topics, and subscriptions that Terraform created."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        for bucket in of_type(minimal, "google_storage_bucket"):
            body = {"name": bucket["values"]["name"]}
            client.post(f"http://{storage_address}/storage/v1/b", json=body).raise_for_status()
        for topic in of_type(minimal, "google_pubsub_topic"):
            name = f"projects/my-project/topics/{topic['values']['name']}"
            client.put(f"http://{pubsub_address}/v1/{name}", json={}).raise_for_status()
        for subscription in of_type(minimal, "google_pubsub_subscription"):
            values = subscription["values"]
            topic_name = _topic_of(minimal, subscription)
            body = {"topic": topic_name, "ackDeadlineSeconds": values["ack_deadline_seconds"]}
            name = f"projects/my-project/subscriptions/{values['name']}"
            client.put(f"http://{pubsub_address}/v1/{name}", json=body).raise_for_status()
    return {
        "STORAGE_EMULATOR_HOST": f"http://{storage_address}",
        "FIRESTORE_EMULATOR_HOST": firestore_address,
        "PUBSUB_EMULATOR_HOST": pubsub_address,
    }


def _topic_of(minimal: list[Document], subscription: Document) -> str:
    (topic,) = (
        found["values"]["name"]
        for found in of_type(minimal, "google_pubsub_topic")
        if found["values"]["id"] == subscription["values"]["topic"]
    )
    return f"projects/my-project/topics/{topic}"


@contextmanager
def _function(
    minimal: list[Document], cloud: Settings, folder: Path, entry_point: str, settings: Settings
) -> Iterator[httpx.Client]:
    """Run a function with the command of the image and the arguments and variables of Terraform."""
    name = entry_point.replace("_", "-")
    (service,) = (found for found in of_type(minimal, "google_cloud_run_v2_service") if found["index"] == name)
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    (template,) = service["values"]["template"]
    (container,) = template["containers"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *json.loads(entry)[1:], *container["args"]],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PORT": str(port)}
        | environment(service)
        | cloud
        | settings,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            path = container["startup_probe"][0]["http_get"][0]["path"]
            _wait_for(lambda: client.get(path).status_code == 200, process)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "the function ended"
        assert time.monotonic() < deadline, f"the function did not start within {START_SECONDS} s"
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


@contextmanager
def _worker(minimal: list[Document], cloud: Settings, url: str, folder: Path) -> Iterator[None]:
    """Run a worker as on a VM, but without containers for jobs and without an instance group."""
    settings = worker_settings(minimal) | cloud | {"EXECUTOR_SANDBOX": "process", "PYTHONPATH": str(REPOSITORY)}
    options = ["--pool", "default", "--slots", "1", "--origin-url", url, "--work", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "worker_vm.worker.main", *options],
        env={"PATH": os.environ["PATH"], **settings},
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_image_has_no_other_files_than_the_functions_and_their_library() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) (\S+)$", DOCKERFILE, re.MULTILINE)
    assert copied == [
        ("requirements.txt", "/tmp/requirements.txt"),
        ("cloud_executor", "/opt/functions/app/cloud_executor"),
        ("functions", "/opt/functions/app/functions"),
    ]


def test_requirements_resolve_for_the_image() -> None:
    """For Python 3.12 on Linux, from ready-made packages only, as the image installs them."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--python-version=3.12"]
    command += ["--python-platform=x86_64-manylinux_2_36", "--only-binary=:all:", "requirements.txt"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    if "Failed to fetch" in done.stderr or "error sending request" in done.stderr:
        lacking("package-index", f"uv cannot reach a package index: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("entry_point", "method", "path", "status"),
    [
        ("api", "GET", "/rest/executor/worker", 200),
        ("sweep", "POST", "/", 200),
        # The request has no token.
        ("dead_letter", "POST", "/", 403),
    ],
)
def test_entry_point_starts(
    minimal: list[Document], workspace: Path, cloud: Settings, entry_point: str, method: str, path: str, status: int
) -> None:
    with _function(minimal, cloud, workspace, entry_point, {}) as client:
        assert client.request(method, path).status_code == status


def test_function_and_worker_run_a_job(
    minimal: list[Document], workspace: Path, cloud: Settings, tmp_path: Path
) -> None:
    """The commands use curl, and the worker pulls the job from the subscription."""
    (tmp_path / "walkthrough").mkdir()
    with (
        _function(minimal, cloud, workspace, "api", {}) as client,
        _worker(minimal, cloud, str(client.base_url), tmp_path / "work"),
    ):
        walk_through(str(client.base_url), tmp_path / "walkthrough")


def test_dead_letter_ends_its_job(minimal: list[Document], workspace: Path, cloud: Settings) -> None:
    with (
        _function(minimal, cloud, workspace, "api", {}) as api,
        _function(minimal, cloud, workspace, "dead_letter", {"EXECUTOR_PUSH_UNVERIFIED": "true"}) as dead_letter,
    ):
        job_hash = "dead" * 10
        api.post(f"/rest/executor/create/{job_hash}").raise_for_status()
        message = {"message": {"data": base64.b64encode(encode_message(job_hash)).decode()}, "subscription": "s"}
        for _ in range(MAX_DEAD_LETTERS):
            dead_letter.post("/", json=message).raise_for_status()
        job = api.get(f"/rest/executor/info/{job_hash}").json()
    assert job["status"] == "FAILED_TO_EXECUTE"
    assert job["error"]


def test_first_token_admits_its_owner(minimal: list[Document], workspace: Path, cloud: Settings) -> None:
    """The operator's command in docs/deployment.md makes it, with the pepper of the deployment."""
    (bucket,) = (found for found in of_type(minimal, "google_storage_bucket") if found["name"] == "blobs")
    (pepper,) = (
        found["values"]["secret_data"]
        for found in of_type(minimal, "google_secret_manager_secret_version")
        if found["name"] == "pepper"
    )
    command = re.findall(r"^    (executor token create .+ --local)$", DEPLOYMENT_GUIDE, re.MULTILINE)[0].split()
    settings = dict(re.findall(r"(EXECUTOR_(?:PROJECT|JOBS|OBJECTS|BUCKET))=(\S+)", DEPLOYMENT_GUIDE))
    assert settings["EXECUTOR_BUCKET"] == bucket["values"]["name"]
    token = subprocess.run(
        [f"{sysconfig.get_path('scripts')}/{command[0]}", *command[1:]],
        env={"PATH": os.environ["PATH"], **cloud, **settings, "EXECUTOR_TOKEN_PEPPER": pepper},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()
    access = {"EXECUTOR_AUTH": "token", "EXECUTOR_ALLOW_OPEN": "", "EXECUTOR_TOKEN_PEPPER": pepper}
    with _function(minimal, cloud, workspace, "api", access) as api:
        assert api.get("/rest/tokens").status_code == 401
        tokens = api.get("/rest/tokens", headers={"x-api-token": token}).raise_for_status().json()["tokens"]
    assert [(found["user"], found["role"]) for found in tokens] == [("jane", "admin")]


def test_commands_in_try_it_create_a_job(
    minimal_deployment: Terraform,
    minimal: list[Document],
    workspace: Path,
    cloud: Settings,
    tmp_path: Path,
) -> None:
    """The commands run as printed, with a fake gcloud that prints the secret."""
    (tmp_path / "gcloud").write_text("#!/bin/sh\necho the-secret\n")
    (tmp_path / "gcloud").chmod(0o755)
    with _function(minimal, cloud, workspace, "api", {"EXECUTOR_NONCE": "the-secret"}) as client:
        assert client.get("/rest/executor/worker").status_code == 403
        commands = re.sub(
            r"EXECUTOR_URL=\S+",
            f"EXECUTOR_URL={str(client.base_url).rstrip('/')}",
            minimal_deployment.output("output", "-raw", "try_it"),
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "no_proxy": "*"},
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
    created, found = (json.loads(part) for part in re.findall(r"\{.+?\}(?=\s*\{|\s*$)", done.stdout))
    assert created["hash"] == found["hash"]
    assert found["status"] == "CREATED"
