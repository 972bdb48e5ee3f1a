"""A shell in which the commands of a page run as a reader runs them, against a local stack."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from requirement import lacking
from stack_process import PROJECT, StackProcess, environment

COMMAND_SECONDS = 120
DEFAULT_URL = "http://127.0.0.1:8888"


_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def all_blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page with their languages, in order."""
    return [(language, textwrap.dedent(content)) for language, content in _BLOCK.findall(page.read_text())]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in this language, in order."""
    return [content for found, content in all_blocks(page) if found == language]


@dataclass
class Shell:
    """Runs scripts with `executor` and `python3` of this environment on the path."""

    folder: Path
    url: str
    replacements: Mapping[str, str] = field(default_factory=dict)
    """Parts of commands that differ on the reader's machine."""

    def run(self, script: str, **variables: str) -> str:
        """Run a script, and return what it prints."""
        for old, new in {DEFAULT_URL: self.url, **self.replacements}.items():
            script = script.replace(old, new)
        variables = environment(EXECUTOR_URL=self.url, **variables)
        variables["PATH"] = f"{self.folder / '.venv' / 'bin'}:{variables['PATH']}"
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert finished.returncode == 0, (script, finished.stdout, finished.stderr)
        return finished.stdout


def open_shell(folder: Path, stack: StackProcess, source: str | None = None, **replacements: str) -> Shell:
    """A shell in a new folder, or in a copy of this folder of the repository, that uses this stack."""
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            lacking(program, f"The commands of the documentation need {program}, which is not installed.")
    if source is None:
        folder.mkdir()
    else:
        shutil.copytree(PROJECT / source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, command in (("executor", "-m cloud_executor.cli.main"), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        (programs / name).chmod(0o755)
    return Shell(folder, stack.url, replacements)
