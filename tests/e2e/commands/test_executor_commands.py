"""The commands against a running stack."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from stack_process import COMMAND, StackProcess, environment, run


def test_output_is_printed_while_the_command_runs(stack: StackProcess, tmp_path: Path) -> None:
    script = f"echo first; while ! test -e {tmp_path}/go; do sleep 0.05; done; printf 'last \\377'"
    command = [*COMMAND, "run", "--url", stack.url, "--", "sh", "-c", script]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        (tmp_path / "go").touch()
        assert process.stdout.read() == b"last \xff"
    assert process.returncode == 0


def test_a_job_is_followed_and_canceled_from_other_processes(stack: StackProcess, tmp_path: Path) -> None:
    options = ["--detach", "--url", stack.url, "--name", "canceled"]
    started = run("run", *options, "--", "sh", "-c", "echo started; sleep 600", cwd=tmp_path)
    job = started.stdout.decode().strip()
    with subprocess.Popen(
        [*COMMAND, "logs", "-f", job, "--url", stack.url], env=environment(), stdout=subprocess.PIPE
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"started\n"
        assert run("cancel", job, EXECUTOR_URL=stack.url).returncode == 0
        assert follower.wait(30) == 0
    found = json.loads(run("status", job, "--json", EXECUTOR_URL=stack.url).stdout)
    assert found["status"] == "CANCELED"
    listed = run("list", "--status", "CANCELED", "--json", EXECUTOR_URL=stack.url).stdout
    assert job in [entry["hash"] for entry in json.loads(listed)]


def test_jobs_of_a_table_share_inputs_and_files(stack: StackProcess, tmp_path: Path) -> None:
    (tmp_path / "job" / "deep").mkdir(parents=True)
    (tmp_path / "job" / "deep" / "own.txt").write_text("own ")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part.txt").write_text("part ")
    (tmp_path / "mesh").write_text("mesh ")
    (tmp_path / "table.csv").write_text("N,M\n1,a\n2,b\n")
    mesh = run("put", "mesh", EXECUTOR_URL=stack.url, cwd=tmp_path).stdout.decode().strip()
    inputs = ["--input", f"data/mesh={mesh}", "--input", "data/set=set"]
    script = "cat deep/own.txt data/mesh data/set/part.txt; echo {N} $M"
    finished = run(
        *("run", "job", "--tasks", "table.csv", "--out", "out", *inputs, "--", "sh", "-c", script),
        EXECUTOR_URL=stack.url,
        cwd=tmp_path,
    )
    assert finished.returncode == 0, finished.stderr.decode()
    found = [(tmp_path / "out" / row / "job_stdout.txt").read_text() for row in ("1", "2")]
    assert found == ["own mesh part 1 a\n", "own mesh part 2 b\n"]
