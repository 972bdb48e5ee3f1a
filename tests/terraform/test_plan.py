"""What the examples would make, as Terraform plans it."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import pytest
from terraform_program import REPOSITORY, Document, Terraform, of_type

from cloud_executor.settings import PREFIX, Settings

HAVE_LABELS = {
    "google_storage_bucket": "labels",
    "google_pubsub_topic": "labels",
    "google_pubsub_subscription": "labels",
    "google_cloudfunctions2_function": "labels",
    "google_artifact_registry_repository": "labels",
    "google_secret_manager_secret": "labels",
    "google_compute_region_instance_template": "labels",
    "google_compute_global_address": "labels",
    "google_compute_global_forwarding_rule": "labels",
    "google_monitoring_alert_policy": "user_labels",
}


def test_it_is_formatted_and_valid(terraform: Terraform) -> None:
    terraform.output("fmt", "-check", "-recursive")
    terraform.output("validate", "-no-color")


def test_only_the_project_must_be_given(terraform: Terraform) -> None:
    assert terraform.plan("-var=project_id=my-project")["planned_values"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("project_id=My Project", "project_id must be a project's id"),
        ("region=us-central1-a", "region must be a region"),
        ('pools={"Bad Name"={}}', "pools must name at least one pool"),
        ("pools={a={slots=0}}", "pools must have slots from 1 to 256"),
        ("pools={a={min_workers=5,max_workers=2}}", "pools must have max_workers from 1 to 2000"),
        ('invokers=["allUsers"]', "invokers must be members"),
        ('domain="https://x"', "domain must be a full domain name"),
        ("armor=true", "armor needs a domain"),
        ('pools="many"', "map of object required"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_sentence(terraform: Terraform, option: str, sentence: str) -> None:
    done = terraform.run("plan", "-input=false", "-no-color", "-var=project_id=my-project", f"-var={option}")
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_an_open_api_needs_the_secret(terraform: Terraform) -> None:
    options = ("-var=project_id=my-project", "-var=allow_unauthenticated=true", "-var=require_nonce=false")
    done = terraform.run("plan", "-input=false", "-no-color", *options)
    assert done.returncode == 1
    assert "anybody could run commands" in " ".join(done.stderr.replace("│", " ").split())


def test_nobody_is_let_in_unless_asked(minimal: list[Document]) -> None:
    assert "allUsers" not in json.dumps(minimal)
    assert "allAuthenticatedUsers" not in json.dumps(minimal)


def test_buckets_cannot_be_public(example: list[Document]) -> None:
    buckets = of_type(example, "google_storage_bucket")
    assert buckets
    for bucket in buckets:
        assert bucket["values"]["public_access_prevention"] == "enforced"
        assert bucket["values"]["uniform_bucket_level_access"] is True


def test_each_subscription_has_a_dead_letter_and_never_expires(example: list[Document]) -> None:
    subscriptions = of_type(example, "google_pubsub_subscription")
    pools = [found for found in subscriptions if found["name"] == "pool"]
    assert pools
    assert len(pools) + 1 == len(subscriptions), "beside the pools' there is only that of the dead letters"
    for subscription in pools:
        assert subscription["values"]["dead_letter_policy"]
    for subscription in subscriptions:
        assert subscription["values"]["expiration_policy"] == [{"ttl": ""}]


def test_each_pool_grows_from_zero_and_shrinks_by_itself(example: list[Document]) -> None:
    groups = of_type(example, "google_compute_region_instance_group_manager")
    scalers = of_type(example, "google_compute_region_autoscaler")
    assert {group["index"] for group in groups} == {scaler["index"] for scaler in scalers}
    for scaler in scalers:
        (policy,) = scaler["values"]["autoscaling_policy"]
        assert (policy["min_replicas"], policy["mode"]) == (0, "ONLY_SCALE_OUT")
    for group in groups:
        (policy,) = group["values"]["update_policy"]
        assert (policy["type"], policy["instance_redistribution_type"]) == ("OPPORTUNISTIC", "NONE")


def test_a_worker_has_no_public_address(example: list[Document]) -> None:
    templates = of_type(example, "google_compute_region_instance_template")
    assert templates
    for template in templates:
        for interface in template["values"]["network_interface"]:
            assert not interface.get("access_config")


def test_names_are_unique_among_their_kind(example: list[Document]) -> None:
    named = Counter(
        (found["type"], found["values"]["name"])
        for found in example
        if found["values"].get("name") and not found["type"].endswith("_iam_member")
    )
    assert [name for name, times in named.items() if times > 1] == []


def test_labels_are_everywhere(example: list[Document]) -> None:
    labelled = of_type(example, *HAVE_LABELS)
    assert labelled
    for found in labelled:
        assert found["values"][HAVE_LABELS[found["type"]]]["application"] == "cloud-executor", found["address"]


def test_accounts_have_no_keys(example: list[Document]) -> None:
    assert of_type(example, "google_service_account_key") == []


def test_a_new_pool_leaves_the_others_alone(make_terraform: Callable[[], Terraform]) -> None:
    terraform = make_terraform()
    terraform.applied()
    changes = terraform.plan("-var=project_id=my-project", '-var=pools={default={},another={labels=["x"]}}')[
        "resource_changes"
    ]
    actions = {action for change in changes for action in change["change"]["actions"]}
    assert "create" in actions
    assert [change["address"] for change in changes if "delete" in change["change"]["actions"]] == []


def _worker_settings(cloud_init: str) -> set[str]:
    encoded = re.search(r"encoding: b64\n +content: (\S+)", cloud_init)
    assert encoded
    return {line.partition("=")[0] for line in base64.b64decode(encoded[1]).decode().splitlines()}


def test_of_the_settings_told_only_those_are_missing_that_the_deployment_page_admits(
    make_terraform: Callable[[], Terraform],
) -> None:
    made = make_terraform().applied()
    known = {PREFIX + setting.name.upper() for setting in fields(Settings)}
    (worker,) = of_type(made, "google_compute_region_instance_template")
    told_to_all = _worker_settings(worker["values"]["metadata"]["user-data"])
    page = (REPOSITORY / "docs" / "deployment.md").read_text()
    assert told_to_all - known == set(re.findall(r"`(EXECUTOR_\w+)`", page.partition("\n\n`terraform/`")[0]))
    functions = of_type(made, "google_cloudfunctions2_function")
    assert len(functions) == 3
    for function in functions:
        (service,) = function["values"]["service_config"]
        told = {name for name in service["environment_variables"] if name.startswith(PREFIX)}
        assert told
        assert told <= known | told_to_all
