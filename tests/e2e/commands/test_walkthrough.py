"""The walkthrough from the protocol's documentation against a local stack, and the demo that shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stack_process import PROJECT, StackProcess, environment
from walkthrough import walk_through


def test_the_walkthrough_works_as_written(stack: StackProcess, tmp_path: Path) -> None:
    walk_through(stack.url, tmp_path)


def test_the_demo_shows_the_walkthrough_and_leaves_nothing_behind(tmp_path: Path) -> None:
    variables = environment(TMPDIR=str(tmp_path), EXECUTOR_NONCE="another stack's nonce")
    demo = [sys.executable, "-m", "cloud_executor.cli.demo"]
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


def test_a_failed_demo_exits_with_1_and_one_sentence(tmp_path: Path) -> None:
    variables = environment(TMPDIR=str(tmp_path / "nothing"))
    demo = [
        sys.executable,
        "-c",
        "import tempfile; tempfile.tempdir = '/proc'; from cloud_executor.cli import demo; demo.main()",
    ]
    finished = subprocess.run(demo, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=90)
    assert finished.returncode == 1
    assert finished.stderr.startswith("Error: the demo failed: ")
    assert finished.stderr.count("\n") == 1
