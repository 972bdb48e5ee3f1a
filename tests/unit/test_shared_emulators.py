"""Test that tests fail with the name of the shared emulator that has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

EMULATOR = """
import contextlib, socket, subprocess, sys
from pathlib import Path
from emulators import shared

@contextlib.contextmanager
def emulator():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wait = [sys.executable, "-c", "import time; time.sleep(60)"]
        process = subprocess.Popen(wait, pass_fds=[listener.fileno()])
        port = listener.getsockname()[1]
    Path("process").write_text(str(process.pid))
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()

shared.EMULATORS["s3"] = ("S3", emulator)
"""

PROGRAM = """
import os, signal
from pathlib import Path

def test_while_it_runs(s3):
    pass

def test_that_sees_its_end(s3):
    os.kill(int(Path("process").read_text()), signal.SIGKILL)
    assert False, "the error that follows from it"

def test_after_its_end(s3):
    pass

def test_without_it():
    pass
"""


@pytest.mark.parametrize("options", [["-n0"], ["-n1"]], ids=["one process", "xdist"])
def test_an_emulator_that_has_ended_is_named(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "emulator.py").write_text(EMULATOR)
    (tmp_path / "test_inner.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "emulators.shared", "-p", "emulator", *options, "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    outcomes = {line.split("::")[1].split()[0]: line.split()[0] for line in done.stdout.splitlines() if "::" in line}
    assert outcomes["test_while_it_runs"] == outcomes["test_without_it"] == "PASSED"
    assert outcomes["test_that_sees_its_end"] == "FAILED"
    assert outcomes["test_after_its_end"] == "ERROR"
    assert done.stdout.count("The S3 emulator shared by all tests has ended.") >= 2, done.stdout
