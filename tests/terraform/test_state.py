"""Tests that a deployment keeps its own state, and that no plan destroys its data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_programs import PLAN, REGISTRY, Deployment
from terraform_program import REPOSITORY, Document

from deploy.plan_guard import PROTECTED_TYPES, counts, problem
from deploy.plan_guard import Deployment as Identity

STATE: Document = {"outputs": {"registry": {"value": REGISTRY}}, "resources": []}
MINE = Identity("my-project", "us-central1", "cloud-executor")

OTHERS = [
    "us-central1-docker.pkg.dev/my-project/another",
    "us-central1-docker.pkg.dev/another-project/cloud-executor",
    "europe-west4-docker.pkg.dev/my-project/cloud-executor",
]


def state_of(registry: str) -> str:
    return json.dumps({"outputs": {"registry": {"value": registry}}, "resources": []})


def changed(kind: str, *actions: str) -> Document:
    return {"address": f"{kind}.x", "type": kind, "change": {"actions": list(actions)}}


# The place of the state ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ([], "my-project/us-central1/cloud-executor"),
        (["--name=mine"], "my-project/us-central1/mine"),
        (["--region=europe-west4"], "my-project/europe-west4/cloud-executor"),
    ],
)
def test_each_deployment_has_its_own_state(deployment: Deployment, options: list[str], path: str) -> None:
    # The fake program cannot evaluate options.
    region = "europe-west4" if "europe" in path else None
    name = "mine" if path.endswith("mine") else None
    assert deployment.run("--yes", *options, region=region, name=name).returncode == 0
    (init,) = (call for call in deployment.calls if call.startswith("terraform init"))
    assert init == f"terraform init -input=false -reconfigure -backend-config=path=states/{path}/terraform.tfstate"
    assert 'backend "local"' in deployment.backend.read_text()


def test_state_bucket_has_a_folder_for_each_deployment(deployment: Deployment) -> None:
    assert deployment.run("--yes", "--state-bucket", "states").returncode == 0
    (init,) = (call for call in deployment.calls if call.startswith("terraform init"))
    assert init.endswith("-backend-config=bucket=states -backend-config=prefix=my-project/us-central1/cloud-executor")
    assert 'backend "gcs"' in deployment.backend.read_text()


def test_omitting_the_state_bucket_later_is_rejected(deployment: Deployment) -> None:
    """Otherwise, the deployment would start again with an empty state."""
    assert deployment.run("--yes", "--state-bucket", "states").returncode == 0
    done = deployment.run("--yes")
    assert done.returncode == 1
    assert "is in the bucket states. Add STATE_BUCKET=states." in done.stderr
    assert deployment.run("--yes", "--state-bucket", "states").returncode == 0


def test_state_bucket_is_rejected_while_the_state_is_on_this_machine(deployment: Deployment) -> None:
    deployment.states.mkdir(parents=True)
    (deployment.states / "terraform.tfstate").write_text(json.dumps(STATE))
    done = deployment.run("--yes", "--state-bucket", "states")
    assert done.returncode == 1
    assert "gcloud storage mv" in done.stderr
    assert "gs://states/my-project/us-central1/cloud-executor/default.tfstate" in done.stderr


def test_state_of_an_earlier_version_is_adopted(deployment: Deployment) -> None:
    shared = deployment.configuration / "terraform.tfstate"
    shared.write_text(json.dumps(STATE))
    assert deployment.run("--yes").returncode == 0
    assert not shared.exists()
    assert json.loads((deployment.states / "terraform.tfstate").read_text()) == STATE


@pytest.mark.parametrize("registry", OTHERS)
def test_shared_state_of_another_deployment_is_left_alone(deployment: Deployment, registry: str) -> None:
    shared = deployment.configuration / "terraform.tfstate"
    shared.write_text(state_of(registry))
    assert deployment.run("--yes").returncode == 0
    assert shared.read_text() == state_of(registry)
    assert not (deployment.states / "terraform.tfstate").exists()


def test_shared_state_of_an_unknown_deployment_is_rejected(deployment: Deployment) -> None:
    shared = deployment.configuration / "terraform.tfstate"
    shared.write_text(json.dumps({"outputs": {}, "resources": [{"type": "google_storage_bucket", "instances": []}]}))
    done = deployment.run("--yes")
    assert done.returncode == 1
    assert "does not say which deployment it belongs to" in done.stderr


@pytest.mark.parametrize(("registry", "adopted"), [(REGISTRY, True), *((other, False) for other in OTHERS)])
def test_state_in_a_bucket_is_adopted_if_it_is_this_deployments(
    deployment: Deployment, registry: str, adopted: bool
) -> None:
    old = deployment.objects / "states/cloud-executor/default.tfstate"
    new = deployment.objects / "states/my-project/us-central1/cloud-executor/default.tfstate"
    for file in (old, new):
        file.parent.mkdir(parents=True)
    old.write_text(state_of(registry))
    assert deployment.run("--yes", "--state-bucket", "states").returncode == 0
    assert (old.exists(), new.exists()) == (not adopted, adopted)


def test_unreadable_bucket_is_reported(deployment: Deployment) -> None:
    done = deployment.run("--yes", "--state-bucket", "states", fails="gcloud storage ls*")
    assert done.returncode == 1
    assert "cannot be read. Check the name of STATE_BUCKET and your permissions" in done.stderr


# The guard -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registry", OTHERS)
def test_state_of_another_deployment_is_rejected(deployment: Deployment, registry: str) -> None:
    deployment.plan(PLAN | {"prior_state": {"values": {"outputs": {"registry": {"value": registry}}}}})
    done = deployment.run("--yes")
    assert done.returncode == 1
    assert "Terraform's state belongs to the deployment" in done.stderr
    assert not [call for call in deployment.calls if "apply" in call]


def test_interrupted_first_deployment_is_recognized_without_outputs() -> None:
    before = {"project": "my-project", "location": "us-central1", "repository_id": "another"}
    registry = changed("google_artifact_registry_repository", "update")
    registry["change"]["before"] = before
    assert "my-project/us-central1/another" in (problem({"resource_changes": [registry]}, MINE) or "")
    before["repository_id"] = "cloud-executor"
    assert problem({"resource_changes": [registry]}, MINE) is None


@pytest.mark.parametrize("actions", [["delete"], ["delete", "create"], ["create", "delete"]])
@pytest.mark.parametrize("kind", sorted(PROTECTED_TYPES))
def test_deleting_or_replacing_what_holds_data_is_rejected(kind: str, actions: list[str]) -> None:
    plan = {"resource_changes": [changed(kind, *actions)]}
    assert f"would delete or replace {kind}.x." in (problem(plan, MINE) or "")
    assert problem(plan, MINE, [f"{kind}.x"]) is None


@pytest.mark.parametrize("actions", [["create"], ["update"], ["no-op"], ["forget"], ["read"]])
def test_other_changes_are_accepted(actions: list[str]) -> None:
    plan = {"resource_changes": [changed(kind, *actions) for kind in PROTECTED_TYPES]}
    assert problem(plan, MINE) is None


def test_confirmation_does_not_override_the_guard_but_a_named_address_does(deployment: Deployment) -> None:
    topic = changed("google_pubsub_topic", "delete")
    deployment.plan(PLAN | {"resource_changes": [topic]})
    done = deployment.run("--yes")
    assert done.returncode == 1
    assert "google_pubsub_topic.x" in done.stderr
    assert not [call for call in deployment.calls if "apply" in call]
    assert deployment.run("--yes", "--destroy", "google_pubsub_topic.x").returncode == 0


def test_replacement_counts_as_added_and_destroyed() -> None:
    actions = (["create"], ["delete", "create"], ["create", "delete"], ["update"], ["read"], ["no-op"], ["forget"])
    found = counts({"resource_changes": [changed("x", *each) for each in actions]})
    assert str(found) == "3 to add, 1 to change, 2 to destroy"


@pytest.mark.parametrize(("actions", "status"), [(["update"], 0), (["delete"], 1)])
def test_guard_of_cloud_build_needs_no_packages(tmp_path: Path, actions: list[str], status: int) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"resource_changes": [changed("google_storage_bucket", *actions)]}))
    command = [
        sys.executable,
        "-S",
        "-m",
        "deploy.plan_guard",
        str(plan),
        "my-project",
        "us-central1",
        "cloud-executor",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30)
    assert done.returncode == status, done.stderr
    assert ("The plan would delete" in done.stderr) == bool(status)
