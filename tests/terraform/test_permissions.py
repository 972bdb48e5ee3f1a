"""docs/deployment.md says who may do what; so does the configuration."""

from __future__ import annotations

import re

from terraform_program import REPOSITORY, Document, Terraform, of_type

ROW = re.compile(r"^\| ([a-z-]+|Pub/Sub's own) \| (roles/\S+|[a-z]+_[a-z]+) \| (.+?) \| .+ \|$", re.MULTILINE)

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
    roles = {role["values"]["name"]: role["name"] for role in of_type(made, "google_project_iam_custom_role")}
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
            if not values["condition"]:
                return "the project"
            expression = values["condition"][0]["expression"]
            return f"{'the database' if '/databases/' in expression else 'their copies'}, by a condition"
        case "google_storage_bucket_iam_member":
            names = {found["values"]["name"]: found["name"] for found in of_type(made, "google_storage_bucket")}
            places = {"blobs": "the bucket", "source": "the source bucket"}
            return places.get(names.get(values["bucket"], ""), "the bucket of the state")
        case "google_pubsub_topic_iam_member":
            return "the dead-letter topic" if values["topic"].endswith("-dead-letter") else "each pool's topic"
        case "google_service_account_iam_member":
            (owner,) = (
                found
                for found in of_type(made, "google_service_account")
                if found["values"]["name"] == values["service_account_id"]
            )
            if owner["values"]["member"] == values["member"]:
                return "itself"
            return f"the account {owner['index']}" if owner["index"] == "scheduler" else "each account but scheduler"
        case "google_secret_manager_secret_iam_member":
            return "the pepper" if values["secret_id"].endswith("-token-pepper") else "the secret"
        case "google_cloud_run_v2_service_iam_member":
            return f"the function {values['name'].removeprefix('cloud-executor-').replace('-', '_')}"
        case kind:
            return {
                "google_pubsub_subscription_iam_member": "each pool's subscription",
                "google_artifact_registry_repository_iam_member": "the registry",
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
        assert not re.search(r"iam\.(?!serviceAccountUser$|securityReviewer$)|projectIamAdmin|\.admin$", role)


def test_roles_of_our_own_reach_no_policy_no_message_and_no_vm_by_itself(production_deployment: Terraform) -> None:
    roles = {
        role["name"]: set(role["values"]["permissions"])
        for role in of_type(production_deployment.applied(), "google_project_iam_custom_role")
    }
    assert roles["leave_group"] == {f"compute.instanceGroupManagers.{verb}" for verb in ("get", "update")}
    verbs = {permission.rpartition(".")[2] for permission in roles["manage_queues"]}
    assert verbs == {"attachSubscription", "create", "delete", "get", "update"}


def test_the_pepper_of_tokens_is_read_by_nobody_but_who_reads_the_state(production_deployment: Terraform) -> None:
    readers = {account for account, _, on in _configured(production_deployment.applied()) if on == "the pepper"}
    assert readers == {"deployer"}


def test_roles_on_the_project_are_no_wider_than_they_must_be(production_deployment: Terraform) -> None:
    made = production_deployment.applied()
    (number,) = {
        found["values"]["member"].partition("service-")[2].partition("@")[0]
        for found in of_type(made, "google_pubsub_topic_iam_member")
        if "gcp-sa-pubsub" in found["values"]["member"]
    }
    conditions = {
        found["index"]: found["values"]["condition"][0]["expression"]
        for found in of_type(made, "google_project_iam_member")
        if found["values"]["condition"]
    }
    copies = f"projects/_/buckets/gcf-v2-sources-{number}-europe-west4"
    assert conditions.pop("builder/copies") == f'resource.name.startsWith("{copies}")'
    assert len(conditions) == 4
    assert set(conditions.values()) == {'resource.name == "projects/my-project/databases/(default)"'}
