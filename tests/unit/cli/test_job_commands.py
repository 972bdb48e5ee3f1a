"""Test the commands in this process, against a server in memory."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_server import URL, FakeServer

from cloud_executor import Client
from cloud_executor.cli import connection
from cloud_executor.cli.commands import account, jobs
from cloud_executor.cli.main import run_command
from cloud_executor.cli.progress_bars import ProgressBars
from cloud_executor.client.progress import Progress
from cloud_executor.client.user_files import config_file

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only pauses advance."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in [name for name in os.environ if name.startswith("EXECUTOR_")]:
        monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    found = FakeServer()
    for module in (connection, account):
        monkeypatch.setattr(module, "Client", partial(Client, transport=found.transport))
    monkeypatch.setenv("EXECUTOR_URL", URL)
    return found


@pytest.fixture
def job(server: FakeServer) -> str:
    """A finished job."""
    assert run_command(["run", "--name", "first", "--", "echo", "hello"]) == 0
    return next(iter(server.jobs))


Lines = Callable[[], list[str]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Lines:
    """Function that returns the lines on standard output since the last call."""
    return lambda: capsys.readouterr().out.splitlines()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on standard error."""
    return capsys.readouterr().err.splitlines()[-1]


# run ------------------------------------------------------------------------------------------------------------------


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
        (["status", "missing"], "There is no job missing: `executor list` shows the newest jobs."),
        (["get", "missing"], "There is no job missing"),
        (["login", "nowhere"], "such as http://"),
        (["config", "--use", "nobody"], "There is no profile 'nobody'"),
        (["logout"], "There is no profile 'default'"),
        (["status", "x", "--profile", "lab"], "There is no profile 'lab'"),
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


# Sweeps ---------------------------------------------------------------------------------------------------------------


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


# Terminals ------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answers", "signals", "status", "sentence"),
    [
        ("c\n", 1, "CANCELED", "Canceled the job."),
        ("d\n", 1, "CREATED", "The job continues. `executor logs -f {job}` follows it."),
        ("what\nw\nd\n", 2, "CREATED", "The job continues. `executor logs -f {job}` follows it."),
        ("", 1, "CANCELED", "Canceled the job."),
    ],
)
def test_ctrl_c_asks_on_a_terminal(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, answers: str, signals: int, status: str, sentence: str
) -> None:
    errors = Terminal()
    monkeypatch.setattr("sys.stderr", errors)
    monkeypatch.setattr("sys.stdin", Terminal(answers))
    server.ending = {}
    info = server._info

    def interrupt(job: str) -> dict[str, Any]:
        if server.polls[job] < signals:
            server.polls[job] += 1
            os.kill(os.getpid(), signal.SIGINT)
        return info(job)

    server._info = interrupt  # type: ignore[method-assign]
    assert run_command(["run", "--", "true"]) == 130
    ((job, document),) = server.jobs.items()
    assert document["status"] == status
    assert errors.getvalue().splitlines()[-1] == sentence.format(job=job)
    assert errors.getvalue().count("Cancel the job (c)") == answers.count("\n") + (not answers)


