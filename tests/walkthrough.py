"""The walkthrough from the protocol's documentation: its job definition and its curl commands, except host and port."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

from requirement import lacking

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
OUTPUT = "some sample text to be written to file to be written to job_stdout.txt\n"

HOST = "104.197.75.234:8888"

JOB_SECONDS = 30


def walk_through(url: str, folder: Path) -> None:
    """Run all five steps against this server, in an empty folder."""
    if shutil.which("curl") is None:
        lacking("curl", "The walkthrough needs curl, which is not installed.")

    def shell(line: str) -> bytes:
        line = line.replace(f"http://{HOST}", url)
        finished = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, timeout=60, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    with zipfile.ZipFile(folder / "jobdefinition.zip", "w") as definition:
        definition.writestr("executor_config.json", CONFIG)
    response = shell(
        f"curl -X POST --data-binary '@jobdefinition.zip' 'http://{HOST}/rest/blob/createFile/jobdefinition.zip'"
    )
    ((job_hash, metadata),) = json.loads(response).items()
    assert metadata.pop("lastModified")
    assert len(metadata.pop("content")) == 40
    assert metadata == {
        "name": "jobdefinition.zip",
        "size": (folder / "jobdefinition.zip").stat().st_size,
        "mime": "application/zip",
        "isPublic": False,
        "tags": [],
        "contentType": "object",
    }

    created = json.loads(shell(f"curl -X POST 'http://{HOST}/rest/executor/create/{job_hash}'"))
    assert (created["hash"], created["status"], created["resultHashes"]) == (job_hash, "CREATED", [])
    assert created["secret"]

    end = time.monotonic() + JOB_SECONDS
    job = created
    while job["status"] in ("CREATED", "RUNNING"):
        assert time.monotonic() < end
        job = json.loads(shell(f"curl -X GET 'http://{HOST}/rest/executor/info/{job_hash}'"))
    assert (job["status"], list(job["resultHashes"]), job["resultSuperSet"]) == ("SUCCESS", ["all"], None)
    assert job["createTime"] <= job["startTime"] <= job["finishTime"]
    assert "secret" not in job

    results = job["resultHashes"]["all"]
    shell(f"curl -X GET 'http://{HOST}/rest/blob/download/{results}' > file.zip")
    with zipfile.ZipFile(folder / "file.zip") as files:
        assert sorted(files.namelist()) == ["executor_config.json", "job_stderr.txt", "job_stdout.txt"]
        assert files.read("executor_config.json") == CONFIG.encode()
    output = shell(f"curl -X GET 'http://{HOST}/rest/blob/download/{results}/job_stdout.txt'")
    assert output.decode() == OUTPUT
