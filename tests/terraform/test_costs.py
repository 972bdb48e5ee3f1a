"""What `make deploy` says that it will cost."""

from __future__ import annotations

import re

import pytest
from terraform_program import REPOSITORY, Document

from deploy.costs import ALERT_CONDITION, JOB_SECONDS, JOBS, Cost, idle, thousand_jobs


def by_name(costs: list[Cost]) -> dict[str, float | None]:
    return {cost.what: cost.dollars for cost in costs}


def test_a_minimal_deployment_costs_a_few_dollars_while_idle(minimal: list[Document]) -> None:
    costs = by_name(idle(minimal))
    assert set(costs) == {"the sweep, every minute", "images and secrets", "4 alerts, at most"}
    assert sum(cost or 0 for cost in costs.values()) < 8


def test_a_load_balancer_and_its_guard_are_named(production: list[Document]) -> None:
    costs = by_name(idle(production))
    assert costs["the load balancer"] == pytest.approx(18.25)
    assert costs["Cloud Armor"] == pytest.approx(7.0)
    assert costs["6 alerts, at most"] == pytest.approx(9.0)


def test_the_scaling_page_says_the_same(minimal: list[Document], production: list[Document]) -> None:
    table = (REPOSITORY / "docs/scaling.md").read_text().partition("## What it costs")[2]
    said = [float(price) for price in re.findall(r"\| (\d+\.\d\d)(?: a month)? \|$", table, re.MULTILINE)]
    resting, fixed, working = by_name(idle(minimal)), by_name(idle(production)), by_name(thousand_jobs(minimal))
    vms = working.pop("VMs, in the pool default (e2-standard-4, 4 slots)") or 0
    assert said == [
        round((resting["the sweep, every minute"] or 0) + (resting["images and secrets"] or 0), 2),
        ALERT_CONDITION,
        fixed["the load balancer"],
        fixed["Cloud Armor"],
        round(sum(price or 0 for price in working.values()), 2),
        round(vms, 2),
        round(vms / (JOBS * JOB_SECONDS / 4) * 600, 2),  # dollars a second of a VM, for ten minutes
    ]


def scaler(pool: str, slots: int, kept: int = 0) -> Document:
    policy = {"min_replicas": kept, "metric": [{"single_instance_assignment": slots}]}
    return {"type": "google_compute_region_autoscaler", "index": pool, "values": {"autoscaling_policy": [policy]}}


def template(pool: str, machine_type: str, *, spot: bool = False, gpu: str | None = None) -> Document:
    values = {
        "machine_type": machine_type,
        "disk": [{"disk_type": "pd-balanced", "disk_size_gb": 73}],  # a cent an hour
        "guest_accelerator": [] if gpu is None else [{"type": gpu, "count": 2}],
        "scheduling": [{"preemptible": spot}],
    }
    return {"type": "google_compute_region_instance_template", "index": pool, "values": values}


@pytest.mark.parametrize(
    ("machine_type", "options", "dollars_an_hour"),
    [
        ("e2-standard-4", {}, 0.134 + 0.0164),
        ("e2-highcpu-4", {}, 0.099 + 0.0164),
        ("n1-standard-8", {}, 0.380 + 0.0164),
        ("e2-standard-4", {"spot": True}, 0.0536 + 0.0164),
        ("n1-standard-8", {"gpu": "nvidia-tesla-t4"}, 0.380 + 0.70 + 0.0164),
    ],
)
def test_vms_are_paid_by_the_slot(machine_type: str, options: Document, dollars_an_hour: float) -> None:
    resources = [scaler("a", 4), template("a", machine_type, **options)]
    cost = by_name(thousand_jobs(resources))[f"VMs, in the pool a ({machine_type}, 4 slots)"]
    assert cost == pytest.approx(1000 / 60 / 4 * dollars_an_hour, rel=0.01)


@pytest.mark.parametrize(
    ("machine_type", "gpu"), [("z9-standard-4", None), ("e2-micro", None), ("n1-standard-8", "nvidia-unknown")]
)
def test_what_has_no_known_price_is_not_guessed(machine_type: str, gpu: str | None) -> None:
    resources = [scaler("a", 1, kept=2), template("a", machine_type, gpu=gpu)]
    assert by_name(thousand_jobs(resources))[f"VMs, in the pool a ({machine_type}, 1 slots)"] is None
    assert by_name(idle(resources))["2 VMs kept in the pool a"] is None


def test_vms_that_are_kept_cost_money_while_idle() -> None:
    resources = [scaler("a", 4, kept=2), template("a", "e2-standard-4")]
    assert by_name(idle(resources))["2 VMs kept in the pool a"] == pytest.approx(2 * 730 * 0.1504, rel=0.01)


def test_functions_that_are_kept_warm_cost_money_while_idle() -> None:
    service = {"min_instance_count": 1, "available_memory": "1024Mi", "available_cpu": "1"}
    function = {"type": "google_cloudfunctions2_function", "values": {"service_config": [service]}}
    assert by_name(idle([function]))["function instances kept warm"] == pytest.approx(13.14)


def test_every_pool_of_an_example_has_a_line(production: list[Document]) -> None:
    lines = [cost.what for cost in thousand_jobs(production) if cost.what.startswith("VMs")]
    assert len(lines) == 3
