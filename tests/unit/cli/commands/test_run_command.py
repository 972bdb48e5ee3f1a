"""`executor run`, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_output import Lines
from servers.fake_server import FakeServer

from cloud_executor.cli.main import run_command


def test_a_command_runs_in_the_current_folder(server: FakeServer, printed: Lines) -> None:
    Path("sim.py").write_text("print()")
    Path("out").mkdir()
    Path("out", "old").write_text("")
    options = ["--env", "A=1=2", "--timeout", "1.5h", "--memory", "2g", "--cpus", "2", "--image", "python:3.12"]
    kept = ["--artifact", "logs=*.log", "--artifact", "logs=*.txt", "--artifact", "all"]
    assert run_command(["run", "--out", "out", *options, *kept, "--", "python3", "sim.py", "--out", "--"]) == 0
    (job,) = server.jobs
    assert server.config_of(job) == {
        "cmd": "python3",
        "args": ["sim.py", "--out", "--"],
        "resultArtifacts": [
            {"name": "logs", "resultPatterns": ["*.log", "*.txt"]},
            {"name": "all", "resultPatterns": []},
        ],
        "outputInterval": 500,
        "env": {"A": "1=2"},
        "image": "python:3.12",
        "timeout": 5400,
        "resources": {"cpus": 2.0, "memoryMiB": 2048},
    }
    assert sorted(server.files_of(job)) == ["executor_config.json", "sim.py"]
    assert printed() == ["output"]
    assert Path("out", "deep", "b.txt").read_text() == "b"


def test_what_is_left_out_is_named(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        Path(f"{number}.tmp").touch()
    Path(".executorignore").write_text("*.tmp")
    run_command(["run", "--", "true"])
    first = capsys.readouterr().err.splitlines()[0]
    assert first.endswith("bytes) without 0.tmp, 1.tmp, 2.tmp, 3.tmp, 4.tmp, 2 more.")


def test_output_is_printed_once_while_the_job_runs(server: FakeServer, capsysbinary: Any) -> None:
    server.results["job_stdout.txt"] = b"first\nsecond \xff\nthird\n"
    server.ending = {"status": "SUCCESS", "logs": {"stdout": server.put_file("o", server.results["job_stdout.txt"])}}

    class Streaming(dict[str, list[str]]):
        def get(self, key: str, default: Any = None) -> Any:
            return ["first\n", "second \ufffd\n", "third\n"][: 1 + server.polls.get(key, 0)]

    server.output = Streaming()
    assert run_command(["run", "--", "true"]) == 0
    assert capsysbinary.readouterr().out == server.results["job_stdout.txt"]


def test_detach_prints_the_hash_alone(server: FakeServer, printed: Lines) -> None:
    assert run_command(["run", "--detach", "--", "true"]) == 0
    (job,) = server.jobs
    assert printed() == [job]
    assert server.jobs[job]["status"] == "CREATED"
    assert run_command(["run", "--detach", "--rerun", "--json", "--", "true"]) == 0
    assert json.loads("".join(printed()))["hash"] == job


def test_json_prints_the_document_instead_of_the_output(server: FakeServer, printed: Lines) -> None:
    server.ending["status"] = "FAILED_TO_EXECUTE"
    assert run_command(["run", "--json", "--", "true"]) == 1
    (line,) = printed()
    assert json.loads(line)["status"] == "FAILED_TO_EXECUTE"
    assert "secret" not in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "Missing argument 'PATH': give a folder, a zip, or a command after `--`."),
        (["run", "--"], "Missing argument 'PATH'"),
        (["run", "python3"], "python3 does not exist: give a folder or a zip, or put a command after `--`."),
        (["run", "file", "--", "true"], "file is not a folder"),
        (["run", "--cpus", "0", "--", "true"], "Invalid value for '--cpus'"),
        (["run", "--env", "NOT_SET_HERE", "--", "true"], "--env NOT_SET_HERE: the variable is not set here"),
        (["run", "--env", "=x", "--", "true"], "--env =x: the name is empty; give NAME=VALUE."),
        (["run", "--env", "", "--", "true"], "the name is empty"),
        (["run", "--artifact", "=x", "--", "true"], "--artifact =x: the name is empty; give NAME=PATTERN."),
        (["run", "--artifact", "", "--", "true"], "the name is empty"),
        (["run", "--input", "=file", "--", "true"], "--input =file: give PATH=SOURCE"),
        (["run", "--timeout", "soon", "--", "true"], "'soon' is not a duration"),
        (["run", "--timeout", "0", "--", "true"], "'0' is not a duration"),
        (["run", "--memory", "2x", "--", "true"], "'2x' is not a size"),
        (["run", "--input", "a", "--", "true"], "--input a: give PATH=SOURCE"),
        (["run", "--tasks", "file", "--", "true"], "file has no rows"),
        (["run", "--tasks", "twice.csv", "--", "true"], "two columns of the same name"),
        (["run", "--tasks", "short.csv", "--", "true"], "row 1 does not have 2 fields"),
        (["run", "--tasks", "taken.csv", "--", "true"], "a column 'status'"),
        (["run", "--tasks", "space.csv", "--", "true"], "is not the name of a variable"),
        (["run", "--tasks", "good.csv", "--detach", "--", "true"], "cannot be used together"),
        (["list", "--since", "later"], "'later' is not a time"),
        (["list", "--watch"], "--watch needs a terminal"),
        (["status", "missing"], "Job missing does not exist: `executor list` shows the newest jobs."),
        (["get", "missing"], "Job missing does not exist"),
        (["login", "nowhere"], "such as http://"),
        (["config", "--use", "nobody"], "Profile 'nobody' does not exist"),
        (["logout"], "Profile 'default' does not exist"),
        (["status", "x", "--profile", "lab"], "Profile 'lab' does not exist"),
        (["stats"], "The server has no statistics"),
        (["token", "create", "ada", "--data", "absent"], "absent does not exist: give the server's data folder"),
        (["token", "list", "--local"], "executor-data does not exist"),
        (["force-cancel", "job"], "executor-data does not exist: give the server's data folder with --data."),
        (["fly"], "No such command"),
    ],
)
def test_bad_input_has_one_sentence_and_exit_code_2(
    server: FakeServer, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    for name, text in (
        ("twice.csv", "A,A\n1,2\n"),
        ("short.csv", "A,B\n1\n"),
        ("taken.csv", "status\n1\n"),
        ("space.csv", "a b\n1\n"),
        ("good.csv", "A\n1\n"),
    ):
        Path(name).write_text(text)
    assert run_command(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    (line,) = found.err.splitlines()
    assert line.startswith("Error: ") and sentence in line
    assert not [request for request in server.requests if request.method == "POST"]
