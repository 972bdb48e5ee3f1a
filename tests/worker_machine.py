"""The cloud-init file of a worker VM, filled in the way Terraform does it."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).parents[1] / "worker_vm" / "cloud-init.yaml"

VALUES = {
    "disk_mib": "10240",
    "disks": "0",
    "disks_option": "",
    "egress": "0.0.0.0/0",
    "gpu": "false",
    "health_port": "8080",
    "image": "registry.example/images/worker@sha256:0123",
    "job_image": "registry.example/images/job:1",
    "origin_url": "https://api.example",
    "pool": "default",
    "registries": "registry.example",
    "slots": "4",
}


def machine_file(environment: Mapping[str, str], **values: str) -> str:
    """Content of the cloud-init file, with the worker's environment variables and the other values filled in."""
    lines = "".join(f"{name}={value}\n" for name, value in environment.items())
    filled = {**VALUES, **values, "environment": base64.b64encode(lines.encode()).decode()}
    return re.sub(r"\$\{(\w+)\}", lambda found: filled[found[1]], TEMPLATE.read_text())


def written_files(cloud_init: str) -> dict[str, str]:
    """Content of each file that the VM writes when it starts, by path."""
    found: dict[str, str] = {}
    for file in yaml.safe_load(cloud_init)["write_files"]:
        content: Any = file["content"]
        found[file["path"]] = base64.b64decode(content).decode() if file.get("encoding") == "b64" else content
    return found


def unit_command(files: Mapping[str, str], setting: str, unit: str = "cloud-executor-worker") -> list[str]:
    """The command in a setting of a systemd unit, for example ExecStart."""
    content = files[f"/etc/systemd/system/{unit}.service"].replace("\\\n", " ")
    (command,) = re.findall(rf"^{setting}=-?(.*)$", content, re.MULTILINE)
    return shlex.split(command)
