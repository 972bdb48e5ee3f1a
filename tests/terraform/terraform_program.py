"""Terraform on a copy of the configuration: what it plans and, as only an apply resolves references, what it makes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

Document = dict[str, Any]


class Terraform:
    """The command, in one working folder with providers that reach no cloud."""

    def __init__(self, repository: Path) -> None:
        self.folder = repository / "terraform"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=150, check=False
        )

    def output(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def applied(self) -> list[Document]:
        """The resources that an apply of the minimal deployment made, in a state of this folder."""
        self.output("apply", "-auto-approve", "-input=false", "-no-color", "-var=project_id=my-project")
        return resources(json.loads(self.output("show", "-json")))

    def plan(self, *options: str) -> Document:
        self.output("plan", "-input=false", "-no-color", "-out=plan", *options)
        document: Document = json.loads(self.output("show", "-json", "plan"))
        return document


def copy_repository(folder: Path) -> None:
    """What Terraform reads of this repository, without what it left there."""
    for name in ("terraform", "functions", "cloud_executor", "worker_vm"):
        ignored = shutil.ignore_patterns("__pycache__", ".terraform*", "*.tfstate*")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    shutil.copy(REPOSITORY / "requirements.txt", folder)


def resources(document: Document) -> list[Document]:
    planned = document.get("planned_values") or document["values"]
    found: list[Document] = planned["root_module"]["resources"]
    return [resource for resource in found if resource["mode"] == "managed"]


def of_type(found: list[Document], *types: str) -> list[Document]:
    return [resource for resource in found if resource["type"] in types]
