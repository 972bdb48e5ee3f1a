"""Terraform on a copy of the configuration: what it plans and, as only an apply resolves references, what it makes."""

from __future__ import annotations

import base64
import json
import re
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

    def apply(self, *options: str) -> None:
        """Into a state of this folder."""
        self.output("apply", "-auto-approve", "-input=false", "-no-color", *options)

    def applied(self) -> list[Document]:
        """The resources in that state."""
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


def worker_settings(made: list[Document]) -> dict[str, str]:
    """What the workers of the only pool are told."""
    (group,) = of_type(made, "google_compute_region_instance_group_manager")
    (config,) = group["values"]["all_instances_config"]
    encoded = re.search(r"encoding: b64\n +content: (\S+)", config["metadata"]["user-data"])
    assert encoded
    return dict(line.split("=", 1) for line in base64.b64decode(encoded[1]).decode().splitlines())
