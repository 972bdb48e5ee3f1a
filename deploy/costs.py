"""Estimates the cost of a Terraform plan from list prices, for the confirmation before a deployment.

docs/scaling.md lists the source of each price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Resource = Mapping[str, Any]

AS_OF = (
    "List prices for us-central1 as known in November 2026, without free tiers. "
    "Other regions differ, and Google's price list is authoritative."
)
"""Source and date of the prices below, which are in US dollars."""

HOURS = 730
"""Length of a month, in hours."""

VCPU_SECOND, GIB_SECOND, REQUEST = 24e-6, 2.5e-6, 0.40e-6
IDLE_VCPU_SECOND, IDLE_GIB_SECOND = 2.5e-6, 2.5e-6
DOCUMENT_READ, DOCUMENT_WRITE, DOCUMENT_DELETE = 0.03e-5, 0.09e-5, 0.01e-5
OBJECT_WRITE, OBJECT_READ, GIB_MONTH = 5e-6, 0.4e-6, 0.020
SCHEDULED_JOB, SECRET_VERSION, IMAGE_GIB_MONTH, ALERT_CONDITION = 0.10, 0.06, 0.10, 1.50
FORWARDING_RULES_HOUR, SECURITY_POLICY, SECURITY_RULE = 0.025, 5.0, 1.0
NAT_VM_HOUR = 0.0014 + 0.005
"""Price of Cloud NAT per VM and hour: the gateway, and a whole address, although up to 1,000 VMs share one."""

MACHINE_HOUR = {
    "e2": (0.021812, 0.002924),
    "n1": (0.031611, 0.004237),
    "n2": (0.031611, 0.004237),
    "n2d": (0.027502, 0.003686),
}
"""Prices per hour of a vCPU and of a GiB of memory, by machine family."""

GIB_PER_VCPU = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
N1_GIB_PER_VCPU = {"standard": 3.75, "highmem": 6.5, "highcpu": 0.9}

ACCELERATOR_HOUR = {"nvidia-tesla-t4": 0.35, "nvidia-l4": 0.56}
DISK_GIB_MONTH = {"pd-standard": 0.04, "pd-balanced": 0.10, "pd-ssd": 0.17, "hyperdisk-balanced": 0.08}
SPOT = 0.4
"""Maximum price of a spot VM, relative to the normal price. Google's discount is 60 to 91 percent."""

IMAGES_GIB = 1.0
SWEEPS, SWEEP_SECONDS, SWEEP_READS = 60 * HOURS, 0.3, 6

JOBS = 1000
JOB_SECONDS, JOB_REQUESTS, REQUEST_SECONDS = 60, 20, 0.1
JOB_WRITES, JOB_READS, JOB_DELETES = 20, 90, 4
"""Document operations per job: a running job is polled every second, and its lease is renewed every 10 seconds."""
JOB_OBJECT_WRITES, JOB_OBJECT_READS, JOB_GIB = 20, 20, 0.001


@dataclass(frozen=True)
class Cost:
    name: str
    dollars: float | None
    """Price in US dollars; None if it is unknown."""


def resources_of(module: Mapping[str, Any]) -> list[Resource]:
    """The planned resources of a module and of the modules that it calls."""
    found = list(module.get("resources", []))
    for called in module.get("child_modules", []):
        found += resources_of(called)
    return found


def idle(resources: Sequence[Resource]) -> list[Cost]:
    """The cost of an idle month."""
    sweeps = SWEEPS * (SWEEP_SECONDS * (VCPU_SECOND + 0.5 * GIB_SECOND) + REQUEST + SWEEP_READS * DOCUMENT_READ)
    rules = _values(resources, "google_compute_global_forwarding_rule")
    policies = _values(resources, "google_compute_security_policy")
    conditions = [
        condition
        for policy in _values(resources, "google_monitoring_alert_policy")
        for condition in policy["conditions"]
    ]
    secrets = _values(resources, "google_secret_manager_secret_version")
    costs = [
        Cost("sweep, once per minute", sweeps + SCHEDULED_JOB),
        Cost("images and secrets", IMAGES_GIB * IMAGE_GIB_MONTH + len(secrets) * SECRET_VERSION),
        Cost(f"{len(conditions)} alerts, where Google charges for alerts", len(conditions) * ALERT_CONDITION),
        Cost("load balancer", HOURS * FORWARDING_RULES_HOUR if rules else 0.0),
        Cost("Cloud Armor", sum(SECURITY_POLICY + SECURITY_RULE * len(policy["rule"]) for policy in policies)),
        Cost("warm function instances", sum(map(_warm, _values(resources, "google_cloud_run_v2_service")))),
    ]
    for pool, scaler in sorted(_by_pool(resources, "google_compute_region_autoscaler").items()):
        kept = scaler["autoscaling_policy"][0]["min_replicas"]
        hour = _vm_hour(_by_pool(resources, "google_compute_region_instance_template")[pool])
        if kept:
            costs.append(Cost(f"{kept} idle VMs in the pool {pool}", None if hour is None else kept * hour * HOURS))
    for pool, group in sorted(_by_pool(resources, "google_compute_region_instance_group_manager").items()):
        (disk,) = _by_pool(resources, "google_compute_region_instance_template")[pool]["disk"]
        disk_month = DISK_GIB_MONTH.get(disk["disk_type"])
        if stopped := group.get("target_stopped_size"):
            dollars = None if disk_month is None else stopped * disk["disk_size_gb"] * disk_month
            costs.append(Cost(f"{stopped:g} stopped VMs in the pool {pool}", dollars))
        if suspended := group.get("target_suspended_size"):
            costs.append(Cost(f"{suspended:g} suspended VMs in the pool {pool}", None))
    return [cost for cost in costs if cost.dollars != 0.0]


