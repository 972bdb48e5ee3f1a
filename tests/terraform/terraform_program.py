"""Runs Terraform on a copy of the configuration, with providers that call no cloud API."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from deploy.costs import resources_of

REPOSITORY = Path(__file__).parents[2]

MODULE = REPOSITORY / "terraform/modules/cloud_executor"

VARIABLES = {"GOGC": "400"}
"""Variables for Terraform. A fifth of the CPU time of a plan would otherwise be that of Go's garbage collector."""

Document = dict[str, Any]


class Terraform:
    """The terraform command in one working folder."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.folder = repository / "terraform"

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env={**os.environ, **VARIABLES},
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )

    def output(self, *arguments: str, **options: Any) -> str:
        """Standard output of a command, which must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def resources(self) -> list[Document]:
        """Managed resources in the state of this folder."""
        document = json.loads(self.output("show", "-json"))
        found = resources_of(document["values"]["root_module"])
        return [dict(resource) for resource in found if resource["mode"] == "managed"]

    def planned_changes(self, *options: str) -> list[Document]:
        """The changes that a plan contains: `action`, `resource`, and `previous_resource` if a resource has moved."""
        lines = self.output("plan", "-input=false", "-json", *options).splitlines()
        return [line["change"] for line in map(json.loads, lines) if line["type"] == "planned_change"]


def copy_repository(folder: Path) -> None:
    """Copy the files that Terraform reads, without the files that it writes."""
    for name in ("terraform", "functions", "cloud_executor", "worker_vm"):
        ignored = shutil.ignore_patterns("__pycache__", ".terraform*", "*.tfstate*", "*_override.tf", "states")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    shutil.copy(REPOSITORY / "requirements.txt", folder)


def of_type(resources: list[Document], *types: str) -> list[Document]:
    return [resource for resource in resources if resource["type"] in types]


def environment(service: Document) -> dict[str, str]:
    """The environment variables of a function, without secrets."""
    (template,) = service["values"]["template"]
    return {env["name"]: env["value"] for env in template["containers"][0]["env"] if env["value"]}


def worker_settings(resources: list[Document]) -> dict[str, str]:
    """The environment of the workers of the only pool."""
    (group,) = of_type(resources, "google_compute_region_instance_group_manager")
    (config,) = group["values"]["all_instances_config"]
    encoded = re.search(r"encoding: b64\n +content: (\S+)", config["metadata"]["user-data"])
    assert encoded
    return dict(line.split("=", 1) for line in base64.b64decode(encoded[1]).decode().splitlines())
