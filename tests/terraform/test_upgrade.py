"""Tests of the changes that Terraform plans for an existing deployment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_programs import DIGEST, FUNCTIONS_DIGEST
from terraform_program import Document, Terraform

from deploy.plan_guard import PROTECTED_TYPES, problem
from deploy.plan_guard import Deployment as Identity

MODULE = "module.cloud_executor"

VARIABLES = ("-var=project_id=my-project", f"-var=worker_image={DIGEST}", f"-var=functions_image={FUNCTIONS_DIGEST}")


PEPPER = f"{MODULE}.random_bytes.pepper"


@pytest.fixture(scope="module")
def changes(minimal_deployment: Terraform) -> list[Document]:
    """The changes that add a pool to a deployment and replace the random value of its token pepper."""
    pools = '-var=pools={default={},another={labels=["x"]}}'
    return minimal_deployment.planned_changes("-refresh=false", f"-replace={PEPPER}", *VARIABLES, pools)


EARLIER_STATE = Path(__file__).parent / "data/earlier_state.json"
"""The state of examples/production.tfvars, applied by the version before Cloud Run services, without null values."""

FORCE_NEW = {
    # firestore/resource_firestore_database.go
    "google_firestore_database": {"project", "name", "location_id", "cmek_config", "database_edition", "tags"},
    # storage/resource_storage_bucket.go
    "google_storage_bucket": {
        *("project", "name", "location", "custom_placement_config", "enable_object_retention"),
        "hierarchical_namespace",
    },
    # secretmanager/resource_secret_manager_secret.go
    "google_secret_manager_secret": {"project", "secret_id", "replication", "ttl", "tags"},
    # pubsub/resource_pubsub_topic.go
    "google_pubsub_topic": {"project", "name", "tags"},
    # artifactregistry/resource_artifact_registry_repository.go
    "google_artifact_registry_repository": {"project", "location", "repository_id", "format", "mode", "kms_key_name"},
    # resourcemanager/resource_google_service_account.go
    "google_service_account": {"project", "account_id"},
}
"""Arguments whose change replaces the resource, from the schema in the file of the provider's source (`ForceNew`),
below https://github.com/hashicorp/terraform-provider-google/tree/v7.45.0/google/services.

The providers of these tests never plan a replacement.
"""


@pytest.fixture(scope="module")
def upgrade(production_deployment: Terraform) -> Document:
    """The plan that upgrades a deployment of an earlier version."""
    shutil.copy(EARLIER_STATE, production_deployment.folder / "earlier.tfstate")
    options = (
        "-input=false",
        "-refresh=false",
        "-state=earlier.tfstate",
        "-out=upgrade",
        "-var-file=examples/production.tfvars",
    )
    production_deployment.output("plan", *options)
    plan: Document = json.loads(production_deployment.output("show", "-json", "upgrade"))
    return plan


def test_upgrade_destroys_no_data(upgrade: Document) -> None:
    assert problem(upgrade, Identity("my-project", "europe-west4", "cloud-executor")) is None


def test_table_of_replacing_arguments_covers_every_protected_type() -> None:
    assert FORCE_NEW.keys() == PROTECTED_TYPES


def test_upgrade_changes_no_argument_that_would_replace_a_protected_resource(upgrade: Document) -> None:
    seen = set()
    for change in upgrade["resource_changes"]:
        before, after = change["change"]["before"], change["change"]["after"]
        if change["type"] in FORCE_NEW and before is not None and after is not None:
            seen.add(change["type"])
            for name in FORCE_NEW[change["type"]]:
                assert (before.get(name) or None) == (after.get(name) or None), f"{change['address']}.{name}"
    assert seen == FORCE_NEW.keys()


def test_second_name_in_a_checkout_only_creates(
    minimal_deployment: Terraform, tmp_path: Path, deployed_environment: dict[str, str]
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(minimal_deployment.repository, checkout, symlinks=True)
    command = [sys.executable, "-m", "deploy", "--project=my-project", "--name=another"]
    done = subprocess.run(
        command, cwd=checkout, env=deployed_environment, input="n\n", capture_output=True, text=True, timeout=300
    )
    found = re.search(
        r"The plan for my-project/us-central1/another: (\d+) to add, (\d+) to change, (\d+) to", done.stdout
    )
    assert found, done.stdout + done.stderr
    assert int(found[1]) > 90
    assert (found[2], found[3]) == ("0", "0")
    assert "Deploy to the project my-project?" in done.stdout


def test_upgrade_leaves_functions_and_their_source_in_place(upgrade: Document) -> None:
    """They can then be taken over without an interruption."""
    forgotten = {
        change["address"] for change in upgrade["resource_changes"] if change["change"]["actions"] == ["forget"]
    }
    functions = {
        f'google_cloudfunctions2_function.this["{name}"]' for name in ("blob", "executor", "sweep", "dead-letter")
    }
    assert forgotten == {"google_storage_bucket.source", "google_storage_bucket_object.source", *functions}


def test_new_pool_creates_only_its_own_resources(changes: list[Document]) -> None:
    created = [change["resource"]["addr"] for change in changes if change["action"] == "create"]
    assert created
    assert [address for address in created if '["another"]' not in address and "/another" not in address] == []


def test_new_pool_replaces_nothing(changes: list[Document]) -> None:
    others = [change for change in changes if change["action"] != "create" and change["resource"]["addr"] != PEPPER]
    assert {change["action"] for change in others} == {"update"}
    # The settings, dashboard, and alerts contain the pools.
    assert {change["resource"]["resource_type"] for change in others} == {
        "google_cloud_run_v2_service",
        "google_compute_region_instance_group_manager",
        "google_monitoring_alert_policy",
        "google_monitoring_dashboard",
    }


def test_token_pepper_is_kept_if_its_random_value_is_replaced(changes: list[Document]) -> None:
    """A new pepper would invalidate every token."""
    peppers = [change for change in changes if "pepper" in change["resource"]["addr"]]
    assert [(change["resource"]["addr"], change["action"]) for change in peppers] == [(PEPPER, "replace")]
