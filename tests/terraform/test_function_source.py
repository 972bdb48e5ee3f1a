"""The archive that Terraform makes for the functions is all that they need."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from terraform_program import Terraform

START_SECONDS = 30


@pytest.mark.timeout(400)
def test_the_archive_runs_where_only_its_requirements_are(
    make_terraform: Callable[[], Terraform], tmp_path: Path
) -> None:
    terraform = make_terraform()
    terraform.plan("-var=project_id=my-project")
    source, clean = tmp_path / "workspace", tmp_path / "clean"
    with zipfile.ZipFile(terraform.folder / ".terraform" / "cloud-executor-functions.zip") as archive:
        archive.extractall(source)
    assert {path.name for path in source.iterdir()} == {"cloud_executor", "functions", "requirements.txt"}

    subprocess.run([sys.executable, "-m", "venv", clean], check=True, timeout=60)
    install = [clean / "bin/python", "-m", "pip", "install", "--quiet", "-r", source / "requirements.txt"]
    subprocess.run(install, check=True, timeout=300)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "EXECUTOR_DATA": str(tmp_path / "data")}
    command = [clean / "bin/functions-framework", "--source=functions/main.py", "--target=api"]
    server = subprocess.Popen([*command, "--host=127.0.0.1", f"--port={port}"], cwd=source, env=environment)
    try:
        assert _answer(f"http://127.0.0.1:{port}/rest/executor/worker", server) == b"{}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _answer(url: str, server: subprocess.Popen[bytes]) -> bytes:
    """What the server says once it has started."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert server.poll() is None, "it ended"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.1)
