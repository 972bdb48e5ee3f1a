"""The file that a worker VM is made from, as Terraform fills it in."""

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
    "gpu": "false",
    "health_port": "8080",
    "image": "registry.example/images/worker@sha256:0123",
    "origin_url": "https://api.example",
    "pool": "default",
    "registry": "registry.example",
    "slots": "4",
}


def machine_file(environment: Mapping[str, str], **values: str) -> str:
    """Its text, with the worker's variables and other values in place."""
    lines = "".join(f"{name}={value}\n" for name, value in environment.items())
    filled = {**VALUES, **values, "environment": base64.b64encode(lines.encode()).decode()}
    return re.sub(r"\$\{(\w+)\}", lambda found: filled[found[1]], TEMPLATE.read_text())


def written_files(text: str) -> dict[str, str]:
    """Path and content of each file that the VM writes at its start."""
    found: dict[str, str] = {}
    for file in yaml.safe_load(text)["write_files"]:
        content: Any = file["content"]
        found[file["path"]] = base64.b64decode(content).decode() if file.get("encoding") == "b64" else content
    return found


def unit_command(files: Mapping[str, str], setting: str, unit: str = "cloud-executor-worker") -> list[str]:
    """The command of a systemd unit, such as its ExecStart."""
    text = files[f"/etc/systemd/system/{unit}.service"].replace("\\\n", " ")
    (command,) = re.findall(rf"^{setting}=-?(.*)$", text, re.MULTILINE)
    return shlex.split(command)
