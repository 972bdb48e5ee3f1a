"""Rejects Terraform plans that would destroy data or change another deployment.

`make deploy` checks each plan before it asks for confirmation, and cloudbuild.yaml before it applies a push:

    python -m deploy.plan_guard plan.json PROJECT REGION NAME

This module needs only the standard library, because that build step installs nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Plan = Mapping[str, Any]
"""A plan in the format of `terraform show -json`."""

PROTECTED_TYPES = frozenset(
    {
        "google_artifact_registry_repository",
        "google_firestore_database",
        "google_pubsub_topic",
        "google_secret_manager_secret",
        "google_service_account",
        "google_storage_bucket",
    }
)
"""Types of resources that hold data or are named by others. Replacing an account, for example, voids its roles."""

RETIRED = frozenset({'module.cloud_executor.google_service_account.this["builder"]'})
"""Addresses of protected resources that earlier versions created and this one no longer needs."""

REGISTRY_TYPE = "google_artifact_registry_repository"


@dataclass(frozen=True)
class Deployment:
    """What identifies a deployment. Its state has its own path."""

    project: str
    region: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.region}/{self.name}"


@dataclass(frozen=True)
class Counts:
    add: int
    change: int
    destroy: int

    def __str__(self) -> str:
        return f"{self.add} to add, {self.change} to change, {self.destroy} to destroy"


def counts(plan: Plan) -> Counts:
    """Number of resources that the plan creates, changes, and deletes. A replacement counts as both."""
    actions = [change["change"]["actions"] for change in plan.get("resource_changes", [])]
    return Counts(*(sum(action in each for each in actions) for action in ("create", "update", "delete")))


def problem(plan: Plan, deployment: Deployment, destroyable: Collection[str] = ()) -> str | None:
    """Why the plan must not be applied, as one sentence; None if it may be.

    `destroyable` contains the addresses of protected resources that the operator wants to delete.
    """
    owner = _owner(plan)
    if owner is not None and owner != deployment:
        return (
            f"Terraform's state belongs to the deployment {owner}, not to {deployment}. "
            "Pass that deployment's PROJECT, REGION, and NAME, or use another state."
        )
    lost = [
        change["address"]
        for change in plan.get("resource_changes", [])
        if change["type"] in PROTECTED_TYPES
        and "delete" in change["change"]["actions"]
        and change["address"] not in {*destroyable, *RETIRED}
    ]
    if not lost:
        return None
    return (
        f"The plan would delete or replace {', '.join(lost)}. Undo the change that causes this. "
        "To delete a resource on purpose, name its address: make deploy ... DESTROY='ADDRESS ...'."
    )


def owner_of_state(state: Mapping[str, Any]) -> Deployment | None:
    """The deployment that a state file describes; None if the file does not say."""
    registry = state.get("outputs", {}).get("registry", {}).get("value")
    if registry is not None:
        return _owner_of_registry(registry)
    for resource in state.get("resources", []):
        if resource["type"] == REGISTRY_TYPE:
            for instance in resource["instances"]:
                return _owner_of_attributes(instance["attributes"])
    return None


def _owner(plan: Plan) -> Deployment | None:
    """The deployment that the plan's state describes; None if it describes none yet."""
    outputs = plan.get("prior_state", {}).get("values", {}).get("outputs", {})
    if "registry" in outputs:
        return _owner_of_registry(outputs["registry"]["value"])
    # A first deployment that was interrupted has no outputs yet.
    for change in plan.get("resource_changes", []):
        if change["type"] == REGISTRY_TYPE and change["change"].get("before"):
            return _owner_of_attributes(change["change"]["before"])
    return None


def _owner_of_registry(registry: str) -> Deployment:
    host, project, name = registry.split("/")
    return Deployment(project, host.removesuffix("-docker.pkg.dev"), name)


def _owner_of_attributes(attributes: Mapping[str, Any]) -> Deployment:
    return Deployment(attributes["project"], attributes["location"], attributes["repository_id"])


def _arguments(values: list[str]) -> Iterator[str]:
    if len(values) != 4:
        sys.exit("Usage: python -m deploy.plan_guard PLAN.json PROJECT REGION NAME")
    yield from values


def main(values: list[str]) -> None:
    file, project, region, name = _arguments(values)
    plan = json.loads(Path(file).read_text())
    print(f"The plan: {counts(plan)}.")  # noqa: T201 - the build log
    sys.exit(problem(plan, Deployment(project, region, name)))


if __name__ == "__main__":
    main(sys.argv[1:])
