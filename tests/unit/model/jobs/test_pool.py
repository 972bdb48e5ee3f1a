from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.executor_config import ExecutorConfig
from cloud_executor.model.jobs.pool import WorkerPool, parse_pools, pools_with

PROJECT = Path(__file__).parents[4]
DEFAULTS = WorkerPool("default", frozenset({"given"}), image="image", cpus=2.0)


def parse(*entries: object) -> tuple[WorkerPool, ...]:
    return parse_pools("POOLS", json.dumps(entries), DEFAULTS)


def test_all_fields_are_parsed() -> None:
    entry = {
        "name": "large-1",
        "labels": ["gpu", "big"],
        "slots": 2,
        "image": "registry/image:tag",
        "images": ["registry/*"],
        "network": "bridge",
        "runtime": "runsc",
        "cpus": 1.5,
        "memoryMiB": 100,
        "processes": 10,
        "diskMiB": 20,
        "env": {"A": "1", "B": "2"},
        "gpus": 2,
        "timeout": 0.5,
        "maxTimeout": 60,
        "maxRetries": 0,
        "idleMinutes": 1.5,
    }
    assert parse(entry) == (
        WorkerPool(
            "large-1",
            frozenset({"gpu", "big"}),
            slots=2,
            image="registry/image:tag",
            images=("registry/*",),
            network="bridge",
            runtime="runsc",
            cpus=1.5,
            memory_mib=100,
            processes=10,
            disk_mib=20,
            env={"A": "1", "B": "2"},
            gpus=2,
            timeout=timedelta(seconds=0.5),
            max_timeout=timedelta(seconds=60),
            max_retries=0,
            idle=timedelta(seconds=90),
        ),
    )


def test_variables_are_added_to_those_of_all_pools() -> None:
    defaults = replace(DEFAULTS, env={"A": "all", "B": "all"})
    first, second = parse_pools("POOLS", '[{"name": "a", "env": {"B": "a"}}, {"name": "b"}]', defaults)
    assert (first.env, second.env) == ({"A": "all", "B": "a"}, defaults.env)


def test_absent_fields_have_the_default_values() -> None:
    first, second = parse({"name": "a", "labels": []}, {"name": "b", "image": None, "slots": None})
    assert first == WorkerPool("a", image="image", cpus=2.0)
    assert second == WorkerPool("b", frozenset({"given"}), image="image", cpus=2.0)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "A", "a_b", "a-", "1a", "a" * 21, "dead-letter", 5, "a/b"]),
        ("labels", ["gpu", [5], [""], {}]),
        ("slots", [0, -1, 1.5, True, "2"]),
        ("image", ["", 5]),
        ("images", ["x", [5], [""]]),
        ("network", ["host", "", 5, []]),
        ("runtime", ["", 5]),
        ("cpus", [0, -1, True, "1"]),
        ("memoryMiB", [0, 1.5, "1g"]),
        ("processes", [0]),
        ("diskMiB", [0]),
        ("gpus", [0, "all", True]),
        ("timeout", [0, -1, "1"]),
        ("maxTimeout", [0, False]),
        ("maxRetries", [-1, 1.5]),
        ("idleMinutes", [0, []]),
    ],
)
def test_invalid_field_is_rejected_by_its_path(field: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(Invalid, match=rf"^POOLS\[1\]\.{field}(\[0\])? must be .*\.$"):
            parse({"name": "ok"}, {"name": "b", field: value})


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (5, "POOLS[1] must be a JSON object."),
        ({}, "POOLS[1].name is missing."),
        ({"name": None}, "POOLS[1].name must not be null."),
        ({"name": "ok"}, "POOLS[1].name must be unique, but an earlier pool is also named ok."),
        ({"name": "b", "timeout": 5, "maxTimeout": 4}, "POOLS[1].timeout must not be more than maxTimeout."),
    ],
)
def test_invalid_entry_is_rejected_by_its_path(entry: object, sentence: str) -> None:
    with pytest.raises(Invalid) as rejected:
        parse({"name": "ok"}, entry)
    assert str(rejected.value) == sentence


