"""Lists of jobs and workers, and statistics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_output import Lines
from servers.fake_server import FakeServer

from cloud_executor import Client
from cloud_executor.cli.main import run_command


def test_lists_are_tab_separated_without_a_terminal(server: FakeServer, job: str, printed: Lines) -> None:
    server.jobs[job] |= {"worker": "w", "durations": {"run": 2.0}, "name": "tab\there"}
    failed = server.client.submit(["fails"]).hash
    server.jobs[failed]["status"] = "FAILED_UNZIP"
    printed()
    assert run_command(["list"]) == 0
    assert printed() == [
        "job\tstatus\tcreated\trun\tname\tworker",
        f"{failed}\tFAILED_UNZIP\t2026-01-31T12:00:01.000Z\t\t\t",
        f"{job}\tSUCCESS\t2026-01-31T12:00:00.000Z\t2.0 s\ttab here\tw",
    ]
    for options, expected in (
        (["--failed"], [failed]),
        (["--status", "success"], [job]),
        (["--limit", "1"], [failed]),
        (["--order", "oldest", "--limit", "1"], [job]),
        (["--since", "2026-01-31T12:00:01+00:00"], [failed]),
        (["--until", "2026-01-31T12:00:01+00:00"], [job]),
        (["--since", "1h"], []),
    ):
        assert run_command(["list", "--json", *options]) == 0
        assert [found["hash"] for found in json.loads("\n".join(printed()))] == expected


def test_a_status_that_no_job_has_gets_a_hint(server: FakeServer, job: str, capsys: Any) -> None:
    capsys.readouterr()
    for status, hint in (("bogus", True), ("failed", True), ("SUCCESSFUL", True), ("running", False)):
        assert run_command(["list", "--status", status]) == 0
        found = capsys.readouterr()
        assert len(found.out.splitlines()) == 1  # the header
        assert (f"{status} is not a usual status" in found.err) is hint
        assert ("CREATED, RUNNING, SUCCESS, CANCELED" in found.err and "--failed" in found.err) is hint
    server.jobs[job]["status"] = "ANALYSIS_FAILED"  # as set by an external worker
    assert run_command(["list", "--status", "ANALYSIS_FAILED"]) == 0
    found = capsys.readouterr()
    assert job in found.out and found.err == ""


def test_workers_are_listed(server: FakeServer, printed: Lines) -> None:
    assert run_command(["workers"]) == 0
    header, worker = printed()
    assert header == "worker\tpool\tjobs\tseen\tlabels"
    assert worker.startswith("w\t\t0\t") and worker.endswith("\ta")
    assert run_command(["workers", "--json"]) == 0
    assert json.loads("\n".join(printed()))[0]["clientId"] == "w"


def test_statistics_are_shown(server: FakeServer, printed: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = {"waiting": 2, "running": 3, "slots": 4, "workers": 1, "oldestWaitingSeconds": None}
    document = {"jobs": {"RUNNING": 3}, "pools": {"default": pool}, "bytesStored": 5 * 1024**2}
    monkeypatch.setattr(Client, "stats", lambda _: document)
    assert run_command(["stats"]) == 0
    shown = printed()
    assert "RUNNING\t3" in shown and "default\t2\t3\t4\t1\t" in shown
    assert shown[-1].split() == ["stored", "5.0", "MiB"]
    for unknown in ({"bytesStored": None}, {}):
        monkeypatch.setattr(Client, "stats", lambda _, unknown=unknown: {"jobs": {}, "pools": {}} | unknown)
        assert run_command(["stats"]) == 0
        assert not [line for line in printed() if "stored" in line or line.endswith("B")]
    monkeypatch.setattr(Client, "stats", lambda _: document)
    assert run_command(["stats", "--json"]) == 0
    assert json.loads("\n".join(printed())) == document
