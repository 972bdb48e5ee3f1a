"""Tests that the granted roles match the tables in docs/deployment.md and are narrow."""

from __future__ import annotations

import re

from terraform_program import REPOSITORY, Document, of_type

ROW = re.compile(r"^\| ([a-z-]+|Pub/Sub's own) \| (roles/\S+|[a-z]+_[a-z]+) \| (.+?) \| .+ \|$", re.MULTILINE)

Grant = tuple[str, str, str]
"""Account, role, and the resource on which the role is granted."""

BLOB_ROLES = {"roles/storage.objectUser", "roles/iam.serviceAccountTokenCreator"}
"""Roles of the account `api` that `blob` has in a deployment with a domain. `executor` has the others."""


PREFIXES = {
    ("wg-temp/",): "uploads in flight",
    ("wg-content/", "wg-metadata/"): "blobs",
    ("wg-zip/",): "zips",
    ("wg-gc/",): "its own lists",
}
"""Objects in the words of the documentation, by the prefixes of their names."""


def _documented() -> set[Grant]:
    rows = ROW.findall((REPOSITORY / "docs" / "deployment.md").read_text())
    return {(account, role, on) for account, role, targets in rows for on in targets.split(" and ")}


def _with_domain(grants: set[Grant]) -> set[Grant]:
    return {
        (("blob" if role in BLOB_ROLES else "executor") if account == "api" else account, role, on)
        for account, role, on in grants
    }


def _configured(resources: list[Document]) -> set[Grant]:
    accounts = {found["values"]["member"]: found["index"] for found in of_type(resources, "google_service_account")}
    roles = {
        role["values"]["name"]: role["name"]
        if role["name"] == "manage_queues"
        else f"{role['index']}_{role['name'].removeprefix('manage_')}"
        for role in of_type(resources, "google_project_iam_custom_role")
    }
    grants = set()
    for found in resources:
        if not found["type"].endswith("_iam_member"):
            continue
        values = found["values"]
        account = accounts.get(values["member"]) or (
            "Pub/Sub's own" if "gcp-sa-pubsub" in values["member"] else values["member"]
        )
        grants.add((account, roles.get(values["role"], values["role"]), _target(found, resources)))
    return grants


def _target(member: Document, resources: list[Document]) -> str:
    """The resource on which the role is granted, in the words of the documentation."""
    values = member["values"]
    match member["type"]:
        case "google_project_iam_member":
            if not values["condition"]:
                return "the project"
            return "the database, by a condition"
        case "google_storage_bucket_iam_member":
            names = {found["values"]["name"] for found in of_type(resources, "google_storage_bucket")}
            if values.get("condition"):
                prefixes = re.findall(r'/objects/([a-z-]+/)"', values["condition"][0]["expression"])
                start = f'resource.name.startsWith("projects/_/buckets/{values["bucket"]}/objects/'
                limit = " || ".join(f'{start}{prefix}")' for prefix in prefixes)
                assert values["condition"][0]["expression"] == limit
                return PREFIXES[tuple(prefixes)] + ", by a condition"
            if values["bucket"] not in names:
                return "the bucket of the state"
            return "the staging bucket" if values["bucket"].endswith("-staging") else "the bucket"
        case "google_pubsub_topic_iam_member":
            return "the dead-letter topic" if values["topic"].endswith("-dead-letter") else "each pool's topic"
        case "google_service_account_iam_member":
            (owner,) = (
                found
                for found in of_type(resources, "google_service_account")
                if found["values"]["name"] == values["service_account_id"]
            )
            if owner["values"]["member"] == values["member"]:
                return "itself"
            if values["role"].endswith("OpenIdTokenCreator"):
                return f"the account {owner['index']}"
            return "each account but scheduler"
        case "google_secret_manager_secret_iam_member":
            return "the pepper" if values["secret_id"].endswith("-token-pepper") else "the secret"
        case "google_cloud_run_v2_service_iam_member":
            return f"the function {values['name'].removeprefix('cloud-executor-').replace('-', '_')}"
        case kind:
            return {
                "google_pubsub_subscription_iam_member": "each pool's subscription",
                "google_artifact_registry_repository_iam_member": "the registry",
            }[kind]


def test_table_lists_the_roles_of_a_minimal_deployment(minimal: list[Document]) -> None:
    optional = {
        grant
        for grant in _documented()
        if grant[0] in ("deployer", "retention") or grant[2] == "the function retention"
    }
    assert _configured(minimal) == _documented() - optional


def test_table_lists_the_roles_of_a_deployment_with_domain(production: list[Document]) -> None:
    assert _configured(production) == _with_domain(_documented())


def test_push_cannot_grant_roles(production: list[Document]) -> None:
    roles = {role for account, role, _ in _configured(production) if account == "deployer"}
    assert "roles/iam.serviceAccountUser" in roles
    for role in roles:
        assert role not in {"roles/owner", "roles/editor"}
        assert not re.search(r"iam\.(?!serviceAccountUser$|securityReviewer$)|projectIamAdmin|\.admin$", role)


def test_custom_roles_are_narrow(production: list[Document]) -> None:
    """They exclude policies, messages, and access to VMs other than through their group."""
    roles = {
        role["index"]: set(role["values"]["permissions"])
        for role in of_type(production, "google_project_iam_custom_role")
    }
    autoscalers = {f"compute.autoscalers.{verb}" for verb in ("get", "update")}
    assert roles["grow"] == autoscalers | {f"compute.instanceGroupManagers.{verb}" for verb in ("get", "use")}
    assert roles["shrink"] == {"compute.instanceGroupManagers.update"}
    assert roles["use"] == {"storage.objects.update"}
    assert roles["delete"] == {"storage.objects.delete"}
    verbs = {permission.rpartition(".")[2] for permission in roles[0]}
    assert verbs == {"attachSubscription", "create", "delete", "get", "update", "useReadOnly"}


def test_worker_cannot_change_groups(example: list[Document]) -> None:
    """A job that escapes from its container would have the permission, and it would reach every group."""
    granted = {(account, role) for account, role, _ in _configured(example) if role.endswith("_groups")}
    assert granted
    assert "worker" not in {account for account, _ in granted}
    assert {account for account, role in granted if role == "shrink_groups"} == {"sweep"}


def test_only_the_deployer_can_read_the_token_pepper(production: list[Document]) -> None:
    readers = {account for account, _, on in _configured(production) if on == "the pepper"}
    assert readers == {"deployer"}


def test_project_roles_have_conditions(production: list[Document]) -> None:
    conditions = {
        found["index"]: found["values"]["condition"][0]["expression"]
        for found in of_type(production, "google_project_iam_member")
        if found["values"]["condition"]
    }
    assert len(conditions) == 5
    assert set(conditions.values()) == {'resource.name == "projects/my-project/databases/(default)"'}