def test_unknown_field_is_rejected_with_the_known_names() -> None:
    with pytest.raises(Invalid, match=r"^POOLS\[0\]\.idle_minutes is not a known field; known fields: name, .*\.$"):
        parse({"name": "a", "idle_minutes": 5})


def known_fields() -> set[str]:
    with pytest.raises(Invalid) as rejected:
        parse({"name": "a", "?": 1})
    return set(str(rejected.value).partition("known fields: ")[2].removesuffix(".").split(", "))


def test_every_field_is_documented() -> None:
    section = (PROJECT / "docs" / "api.md").read_text().partition("### Worker pools")[2].partition("```console")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == known_fields()


def test_terraform_writes_exactly_the_known_fields() -> None:
    block = re.search(
        r"pool_settings = \{.*?\{(.*?)\} : key",
        (PROJECT / "terraform/modules/cloud_executor/functions.tf").read_text(),
        re.DOTALL,
    )
    assert block is not None
    inner = block[1].rpartition("{")[2]
    assert set(re.findall(r"^ +(\w+) += ", inner, re.MULTILINE)) == known_fields()


def test_job_goes_to_the_pools_with_its_labels() -> None:
    pools = parse({"name": "a", "labels": []}, {"name": "b", "labels": ["x"]}, {"name": "c", "labels": ["x", "y"]})
    found = [pools_with(labels, pools) for labels in ((), ("x",), ("x", "y"), ("z",))]
    assert found == [("a", "b", "c"), ("b", "c"), ("c",), ()]


SMALL = WorkerPool("small", image="own", images=("lab/*", "tool:1"), cpus=1, memory_mib=100)
SLOW = WorkerPool("slow", timeout=timedelta(seconds=5), max_timeout=timedelta(seconds=60))
LARGE = WorkerPool("large", frozenset({"x"}), cpus=8, memory_mib=1000)
OTHER = WorkerPool("other", frozenset({"y"}), cpus=8, memory_mib=1000)


def config(**fields: object) -> ExecutorConfig:
    return ExecutorConfig.parse(json.dumps({"cmd": "x", "resultArtifacts": [], **fields}).encode())


@pytest.mark.parametrize(
    ("pool", "fields", "sentence"),
    [
        (SMALL, {}, None),
        (SMALL, {"resources": {"cpus": 1, "memoryMiB": 100}}, None),
        (
            SMALL,
            {"resources": {"cpus": 1.5}},
            "executor_config.json: resources.cpus is 1.5, but the worker pool small allows at most 1.",
        ),
        (
            SMALL,
            {"resources": {"memoryMiB": 101}},
            "executor_config.json: resources.memoryMiB is 101, but the worker pool small allows at most 100.",
        ),
        (SMALL, {"timeout": 1e9}, None),
        (SLOW, {"timeout": 60}, None),
        (
            SLOW,
            {"timeout": 60.5},
            "executor_config.json: timeout is 60.5 seconds, but the worker pool slow allows at most 60 seconds.",
        ),
        *((SMALL, {"image": image}, None) for image in ("own", "lab/a", "lab/a:c", "tool:1")),
        *(
            (
                SMALL,
                {"image": image},
                f"executor_config.json: the worker pool small does not allow the image {image}.",
            )
            for image in ("lab", "Lab/a", "lab/a/b", "tool:12", "evil/lab/a")
        ),
        (
            LARGE,
            {"image": "own"},
            "executor_config.json: the worker pool large does not allow the image own.",
        ),
    ],
)
def test_refusal_names_the_field(pool: WorkerPool, fields: dict[str, object], sentence: str | None) -> None:
    assert pool.refusal(config(**fields)) == sentence


def test_time_limit_of_the_job_precedes_those_of_the_pool() -> None:
    second = timedelta(seconds=1)
    assert SLOW.timeout_of(config(timeout=7)) == 7 * second
    assert SLOW.timeout_of(config()) == 5 * second
    assert WorkerPool("p", max_timeout=60 * second).timeout_of(config()) == 60 * second
    assert SMALL.timeout_of(config()) is None
