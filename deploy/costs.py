"""What a plan of Terraform will cost, by list prices: an estimate for a person who is about to say yes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Resource = Mapping[str, Any]

AS_OF = (
    "list prices of us-central1 in US dollars, as known in November 2026, without free tiers; the price list of Google "
    "is right"
)
"""docs/scaling.md says which of the prices here were read where"""

HOURS = 730
"""in a month"""

VCPU_SECOND, GIB_SECOND, REQUEST = 24e-6, 2.5e-6, 0.40e-6
IDLE_VCPU_SECOND, IDLE_GIB_SECOND = 2.5e-6, 2.5e-6
DOCUMENT_READ, DOCUMENT_WRITE, DOCUMENT_DELETE = 0.03e-5, 0.09e-5, 0.01e-5
OBJECT_WRITE, OBJECT_READ, GIB_MONTH = 5e-6, 0.4e-6, 0.020
SCHEDULED_JOB, SECRET_VERSION, IMAGE_GIB_MONTH, ALERT_CONDITION = 0.10, 0.06, 0.10, 1.50
FORWARDING_RULES_HOUR, SECURITY_POLICY, SECURITY_RULE = 0.025, 5.0, 1.0
NAT_VM_HOUR = 0.0014 + 0.005
"""a VM's part of the gateway, and an address, which up to a thousand VMs share"""

MACHINE_HOUR = {
    "e2": (0.021812, 0.002924),
    "n1": (0.031611, 0.004237),
    "n2": (0.031611, 0.004237),
    "n2d": (0.027502, 0.003686),
}
"""of a vCPU and of a GiB, by the family of the machine type"""

GIB_PER_VCPU = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
N1_GIB_PER_VCPU = {"standard": 3.75, "highmem": 6.5, "highcpu": 0.9}

ACCELERATOR_HOUR = {"nvidia-tesla-t4": 0.35, "nvidia-l4": 0.56}
DISK_GIB_MONTH = {"pd-standard": 0.04, "pd-balanced": 0.10, "pd-ssd": 0.17, "hyperdisk-balanced": 0.08}
SPOT = 0.4
"""of the price at most: Google promises 60 to 91 percent less"""

IMAGES_GIB = 1.0
SWEEPS, SWEEP_SECONDS, SWEEP_READS = 60 * HOURS, 0.3, 5

JOBS = 1000
JOB_SECONDS, JOB_REQUESTS, REQUEST_SECONDS = 60, 20, 0.1
JOB_WRITES, JOB_READS, JOB_DELETES = 20, 90, 4
"""documents: a running job is looked at each second and its lease renewed every ten"""
JOB_OBJECT_WRITES, JOB_OBJECT_READS, JOB_GIB = 20, 20, 0.001


@dataclass(frozen=True)
class Cost:
    what: str
    dollars: float | None
    """None: no price of it is known here"""


def idle(resources: Sequence[Resource]) -> list[Cost]:
    """A month in which nobody does anything."""
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
        Cost("the sweep, every minute", sweeps + SCHEDULED_JOB),
        Cost("images and secrets", IMAGES_GIB * IMAGE_GIB_MONTH + len(secrets) * SECRET_VERSION),
        Cost(f"{len(conditions)} alerts, at most", len(conditions) * ALERT_CONDITION),
        Cost("the load balancer", HOURS * FORWARDING_RULES_HOUR if rules else 0.0),
        Cost("Cloud Armor", sum(SECURITY_POLICY + SECURITY_RULE * len(policy["rule"]) for policy in policies)),
        Cost("function instances kept warm", sum(map(_warm, _values(resources, "google_cloudfunctions2_function")))),
    ]
    for pool, scaler in sorted(_by_pool(resources, "google_compute_region_autoscaler").items()):
        kept = scaler["autoscaling_policy"][0]["min_replicas"]
        hour = _vm_hour(_by_pool(resources, "google_compute_region_instance_template")[pool])
        if kept:
            costs.append(Cost(f"{kept} VMs kept in the pool {pool}", None if hour is None else kept * hour * HOURS))
    return [cost for cost in costs if cost.dollars != 0.0]


def thousand_jobs(resources: Sequence[Resource]) -> list[Cost]:
    """1,000 jobs of a minute each that keep their VMs busy; the VMs of each pool as if all ran there."""
    request = REQUEST_SECONDS * (VCPU_SECOND + GIB_SECOND) + REQUEST
    documents = JOB_WRITES * DOCUMENT_WRITE + JOB_READS * DOCUMENT_READ + JOB_DELETES * DOCUMENT_DELETE
    objects = JOB_OBJECT_WRITES * OBJECT_WRITE + JOB_OBJECT_READS * OBJECT_READ + JOB_GIB * GIB_MONTH
    costs = [
        Cost("requests", JOBS * JOB_REQUESTS * request),
        Cost("documents", JOBS * documents),
        Cost("blobs, with a month of 1 MiB each", JOBS * objects),
    ]
    scalers = _by_pool(resources, "google_compute_region_autoscaler")
    for pool, template in sorted(_by_pool(resources, "google_compute_region_instance_template").items()):
        slots = scalers[pool]["autoscaling_policy"][0]["metric"][0]["single_instance_assignment"]
        hour = _vm_hour(template)
        cost = None if hour is None else JOBS * JOB_SECONDS / 3600 / slots * hour
        costs.append(Cost(f"VMs, in the pool {pool} ({template['machine_type']}, {slots:g} slots)", cost))
    return costs


def _values(resources: Iterable[Resource], kind: str) -> list[Resource]:
    return [resource["values"] for resource in resources if resource["type"] == kind]


def _by_pool(resources: Iterable[Resource], kind: str) -> dict[str, Resource]:
    return {resource["index"]: resource["values"] for resource in resources if resource["type"] == kind}


def _warm(function: Resource) -> float:
    (service,) = function["service_config"]
    kept = service.get("min_instance_count") or 0
    if not kept:
        return 0.0
    gib = float(service["available_memory"].removesuffix("Mi")) / 1024
    second = float(service["available_cpu"]) * IDLE_VCPU_SECOND + gib * IDLE_GIB_SECOND
    return float(kept * second * 3600 * HOURS)


def _vm_hour(template: Resource) -> float | None:
    """With its disk and its way out."""
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
