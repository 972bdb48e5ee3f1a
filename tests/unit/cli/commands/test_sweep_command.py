"""`executor run --tasks`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from command_output import Lines, said
from servers.fake_server import FakeServer

from cloud_executor.cli.main import run_command


def test_a_table_runs_one_job_for_each_row(server: FakeServer, printed: Lines) -> None:
    Path("table.tsv").write_text("ALPHA\tNAME\n0.1\tfirst, one\n0.2\ttwo\n")
    server.ending |= {"durations": {"run": 1.5}, "logs": {}}
    assert run_command(["run", "--tasks", "table.tsv", "--out", "out", "--", "sim", "{ALPHA}"]) == 0
    table = list(csv.DictReader(io.StringIO("\n".join(printed()))))
    assert [(row["ALPHA"], row["NAME"], row["status"], row["exit_code"], row["seconds"]) for row in table] == [
        ("0.1", "first, one", "SUCCESS", "0", "1.5"),
        ("0.2", "two", "SUCCESS", "0", "1.5"),
    ]
    assert server.config_of(table[1]["job"])["args"] == ["0.2"]
    assert server.config_of(table[1]["job"])["env"] == {"ALPHA": "0.2", "NAME": "two"}
    assert Path("out", "2", "deep", "b.txt").read_text() == "b"
    assert list(csv.DictReader(Path("out", "results.csv").read_text().splitlines())) == table


@pytest.mark.parametrize("in_config", [False, True])
def test_a_name_in_braces_that_is_not_a_column_is_left_with_a_warning(
    server: FakeServer, capsys: pytest.CaptureFixture[str], in_config: bool
) -> None:
    Path("table.csv").write_text("ALPHA,BETA\n{beta},2\n")
    arguments = ["{ALPHA}{alhpa}", "${BETTA}", "{print}{print}", "x{3}"]
    if in_config:
        Path("executor_config.json").write_text(json.dumps({"cmd": "sim", "args": arguments, "resultArtifacts": []}))
    assert run_command(["run", "--tasks", "table.csv", *(["."] if in_config else ["--", "sim", *arguments])]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert warnings == [
        "Warning: {alhpa} in the command is not a column of table.csv, so it is not replaced; "
        "use {ALPHA} if you mean that column.",
        "Warning: {print} in the command is not a column of table.csv, so it is not replaced.",
    ]
    (job,) = server.jobs
    assert server.config_of(job)["args"] == ["{beta}{alhpa}", *arguments[1:]]


def test_a_table_needs_a_folder_or_a_command(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("table.csv").write_text("A\n1\n")
    Path("job.zip").touch()
    assert run_command(["run", "--tasks", "table.csv", "job.zip"]) == 2
    assert said(capsys) == "Error: job.zip is a zip, which is sent unchanged: unpack it and give the folder."


def test_a_failed_job_of_a_table_exits_with_1(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("table.csv").write_text("A\n1\n2\n")
    server.ending = {"status": "FAILED_TO_EXECUTE", "error": "The command exited with code 3.", "exitCode": 3}
    assert run_command(["run", "--tasks", "table.csv", "--json", "--", "sim"]) == 1
    found = capsys.readouterr()
    assert [row["error"] for row in json.loads(found.out)] == ["The command exited with code 3."] * 2
    assert found.err.splitlines()[-1] == "0 of 2 jobs succeeded."


def test_a_signal_cancels_the_jobs_of_a_table(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("table.csv").write_text("A\n1\n2\n3\n")
    server.ending = {}
    info = server._info

    def interrupt(job: str) -> dict[str, Any]:
        if sum(server.polls.values()) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return info(job)

    server._info = interrupt  # type: ignore[method-assign]
    assert run_command(["run", "--tasks", "table.csv", "--", "sim"]) == 143
    assert {job["status"] for job in server.jobs.values()} == {"CANCELED"}
    assert said(capsys) == "Canceled 3 of 3 jobs that had not finished."


def test_a_signal_also_cancels_the_jobs_of_a_table_that_are_being_created(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("table.csv").write_text("A\n" + "".join(f"{number}\n" for number in range(20)))
    server.ending = {}
    create = server._create

    def interrupt(*arguments: Any) -> dict[str, Any]:
        found = create(*arguments)
        if len(server.jobs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(server, "_create", interrupt)
    assert run_command(["run", "--tasks", "table.csv", "--", "sim"]) == 143
    assert len(server.jobs) >= 3
    assert {job["status"] for job in server.jobs.values()} == {"CANCELED"}
