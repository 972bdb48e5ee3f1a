"""The README's commands and Python example, run against a running stack exactly as written, except for the address."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from requirement import lacking
from stack_process import EMBEDDED, PROJECT, StackProcess, environment

README = (PROJECT / "README.md").read_text()


def console_lines(section: str) -> list[str]:
    """The commands of a section, in order."""
    content = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", content, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def shell(tmp_path: Path, stack: StackProcess):
    for program in ("curl", "zip"):
        if shutil.which(program) is None:
            lacking(program, f"The README's commands need {program}, which is not installed.")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command = tmp_path / ".venv" / "bin" / "executor"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cloud_executor.cli.main "$@"\n')
    command.chmod(0o755)

    def run(line: str) -> str:
        line = line.replace("http://127.0.0.1:8888", stack.url)
        variables = environment(EXECUTOR_URL=stack.url)
        finished = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
        )
        assert finished.returncode == 0, (line, finished.stderr)
        return finished.stdout

    return run


@EMBEDDED
def test_run_your_own_job(shell, tmp_path: Path) -> None:
    up, *lines = console_lines("Run your own job")
    assert up == "make up"
    outputs = [shell(line) for line in lines]
    assert outputs[-2] == "hello, cloud\n"
    assert outputs[-1].startswith("hello, ")
    assert (tmp_path / "results" / "job_stdout.txt").read_text() == "hello, cloud\n"


@EMBEDDED
def test_the_five_steps_by_hand(shell, tmp_path: Path) -> None:
    for line in console_lines("Run your own job")[1:3]:
        shell(line)
    zip_up, upload, create, poll, download_all, download_one = console_lines("The five steps, by hand")
    shell(zip_up)
    job_id = re.search(r"[0-9a-f]{40}", shell(upload))
    assert job_id is not None
    shell(create.replace("<job id>", job_id[0]))
    end = time.monotonic() + 30
    while '"SUCCESS"' not in (job := shell(poll.replace("<job id>", job_id[0]))):
        assert time.monotonic() < end, job
    result = re.search(r'"all":"([0-9a-f]{40})"', job)
    assert result is not None
    shell(download_all.replace("<result hash>", result[1]))
    assert subprocess.run(["unzip", "-tq", tmp_path / "results.zip"], env=os.environ).returncode == 0
    assert shell(download_one.replace("<result hash>", result[1])) == "hello, cloud\n"


@EMBEDDED
def test_python_example(shell, tmp_path: Path) -> None:
    for line in console_lines("Run your own job")[1:3]:
        shell(line)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(example)}") == "SUCCESS\n"
    assert (tmp_path / "from-python" / "job_stdout.txt").read_text() == "hello, cloud\n"


@EMBEDDED
def test_examples_of_the_python_client(shell, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "python.md").read_text(), re.DOTALL)
    (tmp_path / "examples.py").write_text("\n".join([*examples, "client.close()\n"]))
    shown = shell(f"{shlex.quote(sys.executable)} examples.py").splitlines()
    assert shown[:6] == ["SUCCESS 0 True", "b'hello\\n'", "1", "2", "3", "True"]
    assert (tmp_path / "results" / "greeting.txt").read_text() == "hello\n"
    assert set(shown[6:-4]) == {"True"}
    assert shown[-4:] == ["0.1 0.1", "0.2 0.2", "0.3 0.3", "[True, True, True]"]
