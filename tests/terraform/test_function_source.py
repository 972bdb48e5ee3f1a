"""The archive that Terraform makes for the functions is all that they need: it is run as the platform runs it, with the
settings that Terraform gives it, where Google's services are emulators that have what Terraform makes in them."""

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

Settings = dict[str, str]


@pytest.fixture(scope="module")
def made(minimal_deployment: Terraform) -> list[Document]:
    return minimal_deployment.applied()


@pytest.fixture(scope="module")
def workspace(minimal_deployment: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive in an empty folder."""
    folder = tmp_path_factory.mktemp("workspace")
    with zipfile.ZipFile(minimal_deployment.folder / ".terraform" / "cloud-executor-functions.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def cloud(made: list[Document], storage_address: str, firestore_address: str, pubsub_address: str) -> Settings:
    """Where the emulators are; they have the bucket, the topics and the subscriptions that Terraform made."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        for bucket in of_type(made, "google_storage_bucket"):
            body = {"name": bucket["values"]["name"]}
            client.post(f"http://{storage_address}/storage/v1/b", json=body).raise_for_status()
        for topic in of_type(made, "google_pubsub_topic"):
            name = f"projects/my-project/topics/{topic['values']['name']}"
            client.put(f"http://{pubsub_address}/v1/{name}", json={}).raise_for_status()
        for subscription in of_type(made, "google_pubsub_subscription"):
            values = subscription["values"]
            topic_name = _topic_of(made, subscription)
            body = {"topic": topic_name, "ackDeadlineSeconds": values["ack_deadline_seconds"]}
            name = f"projects/my-project/subscriptions/{values['name']}"
            client.put(f"http://{pubsub_address}/v1/{name}", json=body).raise_for_status()
    return {
        "STORAGE_EMULATOR_HOST": f"http://{storage_address}",
        "FIRESTORE_EMULATOR_HOST": firestore_address,
        "PUBSUB_EMULATOR_HOST": pubsub_address,
    }


def _topic_of(made: list[Document], subscription: Document) -> str:
    (topic,) = (
        found["values"]["name"]
        for found in of_type(made, "google_pubsub_topic")
        if found["values"]["id"] == subscription["values"]["topic"]
    )
    return f"projects/my-project/topics/{topic}"


def _function_settings(made: list[Document], workspace: Path, entry_point: str) -> Settings:
    """What Terraform tells the function, where its archive is in this folder."""
    (settings,) = (
        found["values"]["service_config"][0]["environment_variables"]
        for found in of_type(made, "google_cloudfunctions2_function")
        if found["values"]["build_config"][0]["entry_point"] == entry_point
    )
    return {name: value.replace("/workspace", str(workspace)) for name, value in settings.items()}


@contextmanager
def _worker(made: list[Document], cloud: Settings, url: str, folder: Path) -> Iterator[None]:
    """As a VM starts it, but that jobs have no container, and that a machine has no group to leave."""
    settings = worker_settings(made) | cloud | {"EXECUTOR_SANDBOX": "process", "PYTHONPATH": str(REPOSITORY)}
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


def test_the_archive_has_what_functions_need_and_nothing_else(workspace: Path) -> None:
    assert {path.name for path in workspace.iterdir()} == {"cloud_executor", "functions", "requirements.txt"}
    assert not (workspace / "cloud_executor/client").exists()
    assert not (workspace / "local_stack").exists()
    # So an environment with the requirements of one has those of the other.
    assert (workspace / "requirements.txt").read_bytes() == (REPOSITORY / "requirements.txt").read_bytes()


def test_the_archive_is_the_same_wherever_it_is_made(
    minimal_deployment: Terraform, production_deployment: Terraform
) -> None:
    """Or else each deployment would build the functions anew."""
    archives = [
        (deployment.folder / ".terraform" / "cloud-executor-functions.zip").read_bytes()
        for deployment in (minimal_deployment, production_deployment)
    ]
    assert archives[0] == archives[1]


@pytest.mark.parametrize(
    ("entry_point", "settings_of", "method", "path", "status"),
    [
        ("api", "api", "GET", "/rest/executor/worker", 200),
        ("blob", "api", "GET", "/rest/blob/metadata", 200),
        ("executor", "api", "GET", "/rest/executor/worker", 200),
        ("sweep", "sweep", "POST", "/", 200),
        # No event at all.
        ("dead_letter", "dead_letter", "POST", "/", 415),
    ],
)
@pytest.mark.timeout(400)
def test_each_entry_point_starts(
    clean_environment: Path,
    made: list[Document],
    workspace: Path,
    cloud: Settings,
    entry_point: str,
    settings_of: str,
    method: str,
    path: str,
    status: int,
) -> None:
    settings = _function_settings(made, workspace, settings_of) | cloud
    with function(clean_environment, entry_point, settings, workspace) as client:
        assert client.request(method, path).status_code == status


@pytest.mark.timeout(400)
def test_the_walkthrough(
    clean_environment: Path, made: list[Document], workspace: Path, cloud: Settings, tmp_path: Path
) -> None:
    """By curl, against the function, with a worker that takes the job from the subscription."""
    settings = _function_settings(made, workspace, "api") | cloud
    (tmp_path / "walkthrough").mkdir()
    with (
        function(clean_environment, "api", settings, workspace) as client,
        _worker(made, cloud, str(client.base_url), tmp_path / "work"),
    ):
        walk_through(str(client.base_url), tmp_path / "walkthrough")


@pytest.mark.timeout(400)
def test_a_dead_letter_ends_its_job(
    clean_environment: Path, made: list[Document], workspace: Path, cloud: Settings
) -> None:
    with (
        function(clean_environment, "api", _function_settings(made, workspace, "api") | cloud, workspace) as api,
        function(
            clean_environment, "dead_letter", _function_settings(made, workspace, "dead_letter") | cloud, workspace
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
        dead_letter.post("/", json=message, headers=event).raise_for_status()
        job = api.get(f"/rest/executor/info/{job_hash}").json()
    assert job["status"] == "FAILED_TO_EXECUTE"
    assert job["error"]


@pytest.mark.timeout(400)
def test_the_commands_to_try_it_create_a_job(
    clean_environment: Path,
    minimal_deployment: Terraform,
    made: list[Document],
    workspace: Path,
    cloud: Settings,
    tmp_path: Path,
) -> None:
    """As they are printed, by somebody whom gcloud tells the secret."""
    (tmp_path / "gcloud").write_text("#!/bin/sh\necho the-secret\n")
    (tmp_path / "gcloud").chmod(0o755)
    settings = _function_settings(made, workspace, "api") | cloud | {"EXECUTOR_NONCE": "the-secret"}
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
