"""A function as the platform starts it: with functions-framework, and only requirements.txt installed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from requirement import lacking

PROJECT = Path(__file__).parents[2]
START_SECONDS = 30

UNREACHABLE = re.compile(r"certificate|failed to fetch|error sending request|client error \(connect\)", re.IGNORECASE)
"""Errors of uv without a package index, or without the certificates of this machine to verify it."""


@pytest.fixture(scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the programs of a virtual environment that contains only what is deployed."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True, timeout=60)
    install = [*uv, "pip", "install", "--python", folder / "bin/python", "--requirement", PROJECT / "requirements.txt"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 and UNREACHABLE.search(done.stderr):
        lacking("package-index", f"uv cannot reach a package index: {done.stderr.strip().splitlines()[-1].strip()}")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@contextmanager
def function(
    programs: Path, target: str, settings: Mapping[str, str], source: Path = PROJECT
) -> Iterator[httpx.Client]:
    """Run a function from `source`, the deployed folder, inside the block; yield a client for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source), **settings}
    command = [programs / "functions-framework", "--source", "functions/main.py", "--target", target]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=source,
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            _wait_for_response(client, process)
            yield client
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _wait_for_response(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "the function ended"
        try:
            client.get("/")
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"the function did not respond within {START_SECONDS} s"
            time.sleep(0.05)
        else:
            return
