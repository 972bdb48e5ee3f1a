"""The configuration of a VM's logging agent, applied to records of the worker.

Fluent Bit itself is not available to the tests. They read its configuration and do what its documentation says of each
section.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pytest
from worker_machine import machine_file, written_files

from cloud_executor.json_logging import JsonFormatter

CONFIGURATION = "/etc/fluent-bit/fluent-bit.conf"
TRACE_KEY = "logging.googleapis.com/trace"
"""Default of the output's `trace_key`."""

Section = dict[str, list[str]]


def sections(text: str) -> list[tuple[str, Section]]:
    """Kind and properties of each section of a configuration in the classic format."""
    found: list[tuple[str, Section]] = []
    for line in text.splitlines():
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        elif line.strip() and not line.lstrip().startswith("#"):
            assert line.startswith("    "), line
            name, value = line.split(maxsplit=1)
            found[-1][1].setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return written_files(machine_file({"EXECUTOR_SANDBOX": "container"}))


@pytest.fixture(scope="module")
def pipeline(files: dict[str, str]) -> list[tuple[str, Section]]:
    return sections(files[CONFIGURATION])


def named(pipeline: list[tuple[str, Section]], kind: str, name: str) -> Section:
    (found,) = (section for of, section in pipeline if of == kind and section["name"] == [name])
    return found


def parsers(files: dict[str, str], pipeline: list[tuple[str, Section]]) -> dict[str, Section]:
    (service,) = (section for kind, section in pipeline if kind == "SERVICE")
    return {section["name"][0]: section for _, section in sections(files[service["parsers_file"][0]])}


def parsed(parser: Section, text: str) -> tuple[datetime, dict[str, Any]] | None:
    """Time and fields of a string, as a parser of the format json reads them; None unless it is a JSON object."""
    assert parser["format"] == ["json"]
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    time = fields.pop(parser["time_key"][0])
    # The agent's %L is a fraction of a second; Python's %f has up to six digits.
    form = parser["time_format"][0].replace("%L", "%f")
    return datetime.strptime(re.sub(r"(\.\d{6})\d*", r"\1", time), form), fields  # noqa: DTZ007 - as it is stored


def record(**fields: object) -> str:
    found = logging.LogRecord("worker", logging.WARNING, "file", 1, "job finished", (), None)
    found.__dict__.update(fields)
    return JsonFormatter("worker", "our-project").format(found)


def stored(line: str) -> str:
    """A line of a container's output as the log driver json-file stores it."""
    return json.dumps({"log": f"{line}\n", "stream": "stderr", "time": "2026-01-31T12:00:00.123456789Z"})


def entry(files: dict[str, str], pipeline: list[tuple[str, Section]], line: str) -> tuple[datetime, dict[str, Any]]:
    """Time and fields with which a line of the worker's output reaches the output of the agent."""
    found = parsers(files, pipeline)
    tail, parse = named(pipeline, "INPUT", "tail"), named(pipeline, "FILTER", "parser")
    assert parse["match"] == tail["tag"]
    read = parsed(found[tail["parser"][0]], stored(line))
    assert read is not None
    return parsed(found[parse["parser"][0]], read[1][parse["key_name"][0]]) or read


def test_the_fields_of_a_record_reach_the_log(files: dict[str, str], pipeline: list[tuple[str, Section]]) -> None:
    line = record(action="finish", job_hash="\U0001f600", seconds=1.5, trace="0" * 31 + "1")
    time, fields = entry(files, pipeline, line)
    assert time == datetime.fromisoformat(json.loads(line)["time"])
    assert (fields["action"], fields["job_hash"], fields["seconds"]) == ("finish", "\U0001f600", 1.5)
    assert (fields["component"], fields["message"]) == ("worker", "job finished")
    output = named(pipeline, "OUTPUT", "stackdriver")
    assert fields[output["severity_key"][0]] == "WARNING"
    assert fields[TRACE_KEY] == f"projects/our-project/traces/{'0' * 31}1"
    assert output["match"] == ["*"]


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[1]", '{"time": '])
def test_a_line_that_is_no_record_is_kept(
    files: dict[str, str], pipeline: list[tuple[str, Section]], line: str
) -> None:
    time, fields = entry(files, pipeline, line)
    assert fields == {"log": f"{line}\n", "stream": "stderr"}
    assert time.replace(tzinfo=UTC) == datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def test_the_agent_reads_the_files_of_the_engine(files: dict[str, str], pipeline: list[tuple[str, Section]]) -> None:
    engine = json.loads(files["/etc/docker/daemon.json"])
    assert engine["log-driver"] == "json-file"
    (pattern,) = named(pipeline, "INPUT", "tail")["path"]
    container = "0" * 64
    assert fnmatchcase(f"/var/lib/docker/containers/{container}/{container}-json.log", pattern)
    assert not fnmatchcase(f"/var/lib/docker/containers/{container}/{container}-json.log.1", pattern)


def test_the_journal_adds_errors_of_the_units_but_no_records(
    files: dict[str, str], pipeline: list[tuple[str, Section]]
) -> None:
    journal, grep = named(pipeline, "INPUT", "systemd"), named(pipeline, "FILTER", "grep")
    assert grep["match"] == journal["tag"]
    units = {condition.removeprefix("_SYSTEMD_UNIT=") for condition in journal["systemd_filter"]}
    written = {path.rpartition("/")[2] for path in files if path.startswith("/etc/systemd/system/")}
    assert units == {*written, "docker.service"}
    field, pattern = grep["exclude"][0].split(maxsplit=1)
    assert field == "MESSAGE"
    assert re.search(pattern, record(action="finish"))
    assert not re.search(pattern, "docker: Error response from daemon: manifest unknown.")


def test_every_property_is_one_that_the_agent_knows(files: dict[str, str], pipeline: list[tuple[str, Section]]) -> None:
    """The agent does not start with an unknown one. These are in the documentation of Fluent Bit 2 to 4."""
    known = {
        "SERVICE": {"flush", "grace", "log_level", "daemon", "parsers_file"},
        "tail": {"name", "tag", "path", "parser", "db", "read_from_head", "mem_buf_limit"},
        "systemd": {"name", "tag", "systemd_filter", "db"},
        "parser": {"name", "match", "key_name", "parser"},
        "grep": {"name", "match", "exclude"},
        "modify": {"name", "match", "rename"},
        "stackdriver": {"name", "match", "resource", "severity_key"},
    }
    for kind, section in pipeline:
        assert section.keys() <= known["SERVICE" if kind == "SERVICE" else section["name"][0]]
    for parser in parsers(files, pipeline).values():
        assert parser.keys() == {"name", "format", "time_key", "time_format"}


def test_the_agent_restarts_with_the_configuration() -> None:
    assert "[systemctl, restart, fluent-bit.service]" in machine_file({"EXECUTOR_SANDBOX": "container"})
