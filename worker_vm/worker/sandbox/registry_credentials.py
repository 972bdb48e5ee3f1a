"""Who may pull an image: for Google's registries, the service account of the machine."""

from __future__ import annotations

import json
import urllib.request

_GOOGLE = ("-docker.pkg.dev", "gcr.io")
_TOKEN_URL = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - an address
_SECONDS = 3.0


def credentials_for(image: str) -> dict[str, str] | None:
    """User and password as the engine takes them; None: for the public, or this is no machine of Google's."""
    host = image.partition("/")[0]
    if not host.endswith(_GOOGLE):
        return None
    request = urllib.request.Request(_TOKEN_URL, headers={"Metadata-Flavor": "Google"})
    # The metadata server is on the machine itself: no proxy knows the way.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            token = json.load(answer)["access_token"]
    except (OSError, ValueError, KeyError):
        return None
    return {"username": "oauth2accesstoken", "password": str(token)}
