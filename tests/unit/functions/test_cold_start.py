"""Entry points load only what they need: each import adds to every cold start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
UNNEEDED = ("cloud_executor.model.documents.executor_config", "cloud_executor.model.patterns")
"""Modules that only workers need."""

PRINT_MODULES = "import sys; print(*sys.modules, sep='\\n')"
NO_MORE: Mapping[str, str] = {}
GOOGLE_CLIENTS = {"google.cloud.storage", "google.cloud.firestore", "google.cloud.pubsub_v1"}
GOOGLE = {
    "EXECUTOR_OBJECTS": "gcs",
    "EXECUTOR_JOBS": "google",
    "EXECUTOR_PROJECT": "project",
    "EXECUTOR_BUCKET": "bucket",
}

RUN_PROGRAM = """
import sys
from cloud_executor.cli.main import main
sys.argv = ["executor", "run", "--help"]
sys.stdout = sys.stderr
try:
    main()
except SystemExit:
    from cloud_executor import Client
    Client("http://127.0.0.1:1").close()
sys.stdout = sys.__stdout__
"""
LOAD_CLI = "import cloud_executor.cli.commands.run"
LOAD_FUNCTION = """
from functions_framework import create_app
create_app({target!r}, "functions/main.py")
"""


def loaded_modules(program: str, data: Path, more: Mapping[str, str] = NO_MORE) -> set[str]:
    """The modules that a new interpreter has loaded after it has run the program."""
    settings = {"EXECUTOR_DATA": str(data), "EXECUTOR_PUSH_UNVERIFIED": "1", "EXECUTOR_ALLOW_OPEN": "yes"}
    environment = {**settings, **more, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", f"{program}\n{PRINT_MODULES}"]
    return set(subprocess.check_output(command, cwd=PROJECT, env=environment, text=True).split())


@pytest.mark.parametrize("target", ["blob", "executor", "api", "sweep", "dead_letter"])
def test_function_loads_no_patterns(target: str, tmp_path: Path) -> None:
    modules = loaded_modules(LOAD_FUNCTION.format(target=target), tmp_path)
    assert "cloud_executor.composition" in modules
    assert [module for module in modules if module.startswith(UNNEEDED)] == []


@pytest.mark.parametrize(
    ("target", "needed"),
    [
        ("blob", {"google.cloud.storage"}),
        ("executor", {"google.cloud.firestore"}),
        ("api", {"google.cloud.storage", "google.cloud.firestore"}),
        ("sweep", {"google.cloud.firestore"}),
        ("dead_letter", {"google.cloud.firestore"}),
    ],
)
def test_function_loads_only_the_clients_that_each_request_needs(target: str, needed: set[str], tmp_path: Path) -> None:
    modules = loaded_modules(LOAD_FUNCTION.format(target=target), tmp_path, GOOGLE)
    assert modules & GOOGLE_CLIENTS == needed


def test_the_program_itself_loads_no_command(tmp_path: Path) -> None:
    modules = loaded_modules("import cloud_executor.cli.main", tmp_path)
    assert "click" in modules
    assert modules.isdisjoint({"httpx", "rich", "pathspec", "platformdirs", "cloud_executor.client"})


def test_a_command_loads_neither_rich_nor_asyncio(tmp_path: Path) -> None:
    modules = loaded_modules(RUN_PROGRAM, tmp_path)
    assert {"httpx", "httpcore", "cloud_executor.cli.run"} <= modules
    assert modules.isdisjoint({"asyncio", "pygments", "rich", "cloud_executor.cli.sweep"})


def test_command_line_loads_no_patterns(tmp_path: Path) -> None:
    modules = loaded_modules(LOAD_CLI, tmp_path)
    assert "cloud_executor.client" in modules
    assert [module for module in modules if module.startswith(UNNEEDED)] == []
