"""The command that installs an extra works in this installation."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from cloud_executor import installation
from cloud_executor.installation import install_command

PROJECT = Path(__file__).parents[2]


def test_a_clone_installs_the_extra_from_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_command("vm")) == [
        *(sys.executable, "-m", "pip", "install", "--editable"),
        f"{PROJECT}[vm]",
    ]


def test_in_the_clone_the_command_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("sys.executable", str(PROJECT / ".venv/bin/python"))
    assert install_command("s3") == ".venv/bin/python -m pip install --editable '.[s3]'"


def test_a_wheel_installs_the_extra_from_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "site-packages/cloud_executor/installation.py"))
    assert install_command("google") == f"{shlex.quote(sys.executable)} -m pip install 'cloud-executor[google]'"
