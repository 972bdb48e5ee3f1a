"""`executor rm`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_output import Lines, Terminal, said
from servers.fake_server import FakeServer

from cloud_executor.cli.main import run_command


def test_rm_deletes_jobs_and_blobs(server: FakeServer, job: str, printed: Lines, capsys: Any) -> None:
    blob = server.jobs[job]["resultHashes"]["all"]
    assert run_command(["rm"]) == 2
    assert run_command(["rm", job[:12], "--blob", blob]) == 0
    assert said(capsys) == f"Deleted blob {blob}."
    assert job not in server.jobs
    assert blob not in server.blobs
    assert run_command(["rm", job]) == 2
    assert said(capsys).startswith(f"Error: Job {job} does not exist: ")


def test_rm_reports_what_it_could_not_delete(server: FakeServer, job: str, printed: Lines) -> None:
    server.ending = {}
    running = server.client.submit(["other"]).hash
    printed()
    assert run_command(["rm", running, job, "--json"]) == 1
    rows = json.loads("\n".join(printed()))
    assert [(row["hash"], row["deleted"]) for row in rows] == [(running, False), (job, True)]
    assert rows[0]["error"].endswith(".")
    assert running in server.jobs


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_rm_asks_on_a_terminal(
    server: FakeServer, job: str, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert run_command(["rm", job]) == code
    assert (job in server.jobs) == (code != 0)
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert run_command(["rm", job, "--yes"]) == (0 if code else 2)
