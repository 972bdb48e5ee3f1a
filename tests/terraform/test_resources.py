"""Tests of the resources that the configuration creates."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from datetime import timedelta

import pytest
import yaml
from terraform_program import MODULE, REPOSITORY, Document, Terraform, environment, of_type, worker_settings

from cloud_executor.blobs.upkeep import TEMPORARY_LIFETIME, ZIP_LIFETIME
from cloud_executor.settings import Settings
from functions.serve import HEALTH_PATH

COSTS_WHILE_IDLE = (
    "google_compute_global_address",
    "google_compute_global_forwarding_rule",
    "google_compute_security_policy",
    "google_compute_instance",
)

MINIMAL = {
    "google_artifact_registry_repository": ["images"],
    "google_cloud_scheduler_job": ["sweep"],
    "google_cloud_run_v2_service": ["this api", "this dead-letter", "this sweep"],
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
    "google_logging_metric": ["busy_slots", "errors", "job_seconds", "jobs", "waiting_seconds"],
    "google_monitoring_alert_policy": [
        "dead_letters",
        "error_ratio",
        "fleet_at_maximum default",
        "no_machine",
        "no_worker default",
        "oldest_job",
        "waiting_job",
    ],
    "google_monitoring_dashboard": ["overview"],
    "google_project_iam_custom_role": ["manage_groups grow", "manage_groups shrink", "objects use"],
    "google_pubsub_subscription": ["dead_letter", "dead_letter_push", "pool default"],
    "google_pubsub_topic": ["dead_letter", "pool default"],
    "google_secret_manager_secret": ["nonce 0", "pepper"],
    "google_secret_manager_secret_version": ["nonce 0", "pepper"],
    "google_service_account": [
        "this api",
        "this dead-letter",
        "this events",
        "this scheduler",
        "this sweep",
        "this worker",
    ],
    "google_storage_bucket": ["blobs", "staging"],
    "random_bytes": ["pepper"],
    "random_id": ["roles"],
    "random_password": ["nonce 0"],
}
"""Name and key of each resource by type, without indexes, roles, and services."""

PRODUCTION = MINIMAL | {
    "google_billing_budget": ["monthly 0"],
    "google_cloudbuild_trigger": ["deploy 0"],
    "google_cloud_run_v2_service": ["this blob", "this dead-letter", "this executor", "this retention", "this sweep"],
    "google_cloud_scheduler_job": ["retention 0", "sweep"],
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
        "no_machine",
        "no_worker default",
        "no_worker gpu",
        "no_worker spot",
        "oldest_job",
        "waiting_job",
    ],
    "google_monitoring_notification_channel": ["email operations@example.com"],
    "google_project_iam_custom_role": [
        "manage_groups grow",
        "manage_groups shrink",
        "manage_queues 0",
        "objects delete",
        "objects use",
    ],
    "google_pubsub_subscription": ["dead_letter", "dead_letter_push", "pool default", "pool gpu", "pool spot"],
    "google_pubsub_topic": ["dead_letter", "pool default", "pool gpu", "pool spot"],
    "google_service_account": [
        "this blob",
        "this dead-letter",
        "this deployer",
        "this events",
        "this executor",
        "this retention",
        "this scheduler",
        "this sweep",
        "this worker",
    ],
}

TESTED_ELSEWHERE = re.compile(r"_iam_member$|^google_firestore_(field|index)$|^google_project_service(_identity)?$")


def _names(resources: list[Document]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for resource in resources:
        if not TESTED_ELSEWHERE.search(resource["type"]):
            key = f" {resource['index']}" if "index" in resource else ""
            names.setdefault(resource["type"], []).append(resource["name"] + key)
    return {kind: sorted(found) for kind, found in names.items()}


# The configuration ---------------------------------------------------------------------------------------------------


def test_configuration_is_formatted_and_valid(terraform: Terraform) -> None:
    terraform.output("fmt", "-check", "-recursive")
    terraform.output("validate", "-no-color")


@pytest.mark.timeout(400)
def test_terraform_tests_pass(terraform: Terraform) -> None:
    module = f"-chdir={MODULE.relative_to(REPOSITORY / 'terraform')}"
    terraform.output(module, "init", "-backend=false", "-input=false", "-no-color")
    assert re.search(r"^Success! \d+ passed, 0 failed", terraform.output(module, "test", "-no-color"), re.MULTILINE)


def test_example_with_the_module_can_be_planned(terraform: Terraform) -> None:
    example = "-chdir=examples/module"
    terraform.output(example, "init", "-backend=false", "-input=false", "-no-color")
    variables = [f"-var={name}_image=example.com/{name}" for name in ("worker", "functions")]
    terraform.output(example, "plan", "-input=false", "-no-color", "-var=project_id=my-project", *variables)


def test_each_checkov_exception_has_a_reason() -> None:
    files = MODULE.glob("*.tf")
    exceptions = [line for file in files for line in file.read_text().splitlines() if "checkov:skip" in line]
    assert exceptions
    for line in exceptions:
        assert re.fullmatch(r"  #checkov:skip=CKV2?_GCP_\d+:\w.{20,}", line), line


# What the deployments consist of -------------------------------------------------------------------------------------


def test_minimal_example_sets_only_the_project() -> None:
    """So the minimal deployment, which was given only a project, is this example."""
    lines = (REPOSITORY / "terraform/examples/minimal.tfvars").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ['project_id = "my-project"']


def test_resources_of_a_minimal_deployment(minimal: list[Document]) -> None:
    assert _names(minimal) == MINIMAL


def test_resources_of_a_production_deployment(production: list[Document]) -> None:
    assert _names(production) == PRODUCTION


def test_minimal_deployment_has_no_hourly_price(minimal: list[Document]) -> None:
    assert of_type(minimal, *COSTS_WHILE_IDLE) == []
    for function in of_type(minimal, "google_cloud_run_v2_service"):
        assert not function["values"]["template"][0]["scaling"][0]["min_instance_count"]


def test_indexes_match_the_backend(example: list[Document]) -> None:
    shared = json.loads((REPOSITORY / "cloud_executor/backends/google/firestore/indexes.json").read_text())
    assert len(of_type(example, "google_firestore_index")) == len(shared["indexes"])
    overrides = {f"{field['collectionGroup']}/{field['fieldPath']}" for field in shared["fieldOverrides"]}
    fields = of_type(example, "google_firestore_field")
    assert {field["index"] for field in fields} == overrides
    expiring = {field["index"] for field in fields if field["values"]["ttl_config"]}
    assert expiring == {key for key in overrides if key.endswith("/expireAt")}


def test_names_are_unique_per_type(example: list[Document]) -> None:
    counts = Counter(
        (found["type"], found["values"]["name"])
        for found in example
        if found["values"].get("name") and not found["type"].endswith("_iam_member")
    )
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_resource_that_supports_labels_has_them(example: list[Document]) -> None:
    labeled = 0
    for found in example:
        # A notification channel has both attributes, and its address is in `labels`.
        for name in ("user_labels", "labels"):
            if name in found["values"]:
                assert found["values"][name]["application"] == "cloud-executor", found["address"]
                labeled += 1
                break
    assert labeled > 10


# Access --------------------------------------------------------------------------------------------------------------


def test_minimal_deployment_is_not_public(minimal: list[Document]) -> None:
    assert not re.search("allUsers|allAuthenticatedUsers", json.dumps(minimal))


def test_only_the_api_is_public_with_allow_unauthenticated(production: list[Document]) -> None:
    """Without a role for allUsers, which organizations may forbid."""
    services = {found["index"]: found["values"] for found in of_type(production, "google_cloud_run_v2_service")}
    assert {name for name, service in services.items() if service["invoker_iam_disabled"]} == {"blob", "executor"}
    assert not re.search("allUsers|allAuthenticatedUsers", json.dumps(production))


def test_only_the_api_is_reachable_from_the_internet(example: list[Document]) -> None:
    services = {found["index"]: found["values"] for found in of_type(example, "google_cloud_run_v2_service")}
    for name in ("sweep", "dead-letter", *services.keys() & {"retention"}):
        assert services[name]["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
        assert services[name]["invoker_iam_disabled"] is False


def test_dead_letters_are_pushed_with_the_token_that_the_function_verifies(example: list[Document]) -> None:
    (push,) = (
        found["values"]
        for found in of_type(example, "google_pubsub_subscription")
        if found["name"] == "dead_letter_push"
    )
    (config,) = push["push_config"]
    (token,) = config["oidc_token"]
    (service,) = (found for found in of_type(example, "google_cloud_run_v2_service") if found["index"] == "dead-letter")
    settings = environment(service)
    assert config["push_endpoint"].startswith(f"https://{service['values']['name']}-")
    assert token["audience"] == config["push_endpoint"] == settings["EXECUTOR_PUSH_AUDIENCE"]
    assert token["service_account_email"] == settings["EXECUTOR_PUSH_ACCOUNT"]


def test_functions_start_from_their_image(example: list[Document]) -> None:
    for service in of_type(example, "google_cloud_run_v2_service"):
        (template,) = service["values"]["template"]
        (container,) = template["containers"]
        target = service["index"].replace("-", "_")
        assert container["args"] == [f"--target={target}", f"--threads={template['max_instance_request_concurrency']}"]
        assert container["startup_probe"][0]["http_get"][0]["path"] == HEALTH_PATH
        assert "/functions" in container["image"]


def test_buckets_cannot_be_public(example: list[Document]) -> None:
    buckets = of_type(example, "google_storage_bucket")
    assert buckets
    for bucket in buckets:
        assert bucket["values"]["public_access_prevention"] == "enforced"
        assert bucket["values"]["uniform_bucket_level_access"] is True


def test_only_blobs_are_retained_after_their_deletion(example: list[Document]) -> None:
    """Uploads in flight and composed zips have a bucket of their own, and the functions and workers know it."""
    buckets = {found["name"]: found["values"] for found in of_type(example, "google_storage_bucket")}
    retained = {name: bucket["soft_delete_policy"][0]["retention_duration_seconds"] for name, bucket in buckets.items()}
    assert (retained["blobs"] > 0, retained["staging"]) == (True, 0)
    for name in ("location", "storage_class"):
        assert buckets["staging"][name] == buckets["blobs"][name], "a copy between them moves no bytes"
    for bucket in buckets.values():
        rules = [rule["condition"][0] for rule in bucket["lifecycle_rule"]]
        ages = {tuple(rule["matches_prefix"] or ()): rule["age"] for rule in rules}
        assert ages == {("wg-temp/",): TEMPORARY_LIFETIME.days, ("wg-zip/",): ZIP_LIFETIME.days, (): 1}
    for service in of_type(example, "google_cloud_run_v2_service"):
        settings = environment(service)
        named = (settings["EXECUTOR_BUCKET"], settings["EXECUTOR_STAGING_BUCKET"])
        assert named == (buckets["blobs"]["name"], buckets["staging"]["name"])


def test_workers_have_no_public_address(example: list[Document]) -> None:
    templates = of_type(example, "google_compute_region_instance_template")
    assert templates
    for template in templates:
        for interface in template["values"]["network_interface"]:
            assert not interface.get("access_config")


def test_accounts_have_no_keys(example: list[Document]) -> None:
    assert of_type(example, "google_service_account_key") == []


def test_token_pepper_has_256_bits(minimal: list[Document]) -> None:
    (version,) = (
        found["values"]
        for found in of_type(minimal, "google_secret_manager_secret_version")
        if found["name"] == "pepper"
    )
    assert len(base64.b64decode(version["secret_data"], validate=True)) == 32


# Pools ---------------------------------------------------------------------------------------------------------------


def test_subscriptions_have_dead_letters_and_never_expire(example: list[Document]) -> None:
    subscriptions = of_type(example, "google_pubsub_subscription")
    pools = [found for found in subscriptions if found["name"] == "pool"]
    assert pools
    assert len(pools) + 2 == len(subscriptions), "The only other subscriptions are for dead letters."
    for subscription in pools:
        assert subscription["values"]["dead_letter_policy"]
    for subscription in subscriptions:
        assert subscription["values"]["expiration_policy"] == [{"ttl": ""}]


def test_pools_scale_out_from_zero_by_their_own_backlog(example: list[Document]) -> None:
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
        shape = group["values"]["distribution_policy_target_shape"]
        assert shape in {"EVEN", "BALANCED"}, "An autoscaler supports no other shape."


# Settings of functions and workers -----------------------------------------------------------------------------------


def test_settings_are_accepted(minimal: list[Document]) -> None:
    assert Settings.from_env(worker_settings(minimal))
    functions = of_type(minimal, "google_cloud_run_v2_service")
    assert len(functions) == 3
    for function in functions:
        settings = Settings.from_env(environment(function))
        assert (settings.objects, settings.jobs) == ("gcs", "google")
        assert [pool.name for pool in settings.worker_pools] == ["default"]


def test_vms_know_the_egress_and_the_images_of_their_pool(production: list[Document]) -> None:
    """Only Google's registries get the VM's credentials."""
    groups = of_type(production, "google_compute_region_instance_group_manager")
    found = {}
    for group in groups:
        (config,) = group["values"]["all_instances_config"]
        files = yaml.safe_load(config["metadata"]["user-data"])["write_files"]
        contents = {file["path"]: file["content"] for file in files}
        (pulled,) = re.findall(r"pull --quiet (\S+)", contents["/etc/systemd/system/cloud-executor-image.service"])
        (registries,) = re.findall(r"--registries=(\S+)", contents["/etc/systemd/system/cloud-executor-worker.service"])
        (egress,) = re.findall(r"for range in (.*);", contents["/etc/cloud-executor/close-metadata-server.sh"])
        found[group["index"]] = (egress, pulled, registries)
    own, python = "europe-west4-docker.pkg.dev", "mirror.gcr.io/library/python:3.12"
    assert found == {
        "default": ("0.0.0.0/0", python, f"{own},mirror.gcr.io"),
        "gpu": ("0.0.0.0/0", "nvcr.io/nvidia/cuda:12.6.3-runtime-ubuntu24.04", own),
        "spot": ("198.51.100.0/24 8.8.8.8/32 8.8.4.4/32", python, f"{own},mirror.gcr.io"),
    }


def test_worker_runs_jobs_in_containers_of_the_pools_image(minimal: list[Document]) -> None:
    settings = Settings.from_env(worker_settings(minimal))
    assert settings.sandbox == "container"
    (pool,) = settings.worker_pools
    assert (pool.name, pool.image) == ("default", "mirror.gcr.io/library/python:3.12")


def test_settings_contain_the_limits_of_pools(production: list[Document]) -> None:
    for service in of_type(production, "google_cloud_run_v2_service"):
        settings = Settings.from_env(environment(service))
        pools = {pool.name: pool for pool in settings.pools}
        assert list(pools) == ["default", "gpu", "spot"]
        assert (pools["gpu"].cpus, pools["gpu"].memory_mib, pools["gpu"].disk_mib) == (8, 26624, 102400)
        assert (pools["gpu"].slots, pools["gpu"].network) == (1, "none")
        assert (pools["gpu"].gpus, pools["default"].gpus) == (1, 0)
        assert pools["spot"].images == ("europe-west4-docker.pkg.dev/my-project/**",)
        license_server = {"LM_LICENSE_FILE": "27000@licenses.example.com"}
        assert pools["spot"].env == {**license_server, "R_LIBS_SITE": "/usr/local/lib/R/shared"}
        assert pools["default"].env == license_server
        assert pools["spot"].idle == timedelta(minutes=15)
        assert pools["default"].max_timeout == timedelta(days=1)


# Monitoring ----------------------------------------------------------------------------------------------------------


def test_metrics_and_charts_show_only_this_deployment(example: list[Document]) -> None:
    metrics = of_type(example, "google_logging_metric")
    assert metrics
    for metric in metrics:
        assert metric["values"]["filter"].startswith('jsonPayload.deployment="cloud-executor" AND ')
    (dashboard,) = of_type(example, "google_monitoring_dashboard")
    filters = re.findall(r'"filter":"(.*?[^\\])"', dashboard["values"]["dashboard_json"])
    assert len(filters) > 10
    for chart in filters:
        assert re.search(r"cloud-executor|database_id = ", chart), chart


def test_cloud_armor_leaves_blobs_alone(production: list[Document]) -> None:
    policies = {
        found["index"]: found["values"]["security_policy"]
        for found in of_type(production, "google_compute_backend_service")
    }
    assert policies["executor"]
    assert not policies["blob"]


# Documentation -------------------------------------------------------------------------------------------------------
