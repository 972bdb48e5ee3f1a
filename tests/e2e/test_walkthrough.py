"""The protocol's own walkthrough: its job definition and its curl lines, but for host and port."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from requirement import lacking
from stack_process import PROJECT, StackProcess, environment

CONFIG = """\
{
	"cmd": "echo",
	"args": ["some sample text to be written to file to be written to job_stdout.txt"],
	"resultArtifacts": [
		{
			"name": "all",
			"resultPatterns": []
		}
    ]
}
"""
TEXT = "some sample text to be written to file to be written to job_stdout.txt\n"

HOST = "104.197.75.234:8888"

Shell = Callable[[str], bytes]


@pytest.fixture
def shell(tmp_path: Path, stack: StackProcess) -> Shell:
    if shutil.which("curl") is None:
        lacking("curl", "The walkthrough needs curl, which is not installed.")

    def run(line: str) -> bytes:
        line = line.replace(f"http://{HOST}", stack.url)
        finished = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=60)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


def test_the_walkthrough_as_it_is_written(shell: Shell, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "jobdefinition.zip", "w") as definition:
        definition.writestr("executor_config.json", CONFIG)
    answer = shell(
        f"curl -X POST --data-binary '@jobdefinition.zip' 'http://{HOST}/rest/blob/createFile/jobdefinition.zip'"
    )
    ((job_hash, metadata),) = json.loads(answer).items()
    assert metadata.pop("lastModified")
    assert len(metadata.pop("content")) == 40
    assert metadata == {
        "name": "jobdefinition.zip",
        "size": (tmp_path / "jobdefinition.zip").stat().st_size,
        "mime": "application/zip",
        "isPublic": False,
        "tags": [],
        "contentType": "object",
    }

    created = json.loads(shell(f"curl -X POST 'http://{HOST}/rest/executor/create/{job_hash}'"))
    assert (created["hash"], created["status"], created["resultHashes"]) == (job_hash, "CREATED", [])
    assert created["secret"]

    end = time.monotonic() + 30
    job = created
    while job["status"] in ("CREATED", "RUNNING"):
        assert time.monotonic() < end
        job = json.loads(shell(f"curl -X GET 'http://{HOST}/rest/executor/info/{job_hash}'"))
    assert (job["status"], list(job["resultHashes"]), job["resultSuperSet"]) == ("SUCCESS", ["all"], None)
    assert job["createTime"] <= job["startTime"] <= job["finishTime"]
    assert "secret" not in job

    results = job["resultHashes"]["all"]
    shell(f"curl -X GET 'http://{HOST}/rest/blob/download/{results}' > file.zip")
    with zipfile.ZipFile(tmp_path / "file.zip") as files:
        assert sorted(files.namelist()) == ["executor_config.json", "job_stderr.txt", "job_stdout.txt"]
        assert files.read("executor_config.json") == CONFIG.encode()
    text = shell(f"curl -X GET 'http://{HOST}/rest/blob/download/{results}/job_stdout.txt'")
    assert text.decode() == TEXT


def test_the_demo_walks_through_it_and_leaves_nothing(tmp_path: Path) -> None:
    variables = environment(TMPDIR=str(tmp_path), EXECUTOR_NONCE="of another stack")
    demo = [sys.executable, "-m", "cloud_executor.client.demo"]
    finished = subprocess.run(demo, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=90)
    assert (finished.returncode, finished.stderr) == (0, "")
    for part in (
        "createFile/jobdefinition.zip",
        "/create/",
        "/info/",
        "SUCCESS",
        "    some sample text",
        "results.zip",
    ):
        assert part in finished.stdout
    assert "\x1b" not in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_fails_says_so(tmp_path: Path) -> None:
    variables = environment(TMPDIR=str(tmp_path / "nothing"))
    demo = [
        sys.executable,
        "-c",
        "import tempfile; tempfile.tempdir = '/proc'; from cloud_executor.client import demo; demo.main()",
    ]
    finished = subprocess.run(demo, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=90)
    assert finished.returncode == 1
    assert finished.stderr.startswith("Error: the demo failed: ")
    assert finished.stderr.count("\n") == 1
