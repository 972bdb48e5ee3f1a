"""Tests that the source archive contains everything that the functions need.

The functions run as on the platform, with the settings that Terraform gives them. Emulators replace Google's services,
and contain the bucket, topics, and subscriptions that Terraform creates.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from function_process import function
from terraform_program import REPOSITORY, Document, Terraform, of_type, worker_settings
from walkthrough import walk_through

from cloud_executor.model.message import encode_message
from cloud_executor.model.transitions import MAX_DEAD_LETTERS

Settings = dict[str, str]


@pytest.fixture(scope="module")
def archive(minimal_deployment: Terraform) -> Path:
    return minimal_deployment.folder / ".terraform" / "cloud-executor-functions.zip"


@pytest.fixture(scope="module")
def workspace(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to which the platform extracts the archive."""
    folder = tmp_path_factory.mktemp("workspace")
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
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


def _function_settings(minimal: list[Document], workspace: Path, entry_point: str) -> Settings:
    """The function's environment variables, with the folder of its source changed to this one."""
    (settings,) = (
        found["values"]["service_config"][0]["environment_variables"]
        for found in of_type(minimal, "google_cloudfunctions2_function")
        if found["values"]["build_config"][0]["entry_point"] == entry_point
    )
    return {name: value.replace("/workspace", str(workspace)) for name, value in settings.items()}


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


def test_archive_contains_the_functions_and_the_library(archive: Path) -> None:
    """Names, contents, and modes do not depend on the machine, so only a changed file causes a new build."""
    expected = {"requirements.txt": (REPOSITORY / "requirements.txt").read_bytes()}
    for folder in ("cloud_executor", "functions"):
        for file in (REPOSITORY / folder).rglob("*"):
            if file.suffix in {".py", ".json", ".html", ".css", ".js", ".svg"}:
                expected[str(file.relative_to(REPOSITORY))] = file.read_bytes()
    with zipfile.ZipFile(archive) as source:
        assert {name: source.read(name) for name in source.namelist()} == expected
        assert {entry.external_attr >> 16 & 0o777 for entry in source.infolist()} == {0o644}


@pytest.mark.parametrize(
    ("entry_point", "settings_of", "method", "path", "status"),
    [
        ("api", "api", "GET", "/rest/executor/worker", 200),
        ("blob", "api", "GET", "/rest/blob/metadata", 200),
        ("executor", "api", "GET", "/rest/executor/worker", 200),
        ("sweep", "sweep", "POST", "/", 200),
        # The request is not an event.
        ("dead_letter", "dead_letter", "POST", "/", 415),
    ],
)
def test_entry_point_starts(
    clean_environment: Path,
    minimal: list[Document],
    workspace: Path,
    cloud: Settings,
    entry_point: str,
    settings_of: str,
    method: str,
    path: str,
    status: int,
) -> None:
    settings = _function_settings(minimal, workspace, settings_of) | cloud
    with function(clean_environment, entry_point, settings, workspace) as client:
        assert client.request(method, path).status_code == status


def test_function_and_worker_run_a_job(
    clean_environment: Path, minimal: list[Document], workspace: Path, cloud: Settings, tmp_path: Path
) -> None:
    """The commands use curl, and the worker pulls the job from the subscription."""
    settings = _function_settings(minimal, workspace, "api") | cloud
    (tmp_path / "walkthrough").mkdir()
    with (
        function(clean_environment, "api", settings, workspace) as client,
        _worker(minimal, cloud, str(client.base_url), tmp_path / "work"),
    ):
        walk_through(str(client.base_url), tmp_path / "walkthrough")


def test_dead_letter_ends_its_job(
    clean_environment: Path, minimal: list[Document], workspace: Path, cloud: Settings
) -> None:
    with (
        function(clean_environment, "api", _function_settings(minimal, workspace, "api") | cloud, workspace) as api,
        function(
            clean_environment, "dead_letter", _function_settings(minimal, workspace, "dead_letter") | cloud, workspace
        ) as dead_letter,
    ):
        job_hash = "dead" * 10
        api.post(f"/rest/executor/create/{job_hash}").raise_for_status()
        event = {
            "ce-id": "1",
            "ce-source": "//pubsub.googleapis.com/projects/my-project/topics/cloud-executor-dead-letter",
            "ce-specversion": "1.0",
            "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        }
        message = {"message": {"data": base64.b64encode(encode_message(job_hash)).decode()}, "subscription": "s"}
        for _ in range(MAX_DEAD_LETTERS):
            dead_letter.post("/", json=message, headers=event).raise_for_status()
        job = api.get(f"/rest/executor/info/{job_hash}").json()
    assert job["status"] == "FAILED_TO_EXECUTE"
    assert job["error"]


def test_commands_in_try_it_create_a_job(
    clean_environment: Path,
    minimal_deployment: Terraform,
    minimal: list[Document],
    workspace: Path,
    cloud: Settings,
    tmp_path: Path,
) -> None:
    """The commands run as printed, with a fake gcloud that prints the secret."""
    (tmp_path / "gcloud").write_text("#!/bin/sh\necho the-secret\n")
    (tmp_path / "gcloud").chmod(0o755)
    settings = _function_settings(minimal, workspace, "api") | cloud | {"EXECUTOR_NONCE": "the-secret"}
    with function(clean_environment, "api", settings, workspace) as client:
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
