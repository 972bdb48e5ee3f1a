"""docs/deployment.md says who may do what; so does the configuration."""

from __future__ import annotations

import re

from terraform_program import REPOSITORY, Document, Terraform, of_type

ROW = re.compile(r"^\| ([a-z-]+|Pub/Sub's own) \| (roles/\S+|leave_group) \| (.+?) \| .+ \|$", re.MULTILINE)

Grant = tuple[str, str, str]
"""account, role and what it is on"""

OF_BLOBS = {"roles/storage.objectUser", "roles/iam.serviceAccountTokenCreator"}
"""With a domain, what `api` may is divided: these are the function `blob`'s."""

ANYBODY = ("allUsers", "roles/run.invoker")


def _documented() -> set[Grant]:
    rows = ROW.findall((REPOSITORY / "docs" / "deployment.md").read_text())
    return {(account, role, on) for account, role, places in rows for on in places.split(" and ")}


def _divided(rows: set[Grant]) -> set[Grant]:
    return {
        (("blob" if role in OF_BLOBS else "executor") if account == "api" else account, role, on)
        for account, role, on in rows
    }


def _configured(made: list[Document]) -> set[Grant]:
    accounts = {
        found["values"]["member"]: found["index"] for found in made if found["type"] == "google_service_account"
    }
    roles = {
        found["values"]["name"]: "leave_group" for found in made if found["type"] == "google_project_iam_custom_role"
    }
    granted = set()
    for found in made:
        if not found["type"].endswith("_iam_member"):
            continue
        values = found["values"]
        account = accounts.get(values["member"]) or (
            "Pub/Sub's own" if "gcp-sa-pubsub" in values["member"] else values["member"]
        )
        granted.add((account, roles.get(values["role"], values["role"]), _place(found, made)))
    return granted


def _place(member: Document, made: list[Document]) -> str:
    """What the role is on, in the words of the page."""
    values = member["values"]
    match member["type"]:
        case "google_project_iam_member":
            return "the database, by a condition" if values["condition"] else "the project"
        case "google_storage_bucket_iam_member":
            names = {found["values"]["name"]: found["name"] for found in of_type(made, "google_storage_bucket")}
            places = {"blobs": "the bucket", "source": "the source bucket"}
            return places.get(names.get(values["bucket"], ""), "the bucket of the state")
        case "google_pubsub_topic_iam_member":
            return "the dead-letter topic" if values["topic"].endswith("-dead-letter") else "each pool's topic"
        case "google_service_account_iam_member":
            (owner,) = (
                found["values"]["member"]
                for found in of_type(made, "google_service_account")
                if found["values"]["name"] == values["service_account_id"]
            )
            return "itself" if owner == values["member"] else "each other account"
        case "google_cloud_run_v2_service_iam_member":
            return f"the function {values['name'].removeprefix('cloud-executor-').replace('-', '_')}"
        case kind:
            return {
                "google_pubsub_subscription_iam_member": "each pool's subscription",
                "google_artifact_registry_repository_iam_member": "the registry",
                "google_secret_manager_secret_iam_member": "the secret",
            }[kind]


def test_the_table_is_what_is_configured(minimal_deployment: Terraform) -> None:
    rows = {row for row in _documented() if row[0] != "deployer"}
    assert _configured(minimal_deployment.applied()) == rows


def test_with_a_domain_the_table_holds_too(production_deployment: Terraform) -> None:
    configured = _configured(production_deployment.applied())
    # That was asked for: allow_unauthenticated.
    open_to_all = {(*ANYBODY, "the function blob"), (*ANYBODY, "the function executor")}
    assert open_to_all < configured
    assert configured - open_to_all == _divided(_documented())


def test_whoever_pushes_can_give_nobody_a_role(production_deployment: Terraform) -> None:
    roles = {role for account, role, _ in _configured(production_deployment.applied()) if account == "deployer"}
    assert "roles/iam.serviceAccountUser" in roles
    for role in roles:
        assert role not in {"roles/owner", "roles/editor"}
        assert not re.search(
            r"iam\.(?!serviceAccountUser$|securityReviewer$)|projectIamAdmin|secretmanager\.admin", role
        )


def test_roles_on_the_project_are_no_wider_than_they_must_be(production_deployment: Terraform) -> None:
    conditions = {
        found["index"]: found["values"]["condition"]
        for found in production_deployment.applied()
        if found["type"] == "google_project_iam_member" and found["values"]["role"] == "roles/datastore.user"
    }
    assert len(conditions) == 4
    for condition in conditions.values():
        assert condition[0]["expression"] == 'resource.name == "projects/my-project/databases/(default)"'
