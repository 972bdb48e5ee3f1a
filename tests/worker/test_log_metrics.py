"""Test that the log metrics in monitoring.tf match the worker's log records."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from worker_harness import PROJECT, Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.json_logging import JsonFormatter

METRICS = dict(
    re.findall(
        r'^resource "google_logging_metric" "(\w+)" \{$(.*?)^\}$',
        (PROJECT / "terraform/modules/cloud_executor/monitoring.tf").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)


@pytest.fixture
def records(stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records that a worker logs while it does everything that is counted."""
    monkeypatch.setattr("worker_vm.worker.worker.COUNT_SECONDS", 0.1)
    monkeypatch.setattr("worker_vm.worker.worker.IDLE_CHECK_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonFormatter("worker", deployment="mine"))
    with WorkerThread(runner_of(stack, stack.jobs), queue=stack.jobs.queue, slots=2):
        stack.finished(stack.add_script("exit 3"))
        until(lambda: "slots counted" in caplog.text)
    # A sweep logs as a function.
    caplog.handler.setFormatter(JsonFormatter("functions", deployment="mine"))
    ended = caplog.text
    caplog.clear()
    stack.add_script("exit 0")
    stack.jobs.stats.log_waiting()
    return [json.loads(line) for line in (ended + caplog.text).splitlines()]


def filter_of(metric: str) -> str:
    text = METRICS[metric]
    reference = re.search(r"filter += google_logging_metric\.(\w+)\.filter", text)
    if reference:
        return filter_of(reference[1])
    pattern: str = re.findall(r'filter += "(.*)"', text)[0]
    return pattern.replace('\\"', '"').replace("${local.logged}", 'jsonPayload.deployment="mine"')


def fields_of(metric: str) -> set[str]:
    text = METRICS[metric]
    reference = re.search(r"label_extractors += google_logging_metric\.(\w+)\.", text)
    found = set(re.findall(r"EXTRACT\(jsonPayload\.(\w+)\)", text))
    return found | fields_of(reference[1]) if reference else found


@pytest.mark.parametrize(
    ("metric", "number", "labels"),
    [
        ("jobs", None, {"status"}),
        ("job_seconds", "seconds", {"status"}),
        ("busy_slots", "busy", {"pool"}),
        ("waiting_seconds", "seconds", {"pool"}),
    ],
)
def test_each_metric_finds_its_log_records_and_fields(
    records: list[dict[str, Any]], metric: str, number: str | None, labels: set[str]
) -> None:
    conditions = [re.fullmatch(r'jsonPayload\.(\w+)="(\w+)"', part) for part in filter_of(metric).split(" AND ")]
    found = [
        record
        for record in records
        if all(condition is not None and record.get(condition[1]) == condition[2] for condition in conditions)
    ]
    assert found
    assert fields_of(metric) == labels | ({number} if number else set())
    for record in found:
        assert all(isinstance(record[label], str) for label in labels)
        assert number is None or isinstance(record[number], int | float)


def test_every_metric_is_tested() -> None:
    assert METRICS.keys() == {"jobs", "job_seconds", "busy_slots", "waiting_seconds", "errors"}
