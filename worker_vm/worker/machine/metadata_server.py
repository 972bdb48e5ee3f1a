"""Read the metadata of a Google Cloud VM."""

from __future__ import annotations

import http.client
import os
import urllib.request

HOST_VARIABLE = "GCE_METADATA_HOST"
"""Name of the environment variable that overrides the metadata server's host, as in Google's libraries."""

SECONDS = 3.0
"""Time limit for a request, in seconds."""

_MAX_BYTES = 2**20


def machine_metadata(path: str) -> str | None:
    """Read an entry such as `instance/name`; None if it does not exist or this is not a Google Cloud VM."""
    host = os.environ.get(HOST_VARIABLE) or "metadata.google.internal"
    request = urllib.request.Request(f"http://{host}/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google"})
    # The server is only reachable from the VM itself, not through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as response:
            return str(response.read(_MAX_BYTES).decode())
    except (OSError, http.client.HTTPException, ValueError):
        return None
