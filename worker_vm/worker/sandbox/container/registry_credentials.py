"""Credentials for pulling images: for Google's registries, the machine's service account."""

from __future__ import annotations

import json
import re

from worker_vm.worker.machine.metadata_server import machine_metadata

_GOOGLE = re.compile(
    r"(?:(?:[a-z0-9.-]+\.)?gcr\.io|[a-z0-9.-]+-docker\.pkg\.dev)(?::[0-9]+)?/",
    re.IGNORECASE,
)
"""Start of an image name in a Google registry. The registry precedes the first slash; without one it is Docker Hub."""

_TOKEN = "instance/service-accounts/default/token"  # noqa: S105 - a path


def credentials_for(image: str) -> dict[str, str] | None:
    """Credentials for the engine; None if the registry is not Google's or this is not a Google Cloud VM."""
    if not _GOOGLE.match(image):
        return None
    try:
        token = json.loads(machine_metadata(_TOKEN) or "")["access_token"]
    except (ValueError, KeyError):
        return None
    return {"username": "oauth2accesstoken", "password": str(token)}
