"""Tests of the changes that Terraform plans for an existing deployment."""

from __future__ import annotations

import json

import pytest
from fake_programs import DIGEST
from terraform_program import Document, Terraform

VARIABLES = ("-var=project_id=my-project", f"-var=worker_image={DIGEST}")

OLD_ADDRESSES = {
    'google_cloudfunctions2_function.service["api"]': 'google_cloudfunctions2_function.this["api"]',
    "google_cloudfunctions2_function.sweep": 'google_cloudfunctions2_function.this["sweep"]',
    "google_cloudfunctions2_function.dead_letter": 'google_cloudfunctions2_function.this["dead-letter"]',
}


@pytest.fixture(scope="module")
def changes(minimal_deployment: Terraform) -> list[Document]:
    """The changes that add a pool to a deployment by an earlier version, whose functions had other addresses."""
    state = json.loads((minimal_deployment.folder / "terraform.tfstate").read_text())
    (functions,) = (found for found in state["resources"] if found["type"] == "google_cloudfunctions2_function")
    state["resources"].remove(functions)
    for instance in functions["instances"]:
        key = instance["index_key"]
        old = {**functions, "name": key.replace("-", "_"), "instances": [instance]}
        if key == "api":
            old["name"] = "service"
        else:
            del instance["index_key"]
        state["resources"].append(old)
    (minimal_deployment.folder / "old.tfstate").write_text(json.dumps(state))
    pools = '-var=pools={default={},another={labels=["x"]}}'
    return minimal_deployment.planned_changes("-state=old.tfstate", *VARIABLES, pools)


def test_functions_of_an_earlier_version_are_kept(changes: list[Document]) -> None:
    moved = {
        change["previous_resource"]["addr"]: change["resource"]["addr"]
        for change in changes
        if "previous_resource" in change
    }
    assert moved == OLD_ADDRESSES


def test_new_pool_creates_only_its_own_resources(changes: list[Document]) -> None:
    created = [change["resource"]["addr"] for change in changes if change["action"] == "create"]
    assert created
    assert [address for address in created if '["another"]' not in address and "/another" not in address] == []


def test_new_pool_replaces_nothing(changes: list[Document]) -> None:
    others = [change for change in changes if change["action"] != "create"]
    assert {change["action"] for change in others} == {"update"}
    # The settings, dashboard, and alerts contain the pools.
    assert {change["resource"]["resource_type"] for change in others} == {
        "google_cloudfunctions2_function",
        "google_compute_region_instance_group_manager",
        "google_monitoring_alert_policy",
        "google_monitoring_dashboard",
    }


def test_token_pepper_is_kept_if_its_random_value_is_replaced(minimal_deployment: Terraform) -> None:
    """A new pepper would invalidate every token."""
    changes = minimal_deployment.planned_changes(
        *VARIABLES, "-replace=random_bytes.pepper", "-target=google_secret_manager_secret_version.pepper"
    )
    assert [(change["resource"]["addr"], change["action"]) for change in changes] == [
        ("random_bytes.pepper", "replace")
    ]