def thousand_jobs(resources: Sequence[Resource]) -> list[Cost]:
    """The cost of 1,000 one-minute jobs that keep all slots of their VMs busy, with one VM item for each pool."""
    request = REQUEST_SECONDS * (VCPU_SECOND + GIB_SECOND) + REQUEST
    documents = JOB_WRITES * DOCUMENT_WRITE + JOB_READS * DOCUMENT_READ + JOB_DELETES * DOCUMENT_DELETE
    objects = JOB_OBJECT_WRITES * OBJECT_WRITE + JOB_OBJECT_READS * OBJECT_READ + JOB_GIB * GIB_MONTH
    costs = [
        Cost("requests", JOBS * JOB_REQUESTS * request),
        Cost("documents", JOBS * documents),
        Cost("blobs, storing 1 MiB per job for a month", JOBS * objects),
    ]
    scalers = _by_pool(resources, "google_compute_region_autoscaler")
    for pool, template in sorted(_by_pool(resources, "google_compute_region_instance_template").items()):
        slots = scalers[pool]["autoscaling_policy"][0]["metric"][0]["single_instance_assignment"]
        hour = _vm_hour(template)
        cost = None if hour is None else JOBS * JOB_SECONDS / 3600 / slots * hour
        costs.append(Cost(f"VMs of the pool {pool} ({template['machine_type']}, {slots:g} slots)", cost))
    return costs


def _values(resources: Iterable[Resource], kind: str) -> list[Resource]:
    return [resource["values"] for resource in resources if resource["type"] == kind]


def _by_pool(resources: Iterable[Resource], kind: str) -> dict[str, Resource]:
    return {resource["index"]: resource["values"] for resource in resources if resource["type"] == kind}


def _warm(service: Resource) -> float:
    (template,) = service["template"]
    (scaling,) = template["scaling"]
    kept = scaling.get("min_instance_count") or 0
    if not kept:
        return 0.0
    limits = template["containers"][0]["resources"][0]["limits"]
    gib = float(limits["memory"].removesuffix("Mi")) / 1024
    second = float(limits["cpu"]) * IDLE_VCPU_SECOND + gib * IDLE_GIB_SECOND
    return float(kept * second * 3600 * HOURS)


def _vm_hour(template: Resource) -> float | None:
    """The price of a VM per hour, including its disk and Cloud NAT; None if it is unknown."""
    family, _, size = template["machine_type"].partition("-")
    kind, _, cpus = size.partition("-")
    gib_per_vcpu = (N1_GIB_PER_VCPU if family == "n1" else GIB_PER_VCPU).get(kind)
    accelerators = template.get("guest_accelerator") or []
    (disk,) = template["disk"]
    if (
        family not in MACHINE_HOUR
        or gib_per_vcpu is None
        or not cpus.isdecimal()
        or disk["disk_type"] not in DISK_GIB_MONTH
        or any(found["type"] not in ACCELERATOR_HOUR for found in accelerators)
    ):
        return None
    vcpu_hour, gib_hour = MACHINE_HOUR[family]
    machine = int(cpus) * (vcpu_hour + gib_per_vcpu * gib_hour)
    machine += sum(found["count"] * ACCELERATOR_HOUR[found["type"]] for found in accelerators)
    if template["scheduling"][0]["preemptible"]:
        machine *= SPOT
    return float(machine + disk["disk_size_gb"] * DISK_GIB_MONTH[disk["disk_type"]] / HOURS + NAT_VM_HOUR)
