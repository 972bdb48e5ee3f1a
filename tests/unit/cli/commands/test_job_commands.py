"""Commands for one job."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_output import Lines, said
from servers.fake_server import URL, FakeServer

from cloud_executor.cli.commands import jobs
from cloud_executor.cli.main import run_command


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
    assert said(capsys).startswith(f"Error: Job {job[:3]} does not exist: ")


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
    assert "Error: Job missing does not exist: `executor list` shows" in capsys.readouterr().err
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
