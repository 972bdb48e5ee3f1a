"""Who may pull an image: for Google's registries, the service account of the machine."""

from __future__ import annotations

import json
import re

from worker_vm.worker.machine.metadata_server import machine_metadata

_GOOGLE = re.compile(
    r"(?:(?:[a-z0-9.-]+\.)?gcr\.io|[a-z0-9.-]+-docker\.pkg\.dev)(?::[0-9]+)?/",
    re.IGNORECASE,
)
"""begins the name of an image of theirs: before the first slash is the registry, which without a slash is Docker Hub"""

_TOKEN = "instance/service-accounts/default/token"  # noqa: S105 - where it is


def credentials_for(image: str) -> dict[str, str] | None:
    """User and password as the engine takes them; None: for the public, or this is no machine of Google's."""
    if not _GOOGLE.match(image):
        return None
    try:
        token = json.loads(machine_metadata(_TOKEN) or "")["access_token"]
    except (ValueError, KeyError):
        return None
    return {"username": "oauth2accesstoken", "password": str(token)}