def test_a_list_on_a_narrow_terminal_has_no_workers(
    server: FakeServer, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns, shown in (("80", False), ("120", True)):
        output = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", output)
            patch.setenv("COLUMNS", columns)
            assert run_command(["list"]) == 0
        header, row = output.getvalue().splitlines()
        assert ("worker" in header) is shown
        assert ("created" in header) and ("name" in header) and (job in row) is shown
        assert row.startswith(job[:12]) and "SUCCESS" in row


def test_large_files_have_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Terminal()
    monkeypatch.setattr("sys.stderr", errors)
    bars = ProgressBars()
    bars(Progress("Uploading", "small", 1, 100))
    assert errors.getvalue() == ""
    for done in (1, 5_000_000, 9_000_000):
        bars(Progress("Uploading", "large.bin", done, 9_000_000))
    assert "Uploading large.bin" in errors.getvalue()
    assert bars._bars is None  # nothing is left on the screen


def test_a_reader_that_needs_no_more_is_no_error(
    server: FakeServer, job: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    capsys.readouterr()

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    discarded: list[bool] = []
    monkeypatch.setattr("click.echo", broken)
    monkeypatch.setattr("cloud_executor.cli.messages.discard_output", lambda: discarded.append(True))
    assert run_command(["list"]) == 0
    assert (discarded, capsys.readouterr().err) == ([True], "")


# Jobs -----------------------------------------------------------------------------------------------------------------


def test_status_shows_what_is_known(server: FakeServer, job: str, printed: Lines) -> None:
    server.jobs[job] |= {"durations": {"queued": 0.5, "run": 75}, "warnings": ["No file."], "tags": ["a", "b"]}
    printed()
    assert run_command(["status", job]) == 0
    shown = printed()
    assert shown[:3] == [f"job        {job}", "name       first", "status     SUCCESS"]
    assert {"durations  queued 0.5 s, run 1 min 15 s", "tags       a, b", "warning    No file."} <= set(shown)
    assert run_command(["status", job, "--json"]) == 0
    assert json.loads("\n".join(printed())) == server.jobs[job]


def test_the_beginning_of_a_hash_is_enough(server: FakeServer, job: str, capsys: Any) -> None:
    other = f"{job[:5]}{'0' * 35}"
    server.jobs[other] = {**server.jobs[job], "hash": other}
    assert run_command(["status", job[:12]]) == 0
    assert job in capsys.readouterr().out
    assert run_command(["status", job[:5]]) == 2
    assert said(capsys) == f"Error: The hashes of 2 jobs begin with {job[:5]}: give more of the hash."
    assert run_command(["status", job[:3]]) == 2
    assert said(capsys).startswith(f"Error: There is no job {job[:3]}: ")


def test_logs_of_finished_running_and_followed_jobs(server: FakeServer, job: str, capsys: Any) -> None:
    capsys.readouterr()
    assert run_command(["logs", job]) == 0
    assert capsys.readouterr().out == "output\n"
    running = server.client.submit(["other"]).hash
    server.output[running] = ["a\n"]
    server.ending = {}
    assert run_command(["logs", running]) == 0
    assert capsys.readouterr().out == "a\n"
    assert run_command(["logs", running, "--stderr"]) == 2
    assert "add --follow" in said(capsys)
    server.ending, server.polls[running] = {"status": "SUCCESS"}, 0
    assert run_command(["logs", "-f", running]) == 0
    assert capsys.readouterr().out == "a\n"
    server.jobs[running]["resultHashes"] = {}
    server.output.clear()
    assert run_command(["logs", running]) == 2
    assert "is stored: it ended with SUCCESS" in said(capsys)


def test_results_are_listed_and_fetched(server: FakeServer, job: str, capsys: Any) -> None:
    capsys.readouterr()
    assert run_command(["results", job]) == 0
    assert capsys.readouterr().out == "all\tjob_stdout.txt\nall\tdeep/b.txt\n"
    assert run_command(["get", job, "--out", "all"]) == run_command(["get", job, "deep/b.txt"]) == 0
    assert Path("all", "deep", "b.txt").read_text() == Path("deep", "b.txt").read_text() == "b"
    capsys.readouterr()
    assert run_command(["get", job, "deep/b.txt", "--stdout"]) == 0
    assert capsys.readouterr().out == "b"
    assert run_command(["get", job, "c"]) == 2
    assert said(capsys) == f"Error: Job {job} has no result file 'c': `executor results {job}` lists its files."
    server.results["../x"] = b"x"
    evil = server.client.run(["evil"]).hash
    assert run_command(["get", evil, "../x"]) == 2
    assert not Path("..", "x").exists()


def test_a_job_is_canceled_from_another_terminal(server: FakeServer, capsys: Any, tmp_path: Path) -> None:
    server.ending = {}
    run_command(["run", "--detach", "--", "true"])
    (job,) = server.jobs
    assert run_command(["cancel", "missing", job]) == run_command(["status", "missing"]) == 2
    assert server.jobs[job]["status"] == "CANCELED"
    assert "Error: There is no job missing: `executor list` shows" in capsys.readouterr().err
    other = server.client.create_job(server.client.submit(["other"]).hash, rerun=True)
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    assert run_command(["cancel", "missing", other.hash]) == 2
    assert run_command(["cancel", other.hash]) == 1
    assert f"The secret of job {other.hash} is not known here" in said(capsys)
    assert run_command(["cancel", other.hash, "--secret", f"secret of {other.hash}"]) == 0


def test_a_job_runs_again(server: FakeServer, job: str, capsys: Any) -> None:
    capsys.readouterr()
    assert run_command(["rerun", job, "--out", "again"]) == 0
    assert capsys.readouterr().out == "output\n"
    assert Path("again", "job_stdout.txt").exists()
    before = sorted(Path().iterdir())
    assert run_command(["rerun", job]) == 0
    assert sorted(Path().iterdir()) == before  # without --out, nothing is stored
    capsys.readouterr()
    assert run_command(["rerun", job, "--detach"]) == 0
    assert capsys.readouterr().out == f"{job}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="xdg-open opens pages on Linux only")
@pytest.mark.parametrize(
    ("display", "script", "opened"),
    [
        (True, 'echo "$1" >> opened', True),
        (True, "echo noise >&2; exit 3", False),
        (True, None, False),
        (False, "touch opened; echo noise >&2", False),
    ],
    ids=["opens", "fails", "is missing", "no display"],
)
def test_the_page_of_a_job_is_opened(
    server: FakeServer,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    display: bool,
    script: str | None,
    opened: bool,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", ":0")
    Path("bin").mkdir()
    if script is not None:
        Path("bin", "xdg-open").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        Path("bin", "xdg-open").chmod(0o755)
    monkeypatch.setenv("PATH", str(Path("bin").resolve()))
    monkeypatch.setattr(jobs, "OPEN_SECONDS", 30)
    assert run_command(["open", "a/b"]) == 0
    found = capfd.readouterr()
    assert found.out == f"{URL}/#/job/a%2Fb\n"
    assert found.err == ("" if opened else "No browser could be opened here: open the address in a browser.\n")
    assert Path("opened").exists() is opened
    assert run_command(["open"]) == 0
    assert capfd.readouterr().out == f"{URL}/#/jobs\n"


@pytest.mark.skipif(sys.platform != "linux", reason="xdg-open opens pages on Linux only")
def test_a_browser_that_keeps_running_is_not_awaited(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Browser:
        def __init__(self, arguments: list[str], **_: Any) -> None:
            assert arguments == ["xdg-open", f"{URL}/#/jobs"]

        def wait(self, timeout: float) -> int:
            raise subprocess.TimeoutExpired("xdg-open", timeout)

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("subprocess.Popen", Browser)
    assert run_command(["open"]) == 0
    assert capsys.readouterr().err == ""


# Lists ----------------------------------------------------------------------------------------------------------------


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


# Blobs ----------------------------------------------------------------------------------------------------------------


def test_blobs_are_stored_shown_and_copied(server: FakeServer, capsys: Any) -> None:
    Path("set", "deep").mkdir(parents=True)
    Path("set", "deep", "x").write_text("x")
    Path("file.txt").write_text("content")
    assert run_command(["put", "file.txt"]) == run_command(["put", "set"]) == run_command(["put", "--zip", "set"]) == 0
    file, artifact, packed = capsys.readouterr().out.split()
    assert run_command(["put", "file.txt", "set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file.txt": file, "set": artifact}
    assert run_command(["ls", artifact]) == run_command(["ls", file]) == 0
    assert capsys.readouterr().out == "deep/x\nfile.txt\t7 B\n"
    assert run_command(["cat", file]) == run_command(["cat", artifact, "deep/x"]) == 0
    assert capsys.readouterr().out == "contentx"
    Path("to").mkdir()
    assert run_command(["cp", file, "to"]) == run_command(["cp", f"{artifact}/deep/x", "to/y"]) == 0
    assert run_command(["cp", artifact, "copy"]) == run_command(["cp", packed, "packed.zip"]) == 0
    assert (Path("to", "file.txt").read_text(), Path("to", "y").read_text()) == ("content", "x")
    assert Path("copy", "deep", "x").read_text() == "x"
    assert run_command(["run", "--detach", "--input", f"a={file}", "--input", "b=set", "--", "true"]) == 0
    (job,) = server.jobs
    assert server.files_of(job)["a"] == b"content"
    assert server.files_of(job)["b/deep/x"] == b"x"


def test_a_destination_that_ends_with_a_slash_is_a_folder(server: FakeServer, capsys: Any) -> None:
    Path("set", "deep").mkdir(parents=True)
    Path("set", "deep", "x").write_text("x")
    artifact = server.client.upload_artifact(Path("set"))
    file = server.put_file("file.txt", b"content")
    assert run_command(["cp", f"{artifact}/deep/x", "new/"]) == run_command(["cp", file, "a/b/"]) == 0
    assert Path("new", "x").read_text() == "x"
    assert Path("a", "b", "file.txt").read_text() == "content"
    assert run_command(["cp", artifact, "all/"]) == 0
    assert Path("all", "deep", "x").read_text() == "x"
    assert run_command(["cp", file, "new/x/"]) == 2
    assert said(capsys) == "Error: new/x cannot be used: file exists."


def test_an_artifact_has_the_name_of_its_folder(
    server: FakeServer, printed: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("set").mkdir()
    Path("set", "x").write_text("x")
    assert run_command(["put", "set/"]) == run_command(["put", "--zip", "set"]) == 0
    monkeypatch.chdir("set")
    assert run_command(["put", "."]) == 0
    assert [server.blobs[blob]["name"] for blob in printed()] == ["set.zip"] * 3


# The user -------------------------------------------------------------------------------------------------------------


def test_profiles_are_stored_shown_and_deleted(
    server: FakeServer, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXECUTOR_URL")
    monkeypatch.setattr("sys.stdin", io.StringIO("the token\n"))
    assert run_command(["login", URL, "--token-stdin"]) == 0
    assert run_command(["login", "http://lab.example", "--profile", "lab"]) == 0
    assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
    assert server.requests[0].headers["x-api-token"] == "the token"
    assert "x-api-token" not in server.requests[-1].headers
    capsys.readouterr()
    assert run_command(["config", "--use", "default"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:2] == [f"* default  {URL}", "  lab  http://lab.example  (no credentials)"]
    assert "the token" not in shown
    run_command(["workers"])
    run_command(["workers", "--profile", "lab"])
    assert [request.url.host for request in server.requests[-2:]] == ["server.example", "lab.example"]
    assert [request.headers.get("x-api-token") for request in server.requests[-2:]] == ["the token", None]
    assert run_command(["logout"]) == 0
    capsys.readouterr()
    assert run_command(["config", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["profiles"]) == ["lab"]


def test_login_checks_the_server_first(server: FakeServer, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_answer", lambda *_: httpx.Response(403, text="The token is wrong."))
    assert run_command(["login", URL]) == 2
    assert said(capsys) == "Error: The token is wrong."
    assert not config_file().exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, printed: Lines) -> None:
    assert run_command(["completion", shell]) == 0
    assert any("_EXECUTOR_COMPLETE" in line for line in printed())


def test_doctor_says_what_to_do(server: FakeServer, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = server._answer
    old = {"Date": "Fri, 01 Jan 2021 00:00:00 GMT"}
    monkeypatch.setattr(
        server,
        "_answer",
        lambda method, parts, *rest: (
            httpx.Response(200, text="Cloud Executor 0.0.1\n", headers=old)
            if parts == ["routes"]
            else answer(method, parts, *rest)
        ),
    )
    config_file().parent.mkdir(parents=True)
    config_file().write_text('{"current": "a", "profiles": {}}')
    config_file().chmod(0o644)
    assert run_command(["doctor", "--json"]) == 0
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["server"]["level"] == "ok"
    assert (found["clock"]["level"], "ahead of the server's: synchronize" in found["clock"]["message"]) == (
        "warning",
        True,
    )
    assert found["version"]["message"] == "The server has 0.0.1; update the older of the two."
    assert found["profile"]["message"].endswith(f"run `chmod 600 {config_file()}`.")
    monkeypatch.setattr(server, "_answer", lambda *_: httpx.Response(403, text="The token is wrong."))
    assert run_command(["doctor"]) == 1
    assert "error    server: The token is wrong." in capsys.readouterr().out
