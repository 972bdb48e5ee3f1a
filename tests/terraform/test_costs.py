"""Tests of the cost estimate that `make deploy` prints."""

from __future__ import annotations

import re

import pytest
from terraform_program import REPOSITORY, Document

from deploy.costs import ALERT_CONDITION, JOB_SECONDS, JOBS, Cost, idle, thousand_jobs

LOAD_BALANCER, CLOUD_ARMOR = 18.25, 7.00
"""Prices of the production deployment per month, in US dollars."""


def by_name(costs: list[Cost]) -> dict[str, float | None]:
    return {cost.name: cost.dollars for cost in costs}


def test_idle_minimal_deployment_costs_a_few_dollars(minimal: list[Document]) -> None:
    costs = by_name(idle(minimal))
    assert set(costs) == {
        "sweep, once per minute",
        "images and secrets",
        "9 alerts, where Google charges for alerts",
    }
    assert sum(cost or 0 for cost in costs.values()) < 15


def test_production_costs_include_load_balancer_and_cloud_armor(production: list[Document]) -> None:
    costs = by_name(idle(production))
    assert costs["load balancer"] == pytest.approx(LOAD_BALANCER)
    assert costs["Cloud Armor"] == pytest.approx(CLOUD_ARMOR)
    assert costs["15 alerts, where Google charges for alerts"] == pytest.approx(15 * ALERT_CONDITION)


def test_scaling_page_has_the_same_prices(minimal: list[Document]) -> None:
    table = (REPOSITORY / "docs/scaling.md").read_text().partition("## What it costs")[2]
    listed = [float(price) for price in re.findall(r"\| (\d+\.\d\d)(?: a month)? \|$", table, re.MULTILINE)]
    month, jobs = by_name(idle(minimal)), by_name(thousand_jobs(minimal))
    vms = jobs.pop("VMs of the pool default (e2-standard-4, 4 slots)") or 0
    vm_second = vms / (JOBS * JOB_SECONDS / 4)
    assert listed == [
        round((month["sweep, once per minute"] or 0) + (month["images and secrets"] or 0), 2),
        ALERT_CONDITION,
        LOAD_BALANCER,
        CLOUD_ARMOR,
        round(sum(price or 0 for price in jobs.values()), 2),
        round(vms, 2),
        round(vm_second * 900, 2),
    ]


def scaler(pool: str, slots: int, kept: int = 0) -> Document:
    policy = {"min_replicas": kept, "metric": [{"single_instance_assignment": slots}]}
    return {"type": "google_compute_region_autoscaler", "index": pool, "values": {"autoscaling_policy": [policy]}}


def template(pool: str, machine_type: str, *, spot: bool = False, gpu: str | None = None) -> Document:
    values = {
        "machine_type": machine_type,
        "disk": [{"disk_type": "pd-balanced", "disk_size_gb": 73}],  # costs a cent per hour
        "guest_accelerator": [] if gpu is None else [{"type": gpu, "count": 2}],
        "scheduling": [{"preemptible": spot}],
    }
    return {"type": "google_compute_region_instance_template", "index": pool, "values": values}


@pytest.mark.parametrize(
    ("machine_type", "options", "dollars_per_hour"),
    [
        ("e2-standard-4", {}, 0.134 + 0.0164),
        ("e2-highcpu-4", {}, 0.099 + 0.0164),
        ("n1-standard-8", {}, 0.380 + 0.0164),
        ("e2-standard-4", {"spot": True}, 0.0536 + 0.0164),
        ("n1-standard-8", {"gpu": "nvidia-tesla-t4"}, 0.380 + 0.70 + 0.0164),
    ],
)
def test_job_costs_its_share_of_the_vm(machine_type: str, options: Document, dollars_per_hour: float) -> None:
    resources = [scaler("a", 4), template("a", machine_type, **options)]
    cost = by_name(thousand_jobs(resources))[f"VMs of the pool a ({machine_type}, 4 slots)"]
    assert cost == pytest.approx(1000 / 60 / 4 * dollars_per_hour, rel=0.01)


@pytest.mark.parametrize(
    ("machine_type", "gpu"), [("z9-standard-4", None), ("e2-micro", None), ("n1-standard-8", "nvidia-unknown")]
)
def test_unknown_price_is_none(machine_type: str, gpu: str | None) -> None:
    resources = [scaler("a", 1, kept=2), template("a", machine_type, gpu=gpu)]
    assert by_name(thousand_jobs(resources))[f"VMs of the pool a ({machine_type}, 1 slots)"] is None
    assert by_name(idle(resources))["2 idle VMs in the pool a"] is None


def test_minimum_workers_cost_money_while_idle() -> None:
    resources = [scaler("a", 4, kept=2), template("a", "e2-standard-4")]
    assert by_name(idle(resources))["2 idle VMs in the pool a"] == pytest.approx(2 * 730 * 0.1504, rel=0.01)


def test_warm_function_instances_cost_money_while_idle() -> None:
    container = {"resources": [{"limits": {"memory": "1024Mi", "cpu": "1"}}]}
    template = {"scaling": [{"min_instance_count": 1}], "containers": [container]}
    function = {"type": "google_cloud_run_v2_service", "values": {"template": [template]}}
    assert by_name(idle([function]))["warm function instances"] == pytest.approx(13.14)


def test_every_pool_has_its_own_item(production: list[Document]) -> None:
    items = [cost.name for cost in thousand_jobs(production) if cost.name.startswith("VMs")]
    assert len(items) == 3


def test_standby_vms_cost_their_disks_while_idle() -> None:
    """The price of a suspended VM's memory is unknown."""
    group = {
        "type": "google_compute_region_instance_group_manager",
        "index": "a",
        "values": {"target_stopped_size": 2, "target_suspended_size": 3},
    }
    costs = by_name(idle([scaler("a", 4), template("a", "e2-standard-4"), group]))
    assert costs["2 stopped VMs in the pool a"] == pytest.approx(14.6)
    assert costs["3 suspended VMs in the pool a"] is None
