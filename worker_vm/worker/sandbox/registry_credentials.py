"""Who may pull an image: for Google's registries, the service account of the machine."""

from __future__ import annotations

import json

from worker_vm.worker.metadata_server import machine_metadata

_GOOGLE = ("-docker.pkg.dev", "gcr.io")
_TOKEN = "instance/service-accounts/default/token"  # noqa: S105 - where it is


def credentials_for(image: str) -> dict[str, str] | None:
    """User and password as the engine takes them; None: for the public, or this is no machine of Google's."""
    host = image.partition("/")[0]
    if not host.endswith(_GOOGLE):
        return None
    try:
        token = json.loads(machine_metadata(_TOKEN) or "")["access_token"]
    except (ValueError, KeyError):
        return None
    return {"username": "oauth2accesstoken", "password": str(token)}
