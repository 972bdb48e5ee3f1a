"""Log records in the format of Cloud Logging."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from cloud_executor.json_logging import JsonFormatter, logged_with

TRACE, OTHER = "1" * 32, "2" * 32


def line(project: str | None = None, **extra: object) -> dict[str, Any]:
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "something", **extra})
    parsed: dict[str, Any] = json.loads(JsonFormatter("test", project).format(record))
    return parsed


def test_a_trace_is_in_the_special_field_of_cloud_logging_if_there_is_a_project() -> None:
    assert line(trace=TRACE)["trace"] == TRACE
    found = line("my-project", trace=TRACE)
    assert found["logging.googleapis.com/trace"] == f"projects/my-project/traces/{TRACE}"
    assert "trace" not in found


@pytest.mark.parametrize("project", [None, "my-project"])
def test_a_field_without_a_value_is_omitted(project: str | None) -> None:
    with logged_with(trace=None, job_hash="j"):
        found = line(project)
    assert found.keys() == {"time", "severity", "component", "message", "job_hash"}


def test_a_records_own_fields_take_precedence_over_those_of_the_block() -> None:
    with logged_with(trace=TRACE, job_hash="j"):
        with logged_with(trace=None, job_hash="k"):
            assert (line()["trace"], line()["job_hash"]) == (TRACE, "k")
        assert line(trace=OTHER)["trace"] == OTHER
        assert line()["job_hash"] == "j"
    assert "job_hash" not in line()
