"""What the examples would make, as Terraform plans it."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from datetime import timedelta

import pytest
from terraform_program import REPOSITORY, Document, Terraform, of_type, resources, worker_settings

from cloud_executor.settings import Settings

COSTS_WHILE_IDLE = (
    "google_compute_global_address",
    "google_compute_global_forwarding_rule",
    "google_compute_security_policy",
    "google_compute_instance",
)

MINIMAL = {
    "google_artifact_registry_repository": ["images"],
    "google_cloud_scheduler_job": ["sweep"],
    "google_cloudfunctions2_function": ["this api", "this dead-letter", "this sweep"],
    "google_compute_firewall": ["deny_ingress", "health_checks"],
    "google_compute_health_check": ["worker"],
    "google_compute_network": ["workers"],
    "google_compute_region_autoscaler": ["pool default"],
    "google_compute_region_instance_group_manager": ["pool default"],
    "google_compute_region_instance_template": ["pool default"],
    "google_compute_router": ["workers"],
    "google_compute_router_nat": ["workers"],
    "google_compute_subnetwork": ["workers"],
    "google_firestore_database": ["jobs"],
    "google_logging_metric": ["busy_slots", "errors", "job_seconds", "jobs"],
    "google_monitoring_alert_policy": ["dead_letters", "error_ratio", "fleet_at_maximum default", "oldest_job"],
    "google_monitoring_dashboard": ["overview"],
    "google_project_iam_custom_role": ["leave_group"],
    "google_pubsub_subscription": ["dead_letter", "pool default"],
    "google_pubsub_topic": ["dead_letter", "pool default"],
    "google_secret_manager_secret": ["nonce 0", "pepper"],
    "google_secret_manager_secret_version": ["nonce 0", "pepper"],
    "google_service_account": [
        "this api",
        "this builder",
        "this dead-letter",
        "this events",
        "this scheduler",
        "this sweep",
        "this worker",
    ],
    "google_storage_bucket": ["blobs", "source"],
    "google_storage_bucket_object": ["source"],
    "random_bytes": ["pepper"],
    "random_password": ["nonce 0"],
}
"""Name and key of each resource by its type, without indexes, roles and services."""

PRODUCTION = MINIMAL | {
    "google_billing_budget": ["monthly 0"],
    "google_cloudbuild_trigger": ["deploy 0"],
    "google_cloudfunctions2_function": ["this blob", "this dead-letter", "this executor", "this sweep"],
    "google_compute_backend_service": ["api blob", "api executor"],
    "google_compute_global_address": ["api 0"],
    "google_compute_global_forwarding_rule": ["http 0", "https 0"],
    "google_compute_managed_ssl_certificate": ["api 0"],
    "google_compute_region_autoscaler": ["pool default", "pool gpu", "pool spot"],
    "google_compute_region_instance_group_manager": ["pool default", "pool gpu", "pool spot"],
    "google_compute_region_instance_template": ["pool default", "pool gpu", "pool spot"],
    "google_compute_region_network_endpoint_group": ["api blob", "api executor"],
    "google_compute_security_policy": ["api 0"],
    "google_compute_ssl_policy": ["api 0"],
    "google_compute_target_http_proxy": ["redirect 0"],
    "google_compute_target_https_proxy": ["api 0"],
    "google_compute_url_map": ["api 0", "redirect 0"],
    "google_monitoring_alert_policy": [
        "dead_letters",
        "error_ratio",
        "fleet_at_maximum default",
        "fleet_at_maximum gpu",
        "fleet_at_maximum spot",
        "oldest_job",
    ],
    "google_monitoring_notification_channel": ["email operations@example.com"],
    "google_project_iam_custom_role": ["leave_group", "manage_queues 0"],
    "google_pubsub_subscription": ["dead_letter", "pool default", "pool gpu", "pool spot"],
    "google_pubsub_topic": ["dead_letter", "pool default", "pool gpu", "pool spot"],
    "google_service_account": [
        "this blob",
        "this builder",
        "this dead-letter",
        "this deployer",
        "this events",
        "this executor",
        "this scheduler",
        "this sweep",
        "this worker",
    ],
}

TESTED_ELSEWHERE = re.compile(r"_iam_member$|^google_firestore_(field|index)$|^google_project_service(_identity)?$")


def _made(found: list[Document]) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for resource in found:
        if not TESTED_ELSEWHERE.search(resource["type"]):
            key = f" {resource['index']}" if "index" in resource else ""
            made.setdefault(resource["type"], []).append(resource["name"] + key)
    return {kind: sorted(names) for kind, names in made.items()}


def test_it_is_formatted_and_valid(terraform: Terraform) -> None:
    terraform.output("fmt", "-check", "-recursive")
    terraform.output("validate", "-no-color")


def test_each_exception_from_a_check_has_its_reason_beside_the_resource() -> None:
    files = (REPOSITORY / "terraform").glob("*.tf")
    exceptions = [line for file in files for line in file.read_text().splitlines() if "checkov:skip" in line]
    assert exceptions
    for line in exceptions:
        assert re.fullmatch(r"  #checkov:skip=CKV2?_GCP_\d+:\w.{20,}", line), line


@pytest.mark.timeout(300)
def test_its_own_tests_pass(terraform: Terraform) -> None:
    """As `terraform test` runs them for anybody: with providers that are mocks."""
    assert re.search(r"^Success! \d\d passed, 0 failed", terraform.output("test", "-no-color"), re.MULTILINE)


def test_only_the_project_must_be_given(terraform: Terraform) -> None:
    assert terraform.plan("-var=project_id=my-project")["planned_values"]


def test_a_minimal_deployment_is_this(minimal: list[Document]) -> None:
    assert _made(minimal) == MINIMAL


def test_a_production_deployment_is_this(production: list[Document]) -> None:
    assert _made(production) == PRODUCTION


def test_the_indexes_are_those_of_the_shared_file(example: list[Document]) -> None:
    shared = json.loads((REPOSITORY / "cloud_executor/backends/google/firestore/indexes.json").read_text())
    assert len(of_type(example, "google_firestore_index")) == len(shared["indexes"])
    overrides = {f"{field['collectionGroup']}/{field['fieldPath']}" for field in shared["fieldOverrides"]}
    assert {field["index"] for field in of_type(example, "google_firestore_field")} == overrides
    expiring = {found["index"] for found in of_type(example, "google_firestore_field") if found["values"]["ttl_config"]}
    assert expiring == {key for key in overrides if key.endswith("/expireAt")}


def test_a_minimal_deployment_has_nothing_with_a_price_by_the_hour(minimal: list[Document]) -> None:
    assert of_type(minimal, *COSTS_WHILE_IDLE) == []
    for function in of_type(minimal, "google_cloudfunctions2_function"):
        assert not function["values"]["service_config"][0]["min_instance_count"]


def test_nobody_is_let_in_unless_asked(minimal: list[Document], production: list[Document]) -> None:
    assert "allUsers" not in json.dumps(minimal)
    let_in = {found["address"] for found in production if found["values"].get("member") == "allUsers"}
    assert let_in == {
        'google_cloud_run_v2_service_iam_member.invoker["blob/allUsers"]',
        'google_cloud_run_v2_service_iam_member.invoker["executor/allUsers"]',
    }
    for found in (minimal, production):
        assert "allAuthenticatedUsers" not in json.dumps(found)


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
    subscriptions = {
        found["index"]: found["values"]["name"]
        for found in of_type(example, "google_pubsub_subscription")
        if found["name"] == "pool"
    }
    assert {group["index"] for group in groups} == {scaler["index"] for scaler in scalers} == set(subscriptions)
    for scaler in scalers:
        (policy,) = scaler["values"]["autoscaling_policy"]
        assert (policy["min_replicas"], policy["mode"]) == (0, "ONLY_SCALE_OUT")
        (metric,) = policy["metric"]
        assert metric["name"] == "pubsub.googleapis.com/subscription/num_undelivered_messages"
        assert f'"{subscriptions[scaler["index"]]}"' in metric["filter"]
    for group in groups:
        (policy,) = group["values"]["update_policy"]
        assert (policy["type"], policy["instance_redistribution_type"]) == ("OPPORTUNISTIC", "NONE")
        assert group["values"]["distribution_policy_target_shape"] in {"EVEN", "BALANCED"}, "else it has no autoscaler"


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


def test_labels_are_everywhere(terraform: Terraform, example: list[Document]) -> None:
    """On whatever can have some."""
    schemas = json.loads(terraform.output("providers", "schema", "-json"))["provider_schemas"].values()
    attributes = {
        kind: schema["block"].get("attributes", {})
        for provider in schemas
        for kind, schema in provider.get("resource_schemas", {}).items()
    }
    labelled = 0
    for found in example:
        for name in ("user_labels", "labels"):  # the other is a channel's address, where both are
            if name in attributes[found["type"]]:
                assert found["values"][name]["application"] == "cloud-executor", found["address"]
                labelled += 1
                break
    assert labelled > 10


def test_the_operations_page_has_each_alert(example: list[Document]) -> None:
    page = (REPOSITORY / "docs/operations.md").read_text().partition("## Alerts")[2].partition("\n## ")[0]
    told = {
        re.sub(r"pool \S+", "pool _name_", policy["values"]["display_name"].removeprefix("cloud-executor: "))
        for policy in of_type(example, "google_monitoring_alert_policy")
    }
    assert set(re.findall(r"^\| (.+?) \| .+ \| .+ \|$", page, re.MULTILINE)) - {"alert", "---"} == told


def test_what_the_scaling_page_configures_can_be_planned(terraform: Terraform) -> None:
    examples = re.findall(r"```hcl\n(.*?)```", (REPOSITORY / "docs/scaling.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for number, text in enumerate(examples):
        file = terraform.folder / f"scaling{number}.tfvars"
        file.write_text(text)
        planned = resources(terraform.plan("-var=project_id=my-project", f"-var-file={file.name}"))
        slots = sum(
            policy["max_replicas"] * policy["metric"][0]["single_instance_assignment"]
            for scaler in of_type(planned, "google_compute_region_autoscaler")
            for policy in scaler["values"]["autoscaling_policy"]
        )
        assert slots >= (1_000, 100_000)[number]


def test_accounts_have_no_keys(example: list[Document]) -> None:
    assert of_type(example, "google_service_account_key") == []


def test_a_new_pool_leaves_what_is_there_alone(minimal_deployment: Terraform) -> None:
    options = ("-var-file=examples/minimal.tfvars", '-var=pools={default={},another={labels=["x"]}}')
    changes = [
        change for change in minimal_deployment.plan(*options)["resource_changes"] if change["mode"] == "managed"
    ]
    created = [change["address"] for change in changes if change["change"]["actions"] == ["create"]]
    touched = {change["type"] for change in changes if change["change"]["actions"] not in (["create"], ["no-op"])}
    assert created
    assert [address for address in created if '["another"]' not in address and "/another" not in address] == []
    # These are told of it, or watch it, and are updated in place.
    assert touched == {
        "google_cloudfunctions2_function",
        "google_compute_region_instance_group_manager",
        "google_monitoring_alert_policy",
        "google_monitoring_dashboard",
    }
    assert not any("delete" in change["change"]["actions"] for change in changes)


def test_the_pepper_of_tokens_is_never_made_anew(minimal_deployment: Terraform) -> None:
    """Not even where its random value is: that would make every token invalid."""
    plan = minimal_deployment.plan("-var-file=examples/minimal.tfvars", "-replace=random_bytes.pepper")
    actions = {change["address"]: change["change"]["actions"] for change in plan["resource_changes"]}
    assert actions["random_bytes.pepper"] == ["delete", "create"]
    assert actions["google_secret_manager_secret.pepper"] == ["no-op"]
    assert actions["google_secret_manager_secret_version.pepper"] == ["no-op"]


def test_the_pepper_of_tokens_has_256_bits(minimal_deployment: Terraform) -> None:
    (version,) = (
        found["values"]
        for found in of_type(minimal_deployment.applied(), "google_secret_manager_secret_version")
        if found["name"] == "pepper"
    )
    assert len(base64.b64decode(version["secret_data"], validate=True)) == 32


def test_only_settings_are_told(minimal_deployment: Terraform) -> None:
    made = minimal_deployment.applied()
    assert Settings.from_env(worker_settings(made))
    functions = of_type(made, "google_cloudfunctions2_function")
    assert len(functions) == 3
    for function in functions:
        (service,) = function["values"]["service_config"]
        settings = Settings.from_env(service["environment_variables"])
        assert (settings.objects, settings.jobs) == ("gcs", "google")
        assert [pool.name for pool in settings.worker_pools] == ["default"]


def test_a_worker_in_which_each_job_has_a_container_knows_the_image(minimal_deployment: Terraform) -> None:
    settings = Settings.from_env(worker_settings(minimal_deployment.applied()))
    assert settings.sandbox == "container"
    (pool,) = settings.worker_pools
    assert (pool.name, pool.image) == ("default", "mirror.gcr.io/library/python:3.12")


def test_the_limits_of_pools_are_told(production: list[Document]) -> None:
    """In the words that the code knows."""
    for service in of_type(production, "google_cloudfunctions2_function"):
        (config,) = service["values"]["service_config"]
        settings = Settings.from_env(config["environment_variables"])
        pools = {pool.name: pool for pool in settings.pools}
        assert list(pools) == ["default", "gpu", "spot"]
        assert (pools["gpu"].cpus, pools["gpu"].memory_mib, pools["gpu"].disk_mib) == (8, 26624, 102400)
        assert (pools["gpu"].slots, pools["gpu"].network) == (1, "bridge")
        assert (pools["gpu"].gpus, pools["default"].gpus) == (1, 0)
        assert pools["spot"].images == ("europe-west4-docker.pkg.dev/my-project/*",)
        assert pools["spot"].idle == timedelta(minutes=10)
        assert pools["default"].max_timeout == timedelta(days=1)
